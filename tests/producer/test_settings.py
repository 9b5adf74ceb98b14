"""The environment: safe defaults, or a refusal that says what to do."""

import os
import re
import subprocess
import sys

import pytest

from producer import env as environment
from tests.stack import ROOT

SAFE = {
    "DEBUG": "false",
    "SECRET_KEY": "x" * 50,
    "ALLOWED_HOSTS": "producer.example",
    "DATABASE_URL": "postgres://app:pw@db.example:5432/producer",
    "BROKER_URL": "amqp://relay:pw@mq.example:5672/producer",
}


SHOWN = "print(s.DEBUG, s.SECRET_KEY[:3], s.ALLOWED_HOSTS, s.BROKER_URL)"


def start(shown=SHOWN, **changes):
    """Imports the settings in a process of its own, as every command of ours does first."""
    env = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG"}}
    env |= {name: value for name, value in {**SAFE, **changes}.items() if value is not None}
    code = ["-c", f"from producer import settings as s; {shown}"]
    done = subprocess.run([sys.executable, *code], env=env, cwd=ROOT, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def test_a_complete_production_environment_starts():
    code, output = start()
    assert code == 0 and output.startswith("False xxx ['producer.example']"), output


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"BROKER_CA_FILE": "/nowhere/ca.pem"}, "BROKER_CA_FILE names no file"),
        ({"SECRET_KEY": None}, "SECRET_KEY"),
        ({"ALLOWED_HOSTS": None}, "ALLOWED_HOSTS"),
        ({"BROKER_URL": "amqp://guest:guest@mq.example:5672//"}, "guest"),
        ({"BROKER_URL": "amqp://mq.example:5672//"}, "guest"),
        ({"READ_BROKER_URL": "amqp://guest:guest@mq.example:5672//"}, "guest"),
        ({"DATABASE_URL": "mysql://a:b@c/d"}, "DATABASE_URL"),
        ({"BROKER_URL": "redis://127.0.0.1"}, "BROKER_URL"),
        ({"BROKER_URL": "amqp://%67uest:x@mq.example/x"}, "guest"),
        ({"DATABASE_URL": "junk"}, "DATABASE_URL"),
        ({"SECRET_KEY": ""}, "SECRET_KEY"),
        ({"SECRET_KEY": "  "}, "SECRET_KEY"),
        ({"SECRET_KEY": None, "SECRET_KEY_FILE": "/nowhere/key"}, "SECRET_KEY_FILE"),
        ({"OUTBOX_WIRE_FORMAT": "Celery"}, "OUTBOX_WIRE_FORMAT must be one of celery, cloudevents"),
        ({"LOG_LEVEL": "loud"}, "LOG_LEVEL must be one of DEBUG"),
        ({"RESULT_WEBHOOK_SECRETS": "whsec_!!!"}, "RESULT_WEBHOOK_SECRETS"),
        ({"CONSUMER_WEBHOOK_SECRETS": "whsec_!!!"}, "CONSUMER_WEBHOOK_SECRETS"),
        ({"CONSUMER_WEBHOOK_SECRETS": "whpk_" + "A" * 43 + "="}, "whpk_"),
        ({"CONSUMER_WEBHOOK_URL": "notaurl"}, "CONSUMER_WEBHOOK_URL"),
        ({"WEBHOOK_ALLOWED_NETWORKS": "banana"}, "WEBHOOK_ALLOWED_NETWORKS"),
        ({"API_RATE_PER_SECOND": "0"}, "API_RATE_PER_SECOND must be a whole number of at least 1"),
        ({"API_RATE_PER_SECOND": "abc"}, "API_RATE_PER_SECOND must be a whole number, such as 200"),
        ({"OUTBOX_BATCH_SIZE": "-5"}, "OUTBOX_BATCH_SIZE"),
        ({"OUTBOX_FALLBACK_TIMEOUT_SECONDS": "0.5"}, "OUTBOX_FALLBACK_TIMEOUT_SECONDS must be a number of at least 1"),
        ({"OUTBOX_FALLBACK_AFTER_SECONDS": "nan"}, "OUTBOX_FALLBACK_AFTER_SECONDS"),
        ({"ADMIN_SECOND_FACTOR": "enabled"}, "ADMIN_SECOND_FACTOR must be true or false"),
        ({"HTTPS_ONLY": "ture"}, "HTTPS_ONLY must be true or false"),
        ({"PUBLIC_URL": "producer.example"}, "PUBLIC_URL must be a URL such as https://"),
        ({"PROBLEM_TYPE_BASE": "/problems/"}, "PROBLEM_TYPE_BASE must be a URL"),
        ({"ALLOWED_HOSTS": "https://producer.example"}, "ALLOWED_HOSTS must be host names alone"),
    ],
    ids=str,
)
def test_an_unsafe_default_is_refused_with_what_to_do(changes, word):
    code, output = start(**changes)
    assert code != 0 and "ImproperlyConfigured" in output and word in output


