"""The services: results are applied once, a rollback leaves nothing, races end with one winner."""

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext

from outbox import wakeup
from scheduler import tasks
from tests.conftest import Api, new_transaction
from tests.transactions.threads import at_once
from transactions import interventions, services
from transactions.drafts import Draft
from transactions.idempotency import Answer, Claim
from transactions.models import ApiClient, HistoryEntry, IdempotencyKey, Transaction
from transactions.serializers import read_new, represent
from transactions.services import Result
from transactions.states import Verdict

pytestmark = pytest.mark.django_db


@pytest.fixture
def txn(api):
    return Transaction.objects.get(id=api.create().json()["id"])


def result(txn_id, outcome="succeeded", version=1, data=None, error=None, webhook_id="msg_1"):
    return Result(webhook_id, f"transaction.{outcome}", txn_id, version, data, error, "webhook")


def apply_result(one):
    (verdict,) = services.apply_results([one])
    return verdict


def outbox_rows():
    with connection.cursor() as cursor:
        cursor.execute("SELECT type, sequence, body FROM outbox_outboxmessage ORDER BY sequence, id")
        return cursor.fetchall()


def test_a_success_is_applied_and_leaves_the_version(txn):
    txn.overdue = True
    txn.save()
    assert apply_result(result(txn.id, data={"ref": "r-1"})) is Verdict.APPLY
    after = Transaction.objects.get()
    assert (after.status, after.version, after.processed_data, after.error) == ("succeeded", 1, {"ref": "r-1"}, None)
    assert (after.overdue, after.check_at, after.processed_at) == (False, None, after.updated_at)
    assert after.updated_at > txn.updated_at
    assert [(row.kind, row.status, row.state, row.by) for row in after.history.order_by("id")] == [
        ("change", "pending", "", "client"),
        ("change", "succeeded", "", "consumer"),
        ("result", "", "applied", ""),
    ]
    assert len(outbox_rows()) == 1


def test_a_failure_keeps_its_error(txn):
    apply_result(result(txn.id, "failed", error={"code": "NO_FUNDS", "message": "x"}))
    assert Transaction.objects.get().error == {"code": "NO_FUNDS", "message": "x"}


def test_processing_is_no_outcome(txn):
    assert apply_result(result(txn.id, "processing")) is Verdict.APPLY
    after = Transaction.objects.get()
    assert (after.status, after.processed_at, after.check_at) == ("processing", None, txn.check_at)
    assert apply_result(result(txn.id, "processing", webhook_id="msg_2")) is Verdict.NOOP
    assert apply_result(result(txn.id, webhook_id="msg_3")) is Verdict.APPLY


@pytest.mark.parametrize(
    "first, second, version, verdict",
    [
        ("succeeded", "succeeded", 1, Verdict.NOOP),
        ("succeeded", "failed", 1, Verdict.CONFLICT),
        ("failed", "succeeded", 1, Verdict.CONFLICT),
        ("failed", "processing", 1, Verdict.NOOP),
        ("succeeded", "succeeded", 2, Verdict.UNMATCHED),
    ],
)
def test_a_terminal_status_never_changes(txn, first, second, version, verdict):
    apply_result(result(txn.id, first, data={"n": 1}))
    before = represent(Transaction.objects.get())
    assert apply_result(result(txn.id, second, version, data={"n": 2}, webhook_id="msg_2")) is verdict
    assert represent(Transaction.objects.get()) == before
    told = HistoryEntry.objects.filter(webhook_id="msg_2").values_list("state", flat=True)
    assert list(told) == ([] if verdict is Verdict.UNMATCHED else [verdict.value])


def test_a_result_for_an_older_version_is_superseded_and_for_a_later_one_unmatched(txn):
    with transaction.atomic():
        services.update(Transaction.objects.select_for_update().get(), {"description": "x"})
    before = represent(Transaction.objects.get())
    assert apply_result(result(txn.id, version=1)) is Verdict.SUPERSEDED
    assert apply_result(result(txn.id, version=3)) is Verdict.UNMATCHED
    assert represent(Transaction.objects.get()) == before
    assert apply_result(result(txn.id, version=2)) is Verdict.APPLY


def test_a_canceled_transaction_takes_no_result(txn):
    services.cancel(txn)
    assert apply_result(result(txn.id)) is Verdict.CONFLICT
    assert Transaction.objects.get().status == "canceled"


def test_an_unknown_transaction_is_unmatched_and_leaves_no_history(db):
    assert apply_result(result(uuid4())) is Verdict.UNMATCHED
    assert not HistoryEntry.objects.exists()


