"""Which channel takes the next batch: breaker, fallback, half-open probes, return."""

import socket
import time
from datetime import timedelta

import pytest
from django.db.models.functions import Now

from outbox import delivery, relay
from outbox.clock import database_now
from outbox.management.commands.relay import TICK_SECONDS
from outbox.models import ChannelState, OutboxMessage
from outbox.publisher import Outcome, PublishError, Refusal

pytestmark = pytest.mark.django_db

LIMIT = 500


class FakeChannel:
    """A channel that takes `takes` events a batch (None: all) and then is in trouble."""

    def __init__(self, name, sent):
        self.name, self.sent = name, sent
        self.configured, self.takes, self.refuses = True, None, ()

    def available(self):
        return self.configured

    def publish(self, events, routes, deadline):
        outcome = Outcome()
        for position, event in enumerate(events):
            if self.takes is not None and position >= self.takes:
                outcome.trouble = PublishError(f"{self.name} is away")
                break
            if event.sequence in self.refuses:
                outcome.refused[event.id] = Refusal("no")
            else:
                outcome.confirmed.add(event.id)
                self.sent.append((self.name, event.key, event.sequence))
        return outcome

    def close(self):
        pass


@pytest.fixture
def sent():
    return []


@pytest.fixture
def channels(monkeypatch, settings, sent):
    settings.OUTBOX_FALLBACK_AFTER_SECONDS = 30.0
    settings.OUTBOX_PROBE_SECONDS = 2.0
    settings.BROKER_TRANSPORT_URL = "filesystem://"
    broker, webhook = FakeChannel("broker", sent), FakeChannel("webhook", sent)
    monkeypatch.setattr(delivery, "publishers", lambda: (broker, webhook))
    return broker, webhook


def failing(name, since, retry_in=60.0):
    now = database_now()
    ChannelState.objects.update_or_create(
        name=name,
        defaults={
            "failing_since": now - timedelta(seconds=since),
            "retry_at": now + timedelta(seconds=retry_in),
            "failures": 1,
        },
    )


def test_after_the_databases_clock_was_set_back_no_probe_and_no_fallback_waits_for_it_to_come_again(channels, add):
    """It was an hour ahead when the broker failed."""
    broker, webhook = channels
    add()
    failing("broker", since=-3600, retry_in=3600)
    choice = delivery.choose(LIMIT)
    assert (choice.publisher, choice.probing) == (broker, True)
    assert delivery.choose(LIMIT).publisher is None, "one probe at a time, all the same"
    delivery.failed(broker, PublishError("still away"))
    state = ChannelState.objects.get(name="broker")
    assert state.failing_since <= database_now() and state.retry_at <= database_now() + timedelta(seconds=10)
    ChannelState.objects.update(failing_since=Now() - timedelta(seconds=31), retry_at=Now() + timedelta(seconds=60))
    assert delivery.choose(LIMIT).publisher is webhook


def an_event(key="k", sequence=1):
    return OutboxMessage.objects.create(
        topic="transactions", type="transaction.created", key=key, sequence=sequence, body="{}"
    )


def greeting(monkeypatch, answers):
    asked = []
    monkeypatch.setattr(delivery, "_greets", lambda publisher: asked.append(publisher.name) or answers)
    return asked


# --- Choosing --------------------------------------------------------------------------------------------------------


def test_the_first_choice_carries_everything_while_it_works(channels, settings):
    choice = delivery.choose(LIMIT)
    assert (choice.publisher, choice.limit, choice.probing) == (channels[0], LIMIT, False)
    assert choice.timeout_seconds == settings.OUTBOX_PUBLISH_TIMEOUT_SECONDS


def test_before_the_fallback_time_everyone_waits(channels):
    failing("broker", since=29)
    assert delivery.choose(LIMIT).publisher is None


def test_after_the_fallback_time_the_next_channel_takes_over_in_small_batches(channels, settings):
    failing("broker", since=31)
    choice = delivery.choose(LIMIT)
    assert (choice.publisher, choice.limit) == (channels[1], delivery.FALLBACK_BATCH)
    assert choice.timeout_seconds == settings.OUTBOX_FALLBACK_TIMEOUT_SECONDS


def test_the_lease_outlives_the_longest_publish_by_far(settings):
    longest = max(settings.OUTBOX_PUBLISH_TIMEOUT_SECONDS, settings.OUTBOX_FALLBACK_TIMEOUT_SECONDS)
    assert longest + 10 <= settings.OUTBOX_LEASE_SECONDS


