"""schemathesis reads the published schema and attacks a live server: no 5xx, and every answer is as described."""

import os
import subprocess
import sys
import uuid
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg2
import pytest
import requests

from tests.settings import DATABASE_URL, TEST_SECRET
from tests.stack import ROOT, free_port, wait_for

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
# Enough to try each operation in each phase; the bound is the test's own deadline, for one that hangs (seconds). It takes 40 to 90
# alone, and several times as long on a slow machine beside the rest of the gate.
EXAMPLES, DEADLINE = 12, 420

pytestmark = [pytest.mark.postgres, pytest.mark.processes, pytest.mark.timeout(DEADLINE + 60)]


def administer(statement):
    connection = psycopg2.connect(DATABASE_URL)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
    finally:
        connection.close()


@pytest.fixture
def database_url():
    name = f"schemathesis_{uuid.uuid4().hex[:10]}"
    administer(f'CREATE DATABASE "{name}"')
    yield urlunsplit(urlsplit(DATABASE_URL)._replace(path=f"/{name}"))
    administer(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def server(tmp_path, database_url):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    env = {
        **os.environ,
        "DATABASE_URL": database_url,
        "BROKER_URL": f"filesystem://{tmp_path / 'broker'}",
        "STATE_FOLDER": str(tmp_path),
        "DEBUG": "false",
        "SECRET_KEY": "only-for-this-run",
        "ALLOWED_HOSTS": "127.0.0.1",
        "PUBLIC_URL": url,
        "RESULT_WEBHOOK_SECRETS": TEST_SECRET,
        "API_RATE_PER_SECOND": "100000",
        "API_RATE_BURST": "100000",
        "WEBHOOK_RATE_PER_SECOND": "100000",
        "WEBHOOK_RATE_BURST": "100000",
        # Nobody delivers here, so events do wait.
        "OUTBOX_READY_MAX_AGE_SECONDS": "100000",
        "LOG_LEVEL": "ERROR",
    }
    env.pop("DJANGO_SETTINGS_MODULE", None)

    def manage(*arguments):
        command = [sys.executable, "manage.py", *arguments]
        return subprocess.run(command, env=env, cwd=ROOT, check=True, capture_output=True, text=True).stdout

    manage("migrate", "--verbosity=0")
    env["PRODUCER_API_KEY"] = manage("create_api_client", "schemathesis").strip().splitlines()[-1]
    gunicorn = [str(BIN / "gunicorn"), "-c", "ops/gunicorn.conf.py", "producer.wsgi:application"]
    log = tmp_path / "web.log"
    with log.open("wb") as output:
        web = subprocess.Popen(
            [*gunicorn, "--bind", f"127.0.0.1:{port}"], env=env, cwd=ROOT, stdout=output, stderr=output
        )

    def answers():
        try:
            return requests.get(f"{url}/livez", timeout=5).ok
        except requests.RequestException:
            return False

    try:
        wait_for(answers, 30, "the server answers")
        yield url, env, log
    finally:
        web.terminate()
        try:
            web.wait(20)
        except subprocess.TimeoutExpired:
            web.kill()
            web.wait(10)


def test_no_server_error_and_every_answer_conforms_to_the_schema(server, tmp_path):
    url, env, log = server
    command = [
        str(BIN / "schemathesis"),
        "--config-file",
        str(HERE / "schemathesis.toml"),
        "run",
        f"{url}/api/v1/schema",
    ]
    options = ["-n", str(EXAMPLES), "--phases", "examples,coverage,fuzzing,stateful", "--continue-on-failure"]
    settings = {"SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": str(HERE), "NO_COLOR": "1"}
    run = subprocess.run(
        [*command, *options, "--warnings", "off", "--workers", "1"],
        env=env | settings,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert run.returncode == 0, run.stdout[-12_000:] + run.stderr[-2_000:] + log.read_text(errors="replace")[-4_000:]
    # It met every operation but the schema it reads: a run that tested nothing would pass too.
    operations = sum(
        method in {"get", "post", "put", "patch", "delete"}
        for path in requests.get(f"{url}/api/v1/schema", timeout=5).json()["paths"].values()
        for method in path
    )
    assert f"Tested: {operations - 1}" in run.stdout
