"""Looks at the outbox and puts it right: stats, requeue, discard, prune."""

import getpass
import json
import logging
from dataclasses import asdict
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.db.models import QuerySet

from outbox import partitions, services
from outbox.clock import database_now
from outbox.conflicts import started_over
from outbox.models import OutboxMessage
from outbox.prune import prune_once
from outbox.stats import outbox_stats, states

audit = logging.getLogger("outbox.audit")
# Events changed by one statement. With all 400,000 of an outage at once it would run into the statement timeout, again and
# again; so what is changed stays changed, whatever becomes of the rest.
BATCH = 1000


class Command(BaseCommand):
    """manage.py outbox stats|requeue|discard|prune."""

    help = "Shows the outbox, or changes dead and waiting events."

    def add_arguments(self, parser: CommandParser) -> None:
        """One verb with its options."""
        verbs = parser.add_subparsers(dest="verb", required=True)
        verbs.add_parser("stats", help="depth, oldest age, dead, rate and channels, as JSON")
        verbs.add_parser(
            "prune", help="make the coming weeks' partitions and drop what is past its retention (beat does it)"
        )
        requeue = verbs.add_parser("requeue", help="make dead (or published) events pending again")
        discard = verbs.add_parser(
            "discard", help="give up waiting or dead events: dead with your reason, blocking nobody"
        )
        for verb in (requeue, discard):
            verb.add_argument("ids", nargs="*", help="event ids")
            verb.add_argument("--reason", required=True, help="why; kept in the audit log")
        requeue.add_argument(
            "--all-dead", action="store_true", help="every dead event but discarded ones; name those by id"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Prints what changed."""
        if options["verb"] == "stats":
            self.stdout.write(
                json.dumps({**asdict(outbox_stats()), "channels": [asdict(channel) for channel in states().channels]})
            )
            return
        if options["verb"] == "prune":
            self._prune()
            return
        self._change(options)

    def _prune(self) -> None:
        """Until nothing is past its retention. A failure to make a partition is one of the command: cron must tell of it."""
        self.stdout.write(f"prune: {sum(iter(prune_once, 0))} gone")
        if weeks := partitions.missing(database_now()):
            names = ", ".join(f"{monday:%Y-%m-%d}" for monday in weeks)
            raise CommandError(
                f"No partition for the weeks of {names}: the log's `partition unchanged` says why. What is published then is kept"
                f" in {partitions.REST}. Run it again, as a role that owns the outbox's tables."
            )

    def _change(self, options: dict[str, Any]) -> None:
        """In batches, each a transaction with a line in the audit log."""
        verb, reason = options["verb"], options["reason"]
        if options.get("all_dead") and options["ids"]:
            raise CommandError("Either event ids or --all-dead.")
        ids = list(_given_up().values_list("id", flat=True)) if options.get("all_dead") else self._ids(options["ids"])
        seen = changed = 0
        for some in (ids[start : start + BATCH] for start in range(0, len(ids), BATCH)):
            if verb == "discard":
                count = services.discard(some, reason)
            else:
                count = _requeue_given_up(some) if options["all_dead"] else services.requeue(some)
            seen, changed = seen + len(some), changed + count
            who = {"verb": verb, "reason": reason, "by": getpass.getuser(), "changed": count}
            audit.warning("events changed by hand", extra={**who, "event_ids": [str(event_id) for event_id in some]})
            if len(ids) > BATCH:
                self.stdout.write(f"{seen} of {len(ids)} done")
                self.stdout.flush()
        self.stdout.write(f"{verb}: {changed} of {seen} events changed")

    def _ids(self, texts: list[str]) -> list[UUID]:
        try:
            ids = [UUID(text) for text in texts]
        except ValueError as error:
            raise CommandError(f"An event id is a UUID: {error}") from error
        if not ids:
            raise CommandError("Name at least one event id (see `outbox stats` and the admin), or use --all-dead.")
        return ids


def _given_up() -> QuerySet[OutboxMessage]:
    """Dead, but not because somebody decided so: what was discarded comes back only by its id."""
    return OutboxMessage.objects.filter(state=OutboxMessage.State.DEAD, discarded=False)


@started_over
def _requeue_given_up(ids: list[UUID]) -> int:
    with transaction.atomic():
        # Locked, since somebody may have discarded one of them meanwhile.
        rows = _given_up().filter(id__in=ids).order_by("id").select_for_update()
        return services.requeue(rows.values_list("id", flat=True))
