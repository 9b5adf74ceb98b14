"""The seeded bugs: what each does wrong, where it is put, and which tests are asked to notice."""

from dataclasses import dataclass

# Not its proof, which looks for these very anchors.
SIMULATION = "tests/simulation/test_simulation.py"
OUTBOX = (SIMULATION, "tests/outbox")
APPLY = (SIMULATION, "tests/webhooks")
API = ("tests/transactions", "tests/contract")
# Real processes, real servers: slow, so asked only about bugs that the quick tests let through.
PROCESSES = ("tests/e2e/test_round_trip.py", "tests/e2e/test_kills.py", "tests/e2e/test_broker_away.py")


@dataclass(frozen=True, slots=True)
class Edit:
    """Puts `new` where `old` stands in `path`: exactly once, or the mutant no longer fits the code."""

    path: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """One bug. `tests` run first; with none of them red, `slow` does. `harm`: what it would cost."""

    name: str
    harm: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]
    slow: tuple[str, ...] = ()
    folder: str = "."


def _mutant(
    name: str,
    harm: str,
    *edits: tuple[str, str, str],
    tests: tuple[str, ...],
    slow: tuple[str, ...] = (),
    folder: str = ".",
) -> Mutant:
    return Mutant(name, harm, tuple(Edit(*edit) for edit in edits), tests, slow, folder)


