"""The endpoints as a client sees them: methods, headers, semantics of PUT and PATCH, conditional requests, history."""

import json
import re
from datetime import datetime
from uuid import UUID

import pytest

from tests.conftest import new_transaction
from transactions import services
from transactions.models import HistoryEntry, Transaction

pytestmark = pytest.mark.django_db


def created(api, **fields):
    answer = api.create(new_transaction(**fields))
    assert answer.status_code == 201, answer.content
    return answer.json(), answer["ETag"]


def path_of(txn):
    return f"transactions/{txn['id']}"


def versions(txn):
    return Transaction.objects.get(id=txn["id"]).version, HistoryEntry.objects.filter(transaction_id=txn["id"]).count()


def test_a_created_transaction_reads_as_it_was_answered(api):
    answer = api.create(
        new_transaction(
            external_id="inv-881",
            description="Invoice 881",
            transaction_date="2026-11-22T12:15:00+02:00",
            metadata={"a": {"b": [1, None, "x"]}},
        )
    )
    assert answer.status_code == 201
    assert answer["Content-Type"] == "application/json"
    assert answer["Content-Length"] == str(len(answer.content))
    assert answer["Idempotent-Replayed"] == "false"
    txn = answer.json()
    assert answer["Location"] == f"/api/v1/transactions/{txn['id']}"
    read = api.get(answer["Location"])
    assert (read.status_code, read.json(), read["ETag"]) == (200, txn, answer["ETag"])
    assert UUID(txn["id"]).version == 7
    assert txn["transaction_date"] == "2026-11-22T10:15:00Z"
    assert {
        name: txn[name] for name in ("status", "version", "processed_data", "error", "overdue", "processed_at")
    } == {
        "status": "pending",
        "version": 1,
        "processed_data": None,
        "error": None,
        "overdue": False,
        "processed_at": None,
    }


def test_the_defaults_are_those_of_the_contract(api):
    txn, _ = created(api, external_id=None, description=None, metadata=None, transaction_date=None)
    assert (txn["external_id"], txn["description"], txn["metadata"]) == (None, "", {})
    assert txn["transaction_date"] == txn["created_at"] == txn["updated_at"]
    assert abs((datetime.fromisoformat(txn["created_at"]) - datetime.now().astimezone()).total_seconds()) < 60


def test_the_members_are_exactly_those_of_the_contract(api):
    txn, _ = created(api)
    assert list(txn) == [
        *("id", "external_id", "account_number", "amount", "currency", "direction", "transaction_date", "description"),
        *("metadata", "status", "version", "processed_data", "error", "overdue", "created_at", "updated_at"),
        "processed_at",
    ]


@pytest.mark.parametrize(
    "account", ["1", "50880050/0194804000888", "DE89 3704 0044 0532 0130 00", "A.b:c-d/e", "x" * 34]
)
def test_account_numbers_of_real_banks_are_taken(api, account):
    assert created(api, account_number=account)[0]["account_number"] == account


@pytest.mark.parametrize(
    "amount, currency, shown", [("125.5", "EUR", "125.50"), ("7", "KWD", "7.000"), ("100", "JPY", "100")]
)
def test_an_amount_has_exactly_the_digits_of_its_currency(api, amount, currency, shown):
    assert created(api, amount=amount, currency=currency)[0]["amount"] == shown


def test_head_answers_as_get_without_a_body(api):
    txn, tag = created(api)
    for path in ("transactions", path_of(txn), f"{path_of(txn)}/events"):
        answer = api.request("HEAD", path)
        assert (answer.status_code, answer.content) == (200, b"")
    assert api.request("HEAD", path_of(txn))["ETag"] == tag


@pytest.mark.parametrize("wrap", ["{}", "W/{}", '"other", {}', 'W/"x",{}', "*"])
def test_if_none_match_is_compared_weakly_and_answered_304(api, wrap):
    txn, tag = created(api)
    answer = api.get(path_of(txn), If_None_Match=wrap.format(tag))
    assert (answer.status_code, answer.content, answer["ETag"]) == (304, b"", tag)
    assert "Content-Type" not in answer.headers
    assert answer["Cache-Control"] == api.get(path_of(txn))["Cache-Control"]


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("wrap", ["{}", "W/{}", "*"])
def test_a_change_under_if_none_match_is_for_what_the_caller_has_not_seen(api, method, wrap):
    txn, tag = created(api)
    answer = api.request(method, path_of(txn), new_transaction(), If_Match=tag, If_None_Match=wrap.format(tag))
    assert (answer.status_code, answer["ETag"]) == (412, tag)
    assert "If-None-Match" in answer.json()["detail"] and "no longer" not in answer.json()["detail"]
    assert api.get(path_of(txn)).json() == txn
    assert api.request("DELETE", path_of(txn), If_None_Match='"another"').status_code == 204


