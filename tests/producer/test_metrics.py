"""/metrics: parses, counts what happened, across processes and past their ends, with labels nobody outside can choose."""

import os
import subprocess
import sys
import textwrap

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


COUNT = """
import os, sys
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "producer.settings")
import django; django.setup()
from producer import instruments
instruments.request_answered("r", "GET", 200, 0.01)
print(os.getpid())
"""
READ = """
import os
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "producer.settings")
import django; django.setup()
from pathlib import Path
from django.conf import settings
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from producer import metric_files
registry = CollectorRegistry()
with metric_files.settled(Path(settings.METRICS_FOLDER)):
    MultiProcessCollector(registry, settings.METRICS_FOLDER)
    print(generate_latest(registry).decode())
"""


def run(code, folder):
    env = {
        **os.environ,
        "PROMETHEUS_MULTIPROC_DIR": str(folder),
        "DJANGO_SETTINGS_MODULE": "producer.settings",
        "DEBUG": "true",
    }
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=env, cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_counts_outlive_the_processes_that_made_them_and_the_folder_stays_small(tmp_path):
    folder = tmp_path / "not" / "yet" / "there"
    for _ in range(3):
        run(COUNT, folder)
    assert len(list(folder.glob("counter_*.db"))) == 3
    for _ in range(2):
        text = run(READ, folder)
        assert 'http_requests_total{method="GET",route="r",status="200"} 3.0' in text
        assert 'http_request_seconds_count{method="GET",route="r"} 3.0' in text
        assert 'http_request_seconds_bucket{le="0.01",method="GET",route="r"} 3.0' in text
        assert [path.name.rpartition("+")[2] for path in folder.glob("counter_*.db")] == ["retired.db"]
    run(COUNT, folder)
    assert 'route="r",status="200"} 4.0' in run(READ, folder)


def test_a_living_process_keeps_its_file(tmp_path, monkeypatch):
    (tmp_path / f"counter_{metric_files._HOST}+{os.getpid()}.db").write_bytes(b"")
    with metric_files.settled(tmp_path):
        assert (tmp_path / f"counter_{metric_files._HOST}+{os.getpid()}.db").exists()


def test_switched_off_nothing_is_counted():
    code = "import os\nos.environ['METRICS'] = 'false'\n" + COUNT + "\nprint(type(instruments.REQUESTS).__name__)"
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "producer.settings", "DEBUG": "true"}
    done = subprocess.run([sys.executable, "-c", code], env=env, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.split()[-1] == "_Nothing", done.stderr
