"""The HTTP channel: while the broker is away the same CloudEvent bytes go to the Consumer by signed POST.

Never touches the database: it works in threads whose database connections nobody would close.
"""

import email.utils
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID

from django.conf import settings

from outbox.publisher import Outcome, PublishError, Refusal, StoredEvent
from webhooks import instruments
from webhooks.keys import can_sign, consumer_keys
from webhooks.pinned_http import Answer, PinnedConnection, resolve
from webhooks.signing import ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, Key, sign
from webhooks.ssrf import ParsedTarget, UnsafeUrlError, check_url

CONTENT_TYPE = "application/cloudevents+json"
USER_AGENT = "producer-webhook/1"
# Requests under way at once. More would push over a Consumer that has just got all of the broker's traffic.
CONCURRENCY = 8
# The batch is over this long before the deadline (seconds), so that the caller has it in time.
MARGIN_SECONDS = 0.1
# An attempt that could have less than this is not begun (seconds): it would only be cut off and sent again.
MIN_ATTEMPT_SECONDS = 0.5
# A socket's own deadline lies this far behind the batch's (seconds). Were they one, whichever thread woke first would say
# whether the channel is in trouble.
CUT_OFF_SECONDS = 1.0
# So many 500s in a row mean that the receiver is broken. Fewer may be about their events, which then must neither stop
# the others nor be tried for ever.
STRAIGHT_ERRORS = 5
# Bounds of what a receiver can ask for with Retry-After (seconds).
MIN_RETRY_AFTER, MAX_RETRY_AFTER = 1.0, 60.0

_THROTTLED = {408, 425, 429}
# These judge what is alike in every POST (who asks, where, how) and not what is in the event. A receiver that has taken
# nothing and answers so is at a wrong address or has another secret: no event may die of that.
_AT_THE_DOOR = {401, 402, 403, 404, 405, 406, 407, 411, 415, 421, 426}


class WebhookPublisher:
    """Concurrent between keys, one after the other within a key. Connections live for one batch."""

    name = "webhook"

    def __init__(self) -> None:
        self._context: ssl.SSLContext | None = None

    def available(self) -> bool:
        """Whether there is somewhere to send to and something to sign with."""
        return bool(settings.CONSUMER_WEBHOOK_URL) and can_sign()

    def publish(
        self, events: Sequence[StoredEvent], routes: Mapping[str, Mapping[str, str]], deadline: float
    ) -> Outcome:
        """See Publisher.publish; the routes are the broker's and mean nothing here."""
        try:
            target = check_url(settings.CONSUMER_WEBHOOK_URL, settings.WEBHOOK_ALLOWED_NETWORKS)
            keys = consumer_keys()
        except ValueError as error:
            return Outcome(trouble=PublishError(f"The webhook cannot be used as configured: {error}"))
        if target.scheme == "https" and self._context is None:
            self._context = ssl.create_default_context()
        return _Batch(events, target, keys, self._context, deadline - MARGIN_SECONDS).run()

    def close(self) -> None:
        """Nothing outlives a publish."""


