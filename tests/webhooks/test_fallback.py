"""The HTTP channel against a real server on loopback: what counts as delivered, what stops, and where it may go."""

import contextlib
import email.utils
import http.client
import json
import socket
import ssl
import subprocess
import threading
import time
import uuid
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from standardwebhooks.webhooks import Webhook

from outbox import delivery, relay
from outbox.clock import database_now
from outbox.models import ChannelState, OutboxMessage
from outbox.publisher import PublishError, StoredEvent, publishers
from producer import condition
from tests.outbox.conftest import add_event
from webhooks import fallback, pinned_http
from webhooks.fallback import WebhookPublisher, retry_after_seconds

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SECOND_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
ACCOUNT = "DE89370400440532013000"


def an_event(key=None, sequence=1):
    event_id = uuid.uuid4()
    body = json.dumps({"id": str(event_id), "note": "Zoë €", "account_number": ACCOUNT}, ensure_ascii=False)
    return StoredEvent(
        id=event_id,
        topic="transactions",
        type="transaction.created",
        key=key or str(uuid.uuid4()),
        sequence=sequence,
        body=body,
        attempts=1,
        created_at=datetime.now(UTC),
    )


class Receiver(ThreadingHTTPServer):
    """Answers what `answer(request)` says: a status, or (status, headers), or a callable on the handler."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests, self.connections = [], 0
        self.answer = lambda request: 204
        self.lock = threading.Lock()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/events?tenant=1"

    def get_request(self):
        with self.lock:
            self.connections += 1
        return super().get_request()

    def handle_error(self, request, client_address):
        pass


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = {"path": self.path, "headers": dict(self.headers), "body": body, "at": time.monotonic()}
        with self.server.lock:
            self.server.requests.append(request)
        answer = self.server.answer(request)
        if callable(answer):
            answer(self)
            return
        status, headers = answer if isinstance(answer, tuple) else (answer, {})
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def serving(server):
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def receiver(settings):
    with serving(Receiver()) as server:
        settings.CONSUMER_WEBHOOK_URL = server.url
        settings.CONSUMER_WEBHOOK_SECRETS = [SECRET]
        settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.0/8"]
        yield server


def publish(*events, seconds=5.0):
    deadline = time.monotonic() + seconds
    outcome = WebhookPublisher().publish(events, {}, deadline)
    assert time.monotonic() < deadline
    return outcome


def ids(events):
    return {event.id for event in events}


# --- What goes on the wire -------------------------------------------------------------------------------------------


def test_the_bytes_and_the_id_are_the_events_and_the_peer_library_verifies_every_active_key(receiver, settings):
    settings.CONSUMER_WEBHOOK_SECRETS = [SECRET, SECOND_SECRET]
    event = an_event()
    assert publish(event).confirmed == {event.id}
    [request] = receiver.requests
    assert request["body"] == event.body.encode()
    assert request["path"] == "/events?tenant=1"
    headers = {name.lower(): value for name, value in request["headers"].items()}
    assert headers["content-type"] == "application/cloudevents+json"
    assert headers["webhook-id"] == str(event.id)
    assert headers["user-agent"] == fallback.USER_AGENT
    assert headers["host"] == f"127.0.0.1:{receiver.server_port}"
    for secret in (SECRET, SECOND_SECRET):
        Webhook(secret).verify(request["body"], headers)


def test_each_attempt_has_the_same_id_and_bytes_but_a_fresh_timestamp_and_signature(receiver, monkeypatch):
    event, clock = an_event(), {"now": 1_800_000_000.7}
    monkeypatch.setattr(fallback.time, "time", lambda: clock["now"])
    publish(event)
    clock["now"] = 1_800_000_400.2
    publish(event)
    first, second = receiver.requests
    assert first["body"] == second["body"]
    assert [request["headers"]["webhook-id"] for request in receiver.requests] == [str(event.id)] * 2
    assert [request["headers"]["webhook-timestamp"] for request in receiver.requests] == ["1800000000", "1800000400"]
    assert first["headers"]["webhook-signature"] != second["headers"]["webhook-signature"]


def test_a_proxy_in_the_environment_is_ignored(receiver, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    event = an_event()
    assert publish(event).confirmed == {event.id}


# --- What an answer means --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_a_2xx_confirms(receiver, status):
    receiver.answer = lambda request: status
    event = an_event()
    outcome = publish(event)
    assert (outcome.confirmed, outcome.refused, outcome.trouble) == ({event.id}, {}, None)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 413, 415, 422])
def test_another_4xx_is_the_events_own_refusal_and_burns_an_attempt(receiver, status):
    bad, good = an_event(), an_event()
    receiver.answer = lambda request: status if str(bad.id).encode() in request["body"] else 204
    outcome = publish(bad, good)
    assert outcome.confirmed == {good.id}
    assert outcome.trouble is None
    assert set(outcome.refused) == {bad.id}
    assert not outcome.refused[bad.id].permanent
    assert not outcome.refused[bad.id].blameless


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599, 301, 302, 303, 307, 308, 304, 100 + 1])
def test_trouble_of_the_channel_leaves_events_unsettled_and_blames_none(receiver, status):
    receiver.answer = lambda request: (status, {"Location": f"http://127.0.0.1:{receiver.server_port}/elsewhere"})
    outcome = publish(an_event())
    assert (outcome.confirmed, outcome.refused) == (set(), {})
    assert str(status) in outcome.trouble.reason
    assert not outcome.trouble.gone
    assert [request["path"] for request in receiver.requests] == ["/events?tenant=1"]


@pytest.mark.parametrize("status", [401, 402, 403, 404, 405, 406, 407, 411, 415, 421, 426])
@pytest.mark.parametrize("count", [1, 30])
def test_a_receiver_that_turns_everything_away_is_trouble_of_the_channel_and_no_event_is_blamed(
    receiver, status, count
):
    receiver.answer = lambda request: (status, {"Retry-After": "9"} if len(receiver.requests) == 1 else {})
    outcome = publish(*[an_event() for _ in range(count)])
    assert (outcome.confirmed, outcome.refused) == (set(), {})
    assert f"HTTP {status}" in outcome.trouble.reason and "secret" in outcome.trouble.reason
    assert outcome.trouble.retry_after_seconds == 9 and not outcome.trouble.gone


@pytest.mark.parametrize("status", [400, 409, 412, 413, 414, 422, 451])
@pytest.mark.parametrize("count", [1, 30])
def test_what_is_about_the_event_burns_an_attempt_even_when_nothing_else_is_taken(receiver, status, count):
    events = [an_event() for _ in range(count)]
    receiver.answer = lambda request: status
    outcome = publish(*events)
    assert (outcome.confirmed, set(outcome.refused), outcome.trouble) == (set(), ids(events), None)


def test_a_poison_event_among_those_turned_away_is_the_only_one_to_blame(receiver):
    """A receiver may look at the size before it looks at the signature."""
    poison, *others = [an_event() for _ in range(10)]
    receiver.answer = lambda request: 413 if str(poison.id).encode() in request["body"] else 401
    outcome = publish(poison, *others)
    assert (outcome.confirmed, set(outcome.refused)) == (set(), {poison.id})
    assert "HTTP 401" in outcome.trouble.reason


def test_a_gateway_that_turns_away_and_then_is_in_trouble_burns_no_attempt_either(receiver, monkeypatch):
    monkeypatch.setattr(fallback, "CONCURRENCY", 1)
    receiver.answer = lambda request: 404 if len(receiver.requests) <= 2 else 503
    outcome = publish(*[an_event() for _ in range(5)])
    assert (outcome.confirmed, outcome.refused) == (set(), {})
    assert "503" in outcome.trouble.reason


def test_a_410_says_gone_and_sends_nothing_more(receiver, monkeypatch):
    monkeypatch.setattr(fallback, "CONCURRENCY", 1)
    receiver.answer = lambda request: 410
    outcome = publish(an_event(), an_event())
    assert outcome.trouble.gone
    assert (outcome.confirmed, outcome.refused) == (set(), {})
    assert len(receiver.requests) == 1


def test_one_event_that_the_receiver_chokes_on_is_refused_and_does_not_stop_the_others(receiver):
    events = [an_event() for _ in range(30)]
    receiver.answer = lambda request: 500 if str(events[3].id).encode() in request["body"] else 204
    outcome = publish(*events)
    assert outcome.confirmed == ids(events) - {events[3].id}
    assert set(outcome.refused) == {events[3].id}
    assert outcome.trouble is None


def test_a_row_of_500s_stops_the_batch_and_blames_no_event(receiver, monkeypatch):
    monkeypatch.setattr(fallback, "CONCURRENCY", 1)
    events = [an_event() for _ in range(30)]
    receiver.answer = lambda request: 204 if len(receiver.requests) <= 3 else 500
    outcome = publish(*events)
    assert len(outcome.confirmed) == 3
    assert outcome.refused == {}
    assert "500" in outcome.trouble.reason
    assert len(receiver.requests) == 3 + fallback.STRAIGHT_ERRORS


def test_after_trouble_nothing_more_is_begun_and_what_was_confirmed_stays(receiver, monkeypatch):
    monkeypatch.setattr(fallback, "CONCURRENCY", 1)
    events = [an_event() for _ in range(10)]
    receiver.answer = lambda request: 204 if len(receiver.requests) <= 3 else (503, {"Retry-After": "7"})
    outcome = publish(*events)
    assert outcome.confirmed == ids(events[:3])
    assert outcome.refused == {}
    assert outcome.trouble.retry_after_seconds == 7
    assert len(receiver.requests) == 4


def test_a_retry_after_of_a_year_that_no_calendar_has_is_an_answer_all_the_same(receiver):
    receiver.answer = lambda request: (503, {"Retry-After": "Wed, 21 Oct 99999999999 07:28:00 GMT"})
    outcome = publish(*[an_event() for _ in range(20)])
    assert outcome.trouble is not None and "HTTP 503" in outcome.trouble.reason
    assert (outcome.confirmed, outcome.refused) == (set(), {})


def test_a_defect_of_ours_in_judging_an_answer_is_trouble_and_no_reason_to_try_at_once(receiver, monkeypatch):
    monkeypatch.setattr(fallback._Batch, "_judge", lambda *_: 1 / 0)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    outcome = publish(an_event())
    assert outcome.trouble is not None


# --- Through the relay -----------------------------------------------------------------------------------------------


@pytest.fixture
def by_webhook(receiver, settings, db, monkeypatch):
    """The broker is away; time passes between two passes of the relay."""
    settings.OUTBOX_FALLBACK_AFTER_SECONDS, settings.OUTBOX_MAX_ATTEMPTS = 0, 4
    broker, _ = publishers()
    monkeypatch.setattr(delivery, "_greets", lambda publisher: publisher is not broker)
    delivery.failed(broker, PublishError("away"))

    def passes(count):
        for _ in range(count):
            ChannelState.objects.filter(name="webhook").update(retry_at=None)
            OutboxMessage.objects.filter(state="pending").update(due_at=database_now() - timedelta(seconds=1))
            relay.run_once()
        return list(OutboxMessage.objects.order_by("id").values_list("state", "attempts"))

    return passes


@pytest.mark.parametrize("count", [1, 3])
def test_a_wrong_secret_gives_up_no_event_and_is_seen_until_it_is_corrected(receiver, by_webhook, count):
    for number in range(count):
        add_event(str(number))
    receiver.answer = lambda request: 401
    assert by_webhook(25) == [("pending", 0)] * count
    state = ChannelState.objects.get(name="webhook")
    assert state.failing_since is not None and "HTTP 401" in state.reason and not state.disabled
    [light] = [light for light in condition.current() if light.id == "fallback"]
    assert light.level == "warn" and "HTTP 401" in light.meaning and "CONSUMER_WEBHOOK_SECRETS" in light.remedy
    receiver.answer = lambda request: 204
    assert by_webhook(2) == [("published", 1)] * count
    assert ChannelState.objects.get(name="webhook").failing_since is None


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_poison_event_ends_dead_though_it_is_alone(receiver, by_webhook, status):
    add_event()
    receiver.answer = lambda request: status
    assert by_webhook(6) == [("dead", 4)]


def test_an_event_that_is_turned_away_beside_others_that_are_taken_ends_dead_too(receiver, by_webhook):
    """A firewall in front of the receiver dislikes it. Alone it says nothing, and waits."""
    poison = str(add_event("poison", body='{"poison": true}'))
    receiver.answer = lambda request: 403 if request["headers"]["webhook-id"] == poison else 204
    assert by_webhook(3) == [("pending", 0)]
    for number in range(4):
        add_event(str(number))
        by_webhook(1)
    assert by_webhook(0) == [("dead", 4)] + [("published", 1)] * 4


# --- Retry-After -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        (" 30 ", 30),
        ("0", 1),
        ("86400", 60),
        ("9" * 5000, 60),
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 1),
        ("Wed, 21 Oct 99999999999 07:28:00 GMT", None),
        ("Wed, 21 Oct 2015 07:28:00 +99999999999999", None),
        ("Wed, 21 Oct 2015 07:28:00 +9999", None),
    ],
)
def test_retry_after_in_seconds_is_clamped(header, seconds):
    assert retry_after_seconds(header) == seconds


@pytest.mark.parametrize(("ahead", "expected"), [(20, 20), (3600, 60), (-20, 1)])
def test_retry_after_as_a_date_is_clamped(ahead, expected):
    header = email.utils.format_datetime(datetime.now(UTC) + timedelta(seconds=ahead), usegmt=True)
    assert retry_after_seconds(header) == pytest.approx(expected, abs=2)


# --- Order and concurrency -------------------------------------------------------------------------------------------


def test_events_of_one_key_go_one_after_the_other_in_order(receiver):
    under_way, overlaps = defaultdict(int), []

    def answer(request):
        key = json.loads(request["body"])["id"]
        key = key_of[key]
        with receiver.lock:
            under_way[key] += 1
            overlaps.append(under_way[key])

        def respond(handler):
            with receiver.lock:
                under_way[key] -= 1
            handler.send_response(204)
            handler.end_headers()

        return respond

    events = [an_event(key=f"key {number % 5}", sequence=number // 5) for number in range(100)]
    key_of = {str(event.id): event.key for event in events}
    receiver.answer = answer
    assert publish(*events).confirmed == ids(events)
    assert max(overlaps) == 1
    arrived = [request["headers"]["webhook-id"] for request in receiver.requests]
    for key in set(key_of.values()):
        expected = [str(event.id) for event in events if event.key == key]
        assert [event_id for event_id in arrived if key_of[event_id] == key] == expected


@pytest.mark.parametrize("status", [422, 500])
def test_after_a_failure_the_later_events_of_the_key_are_not_sent_but_other_keys_are(receiver, status):
    first, second, third = (an_event(key="a", sequence=number) for number in range(3))
    others = [an_event() for _ in range(5)]
    receiver.answer = lambda request: status if str(second.id).encode() in request["body"] else 204
    outcome = publish(first, second, third, *others)
    assert outcome.confirmed == {first.id} | ids(others)
    assert set(outcome.refused) == {second.id}
    assert str(third.id) not in [request["headers"]["webhook-id"] for request in receiver.requests]


def test_different_keys_go_at_the_same_time_over_few_connections_that_are_kept(receiver):
    meeting = threading.Barrier(fallback.CONCURRENCY, timeout=5)
    events = [an_event() for _ in range(fallback.CONCURRENCY * 5)]

    def answer(request):
        meeting.wait()
        return 204

    receiver.answer = answer
    outcome = publish(*events)
    assert outcome.confirmed == ids(events)
    assert receiver.connections == fallback.CONCURRENCY


def test_a_connection_that_the_receiver_closed_meanwhile_is_replaced(receiver, monkeypatch):
    monkeypatch.setattr(fallback, "CONCURRENCY", 1)

    def answer(request):
        def respond(handler):
            # Says it stays open, then does not: what a restarting receiver does.
            handler.send_response(204)
            handler.end_headers()
            handler.wfile.flush()
            handler.connection.shutdown(socket.SHUT_RDWR)
            handler.close_connection = True

        return respond

    receiver.answer = answer
    events = [an_event() for _ in range(5)]
    assert publish(*events).confirmed == ids(events)
    assert len(receiver.requests) == 5


# --- Time and size ---------------------------------------------------------------------------------------------------


def test_a_receiver_that_never_answers_is_trouble_after_the_read_timeout(receiver, settings):
    settings.WEBHOOK_READ_TIMEOUT_SECONDS = 0.2
    release = threading.Event()
    receiver.answer = lambda request: release.wait(10) and 204
    outcome = publish(an_event())
    release.set()
    assert (outcome.confirmed, outcome.refused) == (set(), {})
    assert "Timeout" in outcome.trouble.reason


@pytest.mark.parametrize("what", ["headers", "status line"])
def test_a_receiver_that_drips_is_cut_off_at_the_deadline_and_is_trouble(receiver, what):
    stop = threading.Event()

    def drip(handler):
        handler.wfile.write(b"HTTP/1.1 200 " if what == "status line" else b"HTTP/1.1 200 OK\r\n")
        with contextlib.suppress(OSError):
            while not stop.wait(0.05):
                handler.wfile.write(b"x" if what == "status line" else b"x: y\r\n")
                handler.wfile.flush()

    receiver.answer = lambda request: drip
    outcome = publish(an_event(), seconds=1.0)
    stop.set()
    assert outcome.confirmed == set()
    assert outcome.trouble is not None


def test_out_of_time_with_something_taken_is_no_trouble_and_leaves_the_rest_unsettled(receiver, monkeypatch):
    monkeypatch.setattr(fallback, "CONCURRENCY", 1)
    release = threading.Event()
    receiver.answer = lambda request: 204 if len(receiver.requests) == 1 else (release.wait(10) and 204)
    events = [an_event() for _ in range(3)]
    outcome = publish(*events, seconds=4.0)
    release.set()
    assert outcome.confirmed == {events[0].id}
    assert (outcome.refused, outcome.trouble) == ({}, None)
    assert len(receiver.requests) == 2


def test_whichever_thread_wakes_first_out_of_time_is_no_trouble(receiver, monkeypatch):
    """The batch's own thread is late: the attempt under way must not have timed out by itself meanwhile."""
    monkeypatch.setattr(fallback, "CONCURRENCY", 1)
    late = threading.Event()
    real_wait = threading.Event.wait

    def wait(event, timeout=None):
        return real_wait(event, timeout) or (timeout is not None and timeout > 2 and late.wait(0.3))

    release = threading.Event()
    receiver.answer = lambda request: 204 if len(receiver.requests) == 1 else (real_wait(release, 10) and 204)
    monkeypatch.setattr(threading.Event, "wait", wait)
    events = [an_event() for _ in range(2)]
    outcome = WebhookPublisher().publish(events, {}, time.monotonic() + 4.0)
    release.set()
    assert (outcome.confirmed, outcome.refused, outcome.trouble) == ({events[0].id}, {}, None)


