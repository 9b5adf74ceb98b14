"""The standing relay: waits for wake-ups and the clock, runs one pass after the other, stops gracefully."""

import signal
import time
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, InterfaceError, close_old_connections, connection

from outbox.heartbeat import Heart
from outbox.publisher import publishers
from outbox.relay import Counts, Horizon, run_once
from outbox.wakeup import Listener

# Looks at least this often (seconds) even when nobody wakes it: retries come due by the clock.
TICK_SECONDS = 1.0
REPORT_SECONDS = 60.0


class Command(BaseCommand):
    """manage.py relay [--once] [--batch N]."""

    help = "Publishes waiting events. Stands until SIGTERM; --once makes one pass and prints its counts."

    def add_arguments(self, parser: CommandParser) -> None:
        """--once, --batch."""
        parser.add_argument("--once", action="store_true", help="one pass, then exit 0 (1 when no channel works)")
        parser.add_argument("--batch", type=int, default=None, help="events per claim (default OUTBOX_BATCH_SIZE)")

    def handle(self, *args: Any, **options: Any) -> None:
        """Runs until told to stop; a database that is away is waited for."""
        if options["batch"] is not None and options["batch"] < 1:
            # The database's refusal would look like one that is away, for ever.
            raise CommandError("--batch must be 1 or more.")
        if options["once"]:
            counts = run_once(limit=options["batch"])
            self.stdout.write(self._line(counts))
            if counts.waiting or counts.trouble:
                raise SystemExit(1)
            return
        self._stopping = False
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, self._stop)
        self.stdout.write("relay: standing; stop with Ctrl-C")
        self._loop(options["batch"])
        for publisher in publishers():
            publisher.close()
        connection.close()
        self.stdout.write("relay: stopped")

    def _loop(self, batch: int | None) -> None:
        listener, horizon, heart = Listener(), Horizon(), Heart("relay")
        published, reported = 0, time.monotonic()
        while not self._stopping:
            more = False
            try:
                counts = run_once(limit=batch, horizon=horizon)
                published += counts.published
                more = counts.more
                heart.beat("no channel takes events" if counts.waiting else "")
            except (DatabaseError, InterfaceError) as error:
                self.stderr.write(f"relay: database away ({type(error).__name__}); trying again")
                close_old_connections()
                connection.close()
                time.sleep(TICK_SECONDS)
            if time.monotonic() - reported > REPORT_SECONDS:
                self.stdout.write(f"relay: {published} published in the last minute")
                published, reported = 0, time.monotonic()
            if not more and not self._stopping:
                listener.wait(TICK_SECONDS)
        listener.close()
        heart.stop()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        # The pass under way finishes: it is bounded by the publish timeout, and then nothing is leased.
        self._stopping = True

    @staticmethod
    def _line(counts: Counts) -> str:
        return (
            f"claimed={counts.claimed} published={counts.published} retried={counts.retried} dead={counts.dead} "
            f"released={counts.released} lost={counts.lost} channel={counts.channel or '-'} waiting={counts.waiting}"
        )