def test_an_empty_number_word_or_switch_is_the_default():
    """As Compose writes what is not set."""
    assert start(API_RATE_PER_SECOND="", OUTBOX_WIRE_FORMAT="", LOG_LEVEL="")[0] == 0
    switches = {"ADMIN_SECOND_FACTOR": "", "HTTPS_ONLY": "", "METRICS": "", "PUBLIC_URL": "https://producer.example"}
    code, output = start("print(s.ADMIN_SECOND_FACTOR, s.HTTPS_ONLY, s.METRICS)", **switches)
    assert code == 0 and output == "True True True\n", output
    code, output = start(DEBUG="true", SECRET_KEY="")
    assert code == 0 and output.startswith("True ins"), output


def test_an_empty_address_is_the_default():
    code, output = start("print(s.PUBLIC_URL, s.PROBLEM_TYPE_BASE)", PUBLIC_URL="", PROBLEM_TYPE_BASE="")
    assert code == 0 and output == "http://127.0.0.1:8000 http://127.0.0.1:8000/problems/\n", output


def test_no_refusal_repeats_a_secret():
    assert "c2VjcmV0" not in start(RESULT_WEBHOOK_SECRETS="whsec_c2VjcmV0!")[1]


@pytest.mark.parametrize(
    ("name", "scheme"),
    [
        ("DATABASE_URL", "postgres"),
        ("DATABASE_DIRECT_URL", "postgres"),
        ("DATABASE_REPLICA_URL", "postgres"),
        ("BROKER_URL", "amqp"),
        ("TASKS_BROKER_URL", "amqps"),
    ],
)
def test_a_password_that_ends_the_url_is_told_by_name_and_not_shown(name, scheme):
    code, output = start(**{name: f"{scheme}://app:hunter/2@db.example/producer"})
    assert code != 0 and f"ImproperlyConfigured: {name} cannot be read" in output and "%2F" in output
    assert "hunter" not in output


def test_a_secret_may_begin_with_any_character():
    """One in fifty of Django's own begins so."""
    code, output = start(SECRET_KEY="$" + "x" * 50)
    assert code == 0 and " $xx " in output, output


def test_guest_is_fine_on_loopback():
    assert start(BROKER_URL="amqp://guest:guest@127.0.0.1:5672//")[0] == 0


def test_debug_is_on_only_where_everything_is_embedded(tmp_path):
    code, output = start(DEBUG=None, SECRET_KEY=None, ALLOWED_HOSTS=None, DATABASE_URL=None, BROKER_URL=None)
    assert code == 0 and output.startswith("True ")
    assert start(DEBUG=None, BROKER_URL=None)[1].startswith("False ")
    (tmp_path / "url").write_text(SAFE["DATABASE_URL"])
    file_only = {"DEBUG": None, "DATABASE_URL": None, "BROKER_URL": None, "DATABASE_URL_FILE": str(tmp_path / "url")}
    assert start(**file_only)[1].startswith("False ")


def test_secrets_come_from_files_too(tmp_path):
    (tmp_path / "secret").write_text("abc" * 20)
    code, output = start(SECRET_KEY=None, SECRET_KEY_FILE=str(tmp_path / "secret"))
    assert code == 0 and " abc " in output


def test_postgresql_gets_deadlines_and_sqlite_takes_its_lock_at_begin(tmp_path):
    options = environment.database("postgres://a:b@127.0.0.1/c")["OPTIONS"]
    assert (
        options["connect_timeout"] == 3
        and "lock_timeout" in options["options"]
        and "statement_timeout" in options["options"]
    )
    assert environment.database(f"sqlite:///{tmp_path}/x.sqlite3")["OPTIONS"]["transaction_mode"] == "IMMEDIATE"


def test_every_setting_is_documented():
    text = (ROOT / "docs" / "settings.md").read_text()
    source = (ROOT / "producer" / "settings.py").read_text()
    names = set(re.findall(r"(?:env\.\w+|words|readable_file|number|choice|switch)\(\"(\w+)\"", source))
    missing = sorted(name for name in names if f"`{name}`" not in text)
    assert not missing, f"docs/settings.md does not name {missing}"
