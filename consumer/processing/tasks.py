"""The broker's door: one Celery task per event. A bad event is dead-lettered; a database that is away is waited for."""

import logging
from typing import Any

from celery.exceptions import Reject, SoftTimeLimitExceeded
from django.db import DatabaseError, DataError, Error, IntegrityError, NotSupportedError, ProgrammingError, connection
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from processing import delivery, handler
from processing.events import BadEventError, ParsedEvent, parse
from processing.models import Event
from reference.celery import app

log = logging.getLogger("consumer.tasks")

# Seconds in which a try with the database may still begin; below the soft limit, and long enough for a restart of it.
DATABASE_SECONDS = 20


# The signature takes anything: what Celery cannot bind would fail outside of our hands.
@app.task(name="consumer.process_transaction", bind=True, typing=False)
def process_transaction(self: Any, *args: Any, event: Any = None, **unknown: Any) -> None:
    """Decides the event once and posts its result. Acknowledged when the result is durable; the post may come later."""
    try:
        parsed = parse(event)
    except BadEventError as error:
        log.error("message %.64s dead-lettered: %s", self.request.id, error)
        raise Reject("not an event of the contract", requeue=False) from None
    try:
        handled = _handle_patiently(parsed)
    except (Error, SoftTimeLimitExceeded) as error:
        if not (_database_away(error) or isinstance(error, SoftTimeLimitExceeded)):
            raise
        log.error("event %s given back: the database does not answer (%s)", parsed.id, type(error).__name__)
        raise Reject("the database does not answer", requeue=True) from None
    try:
        for result_id in handled.result_ids:
            delivery.deliver(result_id)
    except (DatabaseError, SoftTimeLimitExceeded) as error:
        # The result is a row that is due: the courier takes it when the lease ends.
        log.warning("event %s: delivery left to the courier (%s)", parsed.id, type(error).__name__)
    except Exception:
        # A defect in the delivery must not dead-letter an event that was decided.
        log.exception("event %s: delivery left to the courier", parsed.id)


def _handle_patiently(event: ParsedEvent) -> handler.Handled:
    retrying = Retrying(
        retry=retry_if_exception(_database_away),
        stop=stop_after_delay(DATABASE_SECONDS),
        wait=wait_random_exponential(multiplier=0.2, max=3),
        before_sleep=_drop_connection,
        reraise=True,
    )
    handled: handler.Handled = retrying(handler.handle, event, Event.Door.BROKER)
    return handled


def _database_away(error: BaseException) -> bool:
    """Anything but the statement's own fault: a cut connection may come as a bare DatabaseError, and a standby that was not
    promoted yet refuses to write with an InternalError.
    """
    own = (DataError, IntegrityError, NotSupportedError, ProgrammingError)
    return isinstance(error, Error) and not isinstance(error, own)


def _drop_connection(_: RetryCallState) -> None:
    """A connection that failed once is not asked again."""
    connection.close()
