"""A dozen quick rows of the fault matrix, one after the other in one running system. The whole of it: `make faults`."""

import json
import os

import pytest

from tests.faults import rows_broker, rows_database, rows_network, rows_processes, rows_rest
from tests.faults.primitives import heal_everything
from tests.faults.row import ROWS, run_row
from tests.faults.world import World
from tests.private_postgres import postgres_bin
from tests.settings import CI

MODULES = (rows_broker, rows_database, rows_network, rows_processes, rows_rest)
QUICK = sorted(name for name, row in ROWS.items() if row.quick)
SEED = int(os.environ.get("SEED", "1"))

pytestmark = [pytest.mark.postgres, pytest.mark.rabbitmq, pytest.mark.processes, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    if not postgres_bin() and not CI:
        pytest.skip("needs PostgreSQL's server programs (initdb, pg_ctl): apt install postgresql")
    made = World(tmp_path_factory.mktemp("faults"))
    yield made
    made.close()


@pytest.mark.parametrize("name", QUICK)
def test_nothing_is_lost_doubled_disordered_or_stuck(world, name):
    line: dict = {"ok": False}
    try:
        line = run_row(world, ROWS[name], SEED, together=True)
    finally:
        if not line["ok"]:
            # The next row shall answer for itself alone.
            heal_everything(world)
            world.reset()
    assert line["ok"], json.dumps(line)
    assert line["in_flight"] >= 200, "the fault met too few on their way"


def test_there_are_a_dozen_of_them():
    assert len(QUICK) >= 12


def test_every_row_of_the_matrix_is_there():
    assert {f"F{number:02}" for number in range(1, 41)} <= ROWS.keys()