def test_without_a_configured_fallback_everyone_waits(channels):
    channels[1].configured = False
    failing("broker", since=3600)
    assert delivery.choose(LIMIT).publisher is None


def test_with_both_channels_failing_everyone_waits_until_a_probe_is_due(channels):
    failing("broker", since=3600)
    failing("webhook", since=10)
    an_event()
    assert delivery.choose(LIMIT).publisher is None
    failing("webhook", since=10, retry_in=-1)
    choice = delivery.choose(LIMIT)
    assert (choice.publisher, choice.limit, choice.probing) == (channels[1], delivery.PROBE_BATCH, True)


@pytest.mark.parametrize("due_in", [None, 60])
def test_a_probe_is_not_used_up_when_there_is_nothing_to_send(channels, due_in):
    failing("broker", since=3600)
    failing("webhook", since=10, retry_in=-1)
    if due_in:
        an_event()
        OutboxMessage.objects.update(due_at=database_now() + timedelta(seconds=due_in))
    delivery.choose(LIMIT)
    an_event(sequence=2)
    assert delivery.choose(LIMIT).publisher is channels[1]


# --- Probing and return ----------------------------------------------------------------------------------------------


def test_one_relay_probes_with_a_few_events_while_the_others_go_on_with_the_fallback(channels, monkeypatch):
    greeting(monkeypatch, True)
    an_event()
    failing("broker", since=60, retry_in=-1)
    probe, other = delivery.choose(LIMIT), delivery.choose(LIMIT)
    assert (probe.publisher, probe.limit, probe.probing) == (channels[0], delivery.PROBE_BATCH, True)
    assert (other.publisher, other.probing) == (channels[1], False)


def test_one_relay_probes_while_the_others_wait_before_the_fallback_time(channels, monkeypatch):
    greeting(monkeypatch, True)
    an_event()
    failing("broker", since=5, retry_in=-1)
    assert delivery.choose(LIMIT).probing
    assert delivery.choose(LIMIT).publisher is None


def test_a_broker_that_does_not_greet_costs_no_event_and_the_fallback_goes_on_at_once(channels, monkeypatch):
    monkeypatch.setattr(delivery, "_greets", lambda publisher: delivery.failed(publisher, PublishError("no")) or False)
    an_event()
    failing("broker", since=60, retry_in=-1)
    before = ChannelState.objects.get(name="broker")
    choice = delivery.choose(LIMIT)
    after = ChannelState.objects.get(name="broker")
    assert (choice.publisher, choice.probing) == (channels[1], False)
    assert after.failing_since == before.failing_since
    assert after.retry_at > database_now()


def test_a_broker_that_greets_with_nothing_waiting_is_back(channels, monkeypatch):
    greeting(monkeypatch, True)
    failing("broker", since=60, retry_in=-1)
    choice = delivery.choose(LIMIT)
    assert (choice.publisher, choice.limit, choice.probing) == (channels[0], LIMIT, False)
    assert ChannelState.objects.get(name="broker").failing_since is None


def test_only_one_greeting_goes_out_per_probe(channels, monkeypatch):
    asked = greeting(monkeypatch, False)
    failing("broker", since=60, retry_in=-1)
    for _ in range(5):
        delivery.choose(LIMIT)
    assert asked == ["broker"]


def test_success_closes_the_breaker_and_everything_goes_by_the_first_choice_again(channels):
    failing("broker", since=60)
    delivery.succeeded(channels[0])
    choice = delivery.choose(LIMIT)
    assert (choice.publisher, choice.limit) == (channels[0], LIMIT)


# --- A fallback that nobody asks any more ----------------------------------------------------------------------------


def failing_channels():
    return set(ChannelState.objects.filter(failing_since__isnull=False).values_list("name", flat=True))


def test_a_fallback_that_failed_is_forgotten_when_the_first_choice_works_again(channels, monkeypatch):
    """Nobody asks it then, so nobody would find out that it works."""
    greeting(monkeypatch, True)
    failing("broker", since=60)
    failing("webhook", since=3600)
    delivery.choose(LIMIT)
    assert failing_channels() == {"broker", "webhook"}
    failing("broker", since=60, retry_in=-1)
    assert relay.run_once().channel == "broker"
    relay.run_once()
    state = ChannelState.objects.get(name="webhook")
    assert (state.failing_since, state.retry_at, state.failures, state.reason) == (None, None, 0, "")