def test_a_read_under_a_stale_if_match_is_412(api):
    txn, tag = created(api)
    assert api.get(path_of(txn), If_Match=tag).status_code == 200
    assert api.get(path_of(txn), If_Match='"another"').status_code == 412


@pytest.mark.parametrize("header", ['"other"', "{bare}", "nonsense {tag}", ""])
def test_another_or_a_malformed_if_none_match_gets_the_whole(api, header):
    txn, tag = created(api)
    answer = api.get(path_of(txn), If_None_Match=header.format(bare=tag.strip('"'), tag=tag))
    assert answer.status_code == 200


def test_patch_changes_what_is_named_and_nothing_else(api):
    txn, tag = created(api, description="old", metadata={"a": 1}, external_id="e-1")
    answer = api.request("PATCH", path_of(txn), {"description": "new"}, If_Match=tag)
    assert answer.status_code == 200
    after = answer.json()
    assert after == {**txn, "description": "new", "version": 2, "updated_at": after["updated_at"]}
    assert after["updated_at"] > txn["updated_at"]
    assert answer["ETag"] != tag
    assert api.get(path_of(txn)).json() == after


def test_put_gives_what_is_left_out_its_default_and_keeps_the_transaction_date(api):
    txn, tag = created(api, description="old", metadata={"a": 1}, transaction_date="2020-01-02T03:04:05Z")
    answer = api.request("PUT", path_of(txn), new_transaction(amount="1"), If_Match=tag)
    assert answer.status_code == 200
    after = answer.json()
    assert (after["description"], after["metadata"], after["amount"]) == ("", {}, "1.00")
    assert after["transaction_date"] == "2020-01-02T03:04:05Z"


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_null_means_the_default_in_a_change_too(api, method):
    txn, tag = created(api, description="old", metadata={"a": 1}, transaction_date="2020-01-02T03:04:05Z")
    nulls = {"description": None, "metadata": None, "transaction_date": None, "external_id": None}
    body = new_transaction(**nulls) if method == "PUT" else nulls
    after = api.request(method, path_of(txn), body, If_Match=tag).json()
    assert (after["description"], after["metadata"], after["external_id"]) == ("", {}, None)
    assert after["transaction_date"] == "2020-01-02T03:04:05Z"


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_a_change_that_changes_nothing_makes_no_version_and_no_event(api, method):
    txn, tag = created(api, metadata={"b": 1, "aa": [True, 1.5]}, amount="125.50")
    body = new_transaction(metadata={"aa": [True, 1.5], "b": 1}, amount="125.5")
    before = versions(txn)
    answer = api.request(method, path_of(txn), body, If_Match=tag)
    assert (answer.status_code, answer["ETag"], answer.json()) == (200, tag, txn)
    assert versions(txn) == before
    assert len([e for e in api.get(f"{path_of(txn)}/events").json()["data"] if e["kind"] == "event"]) == 1


def test_true_in_metadata_is_not_the_same_as_one(api):
    txn, tag = created(api, metadata={"paid": 1})
    after = api.request("PATCH", path_of(txn), {"metadata": {"paid": True}}, If_Match=tag).json()
    assert after["metadata"]["paid"] is True
    assert after["version"] == 2


def test_an_empty_patch_is_no_change(api):
    txn, tag = created(api)
    assert api.request("PATCH", path_of(txn), {}, If_Match=tag).json() == txn


def test_external_id_can_be_set_once_and_never_changed(api):
    txn, tag = created(api)
    answer = api.request("PATCH", path_of(txn), {"external_id": "e-1"}, If_Match=tag)
    assert answer.status_code == 200
    for method, body in [
        ("PATCH", {"external_id": "e-2"}),
        ("PATCH", {"external_id": None}),
        ("PUT", new_transaction()),
    ]:
        refused = api.request(method, path_of(txn), body, If_Match=answer["ETag"])
        assert refused.status_code == 422
        assert [error["pointer"] for error in refused.json()["errors"]] == ["#/external_id"]
    same = api.request("PUT", path_of(txn), new_transaction(external_id="e-1"), If_Match=answer["ETag"])
    assert same.status_code == 200


def test_a_change_to_an_external_id_that_exists_is_refused(api):
    first, _ = created(api, external_id="e-1")
    txn, tag = created(api)
    answer = api.request("PATCH", path_of(txn), {"external_id": "e-1"}, If_Match=tag)
    assert (answer.status_code, answer.json()["transaction_id"]) == (409, first["id"])
    assert versions(txn) == (1, 1)


def test_a_currency_that_the_present_amount_does_not_fit_needs_both(api):
    txn, tag = created(api, amount="125.50")
    refused = api.request("PATCH", path_of(txn), {"currency": "JPY"}, If_Match=tag)
    assert [error["pointer"] for error in refused.json()["errors"]] == ["#/currency"]
    both = api.request("PATCH", path_of(txn), {"currency": "JPY", "amount": "125"}, If_Match=tag)
    assert both.json()["amount"] == "125"
    wider = api.request("PATCH", path_of(txn), {"currency": "KWD"}, If_Match=both["ETag"])
    assert wider.json()["amount"] == "125.000"


