"""An operator at a running gateway: status, close, log level, what the files would change, and who may ask for it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka import Consumer, Producer

from gateway.ops.demo.cluster import EmbeddedCluster
from tests.integration.test_run import POLICY, until
from tests.real.gateway import GatewayProcess
from tests.real.ports import free_ports

PRINCIPAL = "jwt:test:app"


@pytest.fixture(scope="module")
def cluster() -> Iterator[EmbeddedCluster]:
    made = EmbeddedCluster(["orders", "payroll"])
    yield made
    made.stop()


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the gateway and its commands keep the credential."""
    folder = tmp_path_factory.mktemp("runtime")
    before = os.environ.get("XDG_RUNTIME_DIR")
    os.environ["XDG_RUNTIME_DIR"] = str(folder)
    yield folder
    if before is None:
        del os.environ["XDG_RUNTIME_DIR"]
    else:
        os.environ["XDG_RUNTIME_DIR"] = before


@pytest.fixture(scope="module")
def gateway(
    cluster: EmbeddedCluster, runtime: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    del runtime
    made = GatewayProcess(tmp_path_factory.mktemp("gateway"), {"main": ",".join(cluster.bootstrap)}, policy=POLICY)
    made.config["admin"]["health"] = {"bind": "127.0.0.1", "port": free_ports(1)[0]}
    with made:
        yield made


def command(gateway: GatewayProcess, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the gateway's, as an operator would."""
    config = [] if "--config" in words else ["--config", str(gateway.folder / "gateway.yaml")]
    line = [sys.executable, "-m", "gateway", *words, *config]
    return subprocess.run(
        line, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip


def token_of(gateway: GatewayProcess, runtime: Path) -> str:
    return (runtime / "streaming-gateway" / f"admin-{gateway.admin_port}.token").read_text().strip()


def ask(port: int, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer.headers
    finally:
        connection.close()


@contextlib.contextmanager
def a_client(gateway: GatewayProcess) -> Iterator[None]:
    """A client that is connected."""
    made = Consumer(gateway.confluent(gateway.issuer.token("app"), **{"group.id": "app-1", "log_level": 0}))
    made.subscribe(["orders"])
    try:
        until(lambda: made.poll(0.05) is None and of_principal(gateway)["connections"] > 0)
        yield
    finally:
        made.close()


def of_principal(gateway: GatewayProcess) -> dict[str, Any]:
    found = json.loads(gateway.admin("/status")[1])
    shown = [each for each in found["connections"]["principals"] if each["principal"] == PRINCIPAL]
    return shown[0] if shown else {"connections": 0, "shown": []}


def test_status_shows_what_runs(gateway: GatewayProcess) -> None:
    with a_client(gateway):
        found = json.loads(command(gateway, "status", "--json").stdout)
    assert found["ready"] is True
    assert found["missing"] == []
    assert found["listeners"][0]["name"] == "main-listener"
    assert found["listeners"][0]["connections"] > 0
    assert found["backends"][0]["ready"]
    assert found["backends"][0]["brokers"]
    assert found["issuers"][0]["keys"] >= 1
    assert 0 <= found["issuers"][0]["keys_age"] < 600
    assert found["certificates"][0]["listener"] == "main-listener"
    assert found["certificates"][0]["days_left"] > 0
    assert found["policy"]["revision"]
    assert found["budget"]["bytes_max"] == 256 << 20
    connection = next(
        each for each in found["connections"]["principals"] if each["principal"] == PRINCIPAL
    )["shown"][0]  # fmt: skip
    assert connection["mechanism"] == "OAUTHBEARER"
    assert connection["address"] == "127.0.0.1"
    assert connection["age"] >= 0
    assert connection["expires_in"] > 0


def test_status_is_a_page_that_a_tired_operator_can_read(gateway: GatewayProcess) -> None:
    with a_client(gateway):
        said = command(gateway, "status")
    assert said.returncode == 0
    for words in ("ready", "main-listener", "issuer", "days left", "policy", PRINCIPAL, "OAUTHBEARER", "buffers"):
        assert words in said.stdout, words


def test_closing_a_principal_ends_its_connections_and_is_audited(gateway: GatewayProcess) -> None:
    at = len(gateway.audit())
    with a_client(gateway):
        said = command(gateway, "close", "--principal", PRINCIPAL, "--reason", "left the company")
        closed = gateway.wait_audit(event="closed", reason="closed-by-operator", after=at)
    assert said.returncode == 0, said.stderr
    assert "closed" in said.stdout
    line = gateway.wait_audit(event="admin", action="close", after=at)
    assert line["of"] == PRINCIPAL
    assert line["connections"] > 0
    assert line["detail"] == "left the company"
    assert line["by"]
    assert line["from"] == "127.0.0.1"
    assert closed["detail"] == "left the company"


def test_closing_somebody_else_closes_nobody(gateway: GatewayProcess) -> None:
    at = len(gateway.audit())
    with a_client(gateway):
        for other in ("jwt:other:app", "certificate:test:app", "jwt:test:ap", "jwt:test:app:x"):
            said = command(gateway, "close", "--principal", other)
            assert said.returncode == 1
            assert f"{other}: no connection is open" in said.stderr
    assert not [line for line in gateway.audit()[at:] if line.get("reason") == "closed-by-operator"]
    assert command(gateway, "close", "--principal", "app").returncode == 2


def test_the_log_level_changes_while_running_and_shows_no_credential(gateway: GatewayProcess, runtime: Path) -> None:
    assert "log level warning (was debug)" in command(gateway, "log-level", "warning").stdout
    assert json.loads(command(gateway, "status", "--json").stdout)["log_level"] == "warning"
    assert gateway.wait_audit(event="admin", action="log-level", level="warning")
    assert "log level debug (was warning)" in command(gateway, "log-level", "debug").stdout
    secret = token_of(gateway, runtime)
    token = gateway.issuer.token("app")
    Producer(gateway.confluent_plain(token)).list_topics(timeout=60)
    said = gateway.log() + json.dumps(gateway.audit()) + gateway.admin("/status")[1] + gateway.admin("/metrics")[1]
    assert secret not in said
    assert token not in said
    assert token.split(".")[2] not in said


def test_the_audit_tells_the_address_that_asked_and_not_the_one_it_claims(
    gateway: GatewayProcess, runtime: Path
) -> None:
    at = len(gateway.audit())
    claimed = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}
    good = f"Bearer {token_of(gateway, runtime)}"
    level = b'{"level": "debug", "by": "somebody"}'
    assert ask(gateway.admin_port, "POST", "/log-level", level, Authorization=good, **claimed)[0] == 200
    line = gateway.wait_audit(event="admin", action="log-level", by="somebody", after=at)
    assert line["from"] == "127.0.0.1"


def test_what_the_files_would_change_is_printed(gateway: GatewayProcess) -> None:
    assert "nothing would change" in command(gateway, "check", "--against", "running").stdout
    held = yaml.safe_load((gateway.folder / "gateway.yaml").read_text())
    other = gateway.folder / "policy-next.yaml"
    other.write_text(POLICY.replace("[orders]", "[orders, payroll]").replace("500/s", "100/s"))
    held["policies"]["files"] = [str(other)]
    held["limits"] = {"in_flight_max": 77}
    held["admin"]["hosts"] = ["gateway.internal"]
    following = gateway.folder / "next.yaml"  # beside the one that runs, which is taken as soon as it is written
    following.write_text(yaml.safe_dump(held))
    said = command(gateway, "check", "--against", "running", "--config", str(following))
    assert said.returncode == 0, said.stderr
    assert "~ limits.in_flight_max: 1000 -> 77" in said.stdout
    assert "+ rule app/rule 1: allow" in said.stdout
    assert "payroll" in said.stdout
    assert "touches jwt:test:app" in said.stdout
    assert "needs a restart: admin\n" in said.stdout


def test_health_for_whoever_checks(gateway: GatewayProcess) -> None:
    assert command(gateway, "health").returncode == 0
    assert command(gateway, "health", "--ready").stdout == "ready\n"
    port = gateway.config["admin"]["health"]["port"]
    for path, words in (("/healthz", "alive\n"), ("/readyz", "ready\n")):
        assert ask(port, "GET", path, Host="10.1.2.3:8080")[:2] == (200, words)
    for path in ("/metrics", "/status", "/running", "/log-level"):
        assert ask(port, "GET", path)[0] == 404
    assert ask(port, "POST", "/connections/close", b"{}")[0] == 404


CLOSE = json.dumps({"principal": PRINCIPAL}).encode()


@pytest.mark.parametrize("credential", ["", "Bearer ", "Bearer x", "Basic {}", "{}", "Bearer {}x", "Bearer \xff"])
@pytest.mark.parametrize(("method", "path"), [
    ("POST", "/connections/close"), ("POST", "/log-level"), ("GET", "/running"),
])  # fmt: skip
def test_without_the_credential_nothing_changes(
    gateway: GatewayProcess, runtime: Path, method: str, path: str, credential: str
) -> None:
    given = credential.replace("{}", token_of(gateway, runtime))
    status, said, headers = ask(gateway.admin_port, method, path, CLOSE, **({"Authorization": given} if given else {}))
    assert status == 401
    assert token_of(gateway, runtime) not in said
    assert "access-control-allow-origin" not in headers


def test_a_page_of_another_site_gets_nowhere(gateway: GatewayProcess, runtime: Path) -> None:
    good = f"Bearer {token_of(gateway, runtime)}"
    port = gateway.admin_port
    assert ask(port, "OPTIONS", "/connections/close", Origin="https://evil.example")[0] == 405
    assert ask(port, "GET", "/connections/close", Authorization=good)[0] == 405
    assert ask(port, "POST", "/connections/close", CLOSE, Authorization=good, Host="evil.example")[0] == 400
    assert ask(port, "POST", "/log-level", b"x" * 5000, Authorization=good)[0] == 413
    assert ask(port, "POST", "/log-level", b"[" * 4000, Authorization=good)[0] in (400, 422)
    assert ask(port, "POST", "/log-level", b'{"level": "loud"}', Authorization=good)[0] == 422
    assert ask(port, "POST", "/log-level", b'{"level": "debug", "more": 1}', Authorization=good)[0] == 422
    assert ask(port, "POST", "/connections/close", b'{"principal": "alice"}', Authorization=good)[0] == 422


def test_the_credential_is_for_the_gateways_user_alone(gateway: GatewayProcess, runtime: Path) -> None:
    file = runtime / "streaming-gateway" / f"admin-{gateway.admin_port}.token"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert len(file.read_text().strip()) == 64


def test_the_credential_goes_with_the_gateway(cluster: EmbeddedCluster, runtime: Path, tmp_path: Path) -> None:
    made = GatewayProcess(tmp_path, {"main": ",".join(cluster.bootstrap)}, policy=POLICY)
    with made:
        file = runtime / "streaming-gateway" / f"admin-{made.admin_port}.token"
        assert file.exists()
    assert not file.exists()
    said = command(made, "status")
    assert said.returncode == 1
    assert "no gateway answers" in said.stderr
    assert command(made, "health").returncode == 1


def admin_certificate(gateway: GatewayProcess) -> dict[str, Any]:
    found = json.loads(command(gateway, "status", "--json").stdout)
    (one,) = [each for each in found["certificates"] if each["listener"] == "the admin port"]
    return dict(one)


def test_off_loopback_everything_needs_tls_and_the_credential(cluster: EmbeddedCluster, tmp_path: Path) -> None:
    made = GatewayProcess(tmp_path, {"main": ",".join(cluster.bootstrap)}, policy=POLICY)
    certificate, key = made.ca.server("admin", hosts=["localhost"])
    secret = tmp_path / "admin.token"
    secret.write_text("c" * 40 + "\n")
    secret.chmod(0o600)
    made.config["admin"] |= {
        "bind": "0.0.0.0", "tls": {"certificate": str(certificate), "key": str(key)}, "token_file": str(secret),
        "hosts": ["127.0.0.1"], "health": {"bind": "127.0.0.1", "port": free_ports(1)[0]},
    }  # fmt: skip
    health = made.config["admin"]["health"]["port"]
    made.admin = lambda path: ask(health, "GET", path)[:2]  # type: ignore[assignment, method-assign]
    with made:
        context = ssl.create_default_context(cafile=made.ca_file)

        def get(path: str, **headers: str) -> int:
            connection = http.client.HTTPSConnection("localhost", made.admin_port, timeout=60, context=context)
            try:
                connection.request("GET", path, None, headers)
                return connection.getresponse().status
            finally:
                connection.close()

        for path in ("/healthz", "/readyz", "/metrics", "/status", "/running", "/absent"):
            assert get(path) == 401, path
        assert get("/status", Authorization="Bearer " + "c" * 40) == 200
        assert command(made, "status").returncode == 0
        assert command(made, "log-level", "info").returncode == 0
        with pytest.raises(http.client.HTTPException):  # no plain text there
            ask(made.admin_port, "GET", "/healthz")
        first = admin_certificate(made)
        assert first["days_left"] > 29
        newer, newer_key = made.ca.server("admin-2", hosts=["localhost"])
        os.replace(newer_key, key)
        os.replace(newer, certificate)
        deadline = time.monotonic() + 60
        while "the admin port has a new certificate" not in made.log():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert admin_certificate(made)["serial"] != first["serial"]
        assert "the admin port" in command(made, "status").stdout
        assert get("/status", Authorization="Bearer " + "c" * 40) == 200
        assert command(made, "status").returncode == 0
