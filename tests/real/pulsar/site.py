"""A real Pulsar behind a gateway, and what clients need to come to it."""

from __future__ import annotations

import copy
import http.client
import ssl
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulsar

from tests.real.gateway import GatewayProcess
from tests.real.ports import free_ports
from tests.real.pulsar.broker import PROXY_ROLE, PulsarBroker

ROLE = "svc-app"
"""The client's principal, which has a grant at the broker too."""
PRODUCER, CONSUMER = "svc-producer", "svc-consumer"
"""With one half of it each, here and at the broker."""
QUIET = "svc-quiet"
"""Says nothing for long (keepalive)."""
RECEIVE_MS = 60_000
QUIET_MS = 500
ASK_SECONDS_MAX = 90

POLICY = """\
version: 1
roles:
  app:
    - allow: [produce, consume, create, describe, delete]
      pulsar:
        topic: ["persistent://public/default/app-*", "non-persistent://public/default/app-*"]
        subscription: ["app-*", "reader-*"]
    - allow: [consume]
      pulsar: {namespace: [public/default]}
    - deny: [produce, consume]
      id: no-pii
      pulsar: {topic: ["persistent://public/default/app-pii-*"]}
  quiet:
    - allow: [produce, consume]
      pulsar: {topic: ["persistent://public/default/quiet-*"], subscription: ["app-*"]}
  producer:
    - allow: [produce]
      pulsar: {topic: ["persistent://public/default/app-*"]}
  reader:
    - allow: [consume]
      pulsar: {topic: ["persistent://public/default/app-*"], subscription: ["app-*"]}
bindings:
  - {roles: [producer], to: {issuer: test, claims: {groups: producers}}}
  - {roles: [quiet], to: {issuer: test, claims: {groups: quiet}}}
  - {roles: [app], to: {issuer: test, claims: {groups: app}}}
  - {roles: [reader], to: {issuer: test, claims: {groups: readers}}}
limits:
  - {to: {issuer: test, sub: slow}, produce: 200 KiB/s, consume: 200 KiB/s, requests: 500/s}
  - {to: {issuer: test, sub: few}, producers: 2, consumers: 2, connections: 2}
  - {to: any, produce: 200 MiB/s, consume: 200 MiB/s, requests: 50000/s, connections: 200}
end: true
"""


def unique(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex[:10]}"


def granted(broker: PulsarBroker) -> None:
    """At the broker, what the policy above gives here."""
    for role in (PROXY_ROLE, ROLE, QUIET, "slow", "few"):
        broker.grant(role, "produce", "consume")
        broker.grant(role, "produce", "consume", namespace="pulsar/system")  # where transactions are coordinated
    broker.grant(PRODUCER, "produce")
    broker.grant(CONSUMER, "consume")


def gateway_for(folder: Path, broker: PulsarBroker, policy: str = POLICY, **more: Any) -> GatewayProcess:
    """A gateway with one Pulsar listener, not started yet."""
    gateway = GatewayProcess(folder, {"main": broker.bootstrap}, policy=policy, **more)
    secret = folder / "own-token"
    secret.touch(mode=0o600)
    secret.write_text(broker.token(PROXY_ROLE))
    (listener,), (backend,) = gateway.config["listeners"], gateway.config["backends"]
    for name in ("broker_ports", "advertised"):
        del listener[name]
    listener["protocol"] = backend["system"] = "pulsar"
    backend["account"] = {
        "oauth": {"token_file": str(secret)}, "over_plaintext": True, "also_known_as": [PROXY_ROLE, "admin"],
    }  # fmt: skip
    return gateway


def add_web(gateway: GatewayProcess, broker: PulsarBroker, *, tls: bool = True, **more: Any) -> int:
    """A listener for the HTTP interface beside it, not started yet. Its port."""
    (port,) = gateway.ports["web"] = free_ports(1)
    binary, backend = gateway.config["listeners"][0], gateway.config["backends"][0]
    gateway.config["listeners"].append(
        {**copy.deepcopy(binary), "name": "web", "protocol": "pulsar-http", "port": port, **more}
    )
    if tls:
        backend["web"] = {"addresses": [f"localhost:{broker.web_tls_port}"], "tls": {"ca": str(broker.ca.path)}}
    else:
        backend["web"] = {"addresses": [broker.web], "insecure_plaintext": True}
    return port


def ask(
    gateway: GatewayProcess,
    port: int,
    method: str,
    path: str,
    token: str,
    body: bytes | None = None,
    media_type: str = "application/json",
) -> tuple[int, bytes]:
    """One request of the HTTP interface on a connection of its own; "" shows no token. Status and body."""
    trusting = ssl.create_default_context(cafile=gateway.ca_file)
    headers = {"content-type": media_type} | ({"authorization": f"Bearer {token}"} if token else {})
    made = http.client.HTTPSConnection("localhost", port, context=trusting, timeout=ASK_SECONDS_MAX)
    try:
        made.request(method, path, body, headers)
        answer = made.getresponse()
        return answer.status, answer.read()
    finally:
        made.close()


@dataclass
class Site:
    broker: PulsarBroker
    gateway: GatewayProcess

    @property
    def url(self) -> str:
        return f"pulsar+ssl://localhost:{self.gateway.port()}"

    def token(self, subject: str = ROLE, groups: tuple[str, ...] = ("app",), lifetime: float = 600.0) -> str:
        return self.gateway.issuer.token(subject, groups=list(groups), lifetime=lifetime)

    @contextmanager
    def client(self, token: str | Callable[[], str] | None = None, **more: Any) -> Iterator[pulsar.Client]:
        """The C++ client by its Python binding."""
        client = pulsar.Client(
            self.url,
            authentication=more.pop("authentication", None)
            or pulsar.AuthenticationToken(token if token is not None else self.token()),
            tls_trust_certs_file_path=self.gateway.ca_file,
            tls_validate_hostname=True,
            operation_timeout_seconds=more.pop("operation_timeout_seconds", 30),
            logger=pulsar.ConsoleLogger(pulsar.LoggerLevel.Error),
            **more,
        )
        try:
            yield client
        finally:
            client.close()

    def topic(self, prefix: str = "app-orders", domain: str = "persistent") -> str:
        return f"{domain}://public/default/{unique(prefix)}"

    def partitioned(self, partitions: int = 3, prefix: str = "app-parts") -> str:
        name = unique(prefix)
        self.broker.admin("PUT", f"/persistent/public/default/{name}/partitions", partitions)
        return f"persistent://public/default/{name}"

    def audited(self) -> int:
        return len(self.gateway.audit())


def receive(consumer: pulsar.Consumer, how_many: int) -> list[bytes]:
    """So many messages, acknowledged."""
    found = []
    for _ in range(how_many):
        message = consumer.receive(RECEIVE_MS)
        consumer.acknowledge(message)
        found.append(message.data())
    return found
