"""The first door for results: a signed POST to the Producer, with a few quick tries."""

import contextlib
import os
import random
import re
import threading
import time
from dataclasses import dataclass
from enum import Enum

import requests
from django.conf import settings
from requests.adapters import HTTPAdapter
from tenacity import RetryCallState, Retrying, retry_if_result, stop_after_attempt, stop_after_delay
from urllib3.exceptions import HTTPError

from processing import signing

# Seconds in which a new quick try may still begin; keeps one round below the task's soft limit.
QUICK_SECONDS = 15.0
# The longest wait between two quick tries, and the longest Retry-After that is waited out in place.
MAX_QUICK_PAUSE_SECONDS = 2.0
# Answers by which an open door says no to this very request; the second door checks the same and would say no too.
REFUSALS = frozenset({400, 401, 413, 415, 422})
# Bytes of an answer that are read, only so that the connection can be used again.
MAX_ANSWER_BYTES = 16 * 1024
_LENGTH = re.compile(r"[0-9]{1,9}")

pause = time.sleep
_local = threading.local()


class Kind(Enum):
    DELIVERED = "delivered"
    REFUSED = "refused"  # the Producer answered that this request is not good
    SHUT = "shut"  # nobody who could judge answered
    GONE = "gone"  # 410: the Producer wants no more


@dataclass(frozen=True)
class Answer:
    """What came of one try, or of a round of tries."""

    kind: Kind
    status: int | None = None
    error: str = ""
    retry_after: float | None = None
    tries: int = 1


def post(webhook_id: str, body: str, traceparent: str = "") -> Answer:
    """One round: up to RESULT_QUICK_ATTEMPTS tries, same id and bytes, a fresh timestamp and signature each."""
    retrying = Retrying(
        stop=stop_after_attempt(settings.RESULT_QUICK_ATTEMPTS) | stop_after_delay(QUICK_SECONDS),
        wait=_quick_pause,
        retry=retry_if_result(_worth_a_quick_try),
        retry_error_callback=_last_answer,
        sleep=pause,
    )
    answer: Answer = retrying(_post_once, webhook_id, body.encode(), traceparent)
    return Answer(answer.kind, answer.status, answer.error, answer.retry_after, retrying.statistics["attempt_number"])


def _post_once(webhook_id: str, body: bytes, traceparent: str) -> Answer:
    headers = signing.sign(settings.RESULT_SIGNING_KEYS, webhook_id, int(time.time()), body)
    if traceparent:
        headers["traceparent"] = traceparent
    try:
        with _session().post(
            settings.RESULT_URL,
            data=body,
            headers={**headers, "Content-Type": "application/json", "Accept": "application/json"},
            timeout=settings.RESULT_TIMEOUT_SECONDS,
            allow_redirects=False,
            stream=True,
        ) as response:
            _drain(response)
            return _judge(response)
    except (requests.RequestException, OSError) as error:
        return Answer(Kind.SHUT, error=type(error).__name__)


def _judge(response: requests.Response) -> Answer:
    """2xx only is success; a redirect is a failure and is not followed."""
    status = response.status_code
    if 200 <= status < 300:
        return Answer(Kind.DELIVERED, status)
    if status == 410:
        return Answer(Kind.GONE, status, "410 Gone")
    kind = Kind.REFUSED if status in REFUSALS else Kind.SHUT
    retry_after = response.headers.get("Retry-After", "")
    seconds = float(retry_after) if retry_after.isascii() and retry_after.isdigit() and len(retry_after) < 8 else None
    return Answer(kind, status, f"HTTP {status}", seconds)


def _drain(response: requests.Response) -> None:
    """Reads a short answer to its end; any other costs the connection instead. The status was read before, and stands."""
    length = response.headers.get("Content-Length", "")
    if _LENGTH.fullmatch(length) and int(length) <= MAX_ANSWER_BYTES:
        # What goes wrong here is urllib3's own: requests would turn it into one of its errors, but not below `raw`.
        with contextlib.suppress(HTTPError, OSError):
            response.raw.read(int(length))
            return
    response.close()


def _worth_a_quick_try(answer: Answer) -> bool:
    return answer.kind is Kind.SHUT and (answer.retry_after or 0.0) <= MAX_QUICK_PAUSE_SECONDS


def _quick_pause(state: RetryCallState) -> float:
    """Full jitter; a short Retry-After is waited out."""
    answer: Answer = state.outcome.result() if state.outcome else Answer(Kind.SHUT)
    jitter = random.uniform(0, min(MAX_QUICK_PAUSE_SECONDS, 0.25 * 2**state.attempt_number))
    return max(jitter, answer.retry_after or 0.0)


def _last_answer(state: RetryCallState) -> Answer:
    return state.outcome.result() if state.outcome else Answer(Kind.SHUT)


def _session() -> requests.Session:
    """One session per thread, made anew after a fork: two processes on one socket would mix up their answers."""
    if getattr(_local, "pid", None) != os.getpid():
        session = requests.Session()
        # A proxy variable or a .netrc of the host must not redirect results or add credentials to them.
        session.trust_env = False
        session.mount("http://", HTTPAdapter(max_retries=0))
        session.mount("https://", HTTPAdapter(max_retries=0))
        session.headers["User-Agent"] = "reference-consumer/1"
        _local.session, _local.pid = session, os.getpid()
    return _local.session
