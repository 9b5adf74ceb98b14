"""Clients that never pause: they submit, change and cancel transactions, repeat what had no answer, and log each answer."""

import json
import random
import threading
import time
from pathlib import Path

import requests

# One try may take so long (seconds); the API never waits for the broker, and for the database not that long.
TRY_SECONDS = 20.0
CHANGE_SHARE, CANCEL_SHARE = 0.10, 0.05


class Client(requests.Session):
    """Goes on to the next server when one gives no answer, or 503: a load balancer that looks at nobody's health."""

    def __init__(self, urls: list[str], turn: int) -> None:
        super().__init__()
        self.urls, self.turn = urls, turn
        self.trust_env = False

    @property
    def url(self) -> str:
        return self.urls[self.turn % len(self.urls)]


class Load:
    """Threads with a rate between them. What a client was told is on disk before it goes on: the log is the evidence.

    `also`: further servers of the same system; each transaction goes to the next one.
    """

    def __init__(
        self,
        url: str,
        key: str,
        folder: Path,
        seed: int,
        *,
        rate: float = 6.0,
        threads: int = 6,
        also: tuple[str, ...] = (),
    ) -> None:
        self.urls, self.key, self.rate, self.threads = [url, *also], key, rate, threads
        self.log_path = folder / "clients.jsonl"
        self._log = self.log_path.open("a", buffering=1)
        self._lock = threading.Lock()
        self._number, self._seed = 0, seed
        self._stopping, self._abandon = threading.Event(), threading.Event()
        self._pool: list[threading.Thread] = []
        self.due_at = time.monotonic()

    def start(self) -> None:
        """Also after a `stop`: then new clients go on with the next numbers."""
        self._stopping.clear()
        self._abandon.clear()
        self._pool.clear()
        self.due_at = time.monotonic()
        for number in range(self.threads):
            thread = threading.Thread(target=self._work, args=(number,), daemon=True)
            self._pool.append(thread)
            thread.start()

    def stop(self, seconds: float = 60.0) -> int:
        """No new transactions; those without an answer go on being asked for. Returns how many never had one."""
        self._stopping.set()
        until = time.monotonic() + seconds
        for thread in self._pool:
            thread.join(max(0.0, until - time.monotonic()))
        left = sum(thread.is_alive() for thread in self._pool)
        self._abandon.set()
        for thread in self._pool:
            thread.join(TRY_SECONDS + 5)
        self._log.flush()
        return left

    def burst(self, count: int) -> None:
        """Many at once, in batches, so that a fault meets them on their way."""
        session = self._session()
        while count > 0 and not self._abandon.is_set():
            size = min(count, 250)
            numbers = [self._next() for _ in range(size)]
            body = {"transactions": [_body(number) for number in numbers]}
            answer = self._until_answered(session, "batch", "transactions/batch", body, f"burst-{numbers[0]}")
            if answer is None:
                return
            count -= size

    def _work(self, place: int) -> None:
        rng, session = random.Random(f"{self._seed}/{place}"), self._session(place)
        while not self._stopping.is_set():
            self._pace()
            session.turn += 1
            number = self._next()
            answer = self._until_answered(session, "create", "transactions", _body(number), f"load-{number}")
            if answer is None:
                return
            dice = rng.random()
            if dice < CHANGE_SHARE:
                self._once(session, "PATCH", answer, {"description": f"changed {number}"})
            elif dice < CHANGE_SHARE + CANCEL_SHARE:
                self._once(session, "DELETE", answer, None)

    def _pace(self) -> None:
        with self._lock:
            self.due_at = max(self.due_at + 1.0 / self.rate, time.monotonic() - 1.0)
            wait = self.due_at - time.monotonic()
        if wait > 0:
            self._stopping.wait(wait)

    def _next(self) -> int:
        with self._lock:
            self._number += 1
            return self._number

    def _session(self, turn: int = 0) -> Client:
        session = Client(self.urls, turn)
        session.headers["Authorization"] = f"Bearer {self.key}"
        return session

    def _until_answered(self, session, op, path, body, key):
        """The same key until the API says what became of it."""
        pause = 0.1
        while not self._abandon.is_set():
            answer = self._try(session, "POST", op, path, body, key)
            if answer is not None and answer.status_code == 201:
                return answer.json()
            if answer is not None and answer.status_code not in {409, 429, 500, 503}:
                return None
            self._abandon.wait(pause)
            pause = min(pause * 2, 1.0)
        return None

    def _once(self, session, method, created, body):
        self._try(
            session, method, method.lower(), f"transactions/{created['id']}", body, None, version=created["version"]
        )

    def _try(self, session, method, op, path, body, key, **more):
        headers = {"Idempotency-Key": key} if key else {"If-Match": "*"}
        started, at = time.monotonic(), time.time()
        entry = {"at": at, "op": op, "key": key, "server": session.url, **more}
        if op == "batch":
            entry["count"] = len(body["transactions"])
        try:
            answer = session.request(
                method, f"{session.url}/api/v1/{path}", json=body, headers=headers, timeout=TRY_SECONDS
            )
        except requests.RequestException as error:
            session.turn += 1
            self._note(entry, started, error=type(error).__name__, target=path)
            return None
        told = {"status": answer.status_code, "target": path, "replayed": answer.headers.get("Idempotent-Replayed")}
        if answer.ok and answer.content:
            told["body"] = answer.json()
        elif answer.status_code >= 500:
            told |= {"text": answer.text[:300], "retry_after": answer.headers.get("Retry-After")}
        session.turn += answer.status_code == 503
        self._note(entry, started, **told)
        return answer

    def _note(self, entry, started, **told):
        entry |= {"ms": round((time.monotonic() - started) * 1000), **told}
        with self._lock:
            self._log.write(json.dumps(entry) + "\n")

    def replay(self, keys: dict[str, dict]) -> int:
        """Asks again with keys that were answered; returns how many answers differ from the first."""
        session, wrong = self._session(), 0
        for key, first in keys.items():
            op, path = ("batch", "transactions/batch") if key.startswith("burst-") else ("create", "transactions")
            start = int(key.split("-")[1])
            body = _body(start)
            if op == "batch":
                body = {"transactions": [_body(start + n) for n in range(len(first["data"]))]}
            answer = session.post(
                f"{session.url}/api/v1/{path}", json=body, headers={"Idempotency-Key": key}, timeout=TRY_SECONDS
            )
            same = answer.status_code == 201 and answer.json() == first
            wrong += not (same and answer.headers.get("Idempotent-Replayed") == "true")
        return wrong


def _body(number: int) -> dict:
    return {
        "account_number": "DE89370400440532013000",
        "amount": f"{number % 9000 + 1}.{number % 100:02d}",
        "currency": "EUR",
        "direction": "debit",
        "transaction_date": "2026-11-20T12:00:00Z",
        "description": f"Invoice {number}",
        "external_id": f"load-{number}",
    }
