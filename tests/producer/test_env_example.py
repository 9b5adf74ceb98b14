"""`make .env` writes what Compose and a Procfile runner need: every process starts with it, and both sides hold one secret."""

import json
import os
import re
import runpy
import subprocess
import sys

import pytest
import yaml

from tests.stack import ROOT

EXAMPLE = ROOT / ".env.example"
MAKE_ENV = runpy.run_path(str(ROOT / "ops" / "make_env.py"))
READ_ENV = runpy.run_path(str(ROOT / "ops" / "run_procfile.py"))["read_env"]


@pytest.fixture
def made(tmp_path, capsys):
    assert MAKE_ENV["main"](EXAMPLE, tmp_path / ".env") == 0
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600
    return READ_ENV(tmp_path / ".env")


def settings_of(folder, module, env, *names):
    """As a process of the Procfile reads them: from `.env` and the addresses of the two services alone."""
    code = f"import json; from {module} import settings as s; print(json.dumps([getattr(s, n) for n in {names}]))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": os.environ["PATH"], **env},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_both_sides_start_with_it_and_hold_the_same_secrets(made, tmp_path):
    made |= {"DATABASE_URL": "postgres://app:x@127.0.0.1/x", "BROKER_URL": "amqp://app:x@127.0.0.1:5672//"}
    made["CONSUMER_DATABASE_URL"] = f"sqlite:///{tmp_path / 'consumer.sqlite3'}"
    results, events, url, networks, debug = settings_of(
        ROOT,
        "producer",
        made,
        "RESULT_WEBHOOK_SECRETS",
        "CONSUMER_WEBHOOK_SECRETS",
        "CONSUMER_WEBHOOK_URL",
        "WEBHOOK_ALLOWED_NETWORKS",
        "DEBUG",
    )
    signs, verifies = settings_of(
        ROOT / "consumer", "reference", made, "RESULT_WEBHOOK_SECRET", "CONSUMER_WEBHOOK_SECRETS"
    )
    assert not debug, "in production mode, where what is missing is refused"
    assert results == signs and events == verifies and len({*results, *events}) == 2
    assert url == "http://127.0.0.1:8001/webhooks/events" and networks == ["127.0.0.0/8"], "the fallback has a way"


def test_no_two_secrets_are_the_same_but_those_with_one_name(made):
    assert not [value for value in made.values() if "fixme" in value]
    example = READ_ENV(EXAMPLE)
    secrets = {name: value for name, value in example.items() if value.startswith("fixme-")}
    assert len({made[name] for name in secrets}) == len(set(secrets.values())) == 6
    again = MAKE_ENV["filled"](EXAMPLE.read_text())
    assert not [name for name in secrets if made[name] in again], "each run makes its own"


def test_it_is_never_written_over(tmp_path, capsys):
    (tmp_path / ".env").write_text("SECRET_KEY=mine")
    assert MAKE_ENV["main"](EXAMPLE, tmp_path / ".env") == 0
    assert (tmp_path / ".env").read_text() == "SECRET_KEY=mine"


def test_every_name_in_it_reaches_a_container():
    compose = (ROOT / "docker-compose.yml").read_text()
    own = {"CONSUMER_WEBHOOK_URL", "WEBHOOK_ALLOWED_NETWORKS"}
    used = set(re.findall(r"\$\{(\w+)", compose))
    assert READ_ENV(EXAMPLE).keys() - own <= used
    for name in own:
        assert f"{name}: " in compose, "Compose has its own value"
    web = yaml.safe_load(compose)["services"]["web"]["environment"]
    assert web["PUBLIC_URL"].startswith("${PUBLIC_URL:?") and web["BEHIND_TLS_PROXY"] == "${BEHIND_TLS_PROXY:-false}"


def test_compose_asks_for_no_name_that_is_not_in_it():
    compose = (ROOT / "docker-compose.yml").read_text()
    required = set(re.findall(r"\$\{(\w+):\?", compose))
    assert required and required <= READ_ENV(EXAMPLE).keys()
