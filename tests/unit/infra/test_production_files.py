"""The files for other machines: checked by their own linters and schemas, and for secrets."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from features.lake import BUILT, TABLES
from jobs.cluster.cluster import ROLES, policy

INFRA = Path(__file__).resolve().parents[3] / "infra"
MANIFESTS = sorted((INFRA / "kubernetes").glob("*.yaml"))
SECRET = re.compile(r"SECRET|PASSWORD|TOKEN|FERNET|_KEY$|CONN_|RIGHTS_")
VERSION = "1.31"
"""Of Kubernetes: the oldest that the manifests are checked against."""


def linted(tool: str, *words: str) -> str:
    """Run a linter of this environment; return what it has to say."""
    program = Path(sys.executable).with_name(tool)
    if not program.exists():
        pytest.skip(f"no {tool} in this environment; it is in the dependency group dev")
    done = subprocess.run([str(program), *words], capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def documents(path: Path) -> list[dict[str, Any]]:
    return [found for found in yaml.safe_load_all(path.read_text()) if found]


def pod_of(manifest: dict[str, Any]) -> dict[str, Any] | None:
    """Return a manifest's pod, if it has one."""
    if manifest["kind"] == "Pod":
        return manifest["spec"]
    return manifest.get("spec", {}).get("template", {}).get("spec")


def test_scripts_pass_shellcheck():
    scripts = [INFRA / "run", INFRA / "docker" / "enter", INFRA / "postgres" / "databases.sh"]
    assert linted("shellcheck", "--external-sources", *map(str, scripts)) == ""


def test_the_images_pass_hadolint():
    assert linted("hadolint", str(INFRA / "docker" / "Dockerfile")) == ""


def test_the_images_have_no_base_but_the_one_that_is_named_and_end_as_nobody_of_importance():
    text = (INFRA / "docker" / "Dockerfile").read_text()
    stages = re.split(r"^FROM ", text, flags=re.MULTILINE)
    assert re.search(r"^ARG BASE$", stages[0], re.MULTILINE)
    built = {re.search(r"AS (\w+)", stage)[1]: stage for stage in stages[1:]}
    assert {stage.split()[0] for stage in stages[1:]} == {"${BASE}", "base"}
    for target in ("jobs", "training"):
        user = re.findall(r"^USER (\S+)$", built[target], re.MULTILINE)
        assert user == ["10001:10001"]
    names = re.findall(r"^\s*(?:ARG|ENV)?\s*([A-Z_]+)=", text, re.MULTILINE)
    assert not [name for name in names if SECRET.search(name)]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_a_manifest_is_as_kubernetes_wants_it(path):
    assert linted("kubernetes-validate", "--strict", "-k", VERSION, str(path)) == ""


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_a_manifest_holds_no_secret_and_its_pods_have_no_more_rights_than_they_need(path):
    for manifest in documents(path):
        assert manifest["kind"] != "Secret"
        pod = pod_of(manifest)
        if pod is None:
            continue
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in pod["containers"]:
            rights = container["securityContext"]
            assert rights["allowPrivilegeEscalation"] is False
            assert rights["capabilities"] == {"drop": ["ALL"]}
            told = [entry["name"] for entry in container.get("env", []) if "value" in entry]
            assert not [name for name in told if SECRET.search(name)]


def test_the_training_s_pod_is_one_that_airflow_can_put_over_its_own():
    generator = pytest.importorskip("airflow.providers.cncf.kubernetes.pod_generator")
    pod = generator.PodGenerator.deserialize_model_file(
        str(INFRA / "kubernetes" / "training-pod.yaml")
    )
    (container,) = pod.spec.containers
    assert container.name == "base"
    assert container.resources.limits["nvidia.com/gpu"] == "1"
    assert pod.spec.service_account_name == "trainer"


def test_helm_s_values_hold_no_secret_and_name_images_by_digest():
    values = yaml.safe_load((INFRA / "helm" / "airflow.yaml").read_text())
    assert values["images"]["airflow"]["digest"].startswith("sha256:")
    assert not [entry["name"] for entry in values["env"] if SECRET.search(entry["name"])]
    assert yaml.safe_load(values["extraEnv"])[0]["name"] == "SPARK_LOCAL_IP"
    assert yaml.safe_load(values["extraEnvFrom"])


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((INFRA / "compose.yaml").read_text())
    return found


def test_compose_takes_every_secret_from_outside_and_opens_ports_to_this_host_alone():
    for name, service in compose()["services"].items():
        for key, value in service.get("environment", {}).items():
            if SECRET.search(key):
                assert "${" in str(value) and ":?}" in str(value), f"{name}: {key}"
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name
        assert service["image"].startswith("${"), name


def test_compose_is_as_compose_wants_it():
    words = next(
        (words for words in (["docker", "compose"], ["docker-compose"]) if works(words)), []
    )
    if not words:
        pytest.skip("no docker compose on this machine")
    names = re.findall(r"\$\{([A-Z_]+):\?\}", (INFRA / "compose.yaml").read_text())
    env = {**os.environ, **dict.fromkeys(names, "given")}
    words = [*words, "-f", str(INFRA / "compose.yaml"), "config", "-q"]
    done = subprocess.run(words, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    del env["REDIS_PASSWORD"]
    done = subprocess.run(words, env=env, capture_output=True, text=True)
    assert done.returncode != 0 and "REDIS_PASSWORD" in done.stderr


def works(words: list[str]) -> bool:
    if shutil.which(words[0]) is None:
        return False
    return subprocess.run([*words, "version"], capture_output=True).returncode == 0


def writes(role: str) -> set[str]:
    """Return the tables that a role may write."""
    allowed = [
        place
        for statement in policy(role)["Statement"]
        if "s3:PutObject" in statement["Action"]
        for place in statement["Resource"]
    ]
    return {table for table in TABLES if f"arn:aws:s3:::autoifs/lake/*/{table}/*" in allowed}


def test_every_table_is_written_by_one_role_and_what_commands_said_by_all_that_run_some():
    by_role = {role: writes(role) - {"runs"} for role in ROLES}
    assert by_role["reader"] == by_role["promoter"] == set()
    assert by_role["builder"] == set(BUILT)
    assert by_role["trainer"] == set(TABLES) - {*BUILT, "runs"}
    assert {role for role in ROLES if "runs" in writes(role)} == {"builder", "trainer", "promoter"}


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_hold_the_lease_of_the_tables_it_writes_and_of_no_other(role):
    text = json.dumps(policy(role))
    leases = set(re.findall(r"/_leases/(\w+)", text))
    assert leases == writes(role)