def test_nothing_is_begun_when_the_deadline_is_too_near(receiver):
    outcome = publish(an_event(), seconds=0.3)
    assert receiver.requests == []
    assert (outcome.confirmed, outcome.refused, outcome.trouble) == (set(), {}, None)


def test_a_success_counts_when_its_status_is_there_whatever_its_body_does(receiver, monkeypatch):
    monkeypatch.setattr(pinned_http, "DRAIN_SECONDS", 0.1)
    stop = threading.Event()

    def endless(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000000")
        handler.end_headers()
        handler.wfile.write(b"{")
        handler.wfile.flush()
        stop.wait(10)

    receiver.answer = lambda request: endless
    event = an_event()
    outcome = publish(event)
    stop.set()
    assert outcome.confirmed == {event.id}


def test_an_answer_is_read_to_four_kib_at_most(receiver, monkeypatch):
    read = []
    original = http.client.HTTPResponse.read

    def counting(response, amount=None):
        data = original(response, amount)
        read.append(len(data))
        return data

    monkeypatch.setattr(http.client.HTTPResponse, "read", counting)

    def long(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        handler.wfile.write(b"x" * 100_000)

    receiver.answer = lambda request: long
    events = [an_event(key="a", sequence=1), an_event(key="a", sequence=2)]
    assert publish(*events).confirmed == ids(events)
    assert read == [4096, 4096]
    # A connection with an unread rest would give the rest as the next answer.
    assert receiver.connections == 2


@pytest.mark.parametrize(
    "bytes_", [b"", b"HTTP/1.1 2", b"SSH-2.0-x\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\x16\x03\x01" * 99]
)
def test_what_is_no_answer_is_trouble_and_never_raises(receiver, bytes_):
    def respond(handler):
        handler.wfile.write(bytes_)
        handler.close_connection = True

    receiver.answer = lambda request: respond
    outcome = publish(an_event())
    assert (outcome.confirmed, outcome.refused) == (set(), {})
    assert outcome.trouble is not None


def test_nobody_listening_is_trouble(receiver, settings):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        settings.CONSUMER_WEBHOOK_URL = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        outcome = publish(an_event())
    assert "ConnectionRefusedError" in outcome.trouble.reason


def test_reasons_hold_no_payload_secret_address_or_account(receiver):
    outcomes = []
    for status in (400, 503):
        receiver.answer = lambda request, status=status: (status, {"X-Echo": request["body"].decode("latin-1")[:50]})
        outcomes.append(publish(an_event()))
    text = " ".join([outcomes[1].trouble.reason, *(refusal.reason for refusal in outcomes[0].refused.values())])
    assert "HTTP 400" in text
    assert "HTTP 503" in text
    for secret in (ACCOUNT, SECRET, "MfKQ9r8G", "127.0.0.1", "tenant"):
        assert secret not in text


@pytest.mark.parametrize("hanging", [False, True])
def test_no_thread_is_left_when_a_batch_is_over(receiver, settings, hanging):
    # Past every deadline of this test: only being cut off can end a thread that waits so long.
    settings.WEBHOOK_READ_TIMEOUT_SECONDS = 60.0
    release = threading.Event()

    def drip(handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        with contextlib.suppress(OSError):
            while not release.wait(0.05):
                handler.wfile.write(b"x: y\r\n")

    receiver.answer = lambda request: drip if hanging else 204
    publish(*(an_event() for _ in range(20)), seconds=1.0 if hanging else 5.0)
    left = [thread for thread in threading.enumerate() if thread.name == "webhook"]
    for thread in left:
        thread.join(2)
    alive = [thread for thread in left if thread.is_alive()]
    release.set()
    assert alive == []


def test_the_database_is_not_touched(receiver, django_db_blocker):
    with django_db_blocker.block():
        event = an_event()
        assert publish(event).confirmed == {event.id}


# --- Where it may go -------------------------------------------------------------------------------------------------


def test_it_is_available_when_it_has_an_address_and_a_key(settings):
    settings.CONSUMER_WEBHOOK_URL, settings.CONSUMER_WEBHOOK_SECRETS = "https://c.example/", [SECRET]
    assert WebhookPublisher().available()
    settings.CONSUMER_WEBHOOK_SECRETS = []
    assert not WebhookPublisher().available()
    settings.CONSUMER_WEBHOOK_URL, settings.CONSUMER_WEBHOOK_SECRETS = "", [SECRET]
    assert not WebhookPublisher().available()


def test_a_malformed_key_is_trouble_and_its_text_is_not_in_the_reason(receiver, settings):
    settings.CONSUMER_WEBHOOK_SECRETS = ["whsec_c2hvcnQ!"]
    outcome = publish(an_event())
    assert outcome.trouble is not None
    assert "c2hvcnQ" not in outcome.trouble.reason


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8080/",
        "https://10.0.0.1/",
        "https://169.254.169.254/latest",
        "ftp://c.example/",
        "https://user:pw@c.example/",
        "https://[::1]/",
        "https://0x7f.1/",
        "https://localhost/",
    ],
)
def test_an_unsafe_url_is_trouble_before_any_look_up(settings, monkeypatch, url):
    settings.CONSUMER_WEBHOOK_URL, settings.CONSUMER_WEBHOOK_SECRETS = url, [SECRET]
    settings.WEBHOOK_ALLOWED_NETWORKS = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: pytest.fail("looked up"))
    outcome = publish(an_event())
    assert outcome.trouble is not None
    assert "pw" not in outcome.trouble.reason


