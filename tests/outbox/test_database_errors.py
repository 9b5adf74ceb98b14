"""An error of the database names the place and never the values: PostgreSQL writes the whole row into its DETAIL."""

import logging

import pytest
from django.db import IntegrityError, connection, transaction

from outbox.database_errors import format_exception, reason_of
from producer.logs import log_configuration

pytestmark = [pytest.mark.django_db, pytest.mark.postgres]

ACCOUNT = "DE89370400440532013000"


@pytest.fixture
def refused():
    """What is raised when a row with an account number breaks a constraint."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "CREATE TEMP TABLE payments (account text, CONSTRAINT never CHECK (account = '')) ON COMMIT DROP"
        )
        try:
            with transaction.atomic():
                cursor.execute("INSERT INTO payments VALUES (%s)", [f"{ACCOUNT}\n\nHINT: {ACCOUNT}"])
        except IntegrityError as error:
            assert ACCOUNT in str(error), "or nothing is shown here"
            caught = error
    return caught


def test_a_reason_has_the_code_and_the_names(refused):
    assert reason_of(refused) == "IntegrityError: SQLSTATE 23514, table payments, constraint never"


def test_what_no_server_wrote_stays_as_it_is():
    assert reason_of(ValueError("a plain word")) == "ValueError: a plain word"


def test_a_value_in_the_message_itself_is_left_out_too():
    with pytest.raises(Exception, match=ACCOUNT) as caught, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT %s::integer", [ACCOUNT])
    assert reason_of(caught.value) == "DataError: SQLSTATE 22P02"


def test_a_traceback_is_all_there_with_its_chain_and_without_the_row(refused):
    try:
        try:
            raise refused
        except IntegrityError as error:
            raise RuntimeError("not booked") from error
    except RuntimeError as error:
        text = format_exception(type(error), error, error.__traceback__)
    assert ACCOUNT not in text
    assert text.count("SQLSTATE 23514, table payments, constraint never") == 2
    assert "direct cause" in text and text.endswith("RuntimeError: not booked")
    assert "test_database_errors.py" in text


def test_no_line_of_the_log_shows_it(refused):
    """As the processes write it: in a traceback, whoever logs it."""
    options = dict(log_configuration("INFO", as_json=True)["formatters"]["lines"])
    formatter = options.pop("()")(**options)
    record = logging.LogRecord(
        "any", logging.ERROR, "", 0, "failed", (), (type(refused), refused, refused.__traceback__)
    )
    line = formatter.format(record)
    assert "SQLSTATE 23514" in line and "Traceback" in line
    assert ACCOUNT not in line