def test_a_failure_that_is_told_late_is_forgotten_too(channels):
    """By a relay that still waited for the fallback while another found the broker."""
    delivery.failed(channels[1], PublishError("no answer"))
    delivery.choose(LIMIT)
    assert failing_channels() == set()


def test_while_the_first_choice_fails_the_next_ones_failure_stands(channels):
    failing("broker", since=60)
    failing("webhook", since=50)
    delivery.choose(LIMIT)
    assert failing_channels() == {"broker", "webhook"}


def test_gone_is_not_forgotten_when_the_first_choice_works(channels):
    delivery.failed(channels[1], PublishError("410", gone=True))
    delivery.choose(LIMIT)
    state = ChannelState.objects.get(name="webhook")
    assert state.disabled and state.failing_since is not None and state.reason == "410"


def test_a_failure_newer_than_what_was_read_stays(channels):
    failing("webhook", since=3600)
    old = list(ChannelState.objects.all())
    failing("webhook", since=1)
    delivery._not_needed(old)
    assert failing_channels() == {"webhook"}


def test_a_choice_costs_one_statement_whatever_is_known_of_the_others(channels, django_assert_num_queries):
    delivery.failed(channels[1], PublishError("410", gone=True))
    with django_assert_num_queries(1):
        assert delivery.choose(LIMIT).publisher is channels[0]
    ChannelState.objects.update(disabled=False)
    delivery.choose(LIMIT)
    with django_assert_num_queries(1):
        assert delivery.choose(LIMIT).publisher is channels[0]


# --- Failing ---------------------------------------------------------------------------------------------------------


def test_probes_grow_rarer_up_to_the_cap_and_the_beginning_is_remembered(channels, monkeypatch):
    monkeypatch.setattr(delivery.random, "uniform", lambda low, high: high)
    waits, since = [], set()
    for _ in range(4):
        delivery.failed(channels[0], PublishError("away"))
        state = ChannelState.objects.get(name="broker")
        waits.append((state.retry_at - state.changed_at).total_seconds())
        since.add(state.failing_since)
    assert waits == [2.0, delivery.PROBE_CAP_SECONDS, delivery.PROBE_CAP_SECONDS, delivery.PROBE_CAP_SECONDS]
    assert len(since) == 1


def test_a_broker_that_is_back_is_asked_within_five_seconds():
    """The longest wait for a probe, a relay's tick, and the greeting."""
    assert delivery.PROBE_CAP_SECONDS + TICK_SECONDS + delivery.GREETING_SECONDS <= 5


def test_retry_after_puts_the_next_probe_off(channels):
    delivery.failed(channels[1], PublishError("busy", retry_after_seconds=45))
    state = ChannelState.objects.get(name="webhook")
    assert state.retry_at - state.changed_at == timedelta(seconds=45)


def test_gone_closes_the_channel_until_an_operator_opens_it(channels):
    an_event()
    failing("broker", since=60)
    delivery.failed(channels[1], PublishError("410", gone=True))
    ChannelState.objects.filter(name="webhook").update(retry_at=database_now() - timedelta(hours=1))
    assert delivery.choose(LIMIT).publisher is None
    delivery.succeeded(channels[1])
    assert delivery.choose(LIMIT).publisher is None
    assert delivery.enable("webhook") == 1
    assert delivery.enable("webhook") == 0
    assert delivery.choose(LIMIT).publisher is channels[1]


# --- The greeting ----------------------------------------------------------------------------------------------------


def test_a_broker_that_accepts_and_says_nothing_is_found_out_within_its_second(channels, settings):
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        settings.BROKER_URL = settings.BROKER_TRANSPORT_URL = f"amqp://g:secret@127.0.0.1:{frozen.getsockname()[1]}//"
        began = time.monotonic()
        assert not delivery._greets(channels[0])
        assert time.monotonic() - began < delivery.GREETING_SECONDS + 1
    state = ChannelState.objects.get(name="broker")
    assert state.failing_since is not None
    assert "secret" not in state.reason


def test_a_broker_that_refuses_connections_is_found_out_at_once(channels, settings):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        settings.BROKER_URL = settings.BROKER_TRANSPORT_URL = f"amqp://g:g@127.0.0.1:{unused.getsockname()[1]}//"
        began = time.monotonic()
        assert not delivery._greets(channels[0])
        assert time.monotonic() - began < 0.5


