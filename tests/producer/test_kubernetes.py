"""The manifests: good by their schemas, safe in every pod, and about things that exist."""

import re
import shutil
import subprocess

import kubernetes_validate
import pytest
import yaml
from django.db import connection

from outbox import topology
from tests.stack import ROOT

FOLDER = ROOT / "ops" / "kubernetes"
VERSION = "1.33"
# The operators' own kinds, for which there is no schema to be had, and kustomize's file.
WITHOUT_SCHEMA = {"Cluster", "Pooler", "RabbitmqCluster", "ScaledObject", "TriggerAuthentication", "Kustomization"}
FILES = sorted(FOLDER.glob("*/*.yaml"))
MANIFESTS = [
    pytest.param(manifest, id=f"{path.parent.name}/{path.stem}: {manifest['kind']}")
    for path in FILES
    for manifest in yaml.safe_load_all(path.read_text())
]


def of_kind(*kinds):
    return [parameter for parameter in MANIFESTS if parameter.values[0]["kind"] in kinds]


def pod_of(manifest):
    spec = manifest["spec"]
    spec = spec["jobTemplate"]["spec"] if manifest["kind"] == "CronJob" else spec
    return spec["template"]["spec"]


def settings_of():
    return yaml.safe_load((FOLDER / "base" / "settings.yaml").read_text())["data"]


@pytest.mark.parametrize("manifest", [m for m in MANIFESTS if m.values[0]["kind"] not in WITHOUT_SCHEMA])
def test_it_is_good_by_the_schema_of_its_kind(manifest):
    kubernetes_validate.validate(manifest, VERSION, strict=True)


def test_the_schemas_do_refuse():
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(
            {"apiVersion": "v1", "kind": "Service", "spec": {"prots": []}}, VERSION, strict=True
        )


@pytest.mark.parametrize("manifest", of_kind("Deployment", "Job", "CronJob"))
def test_every_pod_may_do_no_more_than_it_must(manifest):
    pod = pod_of(manifest)
    assert pod["securityContext"]["runAsNonRoot"] and pod["automountServiceAccountToken"] is False
    # Above the 8 s of gunicorn with its 5 s before, and the 20 s of a worker.
    assert pod["terminationGracePeriodSeconds"] >= 30
    for container in pod["containers"]:
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] and not security["allowPrivilegeEscalation"]
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert (
            container["resources"]["requests"].keys() == {"cpu", "memory"}
            and "memory" in container["resources"]["limits"]
        )


@pytest.mark.parametrize("manifest", [m for m in of_kind("Deployment") if m.values[0]["spec"]["replicas"] > 1])
def test_what_there_is_several_of_has_a_disruption_budget(manifest):
    budgets = {m.values[0]["metadata"]["name"] for m in of_kind("PodDisruptionBudget")}
    assert manifest["metadata"]["name"] in budgets


@pytest.mark.parametrize("manifest", of_kind("Deployment", "Job", "CronJob"))
def test_labels_that_select_are_those_of_the_pods_and_settings_exist(manifest):
    if manifest["kind"] == "Deployment":
        assert manifest["spec"]["selector"]["matchLabels"] == manifest["spec"]["template"]["metadata"]["labels"]
    text = (ROOT / "docs" / "settings.md").read_text()
    (container,) = pod_of(manifest)["containers"]
    for name in [*settings_of(), *(variable["name"] for variable in container.get("env", []))]:
        assert f"`{name.removesuffix('_FILE')}`" in text, name


def test_every_queue_of_the_workers_has_a_reader():
    commands = " ".join(" ".join(pod_of(m.values[0])["containers"][0]["command"]) for m in of_kind("Deployment"))
    assert set(re.findall(r"-Q (\S+)", commands)) == {topology.TASK_QUEUE, topology.RESULT_QUEUE}


@pytest.mark.django_db
@pytest.mark.postgres
@pytest.mark.parametrize("manifest", of_kind("ScaledObject"))
def test_what_it_scales_by_is_a_number_of_the_database_and_its_target_exists(manifest):
    (trigger,) = manifest["spec"]["triggers"]
    with connection.cursor() as cursor:
        cursor.execute(trigger["metadata"]["query"])
        assert cursor.fetchone() == (0,)
    deployments = {m.values[0]["metadata"]["name"] for m in of_kind("Deployment")}
    assert manifest["spec"]["scaleTargetRef"]["name"] in deployments


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl renders the overlays; it is not installed")
@pytest.mark.parametrize("overlay", ["trial", "production"])
def test_the_overlay_renders_to_good_manifests(overlay):
    done = subprocess.run(
        ["kubectl", "kustomize", str(FOLDER / overlay)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    rendered = list(yaml.safe_load_all(done.stdout))
    for manifest in rendered:
        if manifest["kind"] not in WITHOUT_SCHEMA:
            kubernetes_validate.validate(manifest, VERSION, strict=True)
        assert manifest["metadata"]["namespace"].startswith("producer")
    pods = [pod_of(manifest) for manifest in rendered if manifest["kind"] in {"Deployment", "Job", "CronJob"}]
    assert len(pods) == 7
    assert all(pod["containers"][0]["image"].startswith("registry.example/producer-app:") for pod in pods)
