"""Alerts and dashboards: they fire when they should, speak of metrics that exist, and lead to a section that helps."""

import json
import re
import shutil
import subprocess

import pytest
import yaml

from outbox.models import ChannelState, ProcessState, QueueState
from producer import condition
from tests.settings import CI
from tests.stack import ROOT
from webhooks import refusals

OPS = ROOT / "ops"
RULES = yaml.safe_load((OPS / "prometheus" / "alerts.yml").read_text())["groups"][0]["rules"]
DASHBOARD = json.loads((OPS / "grafana" / "producer.json").read_text())
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
WORDS = {"absent", "or", "sum", "rate", "by", "le", "histogram_quantile", "increase", "time", "max", "min", "up"}


def anchors():
    """GitHub's anchors of the headings."""
    return {
        re.sub(r"[^\w -]", "", line.lstrip("# ")).lower().replace(" ", "-")
        for line in OPERATIONS.splitlines()
        if line.startswith("#")
    }


def metrics_in(expression):
    text = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\bby \([^)]*\)|\"[^\"]*\"", " ", expression)
    return set(re.findall(r"[a-z_]{2,}", text)) - WORDS


def promtool(*arguments):
    if shutil.which("promtool") is None:
        assert not CI, "promtool is missing: apt-get install prometheus"
        pytest.skip("needs promtool (Debian: prometheus)")
    return subprocess.run(["promtool", *arguments], cwd=OPS / "prometheus", capture_output=True, text=True, timeout=60)


def test_each_alert_is_silent_while_all_is_well_and_fires_when_it_should():
    done = promtool("test", "rules", "alerts_test.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    tested = {test["name"] for test in yaml.safe_load((OPS / "prometheus" / "alerts_test.yml").read_text())["tests"]}
    assert tested == {rule["alert"] for rule in RULES}


def test_prometheus_would_load_our_configuration():
    done = promtool("check", "config", "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_that_a_manifest_or_a_page_names_is_one_of_ours():
    texts = [*ROOT.glob("docs/**/*.md"), *OPS.rglob("*.yaml"), *OPS.rglob("*.md"), ROOT / "docker-compose.yml"]
    named = {name for path in texts for name in re.findall(r"\balert\s(?:#\s)?([A-Z]\w+)", path.read_text())}
    assert {"BeatDead", "RelayDead", "WorkersDead"} <= named <= {rule["alert"] for rule in RULES}


@pytest.mark.django_db
def test_every_metric_that_an_alert_or_a_panel_names_is_one_of_ours(client):
    ChannelState.objects.create(name="webhook")
    ProcessState.objects.create(name="beat@x:1", kind="beat")
    QueueState.objects.create(name="consumer.transactions.v1")
    refusals.note("signature-wrong", "webhook")
    refusals.flush()
    text = client.get("/metrics").content.decode()
    known = set()
    for name, kind in re.findall(r"^# TYPE (\w+) (\w+)$", text, re.M):
        known |= {name, f"{name}_bucket"} if kind == "histogram" else {name}
    expressions = [rule["expr"] for rule in RULES]
    expressions += [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    named = set().union(*map(metrics_in, expressions))
    assert len(named) > 20 and not named - known, named - known


def test_the_dashboard_has_what_grafana_asks_of_one():
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert DASHBOARD["schemaVersion"] >= 36 and DASHBOARD["uid"] and len(ids) == len(set(ids))
    places = set()
    for panel in DASHBOARD["panels"]:
        assert panel["type"] in {"timeseries", "bargauge", "stat"} and panel["title"] and panel["targets"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= 24 and (grid["x"], grid["y"]) not in places
        places.add((grid["x"], grid["y"]))


def test_prometheus_would_understand_every_query_of_the_dashboard(tmp_path):
    # Grafana replaces its variables before it asks; a recording rule for each query is what promtool can read.
    queries = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    rules = [
        {"record": f"panel:query:{place}", "expr": re.sub(r"\$__\w+", "5m", query)}
        for place, query in enumerate(queries)
    ]
    assert rules and not any("$" in rule["expr"] for rule in rules)
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = promtool("check", "rules", str(file))
    assert done.returncode == 0 and f"{len(rules)} rules found" in done.stdout, done.stdout + done.stderr


def test_grafana_is_told_where_the_dashboard_and_prometheus_are():
    """ops/grafana/provisioning, as Compose mounts it."""
    (source,) = yaml.safe_load((OPS / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"]
    (provider,) = yaml.safe_load((OPS / "grafana/provisioning/dashboards/producer.yml").read_text())["providers"]
    assert source["type"] == "prometheus" and source["url"].startswith("http://") and source["isDefault"]
    assert provider["type"] == "file" and provider["options"]["path"]
    (variable,) = DASHBOARD["templating"]["list"]
    assert (variable["name"], variable["type"], variable["query"]) == ("datasource", "datasource", "prometheus")


def test_each_alert_leads_to_its_own_section():
    for rule in RULES:
        url = rule["annotations"]["runbook_url"]
        assert url == f"docs/operations.md#{rule['alert'].lower()}" and url.partition("#")[2] in anchors(), rule[
            "alert"
        ]


def test_each_section_of_an_alert_says_cause_check_and_remedy():
    for rule in RULES:
        section = re.search(rf"^### {rule['alert']}\n(.*?)(?=^##|\Z)", OPERATIONS, re.S | re.M)
        assert section, rule["alert"]
        for word in ("**Cause**", "**Check**", "**Remedy**"):
            assert word in section.group(1), f"{rule['alert']} does not say {word}"


@pytest.mark.django_db
def test_each_light_leads_to_a_section():
    ChannelState.objects.create(name="webhook")
    for light in condition.current():
        assert light.docs_anchor in anchors(), light.id
