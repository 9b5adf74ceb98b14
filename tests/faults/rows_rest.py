"""F30 and F33 to F40: full disk, clocks, copies and disorder, the beat, a Consumer that is away, operators, a deployment."""

import contextlib
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.faults import replayer
from tests.faults.row import row
from tests.stack import wait_for

LIBFAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"


@row("F30", "PostgreSQL's disk is full", recovery=60, disk_mb=320)
def disk_full(run):
    world = run.world
    ballast = world.postgres.folder / "ballast"
    with ballast.open("wb", buffering=0) as out, contextlib.suppress(OSError):
        # To the last page: who needs a new one fails.
        while out.write(b"\0" * 8192):
            pass
    try:
        before = len(world.answers())
        statuses: set[int] = set()

        def refused() -> bool:
            statuses.update(entry.get("status", 0) for entry in world.answers()[before:])
            return bool({503, 507} & statuses)

        with contextlib.suppress(AssertionError):
            wait_for(refused, 30, "")
        run.note(statuses=sorted(statuses))
        run.check(bool({503, 507} & statuses), "the full disk was never met")
        time.sleep(3)
    finally:
        ballast.unlink()
    if world.postgres.is_down():
        # A full disk under the write-ahead log ends the server; an operator starts it again.
        run.note(server_ended=True)
        world.postgres.stop("immediate", check=False)
        world.postgres.start()


def _faked(offset: str) -> dict:
    """Options of a process whose wall clock is wrong and whose monotonic clock is not."""
    return {
        "failpoint": ("none", "before", 0),
        "FAILPOINT_TIMES": "0",
        "LD_PRELOAD": LIBFAKETIME,
        "FAKETIME": offset,
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        # Gunicorn compares a file's time with the monotonic clock.
        "NO_FAKE_STAT": "1",
    }


@row("F33", "Clocks that are wrong: relay −1 h, worker and beat +6 min, then the web +6 min", recovery=60)
def clocks(run):
    world = run.world
    assert Path(LIBFAKETIME).exists(), "apt install libfaketime"
    world.restart("relay", **_faked("-1h"))
    world.restart("worker", **_faked("+6m"))
    world.restart("beat", **_faked("+6m"))
    for _ in range(3):
        world.burst(100)
        time.sleep(3)
    names = world.stack.sql("SELECT count(*) FROM outbox_outboxmessage WHERE due_at > now() + interval '2 minutes'")
    run.check(names == [(0,)], "a lease was taken by a process's clock")
    # Results signed now are six minutes old to this web: refused, and signed anew by the sender each time.
    world.restart("web", **_faked("+6m"))
    time.sleep(5)
    refused = replayer.post_result(world.stack, "res_clock", replayer.result(replayer.unknown_id(), 1))
    run.note(answer_to_a_result_while_skewed=refused)
    run.check(refused == 401, f"a signature six minutes old was answered with {refused}")
    for name in ("web", "relay", "worker", "beat"):
        world.restart(name)


@row("F34", "Every delivery three times and in any order", recovery=60, quick=True)
def copies(run):
    world = run.world
    sent = posted = 0
    for _ in range(2):
        world.burst(60)
        time.sleep(2)
        sent += replayer.repeat_events(world.broker.url, world.stack, 2, run.random)
        results = replayer.sent_results(world.stack)[-150:] * 3
        run.random.shuffle(results)
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda each: replayer.post_result(world.stack, *each), results))
        posted += len(answers)
        run.check(set(answers) <= {200, 202}, f"copies were answered with {sorted(set(answers))}")
    run.note(copied_events=sent, copied_results=posted)


@row("F35", "Results too early, too late, for another version, for nobody", recovery=60, quick=True)
def disorder(run):
    world, stack = run.world, run.world.stack
    world.burst(60)
    rows = stack.sql("SELECT id::text, version, status FROM transactions_transaction ORDER BY random() LIMIT 80")
    answers = []
    for number, (txn_id, version, status) in enumerate(rows):
        ended = status in {"succeeded", "failed"}
        # One version that it has not reached; `processing` after the end; an older version.
        ahead = replayer.result(txn_id, version + 1)
        answers.append(replayer.post_result(stack, f"early_{number}", ahead))
        if ended:
            answers.append(
                replayer.post_result(stack, f"late_{number}", replayer.result(txn_id, version, "processing"))
            )
        if version > 1:
            answers.append(replayer.post_result(stack, f"old_{number}", replayer.result(txn_id, version - 1, "failed")))
    nobody = [replayer.unknown_id() for _ in range(5)]
    for txn_id in nobody:
        answers.append(replayer.post_result(stack, f"nobody_{txn_id}", replayer.result(txn_id, 1)))
    run.check(set(answers) == {202}, f"answered with {sorted(set(answers))}")
    parked = "SELECT count(*) FROM webhooks_inboxmessage WHERE webhook_id LIKE 'nobody%%' AND state = 'unmatched'"
    wait_for(lambda: stack.sql(parked) == [(5,)], 30, "what belongs to nobody is parked")
    # An operator gives up what will never match: those for nobody, and for versions that never came.
    world.drain()
    with contextlib.suppress(AssertionError):
        wait_for(
            lambda: stack.sql("SELECT count(*) FROM webhooks_inboxmessage WHERE state = 'received'") == [(0,)], 10, ""
        )
    waiting = [
        row[0] for row in stack.sql("SELECT webhook_id FROM webhooks_inboxmessage WHERE webhook_id ~ '^(early|nobody)'")
    ]
    stack.manage("inbox", "discard", *waiting, "--reason", "never matches")
    stack.sql("DELETE FROM webhooks_inboxmessage WHERE state = 'dead' AND reason = 'never matches'")
    states = dict(
        stack.sql("SELECT state, count(*) FROM webhooks_inboxmessage WHERE webhook_id ~ '^(early|late|old)' GROUP BY 1")
    )
    # `failed` for an older version of what has succeeded: a conflict by contract, and ours, so it is taken out.
    stack.sql("DELETE FROM webhooks_inboxmessage WHERE webhook_id ~ '^old' AND state = 'conflict'")
    run.note(states=states)
    run.check(not states.get("applied"), f"{states.get('applied')} of them were applied")


