"""`amqps://`: the broker shows a certificate of the authority that we know and for the host that we called, or nothing is sent."""

import ssl

import pytest

from outbox.amqp import AmqpPublisher
from producer.celery import app
from tests.certificates import Authority
from tests.private_rabbitmq import PrivateRabbitMQ
from tests.publisher_conformance import ids, make_event, send
from tests.stack import free_port

pytestmark = [pytest.mark.rabbitmq, pytest.mark.processes, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def node(tmp_path_factory, authority):
    """Its certificate is for the address and not for the name, which leads to the same place."""
    node = PrivateRabbitMQ(tmp_path_factory.mktemp("rabbitmq"), certificate=authority.certificate("127.0.0.1"))
    node.start()
    yield node
    node.close()


@pytest.fixture
def publish(node, settings):
    class Channel:
        routes = settings.OUTBOX_ROUTES

        def __init__(self, url):
            settings.BROKER_URL = url
            self.publisher = AmqpPublisher(url)

    def publish(url):
        events = [make_event("a", number) for number in (1, 2)]
        outcome = send(Channel(url), events)
        assert outcome.confirmed in (set(), ids(events))
        return outcome

    return publish


def test_events_go_to_a_broker_whose_authority_we_know(node, authority, settings, publish):
    settings.BROKER_CA_FILE = str(authority.ca)
    outcome = publish(node.url)
    assert outcome.trouble is None and len(outcome.confirmed) == 2


def test_a_certificate_of_nobody_we_know_is_trouble_and_nothing_is_sent(node, publish):
    outcome = publish(node.url)
    assert not outcome.confirmed and "CERTIFICATE_VERIFY_FAILED" in outcome.trouble.reason


def test_a_good_certificate_for_another_host_is_trouble_too(node, authority, settings, publish):
    settings.BROKER_CA_FILE = str(authority.ca)
    outcome = publish(node.url.replace("127.0.0.1", "localhost"))
    assert not outcome.confirmed and "Hostname mismatch" in outcome.trouble.reason


def test_each_node_of_a_cluster_is_expected_under_its_own_name(node, authority, settings, publish):
    settings.BROKER_CA_FILE = str(authority.ca)
    nobody = f"amqps://guest:guest@localhost:{free_port()}//"
    assert publish(f"{nobody};{node.url}").trouble is None


def test_celery_asks_for_the_certificate_as_well(node, authority, settings):
    with app.connection_for_write(node.url.replace("127.0.0.1", "localhost")) as connection:
        settings.BROKER_CA_FILE = str(authority.ca)
        # Not ensure_connection(): for its second try kombu makes 127.0.0.1 of `localhost`.
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            connection.transport.establish_connection()
    with app.connection_for_write(node.url) as connection:
        connection.ensure_connection(max_retries=1, interval_start=0)
