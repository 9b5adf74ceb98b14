"""The environment: what is refused at start, and with which sentence."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from reference import env

CONSUMER = Path(__file__).resolve().parents[1]
GOOD = {"DEBUG": False, "SECRET_KEY": "x" * 50, "RESULT_WEBHOOK_SECRET": ["a"], "CONSUMER_WEBHOOK_SECRETS": ["b"]}


def start(**variables: str) -> "subprocess.CompletedProcess[str]":
    """Loads the settings in a process of its own with only these variables."""
    environ = {"PATH": os.environ["PATH"], "CONSUMER_DATABASE_URL": "sqlite://:memory:", "BROKER_URL": "memory://"}
    return subprocess.run(
        [sys.executable, "-c", "import reference.settings as s; print(s.RESULT_WEBHOOK_SECRET)"],
        cwd=CONSUMER,
        env={**environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"SECRET_KEY": env.INSECURE_SECRET_KEY}, "CONSUMER_SECRET_KEY"),
        ({"RESULT_WEBHOOK_SECRET": []}, "RESULT_WEBHOOK_SECRET"),
        ({"CONSUMER_WEBHOOK_SECRETS": []}, "CONSUMER_WEBHOOK_SECRETS"),
    ],
)
def test_production_without_a_secret_is_refused_with_what_to_do(change: dict[str, Any], named: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=rf"{named}.*python -c"):
        env.refuse_unsafe({**GOOD, **change})
    env.refuse_unsafe({**GOOD, **change, "DEBUG": True})


def test_good_secrets_start() -> None:
    env.refuse_unsafe(GOOD)


def test_nothing_set_does_not_start() -> None:
    ended = start()
    assert ended.returncode != 0
    assert "CONSUMER_SECRET_KEY is not set" in ended.stderr


@pytest.mark.parametrize("secret", ["whsec_!!!", "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="])
def test_a_secret_that_cannot_sign_does_not_start_and_is_not_shown(secret: str) -> None:
    ended = start(CONSUMER_DEBUG="true", RESULT_WEBHOOK_SECRET=secret)
    assert ended.returncode != 0
    assert "unusable" in ended.stderr
    assert secret not in ended.stderr


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")
    ended = start(CONSUMER_DEBUG="true", RESULT_WEBHOOK_SECRET_FILE=str(file))
    assert ended.returncode == 0, ended.stderr
    assert "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" in ended.stdout


def test_a_secret_key_may_begin_with_any_character_and_an_empty_one_is_none() -> None:
    """One in fifty of Django's own begins so."""
    others = {"RESULT_WEBHOOK_SECRET": "whsec_" + "A" * 32, "CONSUMER_WEBHOOK_SECRETS": "whsec_" + "A" * 32}
    assert start(CONSUMER_SECRET_KEY="$" + "x" * 50, **others).returncode == 0
    assert "CONSUMER_SECRET_KEY is not set" in start(CONSUMER_SECRET_KEY="", **others).stderr


def test_a_filesystem_broker_gets_its_folders(tmp_path: Path) -> None:
    url, options = env.broker(f"filesystem://{tmp_path}/broker")
    assert url == "filesystem://"
    assert options["data_folder_in"] == options["data_folder_out"] == f"{tmp_path}/broker/queues"
    assert options["control_folder"] == f"{tmp_path}/broker/control"
    assert (options["store_processed"], options["polling_interval"]) == (False, 0.1)
    assert (tmp_path / "broker" / "queues").is_dir()
    assert (tmp_path / "broker" / "control").is_dir()


@pytest.mark.parametrize("url", ["", "redis://x", "http://x"])
def test_another_broker_is_refused(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="BROKER_URL"):
        env.broker(url)


def test_a_sqlite_database_waits_its_turn(tmp_path: Path) -> None:
    config = env.database(f"sqlite:///{tmp_path}/deep/x.sqlite3")
    assert config["OPTIONS"]["transaction_mode"] == "IMMEDIATE"
    assert config["OPTIONS"]["timeout"] == 20
    assert "journal_mode=WAL" in config["OPTIONS"]["init_command"]
    assert (tmp_path / "deep").is_dir()


def test_another_database_is_refused() -> None:
    with pytest.raises(ImproperlyConfigured, match="CONSUMER_DATABASE_URL"):
        env.database("mysql://u:p@h/n")


def test_limits_by_currency_are_read_and_a_mistake_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSUMER_HARD_LIMITS", "EUR:1000.50 *:7")
    assert env.amounts("CONSUMER_HARD_LIMITS") == {"EUR": "1000.50", "*": "7"}
    monkeypatch.setenv("CONSUMER_HARD_LIMITS", "EUR=5")
    with pytest.raises(ImproperlyConfigured, match="CONSUMER_HARD_LIMITS"):
        env.amounts("CONSUMER_HARD_LIMITS")


def test_the_consumer_imports_nothing_of_the_producer() -> None:
    foreign = {"producer", "outbox", "transactions", "webhooks", "scheduler"}
    files = [path for path in CONSUMER.rglob("*.py") if "tests" not in path.parts]
    assert len(files) > 20
    for path in files:
        for line in path.read_text().splitlines():
            words = line.split()
            if words[:1] in (["import"], ["from"]):
                assert words[1].split(".")[0] not in foreign, f"{path}: {line}"
