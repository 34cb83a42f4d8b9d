"""Functions and packages of a real broker with a functions worker, by the real `pulsar-admin` through the gateway: for
a role that names each operation, and for nobody else."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pulsar
import pytest

from tests.real.pulsar import site
from tests.real.pulsar.broker import PROXY_ROLE, PulsarBroker
from tests.real.pulsar.site import RECEIVE_MS, add_web, gateway_for
from tests.real.pulsar.test_rest_admin import KEEPER, TENANT, Kept

FUNCTION, PACKAGE = "exclaim", f"function://{TENANT}/app/exclaim"
CLASS = "org.apache.pulsar.functions.api.examples.ExclamationFunction"
INTO, OUT = (f"persistent://{TENANT}/app/{each}" for each in ("in", "out"))
WORKER_SECONDS_MAX = 60.0
POLICY = """\
version: 1
roles:
  owner:
    - allow: [pulsar.List, pulsar.Describe, pulsar.Register, pulsar.Deregister, pulsar.Run]
      pulsar: {function: ["keep/app/*"]}
    - allow: [pulsar.List]
      pulsar: {source: ["keep/app/*"], sink: ["keep/app/*"]}
    - allow: [pulsar.List, pulsar.Describe, pulsar.Upload, pulsar.Download, pulsar.Delete]
      pulsar: {package: ["function://keep/app/*"]}
    - allow: [produce, consume]
      pulsar: {topic: ["persistent://keep/app/*"], subscription: ["app-*"]}
  operator:
    - allow: [pulsar.List, pulsar.Describe, pulsar.Run]
      pulsar: {function: ["keep/app/*"]}
  reader:
    - allow: [produce, consume, create, delete, describe, alter]
      pulsar: {topic: ["*"], namespace: ["*"], tenant: ["*"]}
bindings:
  - {roles: [owner], to: {issuer: test, claims: {groups: keepers}}}
  - {roles: [operator], to: {issuer: test, claims: {groups: operators}}}
  - {roles: [reader], to: {issuer: test, claims: {groups: readers}}}
limits:
  - {to: any, produce: 200 MiB/s, consume: 200 MiB/s, requests: 50000/s, connections: 200}
end: true
"""


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    with PulsarBroker(tmp_path_factory.mktemp("pulsar-functions"), functions=True) as broker:
        (cluster,) = broker.admin("GET", "/clusters")
        broker.admin("PUT", f"/tenants/{TENANT}", {"adminRoles": [KEEPER, PROXY_ROLE], "allowedClusters": [cluster]})
        broker.admin("PUT", f"/namespaces/{TENANT}/app", {})
        gateway = gateway_for(tmp_path_factory.mktemp("gateway-functions"), broker, policy=POLICY)
        port = add_web(gateway, broker)
        with gateway:
            yield Kept(gateway, broker, port)


def ask(kept: Kept, method: str, path: str, group: str) -> tuple[int, bytes]:
    """One request of somebody of this group."""
    return site.ask(kept.gateway, kept.port, method, path, kept.token(group))


def running(kept: Kept) -> int:
    """How many instances of the function run, as an operator sees it."""
    status, body = ask(kept, "GET", f"/admin/v3/functions/{TENANT}/app/{FUNCTION}/status", "operators")
    assert status == 200, body
    return int(json.loads(body)["numRunning"])


def until_running(kept: Kept, wanted: int) -> None:
    deadline = time.monotonic() + WORKER_SECONDS_MAX
    while running(kept) != wanted:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_function_and_a_package_from_their_beginning_to_their_end(kept: Kept) -> None:
    jar = kept.broker.home / "examples" / "api-examples.jar"
    where = f"--tenant {TENANT} --namespace app"
    one = f"{where} --name {FUNCTION}"
    said = kept.commands(
        f"functions create {one} --jar {jar} --classname {CLASS} --inputs {INTO} --output {OUT}",
        f"functions list {where}",
        f"functions get {one}",
        f"functions stats {one}",
        f"sources list {where}",
        f"sinks list {where}",
        f"packages upload {PACKAGE}@v1 --path {jar} --description tried",
        f"packages list --type function {TENANT}/app",
        f"packages list-versions {PACKAGE}",
        f"packages get-metadata {PACKAGE}@v1",
        f"packages download {PACKAGE}@v1 --path {kept.gateway.folder}/again.jar",
        f"packages delete {PACKAGE}@v1",
    )
    assert CLASS in said
    assert "tried" in said
    assert (kept.gateway.folder / "again.jar").read_bytes() == jar.read_bytes()
    until_running(kept, 1)
    client = pulsar.Client(
        f"pulsar+ssl://localhost:{kept.gateway.port()}",
        authentication=pulsar.AuthenticationToken(kept.token()),
        tls_trust_certs_file_path=kept.gateway.ca_file,
        tls_validate_hostname=True,
        logger=pulsar.ConsoleLogger(pulsar.LoggerLevel.Error),
    )
    try:
        consumer = client.subscribe(OUT, "app-out")
        client.create_producer(INTO).send(b"hello")
        assert consumer.receive(RECEIVE_MS).data() == b"hello!"
    finally:
        client.close()
    for act, left in (("stop", 0), ("start", 1)):
        path = f"/admin/v3/functions/{TENANT}/app/{FUNCTION}/{act}"
        assert ask(kept, "POST", path, "operators")[0] == 204
        until_running(kept, left)
    one = f"/admin/v3/functions/{TENANT}/app/{FUNCTION}"
    assert ask(kept, "DELETE", one, "operators")[0] == 401, "an operator makes and removes none"
    assert ask(kept, "DELETE", one, "keepers")[0] == 204
    assert ask(kept, "GET", f"/admin/v3/functions/{TENANT}/app", "operators") == (200, b"[]")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"/admin/v3/functions/{TENANT}/app"),
        ("GET", f"/admin/v3/functions/{TENANT}/app/{FUNCTION}/status"),
        ("POST", f"/admin/v3/functions/{TENANT}/app/{FUNCTION}/restart"),
        ("DELETE", f"/admin/v3/functions/{TENANT}/app/{FUNCTION}"),
        ("GET", f"/admin/v3/sinks/{TENANT}/app"),
        ("GET", f"/admin/v3/sources/{TENANT}/app"),
        ("GET", f"/admin/v3/packages/function/{TENANT}/app"),
        ("GET", "/admin/v2/worker/cluster"),
        ("GET", "/admin/v3/functions/connectors"),
    ],
)
def test_common_verbs_give_nothing_of_it(kept: Kept, method: str, path: str) -> None:
    """Not to one who may do all else with the tenant, its administrator at the broker."""
    assert ask(kept, method, path, "readers")[0] == 401


def test_who_names_operations_has_no_others(kept: Kept) -> None:
    assert ask(kept, "GET", f"/admin/v3/functions/{TENANT}/app", "keepers")[0] == 200
    assert ask(kept, "GET", f"/admin/v3/functions/{TENANT}/other", "keepers")[0] == 401
    assert ask(kept, "GET", "/admin/v2/worker/cluster", "keepers")[0] == 401
    assert ask(kept, "GET", f"/admin/v3/packages/sink/{TENANT}/app", "keepers")[0] == 401
