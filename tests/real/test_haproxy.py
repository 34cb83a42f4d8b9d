"""A real HAProxy in front, with both versions of the PROXY protocol, and a real client in front of that."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from gateway.ops.demo.cluster import EmbeddedCluster
from tests.real.gateway import GatewayProcess
from tests.real.missing import Missing
from tests.real.ports import free_ports

POLICY = """\
version: 1
roles:
  app: [{allow: [produce], kafka: {topic: [orders]}}]
  elsewhere: [{allow: [produce], kafka: {topic: [payroll]}}]
bindings:
  - {roles: [app], to: {issuer: test, sub: app}, from: [127.0.0.9/32]}
  - {roles: [elsewhere], to: {issuer: test, sub: app}, from: [127.0.0.1/32], endpoint: vpce-0123}
end: true
"""


class HaProxy:
    """One HAProxy process that balances several ports; ended by its own pid."""

    def __init__(self, folder: Path, ports: dict[int, int], send: str) -> None:
        program = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
        if program is None:
            raise Missing("HAProxy", "install it (Debian: `apt-get install haproxy`)")
        lines = ["global", "  maxconn 200", "defaults", "  mode tcp", "  timeout connect 5s", "  timeout client 60s",
                 "  timeout server 60s"]  # fmt: skip
        for front, back in ports.items():
            lines += [f"listen p{front}", f"  bind 127.0.0.1:{front}", f"  server s 127.0.0.1:{back} {send}"]
        config = folder / "haproxy.cfg"
        config.write_text("\n".join(lines) + "\n")
        self._process = subprocess.Popen(
            [program, "-db", "-f", str(config)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture(scope="module")
def cluster() -> Iterator[EmbeddedCluster]:
    made = EmbeddedCluster(["orders", "payroll"])
    yield made
    made.stop()


@pytest.fixture(params=["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c"])
def gateway(request: pytest.FixtureRequest, cluster: EmbeddedCluster, tmp_path: Path) -> Iterator[GatewayProcess]:
    fronts = free_ports(11, consecutive=True)
    listener: dict[str, Any] = {
        "proxy_protocol": {"from": ["127.0.0.0/8"], "required": True},
        "advertised_port": fronts[0],
        "advertised_broker_base": fronts[1],
    }
    backends = {"main": ",".join(cluster.bootstrap)}
    made = GatewayProcess(tmp_path, backends, policy=POLICY, listener=listener)
    balancer = HaProxy(tmp_path, dict(zip(fronts, made.ports["main"], strict=False)), request.param)
    try:
        with made:
            made.config["front"] = fronts[0]
            yield made
    finally:
        balancer.stop()


def produce(gateway: GatewayProcess, topic: str, **more: Any) -> KafkaError | None:
    errors: list[KafkaError | None] = []
    front = f"localhost:{gateway.config['front']}"
    settings = {"bootstrap.servers": front, "broker.address.family": "v4", "message.timeout.ms": 20000, **more}
    producer = Producer(gateway.confluent(gateway.issuer.token("app"), **settings))
    producer.produce(topic, b"x", on_delivery=lambda error, _: errors.append(error))
    producer.flush(25)
    assert errors, "no delivery report"
    return errors[0]


def test_the_clients_address_is_the_one_that_binds(gateway: GatewayProcess) -> None:
    """librdkafka has no setting for its own address, so one of two bindings is for the one it has."""
    error = produce(gateway, "orders")  # bound to 127.0.0.9 only
    assert error is not None
    assert error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    line = gateway.wait_audit(event="denied", resource="orders")
    assert (line["why"], line["address"]) == ("network", "127.0.0.1")
    at = len(gateway.audit())
    gateway.change_policy(POLICY.replace("127.0.0.9/32", "127.0.0.1/32"))
    assert produce(gateway, "orders") is None
    connected = gateway.wait_audit(event="connected", after=at)
    assert (connected["address"], connected["through"]) == ("127.0.0.1", "127.0.0.1")
    error = produce(gateway, "payroll")  # bound to a private-link endpoint, which HAProxy did not name
    assert error is not None
    assert error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED


def test_around_the_balancer_nobody_is_let_in(gateway: GatewayProcess) -> None:
    settings = gateway.confluent(gateway.issuer.token("app"), **{"bootstrap.servers": gateway.bootstrap()})
    with pytest.raises(KafkaException):
        Producer(settings).list_topics(timeout=3)
    assert gateway.wait_audit(event="refused", reason="proxy-header-missing")
