"""Lets a request in: who sent it, and may they send it now. One round trip on PostgreSQL, the first of each request.

A create can do without it. A process in the midst of a client's stream takes a small lease of that client's rate, and
leaves the key's proof to the statement that writes: one round trip a create, and still the rate holds over all
processes and a revocation acts at once.
"""

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, replace

from django.db import connection
from django.utils import timezone

from transactions import clients, rate_limit
from transactions.clients import LAST_USED_SECONDS, Caller
from transactions.first_statement import first_row
from transactions.models import ApiKey

# Requests that a process takes of a client's allowance at once: this part of what is left, and at most so many. More
# saves no more; a larger part could refuse a client near its limit what another process holds and does not use.
LEASE_PART, LEASE_MOST = 1 / 64, 16
# How long a lease is good (seconds). What is not used by then is lost, as little as the rate gives back in that time.
LEASE_SECONDS = 1.0
# Keys that one process has leases for. More only costs memory, fewer only round trips.
MAX_LEASES = 1024

# One statement, because each round trip costs as much as the work in it. The key is looked up by its hash and nothing
# is cached, so a revocation acts at once; the UPDATE is atomic, so processes cannot overspend together.
_ADMIT = """
    WITH caller AS (
        SELECT k.id, k.client_id, c.name,
               k.last_used_at IS NULL OR k.last_used_at < statement_timestamp() - make_interval(secs => %(stale)s) AS stale
          FROM transactions_apikey k JOIN transactions_apiclient c ON c.id = k.client_id
         WHERE k.hash = %(hash)s AND k.revoked_at IS NULL AND c.active
           AND (k.expires_at IS NULL OR k.expires_at > statement_timestamp())
    ), spent AS (
        UPDATE transactions_clientrate r
           SET spent_until = GREATEST(r.spent_until, extract(epoch FROM clock_timestamp())) + %(interval)s * %(count)s
          FROM caller
         WHERE r.client_id = caller.client_id
           AND r.spent_until + %(interval)s * (%(count)s - 1) <= extract(epoch FROM clock_timestamp()) + %(tolerance)s
        RETURNING (extract(epoch FROM clock_timestamp()) + %(tolerance)s - r.spent_until) / %(interval)s AS left
    )
    SELECT id, client_id, name, stale, (SELECT "left" FROM spent) FROM caller
"""


@dataclass(slots=True)
class _Lease:
    """Requests of `caller` (not `proven`) that are paid for until `until` (monotonic), and how many were left to it then."""

    caller: Caller
    until: float
    unused: int
    left: float


class Leases:
    """What one process has taken ahead, by the key's hash. For any number of threads."""

    def __init__(self) -> None:
        self._leases: OrderedDict[bytes, _Lease] = OrderedDict()
        self._lock = threading.Lock()

    def use(self, hashed: bytes) -> Caller | None:
        """The caller, not `proven`, when there is a request left that is paid for."""
        with self._lock:
            lease = self._leases.get(hashed)
            if lease is None or lease.unused == 0 or lease.until <= time.monotonic():
                return None
            lease.unused -= 1
            return lease.caller

    def size_of_next(self, hashed: bytes) -> int:
        """How many to take now: one, or more where plenty was left a moment ago."""
        lease = self._leases.get(hashed)
        if lease is None or lease.until <= time.monotonic():
            return 1
        return max(1, min(LEASE_MOST, int(lease.left * LEASE_PART)))

    def keep(self, hashed: bytes, caller: Caller, unused: int, left: float) -> None:
        """Remembers what was taken."""
        with self._lock:
            self._leases[hashed] = _Lease(replace(caller, proven=False), time.monotonic() + LEASE_SECONDS, unused, left)
            self._leases.move_to_end(hashed)
            while len(self._leases) > MAX_LEASES:
                self._leases.popitem(last=False)


leases = Leases()


def admit(key: str) -> tuple[Caller | None, float | None]:
    """The caller for `key`, or None; and the seconds to wait when the client is over its rate, else None."""
    if connection.vendor != "postgresql":
        caller = clients.authenticate(key)
        return caller, None if caller is None else rate_limit.take(caller.id)
    caller, left = _take(clients.digest(key), 1)
    # Refused, or the client has no row yet (a crash empties the table): the slow path tells which.
    return caller, None if caller is None or left is not None else rate_limit.take(caller.id)


def admit_unproven(key: str, leases: Leases = leases) -> tuple[Caller | None, float | None]:
    """As `admit`, but the caller may be not `proven`: then the statement that writes has to look at the key."""
    if connection.vendor != "postgresql":
        return admit(key)
    hashed = clients.digest(key)
    if caller := leases.use(hashed):
        return caller, None
    count = leases.size_of_next(hashed)
    caller, left = _take(hashed, count)
    if caller is None or left is None:
        return admit(key)
    leases.keep(hashed, caller, count - 1, left)
    return caller, None


def _take(hashed: bytes, count: int) -> tuple[Caller | None, float | None]:
    """The key's caller, or None; and how many requests are left to it after taking `count`, None if not granted."""
    interval, tolerance = rate_limit.interval_and_tolerance()
    values = {"stale": LAST_USED_SECONDS, "hash": hashed, "interval": interval, "tolerance": tolerance, "count": count}
    row = first_row(_ADMIT, values)
    if row is None:
        return None, None
    key_id, client_id, name, stale, left = row
    if stale:
        ApiKey.objects.filter(pk=key_id).update(last_used_at=timezone.now())
    return Caller(client_id, name, key_id), None if left is None else float(left)
