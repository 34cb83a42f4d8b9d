"""Functions and packages of a real broker with a functions worker, by the real `pulsar-admin` through the gateway: for
a role that names each operation, and for nobody else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pulsar
import pytest
from pulsar.schema import StringSchema

from gateway.pulsar.web.serving import BODY_BYTES_MAX
from tests.real.missing import Missing
from tests.real.pulsar import site
from tests.real.pulsar.broker import PROXY_ROLE, PulsarBroker
from tests.real.pulsar.site import RECEIVE_MS, add_web, gateway_for
from tests.real.pulsar.test_rest_admin import KEEPER, TENANT, Kept
from tests.real.site import until

FUNCTION, PACKAGE = "exclaim", f"function://{TENANT}/app/exclaim"
CLASS = "org.apache.pulsar.functions.api.examples.ExclamationFunction"
INTO, OUT = (f"persistent://{TENANT}/app/{each}" for each in ("in", "out"))
SAID, KEPT = (f"persistent://{TENANT}/app/{each}" for each in ("said", "kept"))
WORKER_SECONDS_MAX = 60.0
LONG_BYTES = 3 << 20
POLICY = """\
version: 1
roles:
  owner:
    - allow: [pulsar.List, pulsar.Describe, pulsar.Register, pulsar.Deregister, pulsar.Run]
      pulsar: {function: ["keep/app/*"]}
    - allow: [pulsar.List, pulsar.Describe, pulsar.Register, pulsar.Deregister]
      pulsar: {source: ["keep/app/words"], sink: ["keep/app/shelf"]}
    - allow: [pulsar.List]
      pulsar: {source: ["keep/app/*"], sink: ["keep/app/*"]}
    - allow: [pulsar.List, pulsar.Describe, pulsar.Upload, pulsar.Download, pulsar.Delete]
      pulsar: {package: ["function://keep/app/*"]}
    - allow: [produce, consume]
      pulsar: {topic: ["persistent://keep/app/*"], subscription: ["app-*"]}
  operator:
    - allow: [pulsar.List, pulsar.Describe, pulsar.Run]
      pulsar: {function: ["keep/app/*"], source: ["keep/app/*"], sink: ["keep/app/*"]}
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


def made_long(jar: Path) -> None:
    """So that it passes as it comes, and is not held whole (web.serving.BODY_BYTES_MAX)."""
    with zipfile.ZipFile(jar, "a") as archive:
        archive.writestr("ballast", os.urandom(LONG_BYTES))
    assert jar.stat().st_size > 2 * BODY_BYTES_MAX


def running(kept: Kept, path: str = f"functions/{TENANT}/app/{FUNCTION}") -> int:
    """How many instances run, as an operator sees it."""
    status, body = ask(kept, "GET", f"/admin/v3/{path}/status", "operators")
    assert status == 200, body
    return int(json.loads(body)["numRunning"])


def until_running(kept: Kept, wanted: int, *path: str) -> None:
    deadline = time.monotonic() + WORKER_SECONDS_MAX
    while running(kept, *path) != wanted:
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture(scope="module")
def connectors(kept: Kept) -> Path:
    """An archive with a source and a sink of our own."""
    javac = shutil.which("javac")
    if javac is None:
        raise Missing("a Java compiler", "Debian: `apt-get install openjdk-17-jdk-headless`")
    sources = sorted(map(str, (Path(__file__).parent / "connectors").glob("*.java")))
    classes = kept.gateway.folder / "connectors"
    subprocess.run([javac, "-cp", f"{kept.broker.home / 'lib'}/*", "-d", str(classes), *sources], check=True)
    archive = kept.gateway.folder / "connectors.jar"
    with zipfile.ZipFile(archive, "w") as jar:
        for each in classes.glob("*.class"):
            jar.write(each, each.name)
    made_long(archive)
    return archive


