"""What operators and newcomers do, in a real Chromium on a running system: see what is stuck, and put it right."""

import contextlib
import json
import os
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import expect

from tests.browser import CHROMIUM, PATIENCE_MS, Watched, chromium
from tests.settings import CI
from tests.stack import ROOT, free_port, plain, wait_for

pytestmark = [pytest.mark.postgres, pytest.mark.rabbitmq, pytest.mark.processes, pytest.mark.timeout(300)]
if not CHROMIUM:
    if CI:
        raise pytest.UsageError(
            "Chromium is not installed, and with CI=true nothing may be skipped: .ci/run installs it."
        )
    pytestmark.append(pytest.mark.skip(reason="needs Chromium: apt-get install chromium"))

# `make browser-million` pages through a million; the gate through fewer, since filling takes its time.
ROWS = int(os.environ.get("BROWSER_ROWS", "20000"))
USERNAME, PASSWORD = "operator", "an-operator-in-a-test"
EVERYTHING = ("web", "consumer_web", "relay", "worker", "beat", "consumer_worker")
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def stack(make_stack):
    # One refusal is enough to give an event up, so that a real fault makes a dead one at once.
    made = make_stack(OUTBOX_MAX_ATTEMPTS="1", OUTBOX_LEASE_SECONDS="8", OUTBOX_PUBLISH_TIMEOUT_SECONDS="2",
                      OUTBOX_FALLBACK_TIMEOUT_SECONDS="5", DJANGO_SUPERUSER_PASSWORD=PASSWORD, ADMIN_SECOND_FACTOR="false")  # fmt: skip
    made.manage("createsuperuser", "--noinput", "--username", USERNAME, "--email", "operator@example.com")
    running(made, "web", "consumer_web")
    return made


@pytest.fixture(scope="module")
def browser():
    with chromium() as made:
        yield made


@pytest.fixture
def open_page(browser, stack):
    """Opens pages; at the end none of them may have done what no page of ours may do."""
    opened = []

    def open_page(log_in=False, **options):
        watched = Watched(browser, stack.url, stack.consumer_url, **options)
        opened.append(watched)
        if log_in:
            watched.log_in(stack.url, USERNAME, PASSWORD)
        return watched.page

    yield open_page
    misdeeds = [misdeed for watched in opened for misdeed in watched.misdeeds]
    for watched in opened:
        watched.context.close()
    assert misdeeds == []


def running(stack, *names):
    """Starts what does not run yet: no test depends on which ran before it."""
    for name in names:
        if name.replace("_", "-") not in stack.processes:
            getattr(stack, name)()


def stopped(stack, *names):
    for name in names:
        if process := stack.processes.pop(name, None):
            process.end()


def submit(stack, number, **fields):
    body = {**plain(number), "external_id": f"browser-{number}-{time.monotonic_ns()}", **fields}
    answer = stack.post("/api/v1/transactions", body, f"browser-{time.monotonic_ns()}")
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def light(page, title):
    return page.locator("#lights li", has_text=title)


def alarm(page, title):
    return page.locator("#alarms li", has_text=title)


def press(page, verb, reason):
    """The verb on the row's own page, its confirmation, the reason without which nothing happens."""
    page.get_by_role("link", name=verb, exact=True).click()
    page.get_by_role("button", name=verb, exact=True).click()
    expect(page).to_have_url(re.compile("/verb/"))  # the browser itself asks for the reason
    page.get_by_label("Reason").fill(reason)
    page.get_by_role("button", name=verb, exact=True).click()
    expect(page.locator("#main")).to_contain_text(f"{verb}: 1 of 1 changed.")


def shows(page, text):
    """Reloads the row's page until one of its values is `text`."""

    def shown():
        page.reload()
        return page.locator("#main").get_by_text(text, exact=True).count() > 0

    wait_for(shown, 60, f"the page shows {text}")


