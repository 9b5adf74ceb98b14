"""Fifty requests with one Idempotency-Key at once, over several server processes: one transaction, one event, one answer."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.stack import plain

pytestmark = [pytest.mark.postgres, pytest.mark.rabbitmq, pytest.mark.processes, pytest.mark.timeout(180)]


def test_50_concurrent_requests_with_one_key_make_one_transaction_and_get_one_answer(stack):
    stack.web(WEB_WORKERS="4", WEB_THREADS="4")

    def one(_):
        for _attempt in range(20):
            answer = stack.post("/api/v1/transactions", plain(1), "the-one-key")
            if answer.status_code == 201:
                return answer
            assert answer.status_code == 409 and answer.headers["Retry-After"], answer.text
            time.sleep(float(answer.headers["Retry-After"]))
        raise AssertionError("a 409 never turned into the answer")

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(one, range(50)))
    assert len({(answer.text, answer.headers["Location"], answer.headers["ETag"]) for answer in answers}) == 1
    assert [answer.headers["Idempotent-Replayed"] for answer in answers].count("false") == 1
    for table in (
        "transactions_transaction",
        "transactions_idempotencykey",
        "transactions_historyentry",
        "outbox_outboxmessage",
    ):
        assert stack.sql(f"SELECT count(*) FROM {table}") == [(1,)], table


def test_a_revoked_key_fails_on_the_next_request_in_every_process(stack):
    stack.web(WEB_WORKERS="4", WEB_THREADS="2")
    key = stack.manage("create_api_client", "to-be-revoked").strip().splitlines()[-1]
    headers = {"Authorization": f"Bearer {key}"}
    url = f"{stack.url}/api/v1/transactions"
    assert {requests.get(url, headers=headers, timeout=10).status_code for _ in range(16)} == {200}
    stack.sql("UPDATE transactions_apikey SET revoked_at = now() WHERE prefix = %s", key[:10])
    assert {requests.get(url, headers=headers, timeout=10).status_code for _ in range(16)} == {401}
