"""The real `pulsar-admin`, and clients that look topics up by HTTP, through the gateway to a real broker.

`pulsar-shell` runs the same commands as `pulsar-admin`, many in one process: a JVM takes seconds to start.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pulsar
import pytest
from pulsar.schema import JsonSchema, Record, String

from tests.real.gateway import GatewayProcess
from tests.real.jars import QUICK_START, java
from tests.real.pulsar.broker import PROXY_ROLE, PulsarBroker, PulsarFailed
from tests.real.pulsar.site import RECEIVE_MS, add_web, gateway_for, unique

KEEPER, TENANT = "svc-keeper", "keep"
SECONDS_MAX = 180
PLUGIN = "org.apache.pulsar.client.impl.auth.AuthenticationToken"
POLICY = """\
version: 1
roles:
  keeper:
    - allow: [produce, consume, create, delete, describe, alter, pulsar.Unload, pulsar.Terminate, pulsar.GetPermissions]
      pulsar: {topic: ["persistent://keep/app/*", "non-persistent://keep/app/*"], subscription: ["app-*", "reader-*"]}
    - allow: [pulsar.DeleteSchema]
      pulsar: {topic: ["persistent://keep/app/*"]}
    - allow: [consume, create, delete, describe, alter, pulsar.GetPermissions, pulsar.SetPermissions]
      pulsar: {namespace: ["keep/*"]}
    - allow: [describe]
      pulsar: {tenant: [keep], cluster: ["*"], brokers: [pulsar-brokers]}
    - deny: [describe, delete, produce, consume, create, alter]
      id: no-secrets
      pulsar: {topic: ["persistent://keep/app/secret-*"]}
bindings:
  - {roles: [keeper], to: {issuer: test, claims: {groups: keepers}}}
limits:
  - {to: any, produce: 200 MiB/s, consume: 200 MiB/s, requests: 50000/s, connections: 200}
