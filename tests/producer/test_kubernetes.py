"""The manifests: good by their schemas, safe in every pod, and about things that exist."""

import copy
import re
import shutil
import subprocess

import kubernetes_validate
import pytest
import yaml
from django.core.management import call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

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


WITH_PODS = ("Deployment", "Job", "CronJob")
PODS = {"web", "relay", "worker", "results-worker", "beat", "release", "partitions"}
# Which pods each policy is about. One that selects none leaves them what a policy beside it takes away.
POLICIES = {
    "nothing-else": PODS,
    "names": PODS,
    "database-and-broker": PODS,
    "requests": {"web"},
    "webhooks": {"relay", "worker", "beat"},
}


def template_of(manifest):
    spec = manifest["spec"]
    spec = spec["jobTemplate"]["spec"] if manifest["kind"] == "CronJob" else spec
    return spec["template"]


def pod_of(manifest):
    return template_of(manifest)["spec"]


def selects(selector, labels):
    assert selector.keys() <= {"matchLabels", "matchExpressions"}
    expressions = selector.get("matchExpressions", [])
    assert all(expression["operator"] == "In" for expression in expressions)
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(expression["key"]) in expression["values"] for expression in expressions
    )


def selected_by_policies(labels_of_pods, policies):
    return {
        policy["metadata"]["name"]: {
            name for name, labels in labels_of_pods.items() if selects(policy["spec"]["podSelector"], labels)
        }
        for policy in policies
    }


def waiting_container():
    """What the base's kustomization puts before the processes of each Deployment."""
    (patch,) = yaml.safe_load((FOLDER / "base" / "kustomization.yaml").read_text())["patches"]
    assert patch["target"] == {"kind": "Deployment"}
    (change,) = yaml.safe_load(patch["patch"])
    assert (change["op"], change["path"]) == ("add", "/spec/template/spec/initContainers")
    (container,) = change["value"]
    return container


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
    for container in [*pod["containers"], waiting_container()]:
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
    # What has another source is there for the values that name it: $(POD_IP).
    own = [variable["name"] for variable in container.get("env", []) if "value" in variable]
    for name in [*settings_of(), *own]:
        assert f"`{name.removesuffix('_FILE')}`" in text, name


@pytest.mark.parametrize("overlay", ["trial", "production"])
def test_every_policy_selects_the_pods_that_it_is_about(overlay):
    """Without kubectl: the labels of the pods and those that the base's kustomization puts on them."""
    base = yaml.safe_load((FOLDER / "base" / "kustomization.yaml").read_text())
    added = {k: v for part in base["labels"] if part.get("includeTemplates") for k, v in part["pairs"].items()}
    pods = {
        m.values[0]["metadata"]["name"]: template_of(m.values[0])["metadata"]["labels"] | added
        for m in of_kind(*WITH_PODS)
    }
    policies = [m.values[0] for m in of_kind("NetworkPolicy") if m.id.startswith(("base/", f"{overlay}/"))]
    assert selected_by_policies(pods, policies) == POLICIES


def test_prometheus_may_scrape_each_web_pod_by_its_address():
    (requests,) = [m.values[0] for m in of_kind("NetworkPolicy") if m.values[0]["metadata"]["name"] == "requests"]
    sources = [source for rule in requests["spec"]["ingress"] for source in rule["from"]]
    assert {"app.kubernetes.io/name": "prometheus"} in [
        one.get("podSelector", {}).get("matchLabels") for one in sources
    ]
    (web,) = [m.values[0] for m in of_kind("Deployment") if m.values[0]["metadata"]["name"] == "web"]
    env = {variable["name"]: variable for variable in pod_of(web)["containers"][0]["env"]}
    assert list(env) == ["POD_IP", "HOSTS", "ALLOWED_HOSTS"], "only what stands before can be named"
    assert env["POD_IP"]["valueFrom"] == {"fieldRef": {"fieldPath": "status.podIP"}}
    assert env["HOSTS"]["valueFrom"] == {"configMapKeyRef": {"name": "producer", "key": "ALLOWED_HOSTS"}}
    assert env["ALLOWED_HOSTS"]["value"] == "$(HOSTS),$(POD_IP)"


@pytest.mark.parametrize("manifest", of_kind("Deployment"))
def test_what_waits_in_each_pod_is_good_and_has_the_volumes_that_it_mounts(manifest):
    manifest = copy.deepcopy(manifest)
    pod, waiting = pod_of(manifest), waiting_container()
    pod["initContainers"] = [waiting]
    kubernetes_validate.validate(manifest, VERSION, strict=True)
    assert waiting["volumeMounts"] == pod["containers"][0]["volumeMounts"]
    assert waiting["image"] == pod["containers"][0]["image"]


