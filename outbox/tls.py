"""TLS to RabbitMQ that knows whom it talks to: `amqps://` in BROKER_URL."""

import ssl
from typing import Any

from django.conf import settings
from kombu.transport import TRANSPORT_ALIASES
from kombu.transport.pyamqp import SSLTransport


class VerifyingTransport(SSLTransport):
    """kombu's, which checks the chain but no name: any server with a certificate of the same authority would do.

    It can be told a name, but one for all nodes of a cluster; here each connection expects the host that it was made to.
    """

    def establish_connection(self) -> Any:
        """Raises ssl.SSLCertVerificationError for a certificate that is expired, of another authority or for another host."""
        client: Any = self.client
        client.ssl = {
            "cert_reqs": ssl.CERT_REQUIRED,
            "ca_certs": settings.BROKER_CA_FILE or None,
            "server_hostname": client.hostname,
        }
        return super().establish_connection()


def use() -> None:
    """For every `amqps://` of this process, Celery's too: kombu looks a URL's scheme up in this table."""
    TRANSPORT_ALIASES["amqps"] = "outbox.tls:VerifyingTransport"