class _Batch:
    """One publish: its keys still to do, its threads, and what is known so far (all of it under one lock)."""

    def __init__(
        self,
        events: Sequence[StoredEvent],
        target: ParsedTarget,
        keys: Sequence[Key],
        context: ssl.SSLContext | None,
        cutoff: float,
    ) -> None:
        self._target, self._keys, self._cutoff = target, keys, cutoff
        self._context = context if target.scheme == "https" else None
        self._lock = threading.Lock()
        self._finished = threading.Event()
        self._outcome = Outcome()
        self._over = False
        self._resolved = False
        self._begun = False
        self._threads = 0
        self._slowest = 0.0
        self._errors_in_a_row = 0
        self._suspects: set[UUID] = set()
        # Events that were answered with a status of _AT_THE_DOOR: it, and the Retry-After.
        self._turned_away: dict[UUID, tuple[int, float | None]] = {}
        self._at_work: set[PinnedConnection] = set()
        by_key: dict[str, list[StoredEvent]] = {}
        for event in events:
            by_key.setdefault(event.key, []).append(event)
        self._to_do = deque(by_key.values())

    def run(self) -> Outcome:
        """Works until all is sent, the channel is in trouble or the time is up; what is open then is cut off."""
        self._start(self._resolve)
        self._finished.wait(max(0.0, self._cutoff - time.monotonic()))
        with self._lock:
            self._over = True
            cut_off = list(self._at_work)
            self._conclude(tried=self._begun or not self._resolved)
        for connection in cut_off:
            connection.abort()
        return self._outcome

    def _start(self, work: Callable[[], None]) -> None:
        def run() -> None:
            try:
                work()
            finally:
                with self._lock:
                    self._threads -= 1
                    if not self._threads:
                        self._finished.set()

        with self._lock:
            self._threads += 1
        threading.Thread(target=run, name="webhook", daemon=True).start()

    def _resolve(self) -> None:
        """In a thread because nothing stops a resolver that takes its time; it is left behind then."""
        try:
            addresses = resolve(self._target, settings.WEBHOOK_ALLOWED_NETWORKS)
        except (OSError, ValueError) as error:
            self._stop(PublishError(f"The webhook's name leads nowhere that is allowed: {_words(error)}"))
            return
        finally:
            self._resolved = True
        for _ in range(min(CONCURRENCY, len(self._to_do))):
            self._start(lambda: self._work(PinnedConnection(self._target, addresses, self._context)))

    def _work(self, connection: PinnedConnection) -> None:
        with self._lock:
            self._at_work.add(connection)
        try:
            while (events := self._next_key()) is not None:
                for event in events:
                    if not self._may_begin() or not self._deliver(connection, event):
                        # What follows in this key waits: it would overtake.
                        break
        finally:
            connection.close()
            with self._lock:
                self._at_work.discard(connection)

    def _next_key(self) -> list[StoredEvent] | None:
        with self._lock:
            return self._to_do.popleft() if self._to_do and not self._over and self._outcome.trouble is None else None

    def _may_begin(self) -> bool:
        """Not when it would probably be cut off: at least the slowest answer so far must fit in."""
        left = self._cutoff - time.monotonic()
        with self._lock:
            going = not self._over and self._outcome.trouble is None
            begins = going and left > max(MIN_ATTEMPT_SECONDS, self._slowest)
            self._begun = self._begun or begins
            return begins

    def _deliver(self, connection: PinnedConnection, event: StoredEvent) -> bool:
        """Whether the next event of the key may follow."""
        started = time.monotonic()
        try:
            answer = self._attempt(connection, event)
        except Exception as error:
            instruments.SENT.labels("none").inc()
            connection.close()
            self._stop(PublishError(f"No answer from the webhook: {_words(error)}"))
            return False
        seconds = time.monotonic() - started
        instruments.SENT.labels(f"{answer.status // 100}xx").inc()
        instruments.SENT_SECONDS.observe(seconds)
        with self._lock:
            self._slowest = max(self._slowest, seconds)
        return self._judge(event, answer)

    def _attempt(self, connection: PinnedConnection, event: StoredEvent) -> Answer:
        reused = connection.sock is not None
        try:
            return self._post(connection, event)
        except ConnectionError:
            # The receiver closed a connection that was kept open, which it may at any time: once more on a new one.
            connection.close()
            if not reused or self._over:
                raise
            return self._post(connection, event)

    def _post(self, connection: PinnedConnection, event: StoredEvent) -> Answer:
        body = event.body.encode()
        now = int(time.time())
        # Past the cutoff: the batch's own end cuts off what is under way, and knows that for no fault of the receiver's.
        left = max(0.0, self._cutoff - time.monotonic()) + CUT_OFF_SECONDS
        headers = {
            "Content-Type": CONTENT_TYPE,
            "User-Agent": USER_AGENT,
            ID_HEADER: str(event.id),
            TIMESTAMP_HEADER: str(now),
            SIGNATURE_HEADER: sign(self._keys, str(event.id), now, body),
        }
        return connection.post(
            self._target.path,
            body,
            headers,
            connect_seconds=min(settings.WEBHOOK_CONNECT_TIMEOUT_SECONDS, left),
            read_seconds=min(settings.WEBHOOK_READ_TIMEOUT_SECONDS, left),
        )

    def _judge(self, event: StoredEvent, answer: Answer) -> bool:
        status, wait = answer.status, retry_after_seconds(answer.retry_after)
        with self._lock:
            if self._over:
                return False
            if 200 <= status < 300:
                self._errors_in_a_row = 0
                self._outcome.confirmed.add(event.id)
                return True
            if status == 500 and wait is None and self._errors_in_a_row + 1 < STRAIGHT_ERRORS:
                self._errors_in_a_row += 1
                self._suspects.add(event.id)
                return False
            if 400 <= status < 500 and status not in _THROTTLED | {410}:
                self._outcome.refused[event.id] = Refusal(f"HTTP {status} from the webhook.")
                if status in _AT_THE_DOOR:
                    self._turned_away[event.id] = (status, wait)
                return False
        words = f"HTTP {status} from the webhook."
        if status < 400:
            words = f"HTTP {status} from the webhook; redirects are not followed: correct the URL."
        self._stop(PublishError(words, gone=status == 410, retry_after_seconds=wait))
        return False

    def _stop(self, trouble: PublishError) -> None:
        """The channel is in trouble: nobody begins another attempt. The first word stands, unless a later one is final."""
        with self._lock:
            if not self._over and (self._outcome.trouble is None or trouble.gone):
                self._outcome.trouble = trouble

    def _conclude(self, *, tried: bool) -> None:
        """What it means that some were turned away or answered with 500, or that nothing is known of what was `tried`."""
        outcome = self._outcome
        if self._turned_away and not outcome.confirmed:
            # Nobody was let in. A single event tells no more than that; beside one that is taken it is blamed, see _judge.
            for event_id in self._turned_away:
                del outcome.refused[event_id]
            status, _ = next(iter(self._turned_away.values()))
            outcome.trouble = outcome.trouble or PublishError(
                f"HTTP {status} from the webhook, which took nothing: is its URL right, and the secret?",
                retry_after_seconds=max((wait for _, wait in self._turned_away.values() if wait), default=None),
            )
        if outcome.trouble is None and self._suspects:
            if outcome.confirmed:
                outcome.refused |= dict.fromkeys(
                    self._suspects, Refusal("HTTP 500 from the webhook, which took others.")
                )
            else:
                outcome.trouble = PublishError("HTTP 500 from the webhook.")
        if outcome.trouble is None and tried and not outcome.confirmed and not outcome.refused:
            # With something taken it is merely out of time. With nothing, trying again at once would be a storm: also where a
            # thread ended before its time, by a defect of ours.
            outcome.trouble = PublishError("The webhook took nothing within the publish timeout.")


def retry_after_seconds(header: str | None) -> float | None:
    """Retry-After as seconds from now, within bounds: delta-seconds or an HTTP date; None when absent or unreadable."""
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        # Longer numbers are absurd, and int() refuses the longest.
        seconds = float(text[:12])
    else:
        try:
            moment = email.utils.parsedate_to_datetime(text)
        except (ValueError, OverflowError):
            # The second for a year or a zone that no integer of the machine holds.
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        seconds = (moment - datetime.now(UTC)).total_seconds()
    return min(max(seconds, MIN_RETRY_AFTER), MAX_RETRY_AFTER)


def _words(error: BaseException) -> str:
    """The kind of an error, and its text only where the text is ours: others repeat URLs and what was sent."""
    return f"{type(error).__name__} ({error})" if isinstance(error, UnsafeUrlError) else type(error).__name__
