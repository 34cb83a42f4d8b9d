"""Where the client suites play: a real cluster, the gateway in front of it, and applications with tokens.

With ``REAL_DOOR=direct`` the same suites go straight to the broker in plaintext (what needs a denial is left out): it
tells a library's fault from the gateway's.
"""

from __future__ import annotations

import os
import ssl
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.real.gateway import GatewayProcess
from tests.real.kafka import KafkaCluster

DIRECT = os.environ.get("REAL_DOOR") == "direct"

ADDRESSED = pytest.mark.parametrize("site", ["one", "three", "names"], indirect=True)
"""One broker, three by their ports, three by their host names."""

PLENTY = """\
limits:
  - {to: any, produce: 200 MiB/s, consume: 200 MiB/s, requests: 5000/s, connections: 200}
end: true
"""
"""The end of a policy whose limits nobody comes to."""

POLICY = """\
version: 1
roles:
  app:
    - allow: [produce, consume, create, delete, describe, alter]
      kafka: {topic: ["app.*"], group: ["app-*"], transactional-id: ["app-*"]}
    - deny: [produce, consume]
      id: no-pii
      kafka: {topic: ["*.pii"]}
  reader:
    - allow: [consume]
      kafka: {topic: ["app.*"], group: ["app-*"]}
bindings:
  - {roles: [app], to: {issuer: test, claims: {groups: app}}}
  - {roles: [reader], to: {issuer: test, claims: {groups: readers}}}
limits:
  - {to: {issuer: test, sub: slow}, produce: 100 KiB/s, consume: 100 KiB/s, requests: 200/s, connections: 20}
  - {to: any, produce: 200 MiB/s, consume: 200 MiB/s, requests: 5000/s, connections: 200}
end: true
"""


def unique(prefix: str) -> str:
    """A name nobody else has: ``app.orders`` becomes ``app.orders-3f2a...``."""
    return f"{prefix}-{uuid.uuid4().hex[:10]}"


@dataclass
class Site:
    """A cluster and, unless DIRECT, the gateway in front of it. `door`: which of its listeners clients come by."""

    cluster: KafkaCluster
    gateway: GatewayProcess | None
    door: str = "main"
    _admin: AdminClient | None = None

    @property
    def bootstrap(self) -> str:
        return self.gateway.bootstrap(self.door) if self.gateway else self.cluster.bootstrap

    def addresses(self) -> list[tuple[str, int]]:
        """What clients are told of the brokers, in the order of their ids."""
        assert self.gateway is not None
        return [self.gateway.broker_address(node, self.door) for node in self.cluster.nodes]

    @property
    def admin(self) -> AdminClient:
        """Straight at the broker, allowed everything."""
        if self._admin is None:
            self._admin = AdminClient({"bootstrap.servers": self.cluster.bootstrap})
        return self._admin

    def topic(self, prefix: str = "app.orders", partitions: int = 3, **config: str) -> str:
        """A new topic, made straight at the broker."""
        name = f"{prefix.removesuffix('.pii')}-{uuid.uuid4().hex[:10]}{'.pii' if prefix.endswith('.pii') else ''}"
        replicas = min(3, len(self.cluster.nodes))
        done = self.admin.create_topics([NewTopic(name, partitions, replicas, config=config)])
        done[name].result(60)
        self.cluster.wait_topic(name)
        return name

    def app(self, subject: str = "svc-app", groups: tuple[str, ...] = ("app",), lifetime: float = 600.0) -> App:
        return App(self, subject, {"groups": list(groups)}, lifetime)

    def denied(self, after: int, **fields: Any) -> dict[str, Any]:
        """The gateway's own line of a denial."""
        assert self.gateway is not None
        return self.gateway.wait_audit(event="denied", after=after, **fields)

    def audited(self) -> int:
        return len(self.gateway.audit()) if self.gateway else 0