@contextlib.contextmanager
def refusing(status):
    """The address of a server that answers every POST with `status`."""

    class Refusing(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/events"
        server.shutdown()


def test_a_dead_event_is_found_read_requeued_and_delivered(stack, open_page):
    # The broker is away for the relay, so events go by webhook; and there the Consumer has first another secret, then a defect.
    stopped(stack, "beat", "worker", "relay", "consumer-worker", "consumer-web")
    away = {"BROKER_URL": f"amqp://guest:guest@127.0.0.1:{free_port()}//", "OUTBOX_FALLBACK_AFTER_SECONDS": "1"}
    stack.relay(**away)
    stack.consumer_web(CONSUMER_WEBHOOK_SECRETS="whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")
    transaction_id = submit(stack, 1)
    page = open_page(log_in=True)
    expect(alarm(page, "Fallback webhook")).to_contain_text("HTTP 401 from the webhook, which took nothing")
    event = "SELECT state, attempts FROM outbox_outboxmessage WHERE key = %s AND lease_token IS NULL"
    wait_for(lambda: stack.sql(event, transaction_id) == [("pending", 0)], 60, "the event waits without blame")

    with refusing(422) as url:
        stopped(stack, "relay")
        stack.relay(**away, CONSUMER_WEBHOOK_URL=url)
        wait_for(lambda: stack.sql(event, transaction_id) == [("dead", 1)], 60, "the event is dead")
    page.reload()
    expect(page.locator("#headline")).to_have_class(re.compile("bad"))
    expect(alarm(page, "Events given up")).to_contain_text("requeue")
    page.get_by_role("link", name="Show the dead events").click()
    row = page.locator("table tbody tr", has_text=transaction_id)
    expect(row).to_contain_text("HTTP 422")
    row.locator("a").first.click()
    expect(page.locator("#main")).to_contain_text("HTTP 422 from the webhook.")

    stopped(stack, "relay", "consumer-web")
    running(stack, *EVERYTHING)
    press(page, "Requeue", "The Consumer had a defect; mended.")
    shows(page, "published")
    wait_for(lambda: stack.get(f"/api/v1/transactions/{transaction_id}")["status"] == "succeeded", 60, "succeeded")
    page.goto(f"{stack.url}/admin/")
    expect(light(page, "Events given up")).to_have_class("ok")
    said = stack.sql("SELECT change_message FROM django_admin_log ORDER BY id DESC LIMIT 1")
    assert "The Consumer had a defect; mended." in said[0][0]


def test_a_quarantined_result_is_reapplied_once_the_schema_is_mended(stack, open_page):
    running(stack, *EVERYTHING)
    stopped(stack, "web")
    launcher = [str(ROOT / "tests/faults/strict_release.py"), "16"]
    serve = ["-m", "gunicorn", "-c", "ops/gunicorn.conf.py", "producer.wsgi:application"]
    stack.start("web", [*launcher, *serve, "--bind", f"127.0.0.1:{stack.port}"])
    stack.wait_http(f"{stack.url}/livez")
    transaction_id = submit(stack, 2)
    quarantined = "SELECT count(*) FROM webhooks_inboxmessage WHERE state = 'quarantined'"
    wait_for(lambda: stack.sql(quarantined) == [(1,)], 60, "the result is quarantined")
    stopped(stack, "web")
    running(stack, "web")

    page = open_page(log_in=True)
    expect(alarm(page, "Results that need somebody")).to_contain_text("reapply")
    page.get_by_role("link", name="Quarantined", exact=True).click()
    expect(page.locator("table tbody tr")).to_have_count(1)
    page.locator("table tbody tr a").first.click()
    expect(page.locator("#main")).to_contain_text("may have 16 KiB at most")
    press(page, "Reapply", "The schema was too strict; mended.")
    shows(page, "applied")
    assert stack.get(f"/api/v1/transactions/{transaction_id}")["status"] == "succeeded"
    page.goto(f"{stack.url}/admin/transactions/transaction/{transaction_id}/change/")
    expect(page.locator("#main")).to_contain_text("succeeded")


# Ids as the product makes them, in order of their times, a year back: nothing that runs looks at them.
FILL = """
    INSERT INTO transactions_transaction (id, client_id, external_id, account_number, amount, currency, direction,
        transaction_date, description, metadata, status, version, overdue, resends, created_at, updated_at, processed_at)
    SELECT (lpad(to_hex(1735689600000 + n), 12, '0') || '7000' || '8' || lpad(to_hex(n), 15, '0'))::uuid,
           (SELECT min(id) FROM transactions_apiclient), NULL, 'ACC-' || n %% 100, 1 + n %% 1000, 'EUR', 'debit', at,
           'Seeded ' || n, '{}', 'succeeded', 1, false, 0, at, at, at
      FROM (SELECT n, to_timestamp((1735689600000 + n) / 1000.0) AS at FROM generate_series(1, %s) AS n) AS made
"""


def ids_of(page):
    return page.locator("table tbody tr th a, table tbody tr td.field-id a").all_inner_texts()


def test_a_ledger_of_a_million_transactions_is_paged_through(stack, open_page):
    stack.sql(FILL, ROWS)
    stack.sql("ANALYZE transactions_transaction")
    page = open_page(log_in=True)
    page.goto(f"{stack.url}/admin/transactions/transaction/?age=older-7d")
    seen = ids_of(page)
    assert len(seen) == 50
    for _ in range(4):
        page.get_by_role("link", name="Next", exact=True).click()
        expect(page.locator("table tbody tr")).to_have_count(50)
        seen += ids_of(page)
    assert len(set(seen)) == 250 and seen == sorted(seen, reverse=True)
    page.get_by_role("link", name="Previous", exact=True).click()
    assert ids_of(page) == seen[150:200]
    # The far end: no page before it has to be counted or skipped.
    first = stack.sql("SELECT id::text FROM transactions_transaction ORDER BY id LIMIT 30")
    page.goto(f"{stack.url}/admin/transactions/transaction/?after={first[-1][0]}")
    assert ids_of(page) == [row[0] for row in reversed(first[:-1])]
    expect(page.get_by_role("link", name="Next", exact=True)).to_have_count(0)
    # One of them by its id.
    page.get_by_placeholder("Transaction id").fill(first[0][0])
    page.get_by_placeholder("Transaction id").press("Enter")
    expect(page.locator("table tbody tr")).to_have_count(1)
    page.locator("table tbody tr a").first.click()
    expect(page.locator("#main")).to_contain_text("Seeded 1")


def test_the_dashboard_changes_by_itself_while_traffic_runs(stack, open_page):
    running(stack, *EVERYTHING)
    page = open_page(log_in=True)
    tile = page.locator("#funnel li", has_text="Applied").locator(".number")
    # The page's figures are seconds old: what an earlier test's last transaction became may not be in them yet.
    settled = "SELECT count(*) FROM transactions_transaction WHERE status = 'succeeded' AND created_at > now() - interval '15 minutes'"
    before = stack.sql(settled)[0][0]
    expect(tile).to_have_text(f"{before:,}")
    drawn = "Chart.getChart('rate').data.datasets[0].data.reduce((sum, value) => sum + value, 0)"
    drawn_before = page.evaluate(drawn)
    # Lost by a reload, so that what changes has changed by itself.
    page.evaluate("window.stillTheSamePage = true")
    traffic = threading.Thread(target=lambda: [submit(stack, number) for number in range(40)])
    traffic.start()
    expect(tile).not_to_have_text(f"{before:,}")
    traffic.join()
    expect(tile).to_have_text(f"{before + 40:,}")
    assert page.evaluate(drawn) > drawn_before
    assert page.evaluate("window.stillTheSamePage")
    for title in ("Beat", "Workers", "Relays", "RabbitMQ"):
        expect(light(page, title).first).to_have_class("ok")


def test_the_dashboard_says_so_when_the_server_goes_and_recovers_by_itself(stack, open_page):
    page = open_page(log_in=True)
    expect(page.locator("#lights li").first).to_be_visible()
    stopped(stack, "web")
    expect(page.locator("#trouble")).to_contain_text("does not answer")
    expect(page.locator("#trouble")).to_contain_text(re.compile(r"What you see is of \d\d:\d\d:\d\d UTC"))
    running(stack, "web")
    expect(page.locator("#trouble")).to_be_hidden()


@pytest.mark.parametrize("size", [(1280, 900), (390, 844)], ids=["desktop", "phone"])
def test_the_consumers_page_submits_and_shows_the_result(stack, open_page, size):
    running(stack, *EVERYTHING)
    page = open_page(viewport={"width": size[0], "height": size[1]}, color_scheme="dark")
    page.goto(stack.consumer_url)
    expect(page.locator("#connection")).to_have_text("Live")
    # By keyboard: a bad amount, its error beside the field, focus on it.
    page.get_by_label("Amount").fill("12,50")
    page.get_by_label("Amount").press("Enter")
    expect(page.locator("#amount-error")).not_to_be_empty()
    expect(page.get_by_label("Amount")).to_be_focused()
    page.get_by_label("Amount").fill("12.50")
    page.get_by_text("Credit").click()
    page.get_by_label("Description").fill(f"<b>Rechnung</b> {size[0]}")
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("#form-message")).to_contain_text("+12.50 EUR succeeded")
    row = page.locator("#list li", has_text=f"<b>Rechnung</b> {size[0]}")
    expect(row.locator(".badge")).to_have_text("succeeded")
    assert not wider(page)
    row.get_by_role("link").click()
    expect(page.locator("#timeline")).to_contain_text("Delivery to the Consumer confirmed")
    expect(page.locator("#timeline")).to_contain_text("Result accepted by the Producer")
    # Where it stands is not said: the Consumer may hear that its result was accepted after that was applied.
    expect(page.locator("#timeline li", has_text="The transaction is succeeded")).to_have_count(1)
    assert not wider(page)


