"""Runs calls at the same time, each in a thread with a database connection of its own."""

import threading
from concurrent.futures import ThreadPoolExecutor

from django.db import connections


def at_once(calls):
    """The results of `calls`, in their order; all start together."""
    barrier = threading.Barrier(len(calls))

    def one(call):
        try:
            barrier.wait(30)
            return call()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result(60) for future in [pool.submit(one, call) for call in calls]]


def in_thread(call):
    """A future of `call`."""

    def one():
        try:
            return call()
        finally:
            connections.close_all()

    pool = ThreadPoolExecutor(1)
    future = pool.submit(one)
    pool.shutdown(wait=False)
    return future
