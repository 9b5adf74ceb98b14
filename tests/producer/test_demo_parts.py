"""The small parts of the demo: ports, keys, environments, files, percentiles, the crowd of submitting threads."""

import socket
import stat
from pathlib import Path

import pytest
import responses
from django.core.management import CommandError, call_command

from producer.demo import environment, ports
from producer.demo.crowd import Crowd
from producer.demo.environment import Places
from producer.demo.keys import load_or_make
from producer.demo.numbers import percentile, seconds_between
from producer.demo.preflight import PreflightError, check_services, read_bodies
from producer.demo.submit import Api

URL = "http://producer.test"
PLACES = Places("http://127.0.0.1:8000", "http://127.0.0.1:8001", "key")


def test_a_taken_port_is_passed_over() -> None:
    with ports.listen(0) as first:
        taken = first.getsockname()[1]
        with ports.listen(taken) as second:
            assert second.getsockname()[1] != taken
            with socket.create_connection(second.getsockname()[:2], timeout=5):
                pass


def test_a_free_port_is_taken_as_wished() -> None:
    with ports.listen(0) as probe:
        free = probe.getsockname()[1]
    with ports.listen(free) as wished:
        assert ports.url(wished) == f"http://127.0.0.1:{free}"


def test_keys_are_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    made = load_or_make(path)
    assert load_or_make(path) == made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert made.result_webhook_secret.startswith("whsec_")


def test_half_a_key_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text('{"secret_key": "abc', encoding="utf-8")
    assert load_or_make(path) == load_or_make(path)


def test_what_the_person_set_wins_and_empty_means_unset(tmp_path: Path) -> None:
    keys = load_or_make(tmp_path / "keys.json")
    base = {"SECRET_KEY": "mine", "DATABASE_URL": "", "DJANGO_SETTINGS_MODULE": "producer.settings"}
    made = environment.producer_environment(base, keys, PLACES)
    assert made["SECRET_KEY"] == "mine"
    assert "DATABASE_URL" not in made
    assert "DJANGO_SETTINGS_MODULE" not in made
    assert made["CONSUMER_WEBHOOK_URL"] == "http://127.0.0.1:8001/webhooks/events"


def test_the_consumer_gets_none_of_the_producers_own_settings(tmp_path: Path) -> None:
    keys = load_or_make(tmp_path / "keys.json")
    base = {"SECRET_KEY": "mine", "DATABASE_URL": "postgres://x/y", "RESULT_WEBHOOK_SECRETS": "whsec_a whsec_b"}
    made = environment.consumer_environment(base, keys, PLACES)
    assert {"SECRET_KEY", "DATABASE_URL", "RESULT_WEBHOOK_SECRETS"}.isdisjoint(made)
    assert made["RESULT_WEBHOOK_SECRET"] == "whsec_a"
    assert made["PRODUCER_API_KEY"] == "key"


def test_a_file_is_sent_as_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"amount": "1.10" , "description":"\xc5\xbb"}\n\n{"amount": 1}\n')
    assert read_bodies(path) == [b'{"amount": "1.10" , "description":"\xc5\xbb"}', b'{"amount": 1}']


@pytest.mark.parametrize("content", ["", "\n \n", '{"a": 1}\n{"a"'])
def test_a_useless_file_is_refused_before_anything_starts(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(PreflightError):
        read_bodies(path)


def test_a_service_that_does_not_answer_is_named() -> None:
    with ports.listen(0) as probe:
        free = probe.getsockname()[1]
    with pytest.raises(PreflightError, match=f"127.0.0.1:{free} .BROKER_URL"):
        check_services({"BROKER_URL": f"amqp://guest@127.0.0.1:{free}//"})
    check_services({"DATABASE_URL": "sqlite:////tmp/x.sqlite3", "BROKER_URL": "filesystem:///tmp/x"})


def test_percentiles_are_values_that_occurred() -> None:
    values = [float(number) for number in range(1, 101)]
    assert (percentile(values, 0.5), percentile(values, 0.99), percentile([7.0], 0.99)) == (50.0, 99.0, 7.0)
    assert percentile([], 0.5) == 0.0
    assert seconds_between("2026-11-22T10:00:00Z", "2026-11-22T10:00:01.500000Z") == 1.5


@responses.activate
def test_a_retry_carries_the_same_idempotency_key() -> None:
    post = responses.add(responses.POST, f"{URL}/api/v1/transactions", status=429, headers={"Retry-After": "0"})
    responses.add(responses.POST, f"{URL}/api/v1/transactions", status=503, headers={"Retry-After": "0"})
    responses.add(responses.POST, f"{URL}/api/v1/transactions", status=201, json={"id": "1"})
    answer = Api(URL, "key").submit(1, b"{}", "idem-1")
    assert answer.transaction == {"id": "1"}
    assert post.call_count == 1
    assert {call.request.headers["Idempotency-Key"] for call in responses.calls} == {"idem-1"}
    assert len(responses.calls) == 3


@responses.activate
def test_a_refusal_is_not_retried_and_says_where() -> None:
    problem = {"title": "Invalid", "errors": [{"pointer": "#/amount", "detail": "must be a string"}]}
    responses.add(responses.POST, f"{URL}/api/v1/transactions", status=422, json=problem)
    answer = Api(URL, "key").submit(1, b"{}", "idem-1")
    assert not answer.accepted
    assert "#/amount: must be a string" in answer.problem
    assert len(responses.calls) == 1


@responses.activate
def test_the_crowd_hands_back_every_answer() -> None:
    responses.add(responses.POST, f"{URL}/api/v1/transactions", status=201, json={"id": "1"})
    with Crowd(Api(URL, "key"), [b"{}"] * 50, "key", threads=4) as crowd:
        answers = [answer for answer in crowd if answer is not None]
    assert sorted(answer.number for answer in answers) == list(range(1, 51))
    keys = {call.request.headers["Idempotency-Key"] for call in responses.calls}
    assert len(keys) == 50


@responses.activate
def test_a_cursor_is_followed_to_the_end() -> None:
    pages = f"{URL}/api/v1/transactions"
    responses.add(responses.GET, pages, json={"data": [{"id": "2"}], "next_cursor": "abc", "has_more": True})
    responses.add(responses.GET, pages, json={"data": [{"id": "1"}], "next_cursor": None, "has_more": False})
    assert [found["id"] for found in Api(URL, "key").changed_since(None)] == ["2", "1"]
    assert "cursor=abc" in str(responses.calls[1].request.url)


@pytest.mark.parametrize("option", ["--rate", "--seconds"])
@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf"])
def test_simulate_refuses_what_is_no_rate_or_time(monkeypatch: pytest.MonkeyPatch, option: str, value: str) -> None:
    monkeypatch.setattr(Api, "why_not_usable", lambda _: "")
    with pytest.raises(CommandError, match="numbers above 0"):
        call_command("simulate", option, value, "--url", "http://127.0.0.1:1", "--key", "x")
