"""The second door's message, published with kombu to a broker in memory."""

import json
from typing import Any

import pytest
from kombu import Connection, Queue
from standardwebhooks.webhooks import Webhook

from processing import queue_door

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.mark.real_queue_door
def test_the_message_is_a_protocol_2_task_with_a_signature_over_the_raw_text(monkeypatch: pytest.MonkeyPatch) -> None:
    with Connection("memory://") as connection:
        channel = connection.channel()
        Queue("producer.results.v1")(channel).declare()
        queue_door.send("res_1", '{"type":"transaction.succeeded"}')
        message = channel.basic_get("producer.results.v1")
    assert message is not None
    assert message.headers["task"] == "results.receive"
    assert message.headers["id"] == message.properties["correlation_id"]
    assert message.properties["delivery_mode"] == 2
    assert message.content_type == "application/json"
    args, kwargs, embed = json.loads(message.body)
    assert (args, set(kwargs)) == ([], {"headers", "body"})
    assert set(embed) == {"callbacks", "errbacks", "chain", "chord"}
    assert set(kwargs["headers"]) == {"webhook-id", "webhook-timestamp", "webhook-signature"}
    assert Webhook(SECRET).verify(kwargs["body"], kwargs["headers"]) == {"type": "transaction.succeeded"}


@pytest.mark.real_queue_door
def test_a_broker_that_is_away_is_a_queue_door_error(settings: Any) -> None:
    settings.BROKER_URL = "amqp://guest:guest@127.0.0.1:1//"
    with pytest.raises(queue_door.QueueDoorError):
        queue_door.send("res_1", "{}")


@pytest.mark.real_queue_door
@pytest.mark.parametrize("returned", [True, False])
def test_a_returned_message_is_not_sent(monkeypatch: pytest.MonkeyPatch, returned: bool) -> None:
    """A broker confirms an unroutable message too; only the return, which comes before, tells."""

    class Producer:
        def __init__(self, *_: Any, on_return: Any, **__: Any) -> None:
            self.on_return = on_return

        def publish(self, **options: Any) -> None:
            assert options["mandatory"] is True
            if returned:
                self.on_return(None, "", "producer.results.v1", None)

    monkeypatch.setattr(queue_door, "Producer", Producer)
    if returned:
        with pytest.raises(queue_door.QueueDoorError, match="no queue"):
            queue_door.send("res_1", "{}")
    else:
        queue_door.send("res_1", "{}")
