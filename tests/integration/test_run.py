"""``gateway run`` as a process, in front of librdkafka's mock cluster: it starts only if it can be safe, serves, takes
new policies, and ends when told to. What it decides is the other suites' matter.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from gateway.ops.demo.cluster import EmbeddedCluster
from tests.real.gateway import GatewayProcess

POLICY = """\
version: 1
roles:
  app:
    - allow: [produce, consume]
      kafka: {topic: [orders], group: ["app-*"]}
bindings:
  - {roles: [app], to: {issuer: test, sub: app}}
limits:
  - {to: any, produce: 10 MiB/s, consume: 10 MiB/s, requests: 1000/s, connections: 50}
end: true
"""
WIDER = POLICY.replace("[orders]", "[orders, payroll]")


@pytest.fixture(scope="module")
def cluster() -> Iterator[EmbeddedCluster]:
    made = EmbeddedCluster(["orders", "payroll"])
    yield made
    made.stop()


@pytest.fixture(scope="module")
def gateway(cluster: EmbeddedCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("gateway")
    with GatewayProcess(folder, {"main": ",".join(cluster.bootstrap)}, policy=POLICY) as made:
        yield made


def until(check: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "it did not come to be in time"
        time.sleep(0.02)


def produce(gateway: GatewayProcess, topic: str, value: bytes = b"x", **more: object) -> KafkaError | None:
    """Produce one record; returns the delivery's error."""
    errors: list[KafkaError | None] = []
    producer = Producer(gateway.confluent(gateway.issuer.token("app"), **{"message.timeout.ms": 50000, **more}))
    producer.produce(topic, value, on_delivery=lambda error, _: errors.append(error))
    producer.flush(60)
    assert errors, "no delivery report"
    return errors[0]


def test_a_client_produces_and_consumes_what_it_may(gateway: GatewayProcess) -> None:
    assert produce(gateway, "orders", b"first") is None
    consumer = Consumer(
        gateway.confluent(gateway.issuer.token("app"), **{"group.id": "app-1", "auto.offset.reset": "earliest"})
    )
    consumer.subscribe(["orders"])
    found: list[bytes] = []

    def received() -> bool:
        message = consumer.poll(0.2)
        if message is not None and message.error() is None:
            found.append(message.value())
        return b"first" in found

    until(received)
    consumer.close()


def test_a_denied_topic_is_the_librarys_own_authorization_error(gateway: GatewayProcess) -> None:
    error = produce(gateway, "payroll")
    assert error is not None
    assert error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    line = gateway.wait_audit(event="denied", resource="payroll")
    assert line["who"]["name"] == "app"
    assert line["decision"]
    assert line["revision"]


def test_a_forged_token_is_refused_and_audited(gateway: GatewayProcess) -> None:
    from tests.tokens import TokenIssuer

    forged = TokenIssuer().token("app")
    producer = Producer(gateway.confluent(forged))
    with pytest.raises(KafkaException):
        producer.list_topics(timeout=3)
    line = gateway.wait_audit(lambda line: line["event"] == "refused" and "reason" in line)
    assert line["reason"]


def test_ready_healthy_and_measured(gateway: GatewayProcess) -> None:
    assert gateway.admin("/readyz") == (200, "ready\n")
    assert gateway.admin("/healthz") == (200, "alive\n")
    status, text = gateway.admin("/metrics")
    assert status == 200
    for name in ("gateway_build_info{", "gateway_ready 1.0", 'gateway_backend_ready{backend="main"} 1.0',
                 "gateway_policy_age_seconds", "gateway_issuer_keys_age_seconds{", "process_resident_memory_bytes",
                 "gateway_audit_events_total{"):  # fmt: skip
        assert name in text, name


def test_the_start_is_audited_with_its_warnings(gateway: GatewayProcess) -> None:
    for event in ("started", "config-revision", "policy-revision"):
        assert gateway.wait_audit(event=event)
    assert any("insecure_plaintext" in str(line.get("warning")) for line in gateway.audit())
    assert "insecure_plaintext" in gateway.log()


def test_a_new_policy_holds_from_the_next_request_and_a_broken_one_changes_nothing(gateway: GatewayProcess) -> None:
    assert produce(gateway, "payroll") is not None
    gateway.change_policy(WIDER)
    assert produce(gateway, "payroll") is None
    broken = len(gateway.audit())
    gateway.change_policy(WIDER.replace("end: true\n", ""))
    line = gateway.wait_audit(event="policy-refused", after=broken)
    assert line["mistakes"]
    assert produce(gateway, "payroll") is None
    until(lambda: "note: policy files refused" in gateway.admin("/readyz")[1])
    assert gateway.admin("/readyz")[0] == 200
    until(lambda: "gateway_policy_refused 1.0" in gateway.admin("/metrics")[1])
    gateway.change_policy(POLICY)
    assert produce(gateway, "payroll") is not None
    until(lambda: gateway.admin("/readyz") == (200, "ready\n"))


def test_sighup_reads_policies_and_opens_the_audit_anew(gateway: GatewayProcess) -> None:
    audit = gateway.folder / "audit.jsonl"
    audit.rename(gateway.folder / "audit.1.jsonl")
    os.kill(gateway.pid, signal.SIGHUP)
    until(audit.exists)
    gateway.policy_path.write_text(WIDER)
    os.kill(gateway.pid, signal.SIGHUP)
    gateway.wait_audit(event="policy-revision")
    gateway.change_policy(POLICY)


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\n\r\n", b"\x00\x00\x00\x10\x00\x12\x00\x03", b"\xff" * 600])
def test_what_is_no_tls_ends_with_a_named_cause_and_others_go_on(gateway: GatewayProcess, sent: bytes) -> None:
    at = len(gateway.audit())
    with socket.create_connection(("127.0.0.1", gateway.port()), 5) as sock:
        sock.sendall(sent)
        sock.settimeout(15)
        try:
            while sock.recv(4096):
                pass
        except ConnectionResetError:
            pass
    assert gateway.wait_audit(lambda line: line["event"] == "refused", after=at)["reason"]
    assert produce(gateway, "orders") is None


