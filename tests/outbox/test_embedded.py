"""The channel that needs no server."""

import json
from types import SimpleNamespace

import pytest
from kombu.transport import filesystem

from outbox import topology
from outbox.embedded import EmbeddedPublisher
from producer.env import broker
from tests.publisher_conformance import RoutedConformance, make_event, send


class EmbeddedChannel:
    def __init__(self, settings, folder):
        self.settings, self.routes = settings, settings.OUTBOX_ROUTES
        settings.BROKER_TRANSPORT_URL, settings.BROKER_TRANSPORT_OPTIONS = broker(f"filesystem://{folder}")
        # kombu remembers per process, and not per folder, what it has declared.
        filesystem.Transport.global_state.clear()
        self.options = settings.BROKER_TRANSPORT_OPTIONS
        self.publisher = EmbeddedPublisher()

    def messages(self):
        with topology.connect() as connection:
            channel, found = connection.channel(), []
            while (message := channel.basic_get(self.routes["transactions"]["queue"], no_ack=True)) is not None:
                found.append(message)
            return found

    def received(self):
        return [json.loads(bytes(message.body))[1]["event"] for message in self.messages()]

    def take_away(self):
        self.publisher.close()
        gone = "/proc/nowhere"
        self.settings.BROKER_TRANSPORT_OPTIONS = {
            **self.options, "data_folder_in": gone, "data_folder_out": gone, "control_folder": gone
        }  # fmt: skip

    def bring_back(self):
        self.settings.BROKER_TRANSPORT_OPTIONS = self.options


class TestEmbedded(RoutedConformance):
    @pytest.fixture
    def channel(self, settings, tmp_path):
        channel = EmbeddedChannel(settings, tmp_path)
        yield channel
        channel.publisher.close()

    def test_the_message_is_persistent_and_carries_its_id(self, channel):
        event = make_event()
        send(channel, [event])
        (message,) = channel.messages()
        properties = SimpleNamespace(**message.properties)
        assert (properties.message_id, properties.delivery_mode) == (str(event.id), 2)
        assert message.headers["cloudEvents_id"] == str(event.id)
