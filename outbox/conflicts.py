"""Starts over what met a row on its way to another partition.

PostgreSQL moves a row between partitions by deleting and inserting it. Whoever saw it before and comes to lock it after is
told so (40001) instead of being given the new row; with a new snapshot there is no conflict any more.
"""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from django.db import OperationalError

P = ParamSpec("P")
R = TypeVar("R")
SERIALIZATION_FAILURE = "40001"
# Each time it takes another row moved in the same instant.
TRIES = 5


def started_over(work: Callable[P, R]) -> Callable[P, R]:
    """Decorates a function that is one transaction, or one savepoint in the caller's."""

    @wraps(work)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        for _ in range(TRIES - 1):
            try:
                return work(*args, **kwargs)
            except OperationalError as error:
                if getattr(error.__cause__, "pgcode", None) != SERIALIZATION_FAILURE:
                    raise
        return work(*args, **kwargs)

    return wrapper