def test_each_change_has_one_event_with_its_version_and_the_whole_transaction(api):
    created = api.create(new_transaction(metadata={"a": 1.5}), traceparent="00-" + "1" * 32 + "-" + "2" * 16 + "-01")
    patched = api.request("PATCH", created["Location"], {"amount": "0.10"}, If_Match="*")
    api.request("DELETE", created["Location"])
    canceled = api.get(created["Location"])
    rows = outbox_rows()
    assert [(kind, sequence) for kind, sequence, _ in rows] == [
        ("transaction.created", 1), ("transaction.updated", 2), ("transaction.canceled", 3),
    ]  # fmt: skip
    bodies = [json.loads(body) for _, _, body in rows]
    assert [body["data"]["transaction"] for body in bodies] == [created.json(), patched.json(), canceled.json()]
    assert bodies[0]["traceparent"].startswith("00-1")
    # Whoever sends none gets a trace of the request's name.
    assert bodies[1]["traceparent"].split("-")[1] == patched["X-Request-ID"].replace("-", "")


def test_a_created_event_holds_the_text_that_the_client_was_answered(api):
    answer = api.create(new_transaction(metadata={"é\\": [1.5, "\u2028", '"']}, description="Zürich 😀 \\n"))
    ((_, _, body),) = outbox_rows()
    assert body.endswith(f',"data":{{"transaction":{answer.content.decode()}}}}}')
    assert json.dumps(json.loads(body), ensure_ascii=False, separators=(",", ":")) == body


@pytest.mark.postgres
@pytest.mark.django_db
def test_code_of_the_version_before_still_creates_while_a_deploy_rolls(api_key):
    client_id, draft = ApiClient.objects.get().id, Draft(**read_new(new_transaction())[0])
    values = [client_id, json.dumps([draft.key]), draft.text, f"[{draft.text}]", [str(uuid4())], [draft.key]]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT transactions_create_v1(NULL, %s, 'k', '', %s, 201, '{}', %s, %s, 900, %s::uuid[],"
            " ARRAY['transactions'], ARRAY['transaction.created'], %s, ARRAY[1::bigint], ARRAY['{}'])",
            values,
        )
        assert cursor.fetchone() == (True,)
    assert Transaction.objects.get().id == draft.id
    assert [(kind, sequence) for kind, sequence, _ in outbox_rows()] == [("transaction.created", 1)]


def answer_of(drafts):
    return Answer(201, ",".join(draft.text for draft in drafts), {}, [draft.key for draft in drafts])


def test_an_answer_that_does_not_show_what_is_written_is_refused(api_key):
    drafts = [Draft(**read_new(new_transaction())[0]) for _ in range(2)]
    with pytest.raises(ValueError):
        services.create(Claim(ApiClient.objects.get().id, "k", b"\0" * 32), answer_of(drafts[:1]), drafts)
    assert not Transaction.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_rollback_leaves_no_row_no_history_no_key_and_no_event(api_key):
    client_id = ApiClient.objects.get().id
    drafts = [Draft(**read_new(new_transaction(amount=str(n)))[0]) for n in (1, 2)]
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        assert services.create(Claim(client_id, "k", b"\0" * 32), answer_of(drafts), drafts)
        assert len(outbox_rows()) == Transaction.objects.count() == HistoryEntry.objects.count() == 2
        raise ZeroDivisionError
    for model in (Transaction, HistoryEntry, IdempotencyKey):
        assert not model.objects.exists()
    assert outbox_rows() == []


@pytest.mark.django_db(transaction=True)
def test_an_external_id_that_exists_leaves_nothing_of_the_second(api_key):
    client_id = ApiClient.objects.get().id
    values = read_new(new_transaction(external_id="e"))[0]
    first = Draft(**values)
    with transaction.atomic():
        services.create(Claim(client_id, "k1", b"\0" * 32), answer_of([first]), [first])
    second = Draft(**values)
    with pytest.raises(IntegrityError), transaction.atomic():
        services.create(Claim(client_id, "k2", b"\0" * 32), answer_of([second]), [second])
    assert services.find_external_id(client_id, [second]) == first.id
    assert (IdempotencyKey.objects.count(), len(outbox_rows())) == (1, 1)


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_of_ten_requests_with_one_external_id_one_wins_and_the_others_hear_which(api_key):
    answers = at_once([lambda: Api(Client(), api_key).create(new_transaction(external_id="e"))] * 10)
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 9
    won = str(Transaction.objects.get().id)
    assert {a.json().get("transaction_id", a.json().get("id")) for a in answers} == {won}
    assert len(outbox_rows()) == HistoryEntry.objects.count() == IdempotencyKey.objects.count() == 1


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_of_ten_changes_with_one_tag_one_wins(api_key):
    first = Api(Client(), api_key).create()

    def change(n):
        return Api(Client(), api_key).request(
            "PATCH", first["Location"], {"description": f"{n}"}, If_Match=first["ETag"]
        )

    answers = at_once([lambda n=n: change(n) for n in range(10)])
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 9
    assert (Transaction.objects.get().version, len(outbox_rows())) == (2, 2)


