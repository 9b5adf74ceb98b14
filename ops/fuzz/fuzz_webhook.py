"""Fuzzes both doors for results with atheris: no 5xx, no exception, no false accept. Run it by `make fuzz MINUTES=10`."""

import os
import sys
import tempfile
import time
from pathlib import Path

import atheris

FOLDER = tempfile.mkdtemp(prefix="fuzz-webhook-")
SECRET_TEXT = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
os.environ.update(
    DEBUG="true",
    SECRET_KEY="only-for-fuzzing",
    ALLOWED_HOSTS="testserver",
    DATABASE_URL="sqlite://:memory:",
    BROKER_URL=f"filesystem://{FOLDER}",
    RESULT_WEBHOOK_SECRETS=SECRET_TEXT,
    WEBHOOK_RATE_PER_SECOND="1000000",
    WEBHOOK_RATE_BURST="1000000",
    LOG_LEVEL="CRITICAL",
    DJANGO_SETTINGS_MODULE="producer.settings",
)
sys.path.insert(0, str(Path.cwd()))

import django  # noqa: E402 - the settings come first

with atheris.instrument_imports(include=["webhooks", "transactions"]):
    django.setup()
    from webhooks import nudge, tasks, views  # noqa: F401 - instrumented as they are imported

from celery.exceptions import Reject  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.test import Client  # noqa: E402

from ops.fuzz.oracle import ID, SIGNATURE, TIMESTAMP, may_accept, signature_of, wrong  # noqa: E402
from webhooks.models import InboxMessage, ReusedWebhookId  # noqa: E402
from webhooks.signing import load_key  # noqa: E402

SECRET = load_key(SECRET_TEXT).secret
BODY = (
    b'{"type":"transaction.succeeded","timestamp":"2026-11-22T10:15:00Z","data":{"transaction_id":'
    b'"01997c3e-5a80-7c4e-9b1f-6a2d3c4e5f60","transaction_version":1,"processed_data":{"a":[1,{}]}}}'
)
# Rows kept before the table is emptied: a full one would slow the fuzzer down.
MAX_ROWS = 2000
URL = "/api/v1/webhooks/results"
counts = {"executions": 0, "accepted": 0, "accepted_by_queue": 0}
client = Client(raise_request_exception=False)


def text(data: atheris.FuzzedDataProvider, longest: int) -> str:
    """Any string that a server can hand to Django: header values are latin-1."""
    return data.ConsumeBytes(data.ConsumeIntInRange(0, longest)).decode("latin-1")


def mutated(data: atheris.FuzzedDataProvider, value: bytes) -> bytes:
    """The value with a few bytes replaced, inserted or taken away."""
    out = bytearray(value)
    for _ in range(data.ConsumeIntInRange(0, 3)):
        at = data.ConsumeIntInRange(0, len(out))
        out[at : at + data.ConsumeIntInRange(0, 4)] = data.ConsumeBytes(data.ConsumeIntInRange(0, 8))
    return bytes(out)


def delivery(data: atheris.FuzzedDataProvider) -> tuple[dict[str, str], bytes]:
    """From noise to a good delivery with one thing wrong, or nothing."""
    body = data.ConsumeBytes(200) if data.ConsumeBool() else mutated(data, BODY)
    webhook_id = f"m{data.ConsumeIntInRange(0, 500)}" if data.ConsumeBool() else text(data, 40)
    offset = data.PickValueInList([0, 0, 0, -200, 200, -400, 400, 10**9, -(10**9)])
    timestamp = str(int(time.time()) + offset) if data.ConsumeBool() else text(data, 20)
    signature = signature_of(SECRET, webhook_id, timestamp, body)
    if data.ConsumeBool():
        signature = mutated(data, signature.encode()).decode("latin-1")
    if data.ConsumeBool():
        signature = f"{text(data, 30)} {signature} {text(data, 30)}"
    headers = {ID: webhook_id, TIMESTAMP: timestamp, SIGNATURE: signature}
    if data.ConsumeBool():
        name = data.PickValueInList([ID, TIMESTAMP, SIGNATURE])
        headers[name] = mutated(data, headers[name].encode("latin-1")).decode("latin-1")
    if data.ConsumeIntInRange(0, 9) == 0:
        headers.pop(data.PickValueInList([ID, TIMESTAMP, SIGNATURE]))
    if data.ConsumeIntInRange(0, 9) == 0:
        body = mutated(data, body)
    return headers, body


def by_http(headers: dict[str, str], body: bytes) -> None:
    """The HTTP door, through every middleware."""
    status = client.post(URL, body, content_type="application/json", headers=headers).status_code
    counts["accepted"] += status in {200, 202}
    if finding := wrong(status, may_accept(SECRET, headers, body, time.time())):
        raise AssertionError(f"{finding}: {headers!r} {body!r}")


def by_queue(headers: dict[str, str], body: bytes) -> None:
    """The queue door: Reject is the only exception it may raise."""
    raw = body.decode("utf-8", "surrogateescape")
    before = InboxMessage.objects.count()
    try:
        tasks.receive_result.run(headers=headers, body=raw)
    except Reject:
        assert InboxMessage.objects.count() == before, "a refused result left a row"
        return
    counts["accepted_by_queue"] += 1
    signed = raw.encode("utf-8", "surrogatepass")
    assert may_accept(SECRET, headers, signed, None), f"a false accept: {headers!r} {body!r}"


def one(raw: bytes) -> None:
    """One delivery."""
    data = atheris.FuzzedDataProvider(raw)
    counts["executions"] += 1
    if counts["executions"] % MAX_ROWS == 0:
        # A fuzzer that never gets in tests one branch only: say how often it did.
        print(counts, file=sys.stderr, flush=True)
        ReusedWebhookId.objects.all().delete()
        InboxMessage.objects.all().delete()
    door = by_queue if data.ConsumeIntInRange(0, 4) == 0 else by_http
    door(*delivery(data))


if __name__ == "__main__":
    call_command("migrate", verbosity=0)
    nudge.poke = lambda: None
    atheris.Setup(sys.argv, one)
    # libFuzzer ends the process itself: nothing after this line runs.
    atheris.Fuzz()
