"""What a database says of an error, without the values of the row: PostgreSQL puts them into DETAIL, and some into the message.

(PostgreSQL, "Error Message Style Guide": the primary message may quote the value that was refused.)
"""

import traceback
from collections.abc import Iterator
from types import TracebackType

from django.db import Error

_NAMES = ("table_name", "column_name", "constraint_name", "datatype_name")


def reason_of(error: BaseException) -> str:
    """The class, then what the server's error code and names say; the message itself only if no server wrote it."""
    return f"{type(error).__name__}: {_told(error) or error}"


def format_exception(error_type: type[BaseException], error: BaseException, trace: TracebackType | None) -> str:
    """A traceback as Python prints it, chained errors included, each of the database's told without values."""
    printed = traceback.TracebackException(error_type, error, trace)
    for part, of in _chain(printed, error):
        if told := _told(of):
            # What str(error) was, taken when the traceback was.
            part._str = told  # type: ignore[attr-defined]
    return "".join(printed.format()).rstrip("\n")


def _told(error: BaseException) -> str:
    """Empty when no server said it. Django's errors have the driver's as their cause, and its words."""
    source = error.__cause__ if isinstance(error, Error) else error
    code, names = getattr(source, "pgcode", None), getattr(source, "diag", None)
    if code is None:
        return ""
    said = [f"{name.removesuffix('_name')} {value}" for name in _NAMES if (value := getattr(names, name, None))]
    return ", ".join([f"SQLSTATE {code}", *said])


def _chain(
    printed: traceback.TracebackException, error: BaseException
) -> Iterator[tuple[traceback.TracebackException, BaseException]]:
    todo = [(printed, error)]
    while todo:
        part, of = todo.pop()
        yield part, of
        for next_part, next_error in ((part.__cause__, of.__cause__), (part.__context__, of.__context__)):
            if next_part is not None and next_error is not None:
                todo.append((next_part, next_error))