@pytest.mark.parametrize("header", ["{}", '"x", {}', "*", " {} "])
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_if_match_lets_the_present_tag_through(api, method, header):
    txn, tag = created(api)
    answer = api.request(method, path_of(txn), new_transaction(amount="2"), If_Match=header.format(tag))
    assert answer.status_code in (200, 204)


@pytest.mark.parametrize("header", ['"x"', "W/{}", "w/{}", "{bare}", "x{}", '"*"', ""])
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_stale_weak_and_malformed_tags_never_match(api, method, header):
    txn, tag = created(api)
    answer = api.request(
        method, path_of(txn), new_transaction(amount="2"), If_Match=header.format(tag, bare=tag.strip('"'))
    )
    assert answer.status_code == 412
    assert answer.json()["type"].endswith("/precondition-failed")
    assert versions(txn) == (1, 1)


def test_a_lost_update_is_refused(api):
    txn, tag = created(api)
    assert api.request("PATCH", path_of(txn), {"description": "a"}, If_Match=tag).status_code == 200
    assert api.request("PATCH", path_of(txn), {"description": "b"}, If_Match=tag).status_code == 412


def test_delete_cancels_keeps_the_row_and_may_be_repeated(api):
    txn, tag = created(api)
    first = api.request("DELETE", path_of(txn), If_Match=tag)
    assert (first.status_code, first.content) == (204, b"")
    assert "Content-Type" not in first.headers
    after = api.get(path_of(txn)).json()
    assert (after["status"], after["version"]) == ("canceled", 2)
    again = api.request("DELETE", path_of(txn), If_Match=tag)
    assert again.status_code == 204
    assert api.get(path_of(txn)).json() == after
    assert api.request("DELETE", path_of(created(api)[0])).status_code == 204


def test_a_result_changes_the_etag_and_leaves_the_version(api):
    txn, tag = created(api)
    services.apply_results(
        [services.Result("msg_1", "transaction.processing", UUID(txn["id"]), 1, None, None, "webhook")]
    )
    after = api.get(path_of(txn))
    assert (after.json()["status"], after.json()["version"]) == ("processing", 1)
    assert after["ETag"] != tag
    assert after.json()["updated_at"] > txn["updated_at"]


def test_history_tells_changes_events_and_results_oldest_first(api):
    txn, tag = created(api)
    api.request("PATCH", path_of(txn), {"description": "x"}, If_Match=tag)
    services.apply_results(
        [services.Result("msg_1", "transaction.succeeded", UUID(txn["id"]), 2, {"ok": True}, None, "queue")]
    )
    data = api.get(f"{path_of(txn)}/events").json()["data"]
    assert [entry["at"] for entry in data] == sorted(entry["at"] for entry in data)
    assert [(e["version"], e["status"], e["by"]) for e in data if e["kind"] == "change"] == [
        (1, "pending", "client"),
        (2, "pending", "client"),
        (2, "succeeded", "consumer"),
    ]
    events = [e for e in data if e["kind"] == "event"]
    assert [e["type"] for e in events] == ["transaction.created", "transaction.updated"]
    assert set(events[0]) == {"kind", "at", "event_id", "type", "state", "channel", "delivered_at", "attempts"}
    assert (events[0]["state"], events[0]["channel"], events[0]["delivered_at"], events[0]["attempts"]) == (
        "pending",
        None,
        None,
        0,
    )
    results = [e for e in data if e["kind"] == "result"]
    assert results == [
        {
            "kind": "result",
            "at": results[0]["at"],
            "webhook_id": "msg_1",
            "type": "transaction.succeeded",
            "state": "applied",
            "door": "queue",
        }
    ]
    assert data[0]["kind"] == "change"


def test_every_moment_is_utc_with_z(api):
    txn, _ = created(api, transaction_date="2026-11-22T10:15:00.25-03:30")
    assert txn["transaction_date"] == "2026-11-22T13:45:00.250000Z"
    for name in ("created_at", "updated_at"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", txn[name])


def test_a_name_that_is_not_ascii_goes_through_unchanged(api):
    txn, _ = created(api, description="Überweisung 💶 Ωμέγα", metadata={"ключ": "значение"})
    assert json.loads(api.get(path_of(txn)).content)["description"] == "Überweisung 💶 Ωμέγα"
    assert txn["metadata"] == {"ключ": "значение"}


def test_every_answer_names_its_request(api):
    first, second = api.get("transactions"), api.get("transactions")
    assert UUID(first["X-Request-ID"]) != UUID(second["X-Request-ID"])