@dataclass
class App:
    """An application: a subject with claims, and its settings in each library's words."""

    site: Site
    subject: str
    claims: dict[str, Any]
    lifetime: float = 600.0
    minted: list[str] = field(default_factory=list)

    def token(self) -> str:
        """A fresh token; `minted` keeps count."""
        assert self.site.gateway is not None
        made = self.site.gateway.issuer.token(self.subject, lifetime=self.lifetime, **self.claims)
        self.minted.append(made)
        return made

    def confluent(self, *, plain: bool = False, **more: Any) -> dict[str, Any]:
        gateway = self.site.gateway
        if gateway is None:
            return {"bootstrap.servers": self.site.bootstrap, **more}
        more = {"bootstrap.servers": self.site.bootstrap, **more}
        return gateway.confluent_plain(self.token(), **more) if plain else gateway.confluent(self.token, **more)

    def aiokafka(self, *, plain: bool = False, **more: Any) -> dict[str, Any]:
        made: dict[str, Any] = {"bootstrap_servers": self.site.bootstrap, **more}
        if self.site.gateway is None:
            return made
        made |= {"security_protocol": "SASL_SSL", "ssl_context": self.ssl_context()}
        if plain:
            return made | {
                "sasl_mechanism": "PLAIN", "sasl_plain_username": "token", "sasl_plain_password": self.token(),
            }  # fmt: skip
        from aiokafka.abc import AbstractTokenProvider

        app = self

        class Provider(AbstractTokenProvider):
            async def token(self) -> str:
                return app.token()

        return made | {"sasl_mechanism": "OAUTHBEARER", "sasl_oauth_token_provider": Provider()}

    def kafka_python(self, *, plain: bool = False, **more: Any) -> dict[str, Any]:
        made: dict[str, Any] = {"bootstrap_servers": self.site.bootstrap, **more}
        if self.site.gateway is None:
            return made
        made |= {"security_protocol": "SASL_SSL", "ssl_context": self.ssl_context()}
        if plain:
            return made | {
                "sasl_mechanism": "PLAIN", "sasl_plain_username": "token", "sasl_plain_password": self.token(),
            }  # fmt: skip
        from kafka.net.sasl.oauth import AbstractTokenProvider

        app = self

        class Provider(AbstractTokenProvider):
            def __init__(self) -> None:
                super().__init__()

            def token(self) -> str:
                return app.token()

        return made | {"sasl_mechanism": "OAUTHBEARER", "sasl_oauth_token_provider": Provider()}

    def java(self, folder: Path, *, plain: bool = False, **more: str) -> Path:
        """A client.properties file for the Java tools."""
        lines = {"bootstrap.servers": self.site.bootstrap, **more}
        gateway = self.site.gateway
        if gateway is not None:
            lines |= {
                "security.protocol": "SASL_SSL",
                "ssl.truststore.type": "PEM",
                "ssl.truststore.location": gateway.ca_file,
            }
        if gateway is not None and plain:
            lines |= {
                "sasl.mechanism": "PLAIN",
                "sasl.jaas.config": "org.apache.kafka.common.security.plain.PlainLoginModule required "
                f'username="token" password="{self.token()}";',
            }
        elif gateway is not None:
            token = folder / unique("token")
            token.write_text(self.token())
            lines |= {
                "sasl.mechanism": "OAUTHBEARER",
                "sasl.jaas.config": "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;",
                "sasl.login.callback.handler.class": "org.apache.kafka.common.security.oauthbearer."
                "OAuthBearerLoginCallbackHandler",
                "sasl.oauthbearer.token.endpoint.url": token.as_uri(),
            }
        path = folder / f"{unique('client')}.properties"
        path.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
        return path

    def kafkajs(self, *, plain: bool = False) -> dict[str, Any]:
        """What tests/real/kafkajs/run.js makes a client of."""
        gateway = self.site.gateway
        made: dict[str, Any] = {"brokers": self.site.bootstrap.split(",")}
        if gateway is not None:
            made |= {"ca": gateway.ca_file, "mechanism": "plain" if plain else "oauthbearer", "token": self.token()}
        return made

    def ssl_context(self) -> ssl.SSLContext:
        assert self.site.gateway is not None
        return ssl.create_default_context(cafile=self.site.gateway.ca_file)


def until(condition: Callable[[], bool], seconds: float = 60.0, what: str = "the condition") -> None:
    """Wait for something to become true, looking every 50 ms."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {seconds} s")
        time.sleep(0.05)
