"""Looks at the inbox and puts it right: stats, reapply, discard."""

import json
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from webhooks import services
from webhooks.models import InboxMessage
from webhooks.stats import inbox_stats


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
            verb.add_argument("--reason", required=True, help="why; kept on the row or in the log")
        reapply.add_argument("--state", choices=["quarantined", "unmatched", "failed", "dead", "conflict"])

    def handle(self, *args: Any, **options: Any) -> None:
        """Prints what changed."""
        if options["verb"] == "stats":
            self.stdout.write(json.dumps(asdict(inbox_stats())))
            return
        rows = InboxMessage.objects.all()
        if options.get("state"):
            rows = rows.filter(state=options["state"])
        elif options["webhook_ids"]:
            rows = rows.filter(webhook_id__in=options["webhook_ids"])
        else:
            raise CommandError("Name at least one webhook-id (see the admin), or use --state.")
        ids = list(rows.values_list("id", flat=True))
        again = options["verb"] == "reapply"
        changed = services.reapply(ids) if again else services.discard(ids, options["reason"])
        self.stdout.write(f"{options['verb']}: {changed} of {len(ids)} results changed")