def test_a_function_and_a_package_from_their_beginning_to_their_end(kept: Kept) -> None:
    jar = kept.gateway.folder / "examples.jar"
    shutil.copyfile(kept.broker.home / "examples" / "api-examples.jar", jar)
    made_long(jar)
    where = f"--tenant {TENANT} --namespace app"
    one = f"{where} --name {FUNCTION}"
    said = kept.commands(
        f"functions create {one} --jar {jar} --classname {CLASS} --inputs {INTO} --output {OUT}",
        f"functions list {where}",
        f"functions get {one}",
        f"functions stats {one}",
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
    with kept.client() as client:
        consumer = client.subscribe(OUT, "app-out")
        client.create_producer(INTO).send(b"hello")
        assert consumer.receive(RECEIVE_MS).data() == b"hello!"
    for act, left in (("stop", 0), ("start", 1)):
        path = f"/admin/v3/functions/{TENANT}/app/{FUNCTION}/{act}"
        assert ask(kept, "POST", path, "operators")[0] == 204
        until_running(kept, left)
    one = f"/admin/v3/functions/{TENANT}/app/{FUNCTION}"
    assert ask(kept, "DELETE", one, "operators")[0] == 401, "an operator makes and removes none"
    assert ask(kept, "DELETE", one, "keepers")[0] == 204
    assert ask(kept, "GET", f"/admin/v3/functions/{TENANT}/app", "operators") == (200, b"[]")


def test_a_source_and_a_sink_run_for_who_names_them(kept: Kept, connectors: Path) -> None:
    """Made, run, asked, and removed by one role; looked after by another, which reads no configuration of theirs and
    changes nothing; and for whoever may do all else with the tenant they are not there (CVE-2023-37579: a worker told
    every role what a source's or a sink's configuration is, credentials in it)."""
    shelf = kept.gateway.folder / "shelf.txt"
    where = f"--tenant {TENANT} --namespace app"
    source, sink = f"{where} --name words", f"{where} --name shelf"
    of_source, of_sink = (kept.gateway.folder / f"{each}.yml" for each in ("words", "shelf"))
    of_source.write_text(json.dumps({"topicName": SAID, "configs": {"words": "one two three"}}))
    of_sink.write_text(
        json.dumps({"inputs": [KEPT], "sourceSubscriptionName": "app-shelf", "configs": {"file": f"{shelf}"}})
    )
    listed = kept.commands(
        f"sources create {source} --archive {connectors} --classname Words --source-config-file {of_source}",
        f"sinks create {sink} --archive {connectors} --classname Shelf --sink-config-file {of_sink}",
        f"sources list {where}",
        f"sinks list {where}",
        f"sources get {source}",
        f"sinks get {sink}",
    )
    assert listed.count('"Words"') == listed.count('"Shelf"') == 1
    with kept.client() as client:
        consumer = client.subscribe(SAID, "app-said", initial_position=pulsar.InitialPosition.Earliest)
        assert [consumer.receive(RECEIVE_MS).data() for _ in range(3)] == [b"one", b"two", b"three"]
        producer = client.create_producer(KEPT, schema=StringSchema())
        for word in ("four", "five"):
            producer.send(word)
    until(lambda: shelf.exists() and shelf.read_text() == "four\nfive\n", what="what the sink writes")
    for kind, name in (("sources", "words"), ("sinks", "shelf")):
        one = f"/admin/v3/{kind}/{TENANT}/app/{name}"
        until_running(kept, 1, one.removeprefix("/admin/v3/"))
        for group in ("readers", "operators"):
            assert ask(kept, "PUT", one, group)[0] == ask(kept, "DELETE", one, group)[0] == 401
        for path in ("", "/status", "/0/status"):
            status, said = ask(kept, "GET", one + path, "readers")
            assert status == 401
            assert b"words" not in said
        assert ask(kept, "POST", f"{one}/stop", "readers")[0] == 401
        assert ask(kept, "POST", f"{one}/stop", "operators")[0] == 204
        until_running(kept, 0, one.removeprefix("/admin/v3/"))
        assert ask(kept, "DELETE", one, "keepers")[0] == 204
        assert ask(kept, "GET", f"/admin/v3/{kind}/{TENANT}/app", "keepers") == (200, b"[]")


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
