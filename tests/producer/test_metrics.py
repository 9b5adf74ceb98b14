"""/metrics: parses, counts what happened, across processes and past their ends, with labels nobody outside can choose."""

import os
import subprocess
import sys

import pytest
from django.db import OperationalError
from prometheus_client.parser import text_string_to_metric_families

from producer import metric_files, metrics
from tests.outbox.conftest import add_event
from tests.stack import ROOT

pytestmark = pytest.mark.django_db


def scrape(client):
    answer = client.get("/metrics")
    assert answer.status_code == 200
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.content.decode())
        for sample in family.samples
    }


def test_the_text_parses_and_holds_every_part_of_the_system(client):
    names = {name for name, *_ in scrape(client)}
    assert names >= {
        "outbox_pending", "outbox_oldest_age_seconds", "outbox_dead", "outbox_parked", "processes_alive",
        "inbox_results", "condition", "database_up", "clock_offset_seconds", "transactions_overdue",
    }  # fmt: skip


def test_a_request_is_counted_by_route_method_and_status_and_timed(client, api):
    before = scrape(client)
    path = "/api/v1/transactions/0199aaaa-0000-7000-8000-000000000000"
    assert api.get(path).status_code == 404
    after = scrape(client)
    key = ("http_requests_total", "404", "GET", "api/v1/transactions/<str:txn_id>")
    assert after[key] == before.get(key, 0) + 1
    assert after[("http_request_seconds_count", "GET", "api/v1/transactions/<str:txn_id>")] >= 1


def test_what_a_client_chooses_never_becomes_a_label(client):
    for number in range(20):
        client.generic(f"VERB{number}", f"/no/such/path/{number}")
    keys = [key for key in scrape(client) if key[0] == "http_requests_total"]
    assert not [key for key in keys if "VERB" in str(key) or "such" in str(key)]


def test_a_database_that_is_away_leaves_the_page_standing(client, monkeypatch):
    def away():
        raise OperationalError("gone")

    monkeypatch.setattr(metrics, "outbox_stats", away)
    assert scrape(client)[("database_up",)] == 0


def test_the_numbers_of_the_outbox_are_those_of_the_table(client):
    add_event(), add_event(state="dead"), add_event(parked=True)
    found = scrape(client)
    assert (found[("outbox_pending",)], found[("outbox_dead",)], found[("outbox_parked",)]) == (2, 1, 1)


FORKS = """
import glob, os
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "producer.settings")
import django; django.setup()
from pathlib import Path
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from django.conf import settings
from producer import instruments, metric_files

folder = settings.METRICS_FOLDER

def in_a_process_that_then_ends():
    pid = os.fork()
    if pid == 0:
        instruments.request_answered("r", "GET", 200, 0.01)
        os._exit(0)
    os.waitpid(pid, 0)

def read():
    registry = CollectorRegistry()
    with metric_files.settled(Path(folder)):
        MultiProcessCollector(registry, folder)
        lines = generate_latest(registry).decode().splitlines()
    print(*[line for line in lines if line.startswith("http_request") and ('le="0.01"' in line or "le=" not in line)])
    print(len(glob.glob(folder + "/counter_*.db")), len(glob.glob(folder + "/counter_*retired.db")))

for _ in range(3):
    in_a_process_that_then_ends()
    print(len(glob.glob(folder + "/counter_*.db")), end=" ")
print()
read()
read()
in_a_process_that_then_ends()
read()
"""


