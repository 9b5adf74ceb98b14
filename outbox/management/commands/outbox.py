"""Looks at the outbox and puts it right: stats, requeue, discard, prune."""

import getpass
import json
import logging
from dataclasses import asdict
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from outbox import services
from outbox.models import OutboxMessage
from outbox.prune import prune_once
from outbox.stats import outbox_stats, states

audit = logging.getLogger("outbox.audit")


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
        requeue.add_argument("--all-dead", action="store_true", help="every dead event")

    def handle(self, *args: Any, **options: Any) -> None:
        """Prints what changed."""
        if options["verb"] == "stats":
            self.stdout.write(
                json.dumps({**asdict(outbox_stats()), "channels": [asdict(channel) for channel in states().channels]})
            )
            return
        if options["verb"] == "prune":
            self.stdout.write(f"prune: {sum(iter(prune_once, 0))} gone")
            return
        ids = self._ids(options)
        again = options["verb"] == "requeue"
        changed = services.requeue(ids) if again else services.discard(ids, options["reason"])
        who = {"verb": options["verb"], "reason": options["reason"], "by": getpass.getuser(), "changed": changed}
        audit.warning("events changed by hand", extra={**who, "event_ids": [str(event_id) for event_id in ids]})
        self.stdout.write(f"{options['verb']}: {changed} of {len(ids)} events changed")

    def _ids(self, options: dict[str, Any]) -> list[UUID]:
        if options.get("all_dead"):
            return list(OutboxMessage.objects.filter(state="dead").values_list("id", flat=True))
        try:
            ids = [UUID(value) for value in options["ids"]]
        except ValueError as error:
            raise CommandError(f"An event id is a UUID: {error}") from error
        if not ids:
            raise CommandError("Name at least one event id (see `outbox stats` and the admin), or use --all-dead.")
        return ids