RELAY = [
    _mutant(
        "confirms-off",
        "What is written to the socket counts as delivered; a broker that dies or blocks loses it.",
        (
            "outbox/amqp.py",
            "        while self._tracker.outstanding:\n",
            "        self._tracker.on_ack(0, True)\n        while self._tracker.outstanding:\n",
        ),
        tests=OUTBOX,
        slow=PROCESSES,
    ),
    _mutant(
        "mandatory-off",
        "An event that no queue takes is confirmed and gone.",
        ("outbox/frames.py", "_MANDATORY = 1\n", "_MANDATORY = 0\n"),
        tests=OUTBOX,
        slow=PROCESSES,
    ),
    _mutant(
        "channel-reused-after-timeout",
        "The late confirm of an old batch is taken for an event of the next one.",
        (
            "outbox/amqp.py",
            "        if outcome.trouble or self._tracker.outstanding:\n            self.close()\n",
            "        if outcome.trouble or self._tracker.outstanding:\n            self._tracker = ConfirmTracker()\n",
        ),
        tests=OUTBOX,
    ),
    _mutant(
        "mark-before-confirm",
        "A crash or a refusal after the mark loses the event.",
        (
            "outbox/relay.py",
            "        outcome = publisher.publish(",
            "        settle(batch, confirmed={event.id for event in batch.events}, refused={}, channel='broker', confirm_ms=0)\n"
            "        outcome = publisher.publish(",
        ),
        tests=OUTBOX,
        slow=PROCESSES,
    ),
    _mutant(
        "settle-without-fence",
        "A relay that was frozen past its lease settles what another one works on.",
        ("outbox/claim.py", "filter(lease_token=batch.token, state=_WAITING)", "filter(state=_WAITING)"),
        ("outbox/migrations/0006_relay_functions.py", "id = ANY(ids) AND lease_token = token", "id = ANY(ids)"),
        tests=OUTBOX,
    ),
    _mutant(
        "cursor-on-id",
        "An event whose transaction commits late is never seen.",
        (
            "outbox/claim.py",
            "        due = due.order_by(",
            "        due = due.filter(Q(id__gt=_cursor[0]) | Q(attempts__gt=0) | ~Q(error='') | Q(parked=True))\n"
            "        due = due.order_by(",
        ),
        (
            "outbox/claim.py",
            "        alive = _bury_exhausted(seen)\n",
            "        _cursor[0] = max([_cursor[0], *(row.id for row in seen)])\n        alive = _bury_exhausted(seen)\n",
        ),
        (
            "outbox/claim.py",
            "\n\n@started_over\ndef claim(",
            "\n\n_cursor = [UUID(int=0)]\n\n\n@started_over\ndef claim(",
        ),
        tests=OUTBOX,
    ),
    _mutant(
        "no-order-guard",
        "A second relay sends a later event of a key before the first one's.",
        (
            "outbox/claim.py",
            "        ready = _park_out_of_turn(rows) if rows else []\n",
            "        ready = rows\n",
        ),
        ("outbox/migrations/0006_relay_functions.py", "NOT ordinary OR cardinality(ids) < (", "NOT ordinary OR 0 > ("),
        tests=OUTBOX,
    ),
    _mutant(
        "ordinary-settle-without-fence",
        "A relay that was frozen past its lease settles what another one works on, when all of it was confirmed.",
        ("outbox/migrations/0006_relay_functions.py", "id = ANY(ids) AND lease_token = token", "id = ANY(ids)"),
        tests=("tests/outbox",),
    ),
    _mutant(
        "ordinary-claim-without-order-guard",
        "A second relay sends a later event of a key before the first one's, on PostgreSQL.",
        ("outbox/migrations/0006_relay_functions.py", "NOT ordinary OR cardinality(ids) < (", "NOT ordinary OR 0 > ("),
        tests=("tests/outbox",),
    ),
    _mutant(
        "leftovers-taken-for-ordinary",
        "What a dead relay left is mixed with the rest, and what was tried often enough is tried on, on PostgreSQL.",
        (
            "outbox/migrations/0006_relay_functions.py",
            "bool_and(due.attempts = 0 AND due.lease_token IS NULL)",
            "true",
        ),
        tests=("tests/outbox",),
    ),
    _mutant(
        "backoff-by-the-process-clock",
        "A relay whose clock is wrong retries in a hot loop, or in a day.",
        (
            "outbox/claim.py",
            "due_at=Now() + _backoff(attempts[event_id])",
            "due_at=datetime.now().astimezone() + _backoff(attempts[event_id])",
        ),
        tests=OUTBOX,
    ),
    _mutant(
        "horizon-never-rescans",
        "An event that committed behind the horizon waits for ever.",
        ("outbox/relay.py", "self.due_at if time.monotonic() < self.full_scan_at else None", "self.due_at"),
        tests=OUTBOX,
    ),
    _mutant(
        "lease-never-handed-back",
        "What a channel did not take waits for the end of the lease, with an attempt burned.",
        ("outbox/claim.py", "        if rest:\n", "        if rest and not release_reason:\n"),
        tests=OUTBOX,
    ),
    _mutant(
        "attempt-burned-by-the-broker",
        "An outage uses up the attempts of whatever was on its way; it ends dead.",
        (
            "outbox/claim.py",
            'due_at=Now(), lease_token=None, attempts=F("attempts") - 1, error=release_reason',
            "due_at=Now(), lease_token=None, error=release_reason",
        ),
        tests=OUTBOX,
    ),
    _mutant(
        "overtaken-stays-confirmed",
        "A pipelined event that overtook a failed one is not sent again: the old version arrives last.",
        ("outbox/relay.py", "    in_order(batch.events, outcome)\n", ""),
        tests=OUTBOX,
    ),
    _mutant(
        "confirm-multiple-ignored",
        "An ack for many is taken for one: the others are sent again, and again.",
        ("outbox/confirms.py", "        if not multiple:\n", "        if tag:\n"),
        tests=OUTBOX,
    ),
    _mutant(
        "nack-counts-as-confirm",
        "A full queue loses what it refuses.",
        (
            "outbox/confirms.py",
            "        self.nacked.update(self._take(tag, multiple))\n",
            "        self.confirmed.update(self._take(tag, multiple))\n",
        ),
        tests=OUTBOX,
    ),
    _mutant(
        "return-forgotten-at-its-ack",
        "The ack after a return counts: the unroutable event is marked delivered.",
        (
            "outbox/confirms.py",
            "            if message_id not in self.returned:\n                self.confirmed.add(message_id)\n",
            "            self.returned.pop(message_id, None)\n            self.confirmed.add(message_id)\n",
        ),
        tests=OUTBOX,
    ),
    _mutant(
        "suspects-not-apart",
        "One event that kills its relay takes 500 neighbours to the grave.",
        ("outbox/claim.py", "        rows = _suspects_apart(alive, limit)\n", "        rows = alive\n"),
        tests=OUTBOX,
    ),
    _mutant(
        "probe-stops-at-what-is-out-of-turn",
        "A full queue that has room again is found minutes later: its probes meet only events that wait for others.",
        ("outbox/relay.py", "if batch.events or not (choice.probing and batch.more) or", "if batch.token or"),
        tests=OUTBOX,
    ),
    _mutant(
        "delivery-limit-minus-one",
        "RabbitMQ 3.10 drops the message at its first return to the queue.",
        ("outbox/topology.py", "DELIVERY_LIMIT = 20\n", "DELIVERY_LIMIT = -1\n"),
        tests=(*OUTBOX, "tests/contract"),
        slow=PROCESSES,
    ),
]

