"""Keys change under load: senders post all the time while keys are added, overlapped and retired; nobody is refused."""

import threading
import time
import uuid
from datetime import timedelta

import pytest
from django.db import connections
from django.test import Client

from webhooks import key_store, keys
from webhooks.models import InboxMessage, WebhookKey
from webhooks.rate import TokenBucket
from webhooks.signing import generate_secret, load_key, sign

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgres]

SENDERS = 4
ROTATIONS = 5
# Results that must come in after each step before the next one: the step is then under load, without a sleep.
RESULTS_PER_STEP = 12
BODY = b'{"type":"transaction.processing","timestamp":"2026-11-22T10:15:00Z","data":{"transaction_id":"01997c3e-5a80-7c4e-9b1f-6a2d3c4e5f60","transaction_version":1}}'


class Load:
    """Threads that sign with what they were given last, as a Consumer's processes do: one later than the other."""

    def __init__(self, secret):
        self.secrets = [secret] * SENDERS
        self.counts = [0] * SENDERS
        self.refused = []
        self.moved = threading.Condition()
        self.over = False

    def send(self, number):
        client = Client()
        try:
            while not self.over:
                webhook_id, now = uuid.uuid4().hex, int(time.time())
                headers = {"webhook-id": webhook_id, "webhook-timestamp": str(now)}
                key = load_key(self.secrets[number])
                headers["webhook-signature"] = sign(key, webhook_id, now, BODY)
                answer = client.post("/api/v1/webhooks/results", BODY, content_type="application/json", headers=headers)
                with self.moved:
                    self.counts[number] += 1
                    if answer.status_code != 202:
                        self.refused.append((key.key_id, answer.status_code))
                    self.moved.notify_all()
        finally:
            connections.close_all()

    def each_sends(self, results, numbers=range(SENDERS)):
        """Until every one of these senders has had so many more answers."""
        goal = {number: self.counts[number] + results for number in numbers}
        with self.moved:
            assert self.moved.wait_for(lambda: all(self.counts[n] >= goal[n] for n in goal), timeout=60)


@pytest.fixture
def load(settings, monkeypatch):
    settings.RESULT_WEBHOOK_SECRETS = []
    # Other tests' forgeries must not use up the looks of these.
    monkeypatch.setattr(keys, "_looks", TokenBucket(keys.LOOKS_PER_SECOND, keys.LOOKS_AT_ONCE))
    keys.forget()
    made = key_store.add("result")
    keys.forget()
    load = Load(made.hand_out)
    threads = [threading.Thread(target=load.send, args=(number,)) for number in range(SENDERS)]
    for thread in threads:
        thread.start()
    yield load
    load.over = True
    for thread in threads:
        thread.join(30)
    keys.forget()


def test_no_result_is_refused_while_secrets_rotate_under_load(load):
    for _ in range(ROTATIONS):
        # As from another process: nobody here is told that there is a new key.
        made, old = key_store.rotate("result", timedelta(hours=1))
        assert len(old) == 1
        for number in range(SENDERS):
            load.secrets[number] = made.hand_out
            load.each_sends(RESULTS_PER_STEP // SENDERS)
        load.each_sends(2)
        key_store.retire(list(WebhookKey.objects.filter(key_id__in=old).values_list("id", flat=True)))
        keys.forget()
        load.each_sends(RESULTS_PER_STEP // SENDERS)
    assert load.refused == []
    load.over = True
    proved_by = set(InboxMessage.objects.values_list("key_id", flat=True))
    assert len(proved_by) == ROTATIONS + 1, "each key in turn has proved some"


def test_the_load_would_notice_a_key_that_is_retired_too_early(load):
    load.each_sends(2)
    key_store.add("result")
    key_store.retire(
        list(WebhookKey.objects.filter(key_id=load_key(load.secrets[0]).key_id).values_list("id", flat=True))
    )
    keys.forget()
    load.each_sends(2)
    assert {status for _, status in load.refused} == {401}


def test_a_secret_unknown_to_all_is_refused_under_load_and_the_others_go_on(load):
    load.secrets[0] = generate_secret()
    load.each_sends(5)
    assert {key_id for key_id, _ in load.refused} == {load_key(load.secrets[0]).key_id}
