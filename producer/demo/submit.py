"""A client of the public API: submits, honours Retry-After, asks for results. Shared by `demo` and `simulate`."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import requests

TIMEOUT_SECONDS = 15  # the API promises an answer within its own deadlines, which are shorter
RETRY_FOR_SECONDS = 60.0  # 429, 503 and a refused connection are retried this long with the same Idempotency-Key
MAX_PAUSE_SECONDS = 5.0  # a longer Retry-After is asked for in slices, so that Ctrl-C is noticed
RETRIED = (429, 503)
PAGE = 100


@dataclass(frozen=True)
class Answer:
    """What became of one request body. `status` 0 means that no answer came at all."""

    number: int
    status: int
    seconds: float
    transaction: dict[str, Any] | None = None
    problem: str = ""

    @property
    def accepted(self) -> bool:
        return self.transaction is not None


class Api:
    def __init__(
        self,
        base_url: str,
        key: str,
        cancelled: Callable[[], bool] = lambda: False,
        retry_seconds: float = RETRY_FOR_SECONDS,
    ) -> None:
        self._retry_seconds = retry_seconds
        self.base_url = base_url.rstrip("/")
        self._key = key
        self._cancelled = cancelled
        self._local = threading.local()

    def submit(self, number: int, body: bytes, idempotency_key: str) -> Answer:
        """One transaction. A retry carries the same key, so it can never create a second one."""
        give_up_at = time.monotonic() + self._retry_seconds
        headers = {"Content-Type": "application/json", "Idempotency-Key": idempotency_key}
        while True:
            started = time.monotonic()
            pause = 0.5
            try:
                response = self._session().post(
                    f"{self.base_url}/api/v1/transactions", data=body, headers=headers, timeout=TIMEOUT_SECONDS
                )
            except requests.RequestException as error:
                answer = Answer(number, 0, time.monotonic() - started, problem=f"no answer: {error}")
            else:
                answer = _read_answer(number, response, time.monotonic() - started)
                pause = _retry_after(response)
            if answer.status not in (0, *RETRIED) or self._cancelled() or time.monotonic() + pause > give_up_at:
                return answer
            time.sleep(pause)

    def why_not_usable(self) -> str:
        """Empty when the address answers and takes the key; else what is wrong, to be told before any load."""
        try:
            response = self._session().get(
                f"{self.base_url}/api/v1/transactions", params={"limit": "1"}, timeout=TIMEOUT_SECONDS
            )
        except requests.RequestException as error:
            return f"{self.base_url} does not answer: {error}"
        return "" if response.ok else _read_answer(0, response, 0).problem

    def changed_since(self, updated_gte: str | None) -> Iterator[dict[str, Any]]:
        """This client's transactions, page by page; only those changed at or after the given time."""
        parameters: dict[str, str] = {"limit": str(PAGE)}
        if updated_gte:
            parameters["updated_gte"] = updated_gte
        while True:
            response = self._session().get(
                f"{self.base_url}/api/v1/transactions", params=parameters, timeout=TIMEOUT_SECONDS
            )
            response.raise_for_status()  # also a 503: the caller asks again anyway, and keeps an eye on its deadline
            page = response.json()
            yield from page["data"]
            if not page.get("next_cursor"):
                return
            parameters["cursor"] = page["next_cursor"]

    def _session(self) -> requests.Session:
        """A session per thread: requests does not promise that one may be shared."""
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = requests.Session()
            session.headers["Authorization"] = f"Bearer {self._key}"
            session.trust_env = False  # a proxy from the environment must not see loopback traffic and the key
            self._local.session = session
        return session


def _read_answer(number: int, response: requests.Response, seconds: float) -> Answer:
    try:
        content = response.json()
    except ValueError:
        content = {}
    if response.status_code == 201 and isinstance(content, dict):
        return Answer(number, 201, seconds, transaction=content)
    return Answer(number, response.status_code, seconds, problem=_explain(response.status_code, content))


def _explain(status: int, content: Any) -> str:
    if not isinstance(content, dict):
        return f"HTTP {status}"
    errors = content.get("errors")
    places = "; ".join(f"{error.get('pointer')}: {error.get('detail')}" for error in errors) if errors else ""
    return f"HTTP {status} {content.get('title', '')}. {places or content.get('detail', '')}".strip()


def _retry_after(response: requests.Response) -> float:
    value = response.headers.get("Retry-After", "")
    return min(float(value), MAX_PAUSE_SECONDS) if value.isdecimal() else 0.5
