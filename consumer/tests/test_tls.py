"""`amqps://` asks for a certificate of an authority that we know, for the host that we called."""

import ssl

import kombu
from django.conf import settings
from kombu.transport.pyamqp import SSLTransport

from reference.tls import VerifyingTransport


def test_each_node_must_show_a_certificate_for_its_own_name(monkeypatch):
    asked = []
    monkeypatch.setattr(SSLTransport, "establish_connection", lambda transport: asked.append(transport.client.ssl))
    monkeypatch.setattr(settings, "BROKER_CA_FILE", "/run/ca.pem")
    connection = kombu.Connection("amqps://a:b@one.example//;amqps://a:b@two.example//")
    for _ in range(2):
        assert isinstance(connection.transport, VerifyingTransport)
        connection.transport.establish_connection()
        connection.maybe_switch_next()
    assert [options["server_hostname"] for options in asked] == ["one.example", "two.example"]
    assert {(options["cert_reqs"], options["ca_certs"]) for options in asked} == {(ssl.CERT_REQUIRED, "/run/ca.pem")}