def test_of_two_results_at_once_the_second_stands_and_keeps_what_only_the_first_said(txn):
    started = result(txn.id, "processing", data={"step": 1})
    settled = result(txn.id, "failed", error={"code": "NO_FUNDS", "message": "x"}, webhook_id="msg_2")
    late = result(txn.id, "processing", webhook_id="msg_3")
    unknown = result(uuid4(), webhook_id="msg_4")
    verdicts = services.apply_results([started, unknown, settled, late])
    assert verdicts == [Verdict.APPLY, Verdict.UNMATCHED, Verdict.APPLY, Verdict.NOOP]
    after = Transaction.objects.get()
    assert (after.status, after.processed_data) == ("failed", {"step": 1})
    assert after.error == {"code": "NO_FUNDS", "message": "x"} and after.processed_at == after.updated_at
    told = list(after.history.order_by("id").values_list("kind", "status", "webhook_id", "state"))
    assert told[1:] == [
        ("change", "processing", "", ""),
        ("result", "", "msg_1", "applied"),
        ("change", "failed", "", ""),
        ("result", "", "msg_2", "applied"),
        ("result", "", "msg_3", "noop"),
    ]
    times = list(after.history.order_by("id").values_list("at", flat=True))
    assert times == sorted(times) and times[1] < times[3]


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_cancellation_and_a_result_at_once_leave_one_outcome(api_key):
    path = Api(Client(), api_key).create()["Location"]
    txn_id = UUID(path.rsplit("/", 1)[1])

    def apply():
        with transaction.atomic():
            return apply_result(result(txn_id))

    canceled, verdict = at_once([lambda: Api(Client(), api_key).request("DELETE", path), apply])
    status = Transaction.objects.get().status
    assert (canceled.status_code, verdict, status) in {
        (204, Verdict.CONFLICT, "canceled"),
        (409, Verdict.APPLY, "succeeded"),
    }


@override_settings(RESULT_DEADLINE_SECONDS=60)
def test_an_overdue_transaction_is_flagged_once_and_a_late_result_still_applies(txn):
    Transaction.objects.update(check_at=datetime.now(UTC) - timedelta(seconds=1))
    assert services.mark_overdue() == 1
    assert services.mark_overdue() == 0
    late = Transaction.objects.get()
    assert (late.overdue, late.status, late.version) == (True, "pending", 1)
    assert late.updated_at > txn.updated_at
    assert apply_result(result(txn.id)) is Verdict.APPLY
    assert not Transaction.objects.get().overdue


def late(*, published=True):
    """The moment of the next look is there, for all; their events have been delivered."""
    Transaction.objects.update(check_at=datetime.now(UTC) - timedelta(seconds=1))
    if published:
        with connection.cursor() as cursor:
            cursor.execute("UPDATE outbox_outboxmessage SET state = 'published', published_at = created_at")


def next_look(txn):
    """Minutes until then, and how often the event was sent again."""
    txn.refresh_from_db()
    return round((txn.check_at - datetime.now(UTC)).total_seconds() / 60), txn.resends


@override_settings(RESULT_DEADLINE_SECONDS=60)
def test_only_what_was_sent_again_counts_and_doubles_the_wait(txn):
    for _ in range(3):
        late(published=False)
        assert services.mark_overdue() == 1
        assert next_look(txn) == (1, 0)
    for minutes, resends in ((2, 1), (4, 2)):
        late()
        assert services.mark_overdue() == 1
        assert next_look(txn) == (minutes, resends)


@pytest.mark.parametrize("status", ["pending", "processing"])
def test_an_event_that_was_pruned_is_told_anew_by_an_operator_alone_while_the_result_is_awaited(api, txn, status):
    """Under another id: who knows copies by their id would work on it twice, so no clock decides that."""
    api.request("PATCH", f"transactions/{txn.id}", {"description": "x"}, If_Match="*")
    Transaction.objects.update(status=status)
    ((_, _, body),) = [row for row in outbox_rows() if row[1] == 2]
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM outbox_outboxmessage")
    late(published=False)
    assert services.mark_overdue() == 1
    assert (next_look(txn)[1], outbox_rows()) == (0, []) and txn.overdue, "the light is on"

    assert list(interventions.resend([txn.id])) == [txn.id]
    ((told, sequence, anew),) = outbox_rows()
    assert (told, sequence) == ("transaction.updated", 2)
    before, after = json.loads(body), json.loads(anew)
    assert before["id"] != after["id"]
    assert (after["sequence"], after["subject"]) == (before["sequence"], str(txn.id))
    assert after["data"]["transaction"]["status"] == status
    assert not interventions.resend([txn.id]), "it still waits"
    late()
    assert services.mark_overdue() == 1
    assert next_look(txn)[1] == 1 and len(outbox_rows()) == 1


