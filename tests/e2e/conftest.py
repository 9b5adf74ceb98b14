"""A stack per test, with every process stopped and every service given back at its end."""

import pytest

from tests.settings import BROKER_URL, DATABASE_URL
from tests.stack import Stack


@pytest.fixture
def make_stack(tmp_path):
    made = []

    def make(**settings):
        made.append(Stack(tmp_path, DATABASE_URL, BROKER_URL, **settings))
        return made[-1]

    yield make
    for stack in made:
        stack.close()


@pytest.fixture
def stack(make_stack):
    return make_stack()
