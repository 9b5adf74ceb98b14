"""The summary of a demo run: counts, times, addresses, what to do next."""

from collections.abc import Sequence
from pathlib import Path

from producer.demo.accounts import ADMIN_NAME
from producer.demo.environment import Places
from producer.demo.output import say
from producer.demo.results import Results
from producer.demo.submit import Answer

SHOWN_PROBLEMS = 5

OWN_TRANSACTION = (
    """curl -s "$PRODUCER_URL/api/v1/transactions" -H "Authorization: Bearer $PRODUCER_API_KEY" """
    """-H 'Content-Type: application/json' -H "Idempotency-Key: $(date +%s%N)" """
    """-d '{"account_number":"DE89370400440532013000","amount":"125.50","currency":"EUR","direction":"debit"}'"""
)


def print_counts(answers: Sequence[Answer], results: Results, wall_seconds: float) -> None:
    refused = [answer for answer in answers if not answer.accepted]
    say()
    say(f"Submitted   {len(answers)}: {results.total} accepted, {len(refused)} refused")
    for answer in refused[:SHOWN_PROBLEMS]:
        say(f"            number {answer.number}: {answer.problem}")
    for status, count in results.counts.items():
        say(f"            {count:>6} {status}")
    if results.done:
        p50, p99 = results.end_to_end(0.50), results.end_to_end(0.99)
        say(f"End to end  p50 {p50:.2f} s, p99 {p99:.2f} s (created_at to processed_at)")
    say(f"Wall        {wall_seconds:.1f} s")
    say()


def print_places(places: Places, admin_password: str) -> None:
    say(f"Admin       {places.producer_url}/admin/   log-in: {ADMIN_NAME}   password: {admin_password}")
    say(f"API         {places.producer_url}/api/v1/docs   key: {places.api_key}")
    if places.consumer_url:
        say(f"Consumer    {places.consumer_url}/")
    say()


def print_next(logs: Path) -> None:
    say("Next: a transaction of your own, from another shell, after `. var/demo.env`:")
    say(f"  {OWN_TRANSACTION}")
    say(f"Logs are in {logs}. Ctrl-C stops everything.")