def resolving_to(monkeypatch, *addresses):
    answers = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]
    asked = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *args, **kwargs: asked.append(host) or answers)
    return asked


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["169.254.169.254"], ["64:ff9b::a9fe:a9fe"]]
)
def test_a_name_that_resolves_to_a_forbidden_address_is_never_connected_to(settings, monkeypatch, addresses):
    settings.CONSUMER_WEBHOOK_URL, settings.CONSUMER_WEBHOOK_SECRETS = "https://consumer.example/", [SECRET]
    settings.WEBHOOK_ALLOWED_NETWORKS = []
    resolving_to(monkeypatch, *addresses)
    connected = []
    monkeypatch.setattr(socket, "create_connection", lambda *args, **kwargs: connected.append(args))
    outcome = publish(an_event())
    assert "UnsafeUrlError" in outcome.trouble.reason
    assert connected == []


def test_the_connection_goes_to_the_address_that_was_checked_and_the_name_is_looked_up_once(
    receiver, settings, monkeypatch
):
    settings.CONSUMER_WEBHOOK_URL = f"http://consumer.internal:{receiver.server_port}/"
    asked = resolving_to(monkeypatch, "127.0.0.1")
    connected = []
    monkeypatch.setattr(pinned_http.socket, "create_connection", lambda address, *args: connect_raw(address, connected))
    event = an_event()
    assert publish(event).confirmed == {event.id}
    assert asked == ["consumer.internal"]
    assert connected == [("127.0.0.1", receiver.server_port)]
    assert receiver.requests[0]["headers"]["Host"] == f"consumer.internal:{receiver.server_port}"