@row("F36", "Two beats, a frozen one, none", recovery=45)
def beats(run):
    world = run.world
    world.stack.start("beat2", ["-m", "celery", "-A", "producer", "beat", "--pidfile="], supervised=True)
    world.burst(100)
    time.sleep(4)
    world.end("beat2")
    world.freeze("beat")
    world.burst(100)
    time.sleep(8)
    world.thaw("beat")
    world.kill("beat")
    world.end("beat")
    world.burst(100)
    time.sleep(6)
    world.start("beat")


@row("F37", "The Consumer is away, then takes events and posts no result", recovery=90, RESULT_DEADLINE_SECONDS="6")
def consumer_away(run):
    world, stack = run.world, run.world.stack
    world.end("consumer-worker"), world.end("consumer-web")
    world.burst(100)
    overdue = "SELECT count(*) FROM transactions_transaction WHERE overdue"
    wait_for(lambda: stack.sql(overdue)[0][0] > 0, 45, "what has no result is flagged as overdue")
    run.note(overdue=stack.sql(overdue)[0][0])
    world.start("consumer-web", failpoint=("processing.delivery:deliver", "instead", 0), FAILPOINT_TIMES="1000000")
    world.start("consumer-worker", failpoint=("processing.delivery:deliver", "instead", 0), FAILPOINT_TIMES="1000000")
    time.sleep(8)
    world.restart("consumer-web"), world.restart("consumer-worker")


class _BadReceiver(BaseHTTPRequestHandler):
    """Whatever a receiver can do wrong; never a 2xx."""

    mode = "error"
    met: list[str] = []

    def do_POST(self):
        self.met.append(self.mode)
        if self.mode == "slow":
            time.sleep(8)
        if self.mode == "drop":
            self.connection.close()
            return
        with contextlib.suppress(OSError):
            self.send_response({"redirect": 302, "error": 500, "slow": 503}.get(self.mode, 500))
            self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def log_message(self, *_):
        pass


@row("F38", "The webhook's receiver is slow, redirects, hangs up, fails, with the broker away", recovery=90)
def bad_receiver(run):
    world = run.world
    world.end("consumer-web")
    world.broker.ctl("stop_app")
    _BadReceiver.met.clear()
    server = ThreadingHTTPServer(("127.0.0.1", world.stack.consumer_port), _BadReceiver)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        for mode in ("error", "redirect", "drop", "slow"):
            _BadReceiver.mode = mode
            world.burst(60)
            time.sleep(7)
    finally:
        server.shutdown()
        server.server_close()
    run.note(met={mode: _BadReceiver.met.count(mode) for mode in dict.fromkeys(_BadReceiver.met)})
    run.check(len(run.notes["met"]) >= 3, f"only met {run.notes['met']}")
    world.start("consumer-web")
    time.sleep(5)
    by_webhook = world.stack.sql("SELECT count(*) FROM outbox_outboxmessage WHERE channel = 'webhook'")[0][0]
    run.note(by_webhook=by_webhook)
    world.broker.ctl("start_app")


@row("F39", "Two operators requeue the same dead events at once", recovery=45)
def two_operators(run):
    world, stack = run.world, run.world.stack
    world.freeze("relay"), world.freeze("worker")
    world.load.burst(100)
    buried = stack.sql(
        "UPDATE outbox_outboxmessage SET state = 'dead', lease_token = NULL WHERE state = 'pending' AND lease_token IS NULL"
    )
    run.note(buried=buried)
    world.thaw("relay"), world.thaw("worker")
    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(lambda _: stack.manage("outbox", "requeue", "--all-dead", "--reason", "matrix"), range(2)))
    changed = sum(int(line.split(": ")[1].split()[0]) for line in said)
    run.note(requeued=changed)
    run.check(changed == buried, f"{changed} were requeued, {buried} were dead")


@row(
    "F40",
    "A deployment under load: each process ended by SIGTERM and started again, migrations in between",
    recovery=45,
)
def deployment(run):
    world = run.world
    for name in ("consumer-worker", "web", "worker", "relay", "beat", "consumer-web"):
        world.burst(60)
        process = world.stack.processes[name]
        before = len(process.deaths)
        os.kill(process.child.pid, signal.SIGTERM)
        wait_for(lambda: len(process.deaths) > before, 45, f"{name} ended by SIGTERM")  # noqa: B023
        run.check(process.deaths[-1] in {0, -signal.SIGTERM}, f"{name} ended with {process.deaths[-1]}")
        world.stack.manage("migrate", "--verbosity=0") if name == "web" else None
    world.stack.wait_http(f"{world.stack.url}/livez")