FALLBACK = [
    _mutant(
        "redirect-counts-as-delivered",
        "A login page in front of the Consumer swallows the events.",
        ("webhooks/fallback.py", "            if 200 <= status < 300:\n", "            if 200 <= status < 400:\n"),
        tests=APPLY,
    ),
    _mutant(
        "gone-is-retried",
        "A Consumer that said 410 is asked for ever, and nobody is told.",
        ("webhooks/fallback.py", "gone=status == 410", "gone=False"),
        tests=APPLY,
    ),
    _mutant(
        "one-bad-event-stops-the-channel",
        "An event that the Consumer refuses with 4xx holds up all others.",
        ("webhooks/fallback.py", "            if 400 <= status < 500 and", "            if 400 <= status < 400 and"),
        tests=APPLY,
    ),
    _mutant(
        "order-ignored-by-webhook",
        "The next version is posted although the one before it failed.",
        (
            "webhooks/fallback.py",
            "                    if not self._may_begin() or not self._deliver(connection, event):\n",
            "                    if not self._may_begin() or (self._deliver(connection, event) and False):\n",
        ),
        tests=APPLY,
    ),
]

RESULTS = [
    _mutant(
        "inbox-in-another-transaction",
        "A crash in between applies the result, and then once more.",
        ("webhooks/services.py", "        inbox.settle(settlements)\n", "    inbox.settle(settlements)\n"),
        tests=APPLY,
        slow=PROCESSES,
    ),
    _mutant(
        "no-version-check",
        "The result of an older version decides the newer one.",
        ("transactions/states.py", "    if result_version < current_version:\n", "    if result_version < 0:\n"),
        tests=(*APPLY, *API),
    ),
    _mutant(
        "unreached-version-applies",
        "A result for a version that does not exist yet is applied.",
        ("transactions/states.py", "    if result_version > current_version:\n", "    if result_version > 2**31:\n"),
        tests=(*APPLY, *API),
    ),
    _mutant(
        "terminal-overwritten",
        "A late or second result turns succeeded into failed.",
        ("transactions/states.py", "    if current in TERMINAL:\n", "    if current is Status.CANCELED:\n"),
        (
            "transactions/states.py",
            "    return Verdict.APPLY if wanted in ALLOWED_MOVES[current] else Verdict.NOOP\n",
            "    return Verdict.NOOP if wanted is current else Verdict.APPLY\n",
        ),
        tests=(*APPLY, *API),
    ),
    _mutant(
        "signature-over-reserialised-json",
        "Bytes that were never signed are accepted, and good ones refused.",
        (
            "webhooks/receiving.py",
            "    return prove_result(headers, body, ",
            "    import json\n\n"
            "    try:\n        body = json.dumps(json.loads(body)).encode()\n    except ValueError:\n        pass\n"
            "    return prove_result(headers, body, ",
        ),
        tests=(*APPLY, "tests/contract"),
    ),
    _mutant(
        "timestamp-not-checked",
        "A stolen delivery can be sent again next year.",
        ("webhooks/signing.py", "    if now is not None and abs(", "    if now is None and abs("),
        tests=APPLY,
    ),
    _mutant(
        "deduplicated-by-content",
        "Two results with equal bytes and different ids are one.",
        (
            "webhooks/inbox.py",
            "    values: list[Any] = [\n        verified.webhook_id,\n",
            "    values: list[Any] = [\n        digest.hex(),\n",
        ),
        tests=APPLY,
    ),
    _mutant(
        "copy-waits-again",
        "A copy of a settled result is judged a second time, and again with each copy.",
        (
            "webhooks/inbox.py",
            "DO UPDATE SET deliveries = webhooks_inboxmessage.deliveries + 1\n",
            "DO UPDATE SET deliveries = webhooks_inboxmessage.deliveries + 1, state = 'received'\n",
        ),
        tests=APPLY,
    ),
    _mutant(
        "other-bytes-under-a-known-id",
        "A second body under an id that was taken is answered as if it was stored.",
        ("webhooks/inbox.py", "     WHERE webhooks_inboxmessage.sha256 = EXCLUDED.sha256\n", ""),
        tests=APPLY,
    ),
    _mutant(
        "inbox-without-fence",
        "A worker that was frozen past its lease settles what another one applied.",
        (
            "webhooks/inbox.py",
            "WHERE row.id = new.id AND row.lease_token = new.token\n",
            "WHERE row.id = new.id\n",
        ),
        tests=APPLY,
    ),
    _mutant(
        "transaction-not-locked",
        "Two workers judge the same transaction at once; both apply.",
        ("transactions/applying.py", "ANY(%s::uuid[]) ORDER BY id FOR UPDATE", "ANY(%s::uuid[]) ORDER BY id"),
        tests=(*APPLY, *API),
        slow=("tests/e2e",),
    ),
    _mutant(
        "nudge-in-the-request",
        "Every result waits for the broker; a frozen one hangs the web processes.",
        ("webhooks/nudge.py", "    _nudger.poke()\n", "    _send()\n"),
        tests=APPLY,
        slow=PROCESSES,
    ),
    _mutant(
        "acknowledged-although-not-recorded",
        "A result that came by the queue is lost when the database is away.",
        (
            "webhooks/tasks.py",
            '            raise Reject("database away", requeue=True) from None\n',
            "            return\n",
        ),
        tests=APPLY,
    ),
]