@pytest.mark.django_db
def test_new_code_waits_until_the_schema_is_new_and_then_starts():
    """By the command of the manifests themselves."""
    (asked,) = re.findall(r"until python manage.py (migrate [^;]+);", waiting_container()["command"][-1])
    call_command(*asked.split())
    last = MigrationRecorder.Migration.objects.filter(app="webhooks").latest("id")
    last.delete()
    with pytest.raises(SystemExit) as ended:
        call_command(*asked.split())
    assert ended.value.code == 1, "a code other than 0 goes on waiting"


def of_production(kind):
    (found,) = [m.values[0] for m in MANIFESTS if m.id.startswith("production/") and m.values[0]["kind"] == kind]
    return found


def test_in_production_the_database_has_a_certificate_for_the_pool_and_the_broker_listens_by_tls_alone():
    pool = of_production("Pooler")["metadata"]["name"]
    assert {pool, f"{pool}.producer.svc"} <= {*of_production("Cluster")["spec"]["certificates"]["serverAltDNSNames"]}
    assert of_production("RabbitmqCluster")["spec"]["tls"] == {
        "secretName": "producer-mq-tls",
        "disableNonTLSListeners": True,
    }
    _, broker = of_production("NetworkPolicy")["spec"]["egress"]
    assert broker["ports"] == [{"port": 5671}]


def test_the_commands_of_the_readme_make_a_certificate_that_is_good_for_the_host_it_names(tmp_path):
    readme = (FOLDER / "README.md").read_text()
    commands = re.search(r"```sh\n(openssl req -x509.*?)```", readme, re.S)[1].replace("rsa:3072", "rsa:2048")
    subprocess.run(["bash", "-ec", commands], cwd=tmp_path, capture_output=True, timeout=60, check=True)
    (host,) = set(re.findall(r"amqps://\S+@([^:]+):5671", readme))
    verified = subprocess.run(
        ["openssl", "verify", "-CAfile", "ca.crt", "-verify_hostname", host, "tls.crt"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert verified.returncode == 0, verified.stderr


def test_the_results_worker_reads_in_one_virtual_host_and_wakes_in_the_other():
    (worker,) = [m.values[0] for m in of_kind("Deployment") if m.values[0]["metadata"]["name"] == "results-worker"]
    env = {variable["name"]: variable["value"].split("/")[-1] for variable in pod_of(worker)["containers"][0]["env"]}
    assert env["READ_BROKER_URL_FILE"] == env["BROKER_URL_FILE"] == "RESULTS_BROKER_URL"
    assert env["TASKS_BROKER_URL_FILE"] == "RESULTS_TASKS_BROKER_URL"


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


def knows_whom_it_talks_to(rendered, pods):
    """Every container has the authorities where the settings look for them, and of the Secrets no key."""
    (settings,) = [
        manifest["data"]
        for manifest in rendered
        if manifest["kind"] == "ConfigMap" and "ALLOWED_HOSTS" in manifest["data"]
    ]
    assert settings["PGSSLMODE"] == "verify-full"
    files = {settings["PGSSLROOTCERT"], settings["BROKER_CA_FILE"]}
    for pod in pods:
        (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "authorities"]
        items = [item for source in volume["projected"]["sources"] for item in source["secret"]["items"]]
        assert {item["key"] for item in items} == {"ca.crt"}
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            (mount,) = [mount for mount in container["volumeMounts"] if mount["name"] == "authorities"]
            assert {f"{mount['mountPath']}/{item['path']}" for item in items} == files


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
    with_pods = {manifest["metadata"]["name"]: manifest for manifest in rendered if manifest["kind"] in WITH_PODS}
    assert with_pods.keys() == PODS
    pods = [pod_of(manifest) for manifest in with_pods.values()]
    assert all(pod["containers"][0]["image"].startswith("registry.example/producer-app:") for pod in pods)
    if overlay == "production":
        knows_whom_it_talks_to(rendered, pods)
    labels = {name: template_of(manifest)["metadata"]["labels"] for name, manifest in with_pods.items()}
    policies = [manifest for manifest in rendered if manifest["kind"] == "NetworkPolicy"]
    assert selected_by_policies(labels, policies) == POLICIES
    # One `apply` starts all of it: the new code must wait for the Job, and the Job for nothing.
    for name, manifest in with_pods.items():
        waits = [one["name"] for one in pod_of(manifest).get("initContainers", [])]
        assert waits == (["wait-for-release"] if manifest["kind"] == "Deployment" else []), name
        for one in pod_of(manifest).get("initContainers", []):
            assert one["image"] == pod_of(manifest)["containers"][0]["image"]
    # The selector of a Deployment that is there cannot be changed: a label more in it, and `apply` is refused.
    for name, manifest in with_pods.items():
        if manifest["kind"] == "Deployment":
            assert manifest["spec"]["selector"] == {"matchLabels": {"app": name}}
