"""Looks at the inbox and puts it right: stats, reapply, discard."""

import getpass
import json
import logging
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.db.models import QuerySet

from webhooks import services
from webhooks.models import InboxMessage
from webhooks.stats import inbox_stats

audit = logging.getLogger("webhooks.audit")
# Results changed in one transaction. With all 400,000 of an outage at once it would run into the statement timeout, again and
# again; so what is changed stays changed, whatever becomes of the rest.
BATCH = 1000


class Command(BaseCommand):
    """manage.py inbox stats|reapply|discard."""

    help = "Shows the inbox of results, or changes what is stuck in it."

    def add_arguments(self, parser: CommandParser) -> None:
        """One verb with its options."""
        verbs = parser.add_subparsers(dest="verb", required=True)
        verbs.add_parser("stats", help="backlog, oldest age and what needs somebody, as JSON")
        reapply = verbs.add_parser(
            "reapply", help="judge quarantined, unmatched, failed, dead, conflicting results again"
        )
        discard = verbs.add_parser("discard", help="give results up: they become dead with your reason")
        for verb in (reapply, discard):
            verb.add_argument("webhook_ids", nargs="*", help="webhook-ids")
            verb.add_argument("--reason", required=True, help="why; kept in the audit log")
        reapply.add_argument(
            "--state",
            choices=["quarantined", "unmatched", "failed", "dead", "conflict"],
            help="every result in it but discarded ones; name those by webhook-id",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Prints what changed."""
        if options["verb"] == "stats":
            self.stdout.write(json.dumps(asdict(inbox_stats())))
            return
        state, names = options.get("state"), options["webhook_ids"]
        if state and names:
            raise CommandError("Either webhook-ids or --state.")
        if not state and not names:
            raise CommandError("Name at least one webhook-id (see the admin), or use --state.")
        found = _all_in(state) if state else InboxMessage.objects.filter(webhook_id__in=names)
        rows = list(found.values_list("id", "webhook_id"))
        if unknown := sorted({*names} - {name for _, name in rows}):
            raise CommandError(f"Not in the inbox: {', '.join(unknown)}. Nothing was changed.")
        self._change(options, rows)

    def _change(self, options: dict[str, Any], rows: list[tuple[int, str]]) -> None:
        """In batches, each a transaction with a line in the audit log."""
        verb, reason, state = options["verb"], options["reason"], options.get("state")
        seen = changed = 0
        for some in (rows[start : start + BATCH] for start in range(0, len(rows), BATCH)):
            ids = [row_id for row_id, _ in some]
            if verb == "discard":
                count = services.discard(ids, reason)
            else:
                count = _reapply_all_in(state, ids) if state else services.reapply(ids)
            seen, changed = seen + len(some), changed + count
            who = {"verb": verb, "reason": reason, "by": getpass.getuser(), "changed": count}
            audit.warning("results changed by hand", extra={**who, "webhook_ids": [name for _, name in some]})
            if len(rows) > BATCH:
                self.stdout.write(f"{seen} of {len(rows)} done")
                self.stdout.flush()
        self.stdout.write(f"{verb}: {changed} of {seen} results changed")


def _all_in(state: str) -> QuerySet[InboxMessage]:
    """Without what somebody gave up: that is judged again only by its webhook-id."""
    return InboxMessage.objects.filter(state=state, discarded=False)


def _reapply_all_in(state: str, ids: list[int]) -> int:
    with transaction.atomic():
        # Locked, since somebody may have discarded one of them meanwhile; in the workers' order.
        rows = _all_in(state).filter(id__in=ids).order_by("transaction_id", "id").select_for_update()
        return services.reapply(rows.values_list("id", flat=True))