CLIENTS = [
    _mutant(
        "key-row-outside-the-transaction",
        "A crash or a refusal in between leaves a key whose answer never happened.",
        (
            "transactions/migrations/0005_create_function_2.py",
            "    ON CONFLICT (client_id, key) DO NOTHING;\n",
            "    ON CONFLICT (client_id, key) DO UPDATE SET key = excluded.key;\n",
        ),
        (
            "transactions/writing.py",
            '    if connection.vendor != "postgresql":\n        with transaction.atomic():\n',
            "    if connection.vendor == 'postgresql' and not idempotency.claim_key(claim, answer):\n        return False\n"
            '    if connection.vendor != "postgresql":\n        with transaction.atomic():\n',
        ),
        tests=API,
        slow=("tests/e2e",),
    ),
    _mutant(
        "key-compared-by-prefix",
        "Two requests whose keys begin alike are one; the second is refused or answered with the first.",
        (
            "transactions/views.py",
            "        claim = Claim(client_id, self.key, ",
            "        claim = Claim(client_id, self.key[:32], ",
        ),
        tests=API,
    ),
    _mutant(
        "reused-key-not-compared",
        "Another payment under a used key is answered with the first one's success.",
        (
            "transactions/idempotency.py",
            "    if bytes(row.fingerprint) != claim.fingerprint:\n",
            "    if not row.key:\n",
        ),
        tests=API,
    ),
    _mutant(
        "key-shared-by-clients",
        "One client's key answers another client's request.",
        (
            "transactions/idempotency.py",
            "    row = IdempotencyKey.objects.get(client_id=claim.client_id, key=claim.key)\n",
            "    row = IdempotencyKey.objects.filter(key=claim.key).order_by('id')[0]\n",
        ),
        tests=API,
    ),
    _mutant(
        "wrong-client-lookup",
        "Who knows an id reads and cancels another client's transaction.",
        (
            "transactions/models.py",
            "    return Transaction.objects.filter(client_id=client_id)\n",
            "    return Transaction.objects.all()\n",
        ),
        tests=API,
    ),
    _mutant(
        "amount-through-float",
        "Large amounts lose their cents.",
        ("transactions/money.py", "    amount = Decimal(text)\n", "    amount = Decimal(str(float(text)))\n"),
        tests=API,
    ),
    _mutant(
        "event-after-the-commit",
        "A crash after the commit leaves a change that nobody is told of.",
        (
            "transactions/services.py",
            "    outbox.enqueue([events.change_event(event_type, txn, dumps(represent(txn)), traceparent)])\n",
            "    told = [events.change_event(event_type, txn, dumps(represent(txn)), traceparent)]\n\n"
            "    def later() -> None:\n        with transaction.atomic():\n            outbox.enqueue(told)\n\n"
            "    transaction.on_commit(later)\n",
        ),
        tests=API,
        slow=PROCESSES,
    ),
    _mutant(
        "stale-change-accepted",
        "Two operators change the same payment; the second undoes the first without having seen it.",
        (
            "transactions/views.py",
            '    if header.strip() != "*" and etag(txn) not in tags(header):\n',
            '    if header.strip() != "*" and not tags(header):\n',
        ),
        tests=API,
    ),
    _mutant(
        "settled-payment-canceled",
        "A payment that was carried out reads canceled.",
        ("transactions/services.py", "    if txn.status != Status.PENDING.value:\n", "    if not txn.status:\n"),
        tests=API,
    ),
    _mutant(
        "version-stands-still",
        "The Consumer takes a change for a copy and drops it.",
        ("transactions/services.py", "    txn.version += 1\n", "    txn.version += 0\n"),
        tests=API,
    ),
]

CONSUMER = [
    _mutant(
        "consumer-decides-a-copy-again",
        "An event that came twice is processed twice.",
        (
            "consumer/processing/handler.py",
            "        if not created and row.state not in UNPROCESSED:\n",
            "        if not created and not row.state:\n",
        ),
        tests=("tests",),
        folder="consumer",
    ),
    _mutant(
        "consumer-drops-by-transaction",
        "Copies are told by the transaction: its second version is taken for a copy of the first.",
        (
            "consumer/processing/handler.py",
            "            event_id=event.id,\n",
            "            event_id=event.transaction_id,\n",
        ),
        tests=("tests",),
        folder="consumer",
    ),
]

MUTANTS = [*RELAY, *FALLBACK, *RESULTS, *CLIENTS, *CONSUMER]