def connect_raw(address, connected):
    connected.append(address)
    sock = socket.socket()
    sock.settimeout(2)
    sock.connect(address)
    return sock


def test_a_name_that_nobody_knows_is_trouble(settings, monkeypatch):
    settings.CONSUMER_WEBHOOK_URL, settings.CONSUMER_WEBHOOK_SECRETS = "https://consumer.example/", [SECRET]

    def unknown(*args, **kwargs):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert "gaierror" in publish(an_event()).trouble.reason


def test_a_resolver_that_hangs_costs_no_more_than_the_deadline(settings, monkeypatch):
    settings.CONSUMER_WEBHOOK_URL, settings.CONSUMER_WEBHOOK_SECRETS = "https://consumer.example/", [SECRET]
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: release.wait(10) and [])
    outcome = publish(an_event(), seconds=0.8)
    release.set()
    assert outcome.trouble is not None


# --- TLS -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=consumer.internal",
            "-addext",
            "subjectAltName=DNS:consumer.internal",
            "-keyout",
            str(folder / "key.pem"),
            "-out",
            str(folder / "cert.pem"),
        ],
        check=True,
        capture_output=True,
    )
    return folder


@pytest.fixture
def tls_receiver(receiver, certificate, monkeypatch):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    receiver.names = []
    context.sni_callback = lambda sock, name, context: receiver.names.append(name)
    receiver.socket = context.wrap_socket(receiver.socket, server_side=True)
    trusting = ssl.create_default_context(cafile=certificate / "cert.pem")
    monkeypatch.setattr(fallback.ssl, "create_default_context", lambda: trusting)
    monkeypatch.setattr(pinned_http.socket, "create_connection", lambda address, *args: connect_raw(address, []))
    return receiver


def test_over_tls_the_certificate_is_checked_against_the_name_and_not_the_address(tls_receiver, settings, monkeypatch):
    resolving_to(monkeypatch, "127.0.0.1")
    settings.CONSUMER_WEBHOOK_URL = f"https://consumer.internal:{tls_receiver.server_port}/"
    event = an_event()
    assert publish(event).confirmed == {event.id}
    assert tls_receiver.names == ["consumer.internal"]


def test_over_tls_another_name_than_the_certificates_is_trouble_and_nothing_is_sent(
    tls_receiver, settings, monkeypatch
):
    resolving_to(monkeypatch, "127.0.0.1")
    settings.CONSUMER_WEBHOOK_URL = f"https://other.internal:{tls_receiver.server_port}/"
    assert "SSLCertVerificationError" in publish(an_event()).trouble.reason
    assert tls_receiver.requests == []


def test_a_peer_that_stalls_in_the_tls_handshake_costs_no_more_than_the_deadline(settings):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings.CONSUMER_WEBHOOK_URL = f"https://127.0.0.1:{silent.getsockname()[1]}/"
        settings.CONSUMER_WEBHOOK_SECRETS = [SECRET]
        settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.0/8"]
        assert publish(an_event(), seconds=1.0).trouble is not None
