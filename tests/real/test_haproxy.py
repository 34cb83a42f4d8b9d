"""A real HAProxy in front, with both versions of the PROXY protocol, and a real client in front of that."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from gateway.ops.demo.cluster import EmbeddedCluster
from tests.real.gateway import GatewayProcess
from tests.real.missing import Missing
from tests.real.ports import free_ports
from tests.real.wire import API_VERSIONS, request
from tests.unit.test_proxy_protocol import IPV4, tlv, v2

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

    def __init__(self, folder: Path, ports: dict[int, int], send: str, source: str = "") -> None:
        """`source`: the address that it dials the gateway from, where it matters."""
        program = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
        if program is None:
            raise Missing("HAProxy", "install it (Debian: `apt-get install haproxy`)")
        lines = ["global", "  maxconn 200", "defaults", "  mode tcp", "  timeout connect 30s", "  timeout client 60s",
                 "  timeout server 60s"]  # fmt: skip
        for front, back in ports.items():
            lines += [f"listen p{front}", f"  bind 127.0.0.1:{front}", f"  server s 127.0.0.1:{back} {send}"]
            lines += [f"  source {source}"] if source else []
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
    settings = {"bootstrap.servers": front, "broker.address.family": "v4", "message.timeout.ms": 50000, **more}
    producer = Producer(gateway.confluent(gateway.issuer.token("app"), **settings))
    producer.produce(topic, b"x", on_delivery=lambda error, _: errors.append(error))
    producer.flush(60)
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


# --- somebody else who writes such headers

BALANCER, CLIENT = "127.0.0.2", "127.0.0.9"


@pytest.fixture(params=[True, False], ids=["required", "not-required"])
def named(request: pytest.FixtureRequest, cluster: EmbeddedCluster, tmp_path: Path) -> Iterator[GatewayProcess]:
    """Only 127.0.0.2 may name clients, and the HAProxy there does."""
    listener = {"proxy_protocol": {"from": [f"{BALANCER}/32"], "required": request.param}}
    limits = {"connections_per_address_max": 3}
    backends = {"main": ",".join(cluster.bootstrap)}
    made = GatewayProcess(tmp_path, backends, policy=POLICY, listener=listener, limits=limits)
    (front,) = free_ports(1)
    balancer = HaProxy(tmp_path, {front: made.port()}, "send-proxy-v2", BALANCER)
    try:
        with made:
            made.config["front"] = front
            yield made
    finally:
        balancer.stop()


def connect(gateway: GatewayProcess, port: int, source: str, header: bytes = b"") -> ssl.SSLSocket:
    """A TLS client at an address of its own, which may write a header first. Raises OSError."""
    context = ssl.create_default_context(cafile=gateway.ca_file)
    made = context.wrap_socket(socket.socket(), server_hostname="localhost", do_handshake_on_connect=False)
    try:
        made.settimeout(60)
        made.bind((source, 0))
        made.connect(("127.0.0.1", port))
        socket.socket.sendall(made, header)
        made.do_handshake()
    except OSError:
        made.close()
        raise
    return made


@pytest.mark.parametrize(
    "forged",
    [b"PROXY TCP4 127.0.0.9 127.0.0.1 40000 9094\r\n", v2(IPV4), v2(IPV4 + tlv(0xEA, b"\x01vpce-0123"))],
    ids=["v1", "v2", "v2-endpoint"],
)
def test_a_forged_header_from_an_unnamed_source_is_not_believed(named: GatewayProcess, forged: bytes) -> None:
    """Refused under the forger's own address, while the balancer's clients come and go under theirs."""
    at = len(named.audit())
    for source in ("127.0.0.1", CLIENT):
        with pytest.raises(OSError):  # noqa: PT011 - a reset or an alert, as the moment has it
            connect(named, named.port(), source, forged).close()
    required = named.config["listeners"][0]["proxy_protocol"]["required"]
    reason = "proxy-source-unnamed" if required else "proxy-protocol-on-tls-port"
    refused = {"127.0.0.1", CLIENT}
    for address in refused:
        named.wait_audit(event="refused", reason=reason, after=at, address=address)
    assert not [line for line in named.audit()[at:] if line.get("endpoint") or "203.0.113" in str(line)]
    with connect(named, named.config["front"], CLIENT) as client:  # a handshake alone would be taken for a probe
        client.sendall(request(API_VERSIONS, 0))
        assert client.recv(4)
    line = named.wait_audit(event="connected", after=at)
    assert (line["address"], line["through"]) == (CLIENT, BALANCER)


def test_limits_count_the_clients_that_the_balancer_names(named: GatewayProcess) -> None:
    """Three of each address, though all come from one."""
    front, at = named.config["front"], len(named.audit())
    with ExitStack() as stack:
        for last in (7, 8, 9):
            for _ in range(3):
                stack.enter_context(connect(named, front, f"127.0.0.{last}"))
        with pytest.raises(OSError):  # noqa: PT011 - a reset or an alert, as the moment has it
            connect(named, front, CLIENT)
        named.wait_audit(event="refused", reason="connections-per-address-max", after=at, address=CLIENT)