def wider(page):
    return page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")


LEDGERS = (
    "transactions/transaction",
    "outbox/outboxmessage",
    "webhooks/inboxmessage",
    "django_celery_results/taskresult",
)


def test_an_operator_with_a_phone_needs_no_sideways_scrolling(stack, open_page):
    running(stack, *EVERYTHING)
    transaction_id = submit(stack, 3)
    wait_for(lambda: stack.get(f"/api/v1/transactions/{transaction_id}")["status"] == "succeeded", 60, "succeeded")
    page = open_page(log_in=True, viewport={"width": 390, "height": 844})
    expect(page.locator("#lights li").first).to_be_visible()
    assert not wider(page)
    for ledger in LEDGERS:
        page.goto(f"{stack.url}/admin/{ledger}/")
        assert not wider(page), ledger
        # Its newest row, with all that it links to.
        page.goto(page.locator("table tbody tr th a, table tbody tr td a").first.evaluate("link => link.href"))
        expect(page.locator("#content")).to_be_visible()
        assert not wider(page), page.url


def test_a_newcomer_tries_the_api_on_its_documentation_page(stack, open_page):
    """Authorises, submits, reads, provokes an error: with nothing at hand but the page and a key."""
    running(stack, *EVERYTHING)
    page = open_page()
    page.goto(f"{stack.url}/api/v1/docs")
    page.get_by_role("button", name="Authorize").first.click()
    page.locator("#auth-bearer-value").fill(stack.key)
    page.locator(".modal-ux button.authorize").first.click()
    page.locator(".modal-ux button.btn-done").first.click()

    create = operation(page, "post", "/api/v1/transactions")
    body = create.locator("textarea.body-param__text")
    example = json.loads(body.input_value())
    mine = {**example, "external_id": f"docs-{time.monotonic_ns()}"}
    body.fill(json.dumps(mine))
    assert execute(create) == 201
    created = json.loads(create.locator(".live-responses-table .highlight-code code").first.inner_text())
    assert created["external_id"] == mine["external_id"]
    # The same key with another body: the page shows the problem document as it comes.
    body.fill(json.dumps({**mine, "description": "Another"}))
    assert execute(create) == 422
    told = json.loads(create.locator(".live-responses-table .highlight-code code").first.inner_text())
    assert told["type"].endswith("/problems/idempotency-key-reused")

    wait_for(lambda: stack.get(f"/api/v1/transactions/{created['id']}")["status"] == "succeeded", 60, "succeeded")
    read = operation(page, "get", "/api/v1/transactions/{id}")
    read.locator("tr[data-param-name=id] input").fill(created["id"])
    assert execute(read) == 200
    expect(read.locator(".live-responses-table")).to_contain_text('"status": "succeeded"')


def operation(page, method, path):
    """Unfolded; the form for trying it is there."""
    block = page.locator(f".opblock-{method}").filter(has=page.locator(f"[data-path='{path}']"))
    block.locator(".opblock-summary-control").click()
    expect(block.locator(".btn.execute")).to_be_visible()
    return block


def execute(block):
    """The status that the page shows for it."""
    if block.locator("button.btn-clear").count():
        block.locator("button.btn-clear").click()
    block.locator(".btn.execute").click()
    status = block.locator(".live-responses-table .response-col_status").last
    expect(status).to_be_visible()
    return int(status.inner_text().split()[0])