end: true
"""


@dataclass
class Kept:
    gateway: GatewayProcess
    broker: PulsarBroker
    port: int

    @property
    def web_url(self) -> str:
        return f"https://localhost:{self.port}"

    def token(self, group: str = "keepers") -> str:
        return self.gateway.issuer.token(KEEPER, groups=[group], lifetime=600.0)

    @contextmanager
    def client(self, url: str = "") -> Iterator[pulsar.Client]:
        """The C++ client; by the HTTP listener's URL it looks topics up there."""
        client = pulsar.Client(
            url or f"pulsar+ssl://localhost:{self.gateway.port()}",
            authentication=pulsar.AuthenticationToken(self.token()),
            tls_trust_certs_file_path=self.gateway.ca_file,
            tls_validate_hostname=True,
            logger=pulsar.ConsoleLogger(pulsar.LoggerLevel.Error),
        )
        try:
            yield client
        finally:
            client.close()

    def run(self, tool: str, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """One of the distribution's tools, against the gateway."""
        folder = self.gateway.folder
        configuration = folder / "admin.conf"
        configuration.write_text(
            f"brokerServiceUrl={self.web_url}\nwebServiceUrl={self.web_url}\nauthPlugin={PLUGIN}\n"
            f"authParams=token:{self.token()}\ntlsTrustCertsFilePath={self.gateway.ca_file}\n"
            "tlsEnableHostnameVerification=true\n"
        )
        environment = {
            **os.environ,
            "JAVA_HOME": str(Path(java()).parent.parent),
            "PULSAR_CLIENT_CONF": str(configuration),
            "PULSAR_MEM": " ".join(("-Xmx160m -XX:MaxDirectMemorySize=256m", *QUICK_START)),
            "PULSAR_GC": "-XX:+UseSerialGC",
            "PULSAR_EXTRA_OPTS": "-XX:-UsePerfData",
            "PULSAR_LOG_DIR": str(folder),
        }
        return subprocess.run(
            [str(self.broker.home / "bin" / tool), *arguments], capture_output=True, text=True, timeout=SECONDS_MAX,
            env=environment, cwd=folder, input=stdin, check=False,
        )  # fmt: skip

    def commands(self, *lines: str) -> str:
        """`pulsar-admin` commands in one process, none of which may fail; the shell itself ends well either way."""
        script = self.gateway.folder / f"{unique('script')}.txt"
        script.write_text("".join(f"admin {line}\n" for line in lines))
        done = self.run("pulsar-shell", "-f", str(script), "-np")
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
        for words in ("Reason:", "Usage:", "Unmatched argument"):
            assert words not in done.stdout + done.stderr, done.stdout[-4000:] + done.stderr[-2000:]
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def kept(broker: PulsarBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    clusters = [name for name in broker.admin("GET", "/clusters") if name != "other"]
    broker.admin("PUT", f"/tenants/{TENANT}", {"adminRoles": [KEEPER, PROXY_ROLE], "allowedClusters": clusters})
    gateway = gateway_for(tmp_path_factory.mktemp("gateway-kept"), broker, policy=POLICY)
    port = add_web(gateway, broker)
    with gateway:
        yield Kept(gateway, broker, port)


def test_a_tenants_keeper_by_pulsar_admin(kept: Kept) -> None:
    topic, parts = f"persistent://{TENANT}/app/orders", f"persistent://{TENANT}/app/parts"
    kept.commands(f"namespaces create {TENANT}/app")
    kept.broker.admin("PUT", f"/persistent/{TENANT}/app/secret-plans")
    said = kept.commands(
        "tenants get keep",
        "namespaces list keep",
        f"topics create {topic}",
        f"topics create-partitioned-topic {parts} -p 3",
        f"topics list {TENANT}/app",
        f"topics list-partitioned-topics {TENANT}/app",
        f"topics get-partitioned-topic-metadata {parts}",
        f"topics update-partitioned-topic {parts} -p 5",
        f"topics create-subscription {topic} -s app-one",
        f"topics subscriptions {topic}",
        f"topics stats {topic}",
        f"topics partitioned-stats {parts}",
        f"topics stats-internal {topic}",
        f"topics lookup {topic}",
        f"topics clear-backlog {topic} -s app-one",
        f"topics reset-cursor {topic} -s app-one -t 1h",
        f"topics unsubscribe {topic} -s app-one",
        f"topics unload {topic}",
        f"namespaces set-message-ttl {TENANT}/app -ttl 600",
        f"namespaces get-message-ttl {TENANT}/app",
        f"namespaces policies {TENANT}/app",
        f"namespaces grant-permission {TENANT}/app --role someone --actions produce,consume",
        f"namespaces permissions {TENANT}/app",
        f"namespaces revoke-permission {TENANT}/app --role someone",
        "brokers version",
        f"topics delete {topic}",
        f"topics delete-partitioned-topic {parts}",
    )
    assert topic in said
    assert f"{parts}-partition-0" in said
    assert "secret-plans" not in said
    assert "ownerBroker" not in said.replace('"ownerBroker" : null', "")
    assert f"pulsar+ssl://localhost:{kept.gateway.port()}" in said
    assert "auth_policies" in said
    assert f":{kept.broker.port}" not in said
    assert "4.0.8" in said


def test_schemas_by_pulsar_admin(kept: Kept) -> None:
    topic = f"persistent://{TENANT}/app/{unique('schemas')}"
    fields = '{"type":"record","name":"Order","fields":[{"name":"name","type":"string"}]}'
    file = kept.gateway.folder / "order.json"
    file.write_text(json.dumps({"type": "AVRO", "schema": fields, "properties": {}}))
    said = kept.commands(
        f"topics create {topic}",
        f"schemas upload {topic} -f {file}",
        f"schemas get {topic}",
        f"schemas compatibility {topic} -f {file}",
    )
    assert '"AVRO"' in said
    kept.commands(f"schemas delete {topic}")
    with pytest.raises(PulsarFailed, match=": 404 "):
        kept.broker.admin("GET", f"/schemas/{topic.partition('://')[2]}/schema")


class Order(Record):  # type: ignore[misc]
    name = String()


def test_a_schema_that_a_consumer_brings_is_the_brokers_to_take(kept: Kept) -> None:
    """It needs no more than `consume`, here and at the broker; a namespace's setting has it refused."""
    topic, other = (f"{TENANT}/app/{unique('brought')}" for _ in range(2))
    with kept.client(kept.web_url) as client:
        try:
            client.subscribe(f"persistent://{topic}", "app-brings", schema=JsonSchema(Order)).close()
            assert kept.broker.admin("GET", f"/schemas/{topic}/schema")["type"] == "JSON"
            kept.broker.admin("POST", f"/namespaces/{TENANT}/app/isAllowAutoUpdateSchema", False)
            with pytest.raises(pulsar.PulsarException):
                client.subscribe(f"persistent://{other}", "app-brings", schema=JsonSchema(Order))
        finally:
            kept.broker.admin("POST", f"/namespaces/{TENANT}/app/isAllowAutoUpdateSchema", True)


@pytest.mark.parametrize(
    "arguments",
    [
        ("topics", "stats", f"persistent://{TENANT}/app/secret-plans"),
        ("sinks", "list", "--tenant", TENANT, "--namespace", "app"),
    ],
)
def test_what_is_denied_is_not_authorized_for_pulsar_admin(kept: Kept, arguments: tuple[str, ...]) -> None:
    done = kept.run("pulsar-admin", *arguments)
    assert done.returncode != 0
    assert "Unauthorized" in done.stdout + done.stderr
    denied = [each for each in kept.gateway.audit() if each["event"] == "denied"]
    assert denied[-1]["api"].startswith("GET /admin/v")


def test_java_looks_up_by_http(kept: Kept) -> None:
    topic = f"persistent://{TENANT}/app/{unique('java')}"
    said = kept.run("pulsar-client", "produce", topic, "-m", "by HTTP", "-n", "5")
    assert "5 messages successfully produced" in said.stdout + said.stderr, said.stdout[-3000:] + said.stderr[-2000:]


def test_python_looks_up_by_http(kept: Kept) -> None:
    with kept.client(kept.web_url) as client:
        topic = f"persistent://{TENANT}/app/{unique('python')}"
        consumer = client.subscribe(topic, "app-http")
        client.create_producer(topic).send(b"by HTTP")
        assert consumer.receive(RECEIVE_MS).data() == b"by HTTP"
        with pytest.raises(pulsar.PulsarException):
            client.create_producer(f"persistent://{TENANT}/app/secret-plans")
