"""Each event is decided once, versions only grow, and the stored bytes never change."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from processing import handler
from processing.events import parse
from processing.models import Event, Result, SeenTransaction
from tests.conftest import make_event

pytestmark = pytest.mark.django_db


def handle(event: dict[str, Any], door: str = "broker") -> handler.Handled:
    return handler.handle(parse(event), door)


def test_an_event_gets_one_row_one_decision_and_one_result() -> None:
    event = make_event(amount="999999999999999.99", account_number="50880050/0194804000888")
    handled = handle(event)
    row, result = Event.objects.get(), Result.objects.get()
    assert (row.event_id, row.state, row.door) == (event["id"], "decided", "broker")
    assert handled.result_ids == [result.pk]
    body = json.loads(result.body)
    assert body["type"] == result.type == "transaction.succeeded"
    assert body["data"]["transaction_id"] == event["subject"]
    assert body["data"]["transaction_version"] == 1
    assert body["data"]["processed_data"]["amount"] == "999999999999999.99"
    assert "error" not in body["data"]


def test_a_failure_carries_code_and_message() -> None:
    handle(make_event(account_number="DE89370400440532013001"))
    body = json.loads(Result.objects.get().body)
    assert body["type"] == "transaction.failed"
    assert body["data"]["error"]["code"] == "invalid_account"
    assert body["data"]["error"]["message"]


@pytest.mark.parametrize("doors", [("broker", "broker"), ("broker", "webhook"), ("webhook", "broker")])
def test_a_copy_by_whichever_door_is_not_decided_again(doors: tuple[str, str]) -> None:
    event = make_event()
    first, second = (handle(event, door) for door in doors)
    assert (first.duplicate, second.duplicate) == (False, True)
    assert Result.objects.count() == 1
    assert Event.objects.get().deliveries == 2


def test_a_copy_of_a_delivered_event_opens_the_same_result_again() -> None:
    event = make_event()
    handle(event)
    before = Result.objects.get()
    Result.objects.update(state="delivered", rounds=3)
    assert handle(event).result_ids == [before.pk]
    after = Result.objects.get()
    assert (after.state, after.rounds) == ("pending", 0)
    assert (after.webhook_id, after.body) == (before.webhook_id, before.body)


def test_a_copy_revives_a_dead_result() -> None:
    event = make_event()
    handle(event)
    Result.objects.update(state="dead")
    handle(event)
    assert Result.objects.get().state == "pending"


def test_a_copy_breaks_the_lease_of_an_owner_that_may_have_died() -> None:
    event = make_event()
    handle(event)
    Result.objects.update(leased_until=timezone.now() + timedelta(hours=1), lease_token="x")
    handle(event)
    assert Result.objects.get().leased_until is None


def test_an_update_is_decided_afresh_and_supersedes_what_waits() -> None:
    created = make_event()
    handle(created)
    handle(make_event("transaction.updated", 2, transaction_id=created["subject"], amount="7"))
    old, new = Result.objects.order_by("id")
    assert (old.state, new.state) == ("superseded", "pending")
    assert new.transaction_version == 2
    assert json.loads(new.body)["data"]["processed_data"]["amount"] == "7"


def test_a_copy_of_an_old_event_does_not_revive_a_superseded_result() -> None:
    created = make_event()
    handle(created)
    handle(make_event("transaction.updated", 2, transaction_id=created["subject"]))
    assert handle(created).result_ids == []
    assert list(Result.objects.order_by("id").values_list("state", flat=True)) == ["superseded", "pending"]


def test_what_is_older_than_what_was_seen_is_dropped() -> None:
    updated = make_event("transaction.updated", 2)
    handle(updated)
    assert handle(make_event(transaction_id=updated["subject"])).state == "stale"
    assert Result.objects.count() == 1


def test_the_same_version_under_another_id_is_dropped() -> None:
    created = make_event()
    handle(created)
    assert handle(make_event(transaction_id=created["subject"])).state == "stale"


def test_a_cancellation_is_recorded_without_a_result_and_stops_what_waits() -> None:
    created = make_event()
    handle(created)
    handled = handle(make_event("transaction.canceled", 2, transaction_id=created["subject"]))
    assert (handled.state, handled.result_ids) == ("recorded", [])
    assert Result.objects.get().state == "superseded"
    assert SeenTransaction.objects.get().canceled


def test_the_same_payment_twice_in_a_day_is_suspected() -> None:
    handle(make_event(description="Rent"))
    handle(make_event(description="Rent"))
    first, second = (json.loads(result.body)["data"]["processed_data"] for result in Result.objects.order_by("id"))
    assert first["reasons"] == []
    assert second["outcome"] == "succeeded"
    assert second["reasons"] == ["possible_duplicate"]


def test_the_same_payment_a_day_later_is_not() -> None:
    handle(make_event(description="Rent"))
    SeenTransaction.objects.update(seen_at=timezone.now() - timedelta(hours=24, seconds=1))
    handle(make_event(description="Rent"))
    assert json.loads(Result.objects.latest("id").body)["data"]["processed_data"]["reasons"] == []


def test_a_canceled_twin_is_no_twin() -> None:
    first = make_event(description="Rent")
    handle(first)
    handle(make_event("transaction.canceled", 2, transaction_id=first["subject"]))
    handle(make_event(description="Rent"))
    assert json.loads(Result.objects.latest("id").body)["data"]["processed_data"]["reasons"] == []


def test_an_update_is_not_its_own_twin() -> None:
    created = make_event(description="Rent")
    handle(created)
    handle(make_event("transaction.updated", 2, transaction_id=created["subject"], description="Rent"))
    assert json.loads(Result.objects.latest("id").body)["data"]["processed_data"]["reasons"] == []


def test_processing_goes_first_when_it_is_wanted(settings: Any) -> None:
    settings.SEND_PROCESSING = True
    handled = handle(make_event())
    types = [Result.objects.get(pk=pk).type for pk in handled.result_ids]
    assert types == ["transaction.processing", "transaction.succeeded"]


def test_a_crash_before_commit_leaves_nothing_and_the_redelivery_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    event = make_event()
    real = handler._result

    def crash(*_: Any) -> int:
        raise SystemError("killed")

    monkeypatch.setattr(handler, "_result", crash)
    with pytest.raises(SystemError):
        handle(event)
    assert not Event.objects.exists()
    assert not SeenTransaction.objects.exists()
    monkeypatch.setattr(handler, "_result", real)
    assert handle(event).state == "decided"


def test_the_frozen_body_is_ascii_and_holds_no_account_number() -> None:
    handle(make_event(account_number="DE89370400440532013001", description="Zoë €"))
    result = Result.objects.get()
    assert result.body.isascii()
    assert "370400440532" not in result.body
    assert len(result.body) < 16 * 1024


def test_a_log_line_has_the_ids_and_nothing_private(caplog: pytest.LogCaptureFixture) -> None:
    event = make_event(description="secret words")
    with caplog.at_level("DEBUG"):
        handle(event)
    assert event["id"] in caplog.text
    assert event["subject"] in caplog.text
    assert "370400440532" not in caplog.text
    assert "secret words" not in caplog.text