def test_no_token_is_in_the_log_or_the_audit(gateway: GatewayProcess) -> None:
    token = gateway.issuer.token("app")
    producer = Producer(gateway.confluent(token))
    producer.list_topics(timeout=60)
    said = gateway.log() + json.dumps(gateway.audit())
    assert token not in said
    assert token.split(".")[2] not in said


def test_it_ends_on_sigterm_with_an_open_connection(cluster: EmbeddedCluster, tmp_path: Path) -> None:
    made = GatewayProcess(
        tmp_path, {"main": ",".join(cluster.bootstrap)}, policy=POLICY, limits={"shutdown_timeout": "1 s"}
    )
    made.start()
    producer = Producer(made.confluent(made.issuer.token("app")))
    producer.list_topics(timeout=60)
    assert made.stop() == 0
    events = [line["event"] for line in made.audit()]
    assert "stopping" in events
    assert "closed" in events
    assert "Traceback" not in made.log()
    assert "Exception" not in made.log()


class NotReady(GatewayProcess):
    """A gateway that is expected to run without being ready: `start` returns once it says so."""

    def _wait_ready(self) -> None:
        until(self._says_why_not, 90)

    def _says_why_not(self) -> bool:
        return self.readyz()[0] == 503


def test_without_a_broker_it_runs_but_is_not_ready(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: dialling it is refused
        bootstrap = f"127.0.0.1:{taken.getsockname()[1]}"
        with NotReady(tmp_path, {"main": bootstrap}, policy=POLICY) as made:
            assert made.admin("/healthz")[0] == 200
            until(lambda: f"{bootstrap}: upstream-unreachable" in made.admin("/readyz")[1])
            status, said = made.admin("/readyz")
            assert status == 503
            assert "listener main-listener" in said
            assert "gateway_ready 0.0" in made.admin("/metrics")[1]
            with pytest.raises(ConnectionResetError), socket.create_connection(("127.0.0.1", made.port()), 60) as sock:
                sock.recv(1)
            assert made.wait_audit(event="refused")["reason"] == "listener-not-ready"


def start(folder: Path, config: dict[str, object]) -> subprocess.CompletedProcess[str]:
    """Run a gateway that is expected not to start."""
    file = folder / "gateway.yaml"
    file.write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "gateway", "run", "--config", str(file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL)


@pytest.fixture
def config(tmp_path: Path) -> dict[str, object]:
    """A sound configuration whose backend is not there."""
    return GatewayProcess(tmp_path, {"main": "127.0.0.1:9"}, policy=POLICY).config


@pytest.mark.parametrize(("change", "said"), [
    (lambda config: config["issuers"][0].pop("keys"), "issuers[0].keys"),
    (lambda config: config["issuers"][0].pop("audiences"), "issuers[0].audiences"),
    (lambda config: config["issuers"][0].update(audiences=[]), "at least one item"),
    (lambda config: config["issuers"][0].pop("issuer"), "issuers[0].issuer"),
    (lambda config: config["listeners"][0]["authentication"].update(issuers=[]), "would know nobody"),
    (lambda config: config["backends"][0].update(insecure=True), "unknown key"),
    (lambda config: config["policies"].update(files=["absent.yaml"]), "absent.yaml"),
    (lambda config: config["audit"].update(output="/absent/audit.jsonl"), "audit.output"),
])  # fmt: skip
def test_what_is_not_safe_is_not_started(
    tmp_path: Path, config: dict[str, object], change: Callable[[dict[str, object]], object], said: str
) -> None:
    change(config)
    done = start(tmp_path, config)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_port_that_is_taken_is_named(tmp_path: Path, config: dict[str, object]) -> None:
    port = config["listeners"][0]["port"]  # type: ignore[index]
    with socket.create_server(("127.0.0.1", port)):
        done = start(tmp_path, config)
    assert done.returncode == 2
    assert "port-in-use" in done.stderr
    assert str(port) in done.stderr
    assert "Traceback" not in done.stderr


def test_an_admin_port_that_is_taken_is_named(tmp_path: Path, config: dict[str, object]) -> None:
    with socket.create_server(("127.0.0.1", config["admin"]["port"])):  # type: ignore[index]
        done = start(tmp_path, config)
    assert done.returncode == 2
    assert "admin port" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_an_audit_it_does_not_start(tmp_path: Path, config: dict[str, object]) -> None:
    (tmp_path / "audit.jsonl").symlink_to(tmp_path / "absent" / "audit.jsonl")
    config["audit"]["output"] = str(tmp_path / "audit.jsonl")  # type: ignore[index]
    done = start(tmp_path, config)
    assert done.returncode == 2
    assert "the gateway does not start: audit to" in done.stderr
    assert "Traceback" not in done.stderr


def test_whoever_asks_twice_does_not_wait(cluster: EmbeddedCluster, tmp_path: Path) -> None:
    limits = {"shutdown_timeout": "60 s"}
    made = GatewayProcess(tmp_path, {"main": ",".join(cluster.bootstrap)}, policy=POLICY, limits=limits)
    made.start()
    with socket.create_connection(("127.0.0.1", made.port()), 5) as waiting:  # a handshake that never comes
        waiting.sendall(b"\x16")
        os.kill(made.pid, signal.SIGINT)
        made.wait_audit(event="stopping")
        os.kill(made.pid, signal.SIGINT)
        assert made.stop() in (0, 130)
    assert "Traceback" not in made.log()
