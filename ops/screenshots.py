"""Takes the pictures of docs/screenshots: a private system with traffic and real faults, a real Chromium."""

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.browser import Watched, chromium
from tests.settings import BROKER_URL, DATABASE_URL
from tests.stack import Stack, free_port, wait_for

USERNAME, PASSWORD = "operator", "an-operator-in-a-picture"
DESK, PHONE = {"width": 1280, "height": 860}, {"width": 390, "height": 844}
# As in real statements: two of eight fail the Consumer's checks.
BODIES = [
    {"account_number": "DE89370400440532013000", "amount": "125.50", "currency": "EUR", "description": "Invoice 881"},
    {"account_number": "PL61109010140000071219812874", "amount": "3000.00", "currency": "PLN", "description": "Czynsz"},
    {"account_number": "DE89370400440532013001", "amount": "12.00", "currency": "EUR", "description": "Übertrag"},
    {"account_number": "50880050/0194804000888", "amount": "79.70", "currency": "CHF", "description": "Miete November"},
    {"account_number": "KW81CBKU0000000000001234560101", "amount": "0.125", "currency": "KWD", "description": "Fee"},
    {"account_number": "GB33BUKB20201555555555", "amount": "1250000.00", "currency": "GBP", "description": "House"},
    {"account_number": "GB33BUKB20201555555556", "amount": "18.99", "currency": "GBP", "description": "Book"},
    {"account_number": "123456789", "amount": "1000", "currency": "JPY", "description": "Exchange"},
]


def body(number):
    """No two alike: each would be flagged as a possible duplicate of the other."""
    told = BODIES[number % len(BODIES)]
    return {
        "direction": "credit" if number % 3 else "debit",
        **told,
        "description": f"{told['description']} / {number}",
    }


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        settings = {"ADMIN_SECOND_FACTOR": "false", "OUTBOX_MAX_ATTEMPTS": "1", "DJANGO_SUPERUSER_PASSWORD": PASSWORD}
        stack = Stack(Path(place), DATABASE_URL, BROKER_URL, **settings)
        try:
            stack.manage("createsuperuser", "--noinput", "--username", USERNAME, "--email", "operator@example.com")
            with chromium() as browser:
                for name, picture in take(stack, browser):
                    (folder / f"{name}.png").write_bytes(picture)
                    print(f"{name}.png {len(picture) / 1000:.0f} kB", flush=True)
        finally:
            stack.close()


def traffic(stack, first, seconds, pause):
    until, number = time.monotonic() + seconds, first
    while time.monotonic() < until:
        answer = stack.post("/api/v1/transactions", body(number), f"{stack.name}-{number}")
        assert answer.status_code == 201, answer.text
        number += 1
        time.sleep(pause + 0.1 * ((number // 40) % 3))
    return number


def break_something(stack, number):
    """The broker is away for the relay, and where events then go, the Consumer was given another secret."""
    for name in ("beat", "worker", "relay", "consumer-worker", "consumer-web"):
        stack.processes.pop(name).end()
    stack.relay(BROKER_URL=f"amqp://guest:guest@127.0.0.1:{free_port()}//", OUTBOX_FALLBACK_AFTER_SECONDS="1")
    stack.consumer_web(CONSUMER_WEBHOOK_SECRETS="whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")
    for place in range(3):
        stack.post("/api/v1/transactions", body(number + place), f"{stack.name}-dead-{place}")
    dead = "SELECT count(*) FROM outbox_outboxmessage WHERE state = 'dead'"
    wait_for(lambda: stack.sql(dead) == [(3,)], 60, "three dead events")


def take(stack, browser):
    for name in ("web", "consumer_web", "worker", "beat", "relay", "consumer_worker"):
        getattr(stack, name)()
    number = traffic(stack, 0, 45, 0.05)

    def page(size, path, *, site=stack.url, dark=False):
        watched = Watched(
            browser, stack.url, stack.consumer_url, viewport=size, color_scheme="dark" if dark else "light"
        )
        if site == stack.url:
            watched.log_in(stack.url, USERNAME, PASSWORD)
        watched.page.goto(site + path)
        watched.page.wait_for_timeout(2500)
        return watched.page

    def window(size, path, **options):
        opened = page(size, path, **options)
        opened.select_option("#minutes", "15")
        opened.wait_for_timeout(1500)
        return opened

    consumer = {"site": stack.consumer_url}
    newest = stack.get("/api/v1/transactions", limit=1)["data"][0]["id"]
    yield "dashboard-well", window(DESK, "/admin/").screenshot()
    yield "consumer", page({"width": 1280, "height": 760}, "/", **consumer).screenshot()
    yield "consumer-phone-dark", page(PHONE, "/", **consumer, dark=True).screenshot()
    yield "consumer-timeline", page({"width": 900, "height": 1290}, f"/transactions/{newest}", **consumer).screenshot()
    yield "transactions", page(DESK, "/admin/transactions/transaction/").screenshot()
    break_something(stack, number)
    time.sleep(12)  # until the silence of the beat counts as its death
    yield "dashboard-trouble", window({"width": 1280, "height": 640}, "/admin/").screenshot()
    yield "dashboard-phone-dark", window(PHONE, "/admin/", dark=True).screenshot()
    dead = stack.sql("SELECT id FROM outbox_outboxmessage WHERE state = 'dead' LIMIT 1")[0][0]
    yield "dead-event", page(DESK, f"/admin/outbox/outboxmessage/{dead}/change/").screenshot()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