def test_counts_outlive_the_processes_that_made_them_and_the_folder_stays_small(tmp_path):
    shared = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "not" / "yet" / "there"), "DEBUG": "true"}
    env = {**os.environ, **shared, "DJANGO_SETTINGS_MODULE": "producer.settings"}
    done = subprocess.run([sys.executable, "-c", FORKS], env=env, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    before, first, files, second, files_again, third, _ = done.stdout.splitlines()
    # Nobody has looked yet. The one that is new adds up those that ended before.
    assert before.split() == ["1", "2", "2"]
    for text, count in ((first, "3.0"), (second, "3.0"), (third, "4.0")):
        assert f'http_requests_total{{method="GET",route="r",status="200"}} {count}' in text
        assert f'http_request_seconds_count{{method="GET",route="r"}} {count}' in text
        assert f'http_request_seconds_bucket{{le="0.01",method="GET",route="r"}} {count}' in text
    assert files == files_again == "1 1"


COUNT_ON_A_HOST = """
import os, socket, sys
socket.gethostname = lambda: sys.argv[1]
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "producer.settings")
import django; django.setup()
from producer import instruments
instruments.request_answered("r", "GET", 200, 0.01)
print("counted", flush=True)
sys.stdin.readline()
"""


def count_on(host, folder, **more):
    shared = {"PROMETHEUS_MULTIPROC_DIR": str(folder), "DEBUG": "true", "DJANGO_SETTINGS_MODULE": "producer.settings"}
    process = subprocess.Popen(
        [sys.executable, "-c", more.pop("code", COUNT_ON_A_HOST), host], env={**os.environ, **shared, **more}, cwd=ROOT,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "counted\n", process.stderr.read()
    return process


def counted(folder):
    found = 0.0
    for path in folder.glob("counter_*.db"):
        for key, value, _, _ in metric_files.MmapedDict.read_all_values_from_file(str(path)):
            found += value if "http_requests_total" in key else 0
    return found


def test_a_container_that_is_gone_leaves_its_counts_and_no_files(tmp_path):
    living, gone = count_on("worker-a", tmp_path), count_on("worker-b", tmp_path)
    gone.communicate("\n", timeout=30)
    count_on("web", tmp_path).communicate("\n", timeout=30)
    hosts = {path.stem.rpartition("_")[2].rpartition("+")[0] for path in tmp_path.glob("*.db")}
    # It held on while it lived, and so does the other; the last to come took in the one that is gone.
    assert hosts == {"worker-a", "web"}
    living.communicate("\n", timeout=30)
    count_on("web", tmp_path).communicate("\n", timeout=30)
    assert {path.stem.rpartition("_")[2].rpartition("+")[0] for path in tmp_path.glob("*.db")} == {"web"}
    assert counted(tmp_path) == 4


NO_ROOM = COUNT_ON_A_HOST.replace(
    "import os,", "from producer import metric_files\nmetric_files._free_bytes = lambda _: 0\nimport os,"
)


def test_a_full_folder_ends_nobody_and_is_said_to_be_full(tmp_path):
    folder, elsewhere = tmp_path / "shared", tmp_path / "tmp"
    elsewhere.mkdir()
    for _ in range(2):
        _, said = count_on("web", folder, code=NO_ROOM, TMPDIR=str(elsewhere)).communicate("\n", timeout=30)
        assert "metrics folder full" in said
    assert not list(folder.glob("*.db"))
    # Those of dead processes do not fill the other folder either.
    assert len(list((elsewhere / "uncounted-metrics").glob("counter_*.db"))) == 1


def test_a_process_that_was_killed_as_it_made_its_file_ends_nobody_who_starts_later(tmp_path):
    (tmp_path / f"counter_{metric_files._HOST}+999999999.db").write_bytes(b"")
    with metric_files.settled(tmp_path):
        assert not list(tmp_path.glob("*.db"))


def test_a_living_process_keeps_its_file(tmp_path, monkeypatch):
    (tmp_path / f"counter_{metric_files._HOST}+{os.getpid()}.db").write_bytes(b"")
    with metric_files.settled(tmp_path):
        assert (tmp_path / f"counter_{metric_files._HOST}+{os.getpid()}.db").exists()


def test_switched_off_nothing_is_counted():
    code = (
        "import django; django.setup(); from producer import instruments as i; i.request_answered('r', 'GET', 200, 1.0)"
    )
    code += "; print(type(i.REQUESTS).__name__)"
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "producer.settings", "DEBUG": "true", "METRICS": "false"}
    done = subprocess.run([sys.executable, "-c", code], env=env, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.split()[-1] == "_Nothing", done.stderr
