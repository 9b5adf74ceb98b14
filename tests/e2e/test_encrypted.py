"""The whole system with TLS to the database and to the broker; whoever cannot show the right certificate gets nothing."""

import json
import os
import subprocess
import sys

import psycopg2
import pytest

from producer import env as environment
from tests.certificates import Authority
from tests.private_postgres import PrivatePostgres
from tests.private_rabbitmq import PrivateRabbitMQ
from tests.stack import ROOT, Stack, wait_for

pytestmark = [pytest.mark.postgres, pytest.mark.rabbitmq, pytest.mark.processes, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def certificate(authority):
    return authority.certificate("127.0.0.1")


@pytest.fixture(scope="module")
def postgres(certificate):
    made = PrivatePostgres(certificate=certificate)
    made.start()
    yield made
    made.close()


@pytest.fixture
def broker(tmp_path, certificate):
    (tmp_path / "broker").mkdir()
    made = PrivateRabbitMQ(tmp_path / "broker", certificate=certificate)
    made.start()
    yield made
    made.close()


@pytest.fixture
def stack(tmp_path, authority, postgres, broker):
    (tmp_path / "stack").mkdir()
    ca = str(authority.ca)
    made = Stack(tmp_path / "stack", postgres.url, broker.url, private_broker=True, BROKER_CA_FILE=ca)
    made.env["DATABASE_URL"] = f"{made.database_url}?sslmode=verify-full&sslrootcert={ca}"
    yield made
    made.close()


def test_nothing_goes_in_the_clear_and_everything_arrives(stack, broker):
    stack.web(), stack.relay(), stack.worker(), stack.beat(), stack.consumer_web(), stack.consumer_worker()
    stack.submit(20)
    wait_for(lambda: stack.settled(20), 90, "every transaction has its result")
    encrypted = "SELECT bool_and(ssl), count(*) > 3 FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE datname = %s AND pid <> pg_backend_pid()"
    assert stack.sql(encrypted, stack.name) == [(True, True)]
    connections = [row["ssl"] for row in json.loads(broker.ctl("list_connections", "--formatter=json", "ssl"))]
    assert len(connections) > 3 and all(connections)
    sent_by = "SELECT DISTINCT channel FROM outbox_outboxmessage WHERE state = 'published'"
    assert stack.sql(sent_by) == [("broker",)]


def test_what_the_url_leaves_out_is_taken_from_the_environment(postgres, authority, tmp_path):
    """As ops/kubernetes/production says it."""
    other = Authority(tmp_path, "other")
    code = "import sys; from django.db import connection as c; c.cursor().execute('SELECT 1'); print(c.connection.info.ssl_in_use)"
    told = []
    for ca in (authority.ca, other.ca):
        settings = {"DATABASE_URL": postgres.url, "PGSSLMODE": "verify-full", "PGSSLROOTCERT": str(ca), "DEBUG": "true"}
        command = [sys.executable, "manage.py", "shell", "--no-imports", "-c", code]
        env = {**os.environ, **settings, "DJANGO_SETTINGS_MODULE": "producer.settings"}
        done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        told.append(done.stdout.strip() or done.stderr.strip().splitlines()[-1])
    assert told[0] == "True" and "certificate verify failed" in told[1], told


def test_a_database_with_a_certificate_of_somebody_else_is_not_talked_to(postgres, authority, tmp_path):
    other = Authority(tmp_path, "other")
    for ca, works in ((authority.ca, True), (other.ca, False)):
        config = environment.database(f"{postgres.url}?sslmode=verify-full&sslrootcert={ca}")
        options = {
            **config["OPTIONS"],
            "host": config["HOST"],
            "port": config["PORT"],
            "user": config["USER"],
            "dbname": "postgres",
        }
        if works:
            psycopg2.connect(**options).close()
        else:
            with pytest.raises(psycopg2.OperationalError, match="certificate verify failed"):
                psycopg2.connect(**options)
