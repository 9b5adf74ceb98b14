"""System checks that ask the database."""

import pytest
from django.db import connection

from producer import checks

pytestmark = [pytest.mark.django_db, pytest.mark.postgres]


def test_a_role_without_deadlines_as_behind_a_pool_is_told():
    assert checks.deadlines_hold(None, databases=["default"]) == []
    with connection.cursor() as cursor:
        # Gone with the test's transaction.
        cursor.execute("SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0")
    (told,) = checks.deadlines_hold(None, databases=["default"])
    assert told.id == "producer.W005" and "lock_timeout, statement_timeout for" in told.msg
