"""Whose fault a database error is: the server's (away, busy), or the statement's own; pure."""

from enum import Enum

from django.db import DataError, IntegrityError, NotSupportedError, ProgrammingError
from django.db.utils import Error


class Trouble(Enum):
    """BUSY: this row, this moment; others go on. AWAY: nothing goes on. NONE: the statement or its values are wrong."""

    BUSY = "busy"
    AWAY = "away"
    NONE = "none"


# In words: serialization failure, deadlock, lock timeout, statement timeout.
_BUSY_STATES = {"40001", "40P01", "55P03", "57014"}
_OWN = (DataError, IntegrityError, NotSupportedError, ProgrammingError)


def database_trouble(error: BaseException) -> Trouble:
    """Judges an exception of Django's database layer by class and SQLSTATE; any other exception is NONE.

    The class alone does not do: libpq reports a connection that was cut as a bare DatabaseError too, and a standby
    after a failover refuses writes with an InternalError.
    """
    # django.db.InterfaceError is no DatabaseError; both are Error.
    if not isinstance(error, Error) or isinstance(error, _OWN):
        return Trouble.NONE
    if getattr(error.__cause__, "pgcode", None) in _BUSY_STATES or "database is locked" in str(error):
        return Trouble.BUSY
    return Trouble.AWAY
