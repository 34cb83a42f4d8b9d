"""A TLS library that nobody knows yet, as an urgent update may bring one: the gateway runs on and says so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.ops.demo.cluster import EmbeddedCluster
from tests.integration.test_admin import command
from tests.integration.test_run import POLICY, produce
from tests.real.gateway import GatewayFailed, GatewayProcess

ROOT = Path(__file__).parents[2]
UNKNOWN = """\
import cryptography
from cryptography.hazmat.bindings.openssl import binding  # which compares the versions itself
cryptography.__version__ = "999.0.0"
"""
"""Run by the gateway's Python as it starts."""
WHY = "tls-engine runs interpreted, at two to four times the CPU: cryptography 999.0.0 is not among the known releases"


@pytest.fixture(scope="module")
def cluster() -> Iterator[EmbeddedCluster]:
    made = EmbeddedCluster(["orders", "payroll"])
    yield made
    made.stop()


@pytest.fixture(params=[1, 2], ids=["one process", "two workers"])
def gateway(
    request: pytest.FixtureRequest, cluster: EmbeddedCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[GatewayProcess]:
    """Not started yet."""
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "sitecustomize.py").write_text(UNKNOWN)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    backends = {"main": ",".join(cluster.bootstrap)}
    made = GatewayProcess(tmp_path / "gateway", backends, policy=POLICY, workers=request.param)
    made.before = ("env", f"PYTHONPATH={tmp_path / 'first'}:{ROOT}")
    yield made
    made.stop()


def test_it_serves_and_warns_in_audit_metrics_and_status(gateway: GatewayProcess) -> None:
    gateway.start()
    assert produce(gateway, "orders") is None
    (warning,) = [line["warning"] for line in gateway.audit() if "interpreted" in line.get("warning", "")]
    assert warning.startswith(WHY)
    metrics = gateway.admin("/metrics")[1]
    assert 'gateway_compiled{piece="tls-engine"} 0.0' in metrics
    assert 'gateway_compiled{piece="kafka-data-path"} 1.0' in metrics
    assert "cryptography 999.0.0" in json.loads(gateway.admin("/status")[1])["interpreted"]["tls-engine"]
    assert "tls-engine runs interpreted" in command(gateway, "status").stdout


def test_who_requires_the_compiled_form_is_refused(gateway: GatewayProcess) -> None:
    gateway.config["require_compiled"] = True
    with pytest.raises(GatewayFailed, match=r"not-compiled: tls-engine runs interpreted.*cryptography 999\.0\.0"):
        gateway.start()
