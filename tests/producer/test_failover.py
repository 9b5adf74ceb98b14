"""A connection to a server that became read-only is not kept, although it answers."""

import pytest
from django.db import InternalError, close_old_connections, connection, transaction

from transactions.clients import create_client

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]


def test_a_connection_that_became_read_only_is_dropped_at_the_next_occasion():
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
    with pytest.raises(InternalError):
        create_client("refused")
    # As at the end of a request or of a task.
    close_old_connections()
    assert connection.connection is None
    create_client("taken")


def test_a_transaction_under_way_keeps_its_connection_to_the_end():
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
    with transaction.atomic():
        with pytest.raises(InternalError), transaction.atomic():
            create_client("refused")
        close_old_connections()
        assert connection.connection is not None
    close_old_connections()
    assert connection.connection is None