@pytest.mark.rabbitmq
def test_a_broker_that_works_confirms_the_greeting(channels, settings):
    settings.BROKER_TRANSPORT_URL = settings.BROKER_URL
    assert delivery._greets(channels[0])
    assert not ChannelState.objects.exists()


def test_no_other_channel_is_greeted(channels, settings):
    settings.BROKER_URL = settings.BROKER_TRANSPORT_URL = "amqp://g:g@127.0.0.1:1//"
    assert delivery._greets(channels[1])


# --- Through the relay -----------------------------------------------------------------------------------------------


def test_an_outage_loses_nothing_keeps_the_order_of_each_key_and_marks_each_event_on_one_channel(channels, sent):
    broker, _ = channels
    for sequence in range(1, 9):
        an_event("a", sequence)
        an_event("b", sequence)
    broker.takes = 3
    assert relay.run_once().released == 13
    assert relay.run_once().waiting
    failing("broker", since=60)
    assert relay.run_once(limit=6).channel == "webhook"
    broker.takes = None
    failing("broker", since=60, retry_in=-1)
    assert relay.run_once().channel == "broker"
    assert not ChannelState.objects.filter(name="broker", failing_since__isnull=False).exists()
    assert OutboxMessage.objects.filter(state="published").count() == 16
    for key in "ab":
        assert [sequence for _, sent_key, sequence in sent if sent_key == key] == list(range(1, 9))
    stored = OutboxMessage.objects.values_list("channel", "key", "sequence")
    assert sorted(stored) == sorted(sent)


def test_while_an_earlier_event_waits_for_its_retry_by_webhook_a_later_one_does_not_overtake_by_broker(channels, sent):
    _, webhook = channels
    an_event("a", 1)
    failing("broker", since=60)
    webhook.refuses = (1,)
    assert relay.run_once().retried == 1
    OutboxMessage.objects.update(due_at=database_now() + timedelta(hours=1))
    an_event("a", 2)
    delivery.succeeded(channels[0])
    assert relay.run_once().published == 0
    assert sent == []


def test_an_outage_burns_no_attempt(channels):
    channels[0].takes = 0
    event = an_event()
    for _ in range(30):
        ChannelState.objects.all().delete()
        relay.run_once()
    event.refresh_from_db()
    assert (event.state, event.attempts) == ("pending", 0)


def test_a_probe_finds_what_came_due_before_the_last_claim_ended(channels):
    """With the hint of where that was it would find nothing, be used up, and leave the channel shut for a publish timeout."""
    an_event("a")
    failing("broker", since=1, retry_in=-1)
    horizon = relay.Horizon(due_at=database_now() + timedelta(hours=1), full_scan_at=time.monotonic() + 60)
    assert relay.run_once(horizon=horizon).published == 1


def test_a_probe_goes_on_past_what_is_out_of_turn(channels):
    """What a full queue leaves: heads that wait out their retry, and more events behind them than a probe takes at once."""
    an_event(sequence=1)
    for sequence in range(2, delivery.PROBE_BATCH * 3):
        an_event(sequence=sequence)
    behind = OutboxMessage.objects.filter(sequence__gt=1)
    behind.update(due_at=database_now() - timedelta(minutes=1))
    failing("broker", since=1, retry_in=-1)
    assert relay.run_once().published == 1
    assert ChannelState.objects.get(name="broker").failing_since is None


def test_a_probe_that_finds_nothing_in_turn_is_handed_back(channels):
    """Used up, it would leave the channel shut for a publish timeout."""
    head, _ = an_event(sequence=1), an_event(sequence=2)
    OutboxMessage.objects.filter(id=head.id).update(due_at=database_now() + timedelta(hours=1))
    failing("broker", since=1, retry_in=-1)
    assert relay.run_once().claimed == 0
    assert ChannelState.objects.get(name="broker").failing_since is not None
    OutboxMessage.objects.filter(id=head.id).update(due_at=database_now())
    assert relay.run_once().published == 1


def test_a_probe_of_refused_events_is_handed_back(channels, sent):
    """Each was refused for its own sake, which says nothing of the channel."""
    channels[0].refuses = (1,)
    an_event("a", 1)
    failing("broker", since=1, retry_in=-1)
    assert relay.run_once().retried == 1
    an_event("b", 2)
    assert relay.run_once().published == 1
    assert sent == [("broker", "b", 2)]