def test_nothing_is_told_anew_of_what_has_its_outcome(txn):
    apply_result(result(txn.id))
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM outbox_outboxmessage")
    assert interventions.resend([txn.id]) == {}
    assert not outbox_rows()


@pytest.mark.parametrize("pruned", [False, True])
def test_a_sweep_of_many_is_a_handful_of_statements(api, pruned):
    body = {"transactions": [new_transaction()] * 200}
    assert api.request("POST", "transactions/batch", body, Idempotency_Key="k").status_code == 201
    late()
    if pruned:
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM outbox_outboxmessage")
    with CaptureQueriesContext(connection) as captured:
        assert services.mark_overdue() == 200
    if connection.vendor == "postgresql":
        assert len(captured) <= 10
    assert set(Transaction.objects.values_list("overdue", "resends")) == {(True, 0 if pruned else 1)}
    assert len(outbox_rows()) == (0 if pruned else 200)


def test_a_tick_looks_at_all_that_are_late_and_not_at_the_first_two_hundred(api):
    body = {"transactions": [new_transaction()] * 450}
    assert api.request("POST", "transactions/batch", body, Idempotency_Key="k").status_code == 201
    late()
    assert tasks.mark_overdue() == 450
    assert set(Transaction.objects.values_list("overdue", "resends")) == {(True, 1)}
    assert tasks.mark_overdue() == 0


def test_a_tick_that_meets_more_than_it_has_time_for_leaves_the_rest_to_the_next(monkeypatch):
    looks = iter([200] * 10)
    monkeypatch.setattr(tasks, "mark_overdue_transactions", lambda: next(looks))
    clock = iter([0.0, 2.0, 4.0, 6.0])
    monkeypatch.setattr(tasks.time, "monotonic", lambda: next(clock))
    assert tasks.overdue_pass(budget_seconds=5.0) == 600


def test_a_process_whose_clock_is_ahead_finds_nobody_late(txn, monkeypatch):
    class Ahead(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(days=2)

    monkeypatch.setattr(services, "datetime", Ahead)
    assert services.mark_overdue() == 0
    Transaction.objects.update(check_at=datetime.now(UTC) - timedelta(seconds=1))
    assert services.mark_overdue() == 1
    assert next_look(txn)[0] <= 60


@pytest.fixture
def listener():
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no NOTIFY")
    listening = wakeup.Listener()
    assert listening.wait(0) is False
    yield listening
    listening.close()


@pytest.mark.django_db(transaction=True)
def test_a_create_wakes_a_relay_with_its_own_commit(api, listener, monkeypatch):
    monkeypatch.setattr(wakeup, "take", lambda: True)
    monkeypatch.setattr(wakeup, "poke", lambda: pytest.fail("woken twice"))
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        api.create()
        raise ZeroDivisionError
    assert not listener.wait(0.2)
    api.create()
    assert listener.wait(10)


@pytest.mark.django_db(transaction=True)
def test_a_create_after_many_leaves_the_wake_up_to_the_thread(api, listener, monkeypatch):
    pokes = []
    monkeypatch.setattr(wakeup, "take", lambda: False)
    monkeypatch.setattr(wakeup, "poke", lambda: pokes.append(connection.in_atomic_block))
    api.create()
    assert pokes == [False]
    assert not listener.wait(0.2)


def test_a_replay_hands_on_the_wake_up_that_it_took(api, monkeypatch):
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no NOTIFY")
    api.create(key="k")
    pokes = []
    monkeypatch.setattr(services.outbox, "announce", lambda: pokes.append(1))
    monkeypatch.setattr(wakeup, "take", lambda: True)
    assert api.create(key="k").headers["Idempotent-Replayed"] == "true"
    assert pokes == [1]


@pytest.mark.parametrize("taken", [True, False])
def test_a_create_that_is_refused_hands_on_the_wake_up_that_it_took(api, monkeypatch, taken):
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no NOTIFY")
    api.create(new_transaction(external_id="e"))
    pokes = []
    monkeypatch.setattr(services.outbox, "announce", lambda: pokes.append(1))
    monkeypatch.setattr(wakeup, "take", lambda: taken)
    assert api.create(new_transaction(external_id="e")).status_code == 409
    assert pokes == [1] * taken
