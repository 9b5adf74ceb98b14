"""Says which of PostgreSQL and RabbitMQ answer, as shell assignments for .ci/test: POSTGRES=url or nothing, BROKER=…"""

import os
import shlex

import amqp
import kombu
import psycopg2

LOCAL_DATABASE_URL = "postgres://postgres@127.0.0.1:5432/test"
LOCAL_BROKER_URL = "amqp://guest:guest@127.0.0.1:5672//"
TIMEOUT_SECONDS = 5


def database() -> str:
    url = os.environ.get("DATABASE_URL") or LOCAL_DATABASE_URL
    if not url.startswith(("postgres://", "postgresql://")):
        return ""
    try:
        psycopg2.connect(url, connect_timeout=TIMEOUT_SECONDS).close()
    except psycopg2.OperationalError:
        return ""
    return url


def broker() -> str:
    url = os.environ.get("BROKER_URL") or LOCAL_BROKER_URL
    if not url.startswith(("amqp://", "amqps://")):
        return ""
    try:
        # A real log-in and not just a port: a broker that is still booting accepts connections, too.
        with kombu.Connection(url, connect_timeout=TIMEOUT_SECONDS) as connection:
            connection.connect()
    except (OSError, amqp.AMQPError):
        return ""
    return url


if __name__ == "__main__":
    print(f"POSTGRES={shlex.quote(database())}")
    print(f"BROKER={shlex.quote(broker())}")
