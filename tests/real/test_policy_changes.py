"""Policies that change under live connections, in each way files change; what flowed stops flowing."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from tests.real.gateway import GatewayProcess
from tests.real.kafka import KafkaCluster
from tests.real.site import DIRECT, POLICY, Site, unique, until

pytestmark = pytest.mark.skipif(DIRECT, reason="REAL_DOOR=direct: policies are the gateway's (unset it)")

TURN_SECONDS_MAX = 90.0
CLOSED = POLICY.replace('topic: ["app.*"]', 'topic: ["elsewhere.*"]')


@pytest.fixture
def own(kafka_one: KafkaCluster, tmp_path: Path) -> Iterator[Site]:
    """A gateway whose policies are two files in a folder behind two links, as Kubernetes mounts a ConfigMap."""
    gateway = GatewayProcess(tmp_path, {"main": kafka_one.bootstrap}, policy=POLICY)
    mount = tmp_path / "mount"
    write_version(mount, "..one", POLICY)
    (mount / "..data").symlink_to("..one")
    for name in ("a.yaml", "b.yaml"):
        (mount / name).symlink_to(f"..data/{name}")
    gateway.config["policies"]["files"] = [str(mount / "*.yaml")]
    with gateway:
        yield Site(kafka_one, gateway)


def write_version(mount: Path, name: str, policy: str) -> None:
    """The roles in one file, bindings and limits in the other: only both together are a policy."""
    folder = mount / name
    folder.mkdir(parents=True)
    roles, _, rest = policy.partition("bindings:")
    (folder / "a.yaml").write_text(f"{roles}end: true\n")
    (folder / "b.yaml").write_text(f"version: 1\nbindings:{rest}")


def swap(mount: Path, name: str) -> None:
    scratch = mount / "..data_tmp"
    scratch.symlink_to(name)
    os.replace(scratch, mount / "..data")


def mount_of(site: Site) -> Path:
    assert site.gateway is not None
    return site.gateway.folder / "mount"


def revised(site: Site, at: int, **fields: Any) -> dict[str, Any]:
    assert site.gateway is not None
    return site.gateway.wait_audit(event="policy-revision", after=at, **fields)


def by_swap(site: Site) -> None:
    write_version(mount_of(site), "..two", CLOSED)
    swap(mount_of(site), "..two")


def by_rename(site: Site) -> None:
    folder = mount_of(site) / "..one"
    write_version(mount_of(site), "..scratch", CLOSED)
    os.replace(mount_of(site) / "..scratch" / "a.yaml", folder / "a.yaml")


def by_writing(site: Site) -> None:
    write_version(mount_of(site), "..scratch", CLOSED)
    (mount_of(site) / "..one" / "a.yaml").write_bytes((mount_of(site) / "..scratch" / "a.yaml").read_bytes())


@pytest.mark.parametrize("change", [by_swap, by_rename, by_writing])
def test_a_change_holds_from_a_live_connections_next_request(own: Site, change: Callable[[Site], None]) -> None:
    assert own.gateway is not None
    topic, outcome = own.topic(), list[int | None]()
    producer = Producer(own.app().confluent(**{"linger.ms": 0, "enable.idempotence": False}))

    def send() -> None:
        producer.produce(topic, b"x", on_delivery=lambda error, _: outcome.append(error.code() if error else None))
        assert producer.flush(60) == 0

    send()
    at = own.audited()
    change(own)
    line = revised(own, at)
    after = own.gateway.audit().index(line)
    assert line["previous"] != line["revision"]
    denied_at = own.audited()
    send()
    assert outcome == [None, KafkaError.TOPIC_AUTHORIZATION_FAILED]
    assert own.denied(denied_at, resource=topic)["revision"] == line["revision"]
    entered = [each for each in own.gateway.audit()[after:] if each["event"] == "authenticated"]
    assert not entered, "the connection was the same"


def test_sighup_reads_at_once(kafka_one: KafkaCluster, tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path, {"main": kafka_one.bootstrap}, policy=POLICY)
    gateway.config["policies"]["poll"] = "1 h"
    with gateway:
        at = len(gateway.audit())
        gateway.policy_path.write_text(CLOSED)
        for _ in range(2):  # the keys' file is looked at every second: the policies' could have been since
            looked = len(gateway.audit())
            gateway.issuer.rotate()
            gateway.issuer.write_jwks(tmp_path / "jwks.json")
            gateway.wait_audit(event="keys", after=looked)
        assert not [line for line in gateway.audit()[at:] if line["event"].startswith("policy")]
        os.kill(gateway.pid, signal.SIGHUP)
        assert gateway.wait_audit(event="policy-revision", after=at)["trigger"] == "SIGHUP"


@pytest.mark.parametrize("half", ["a.yaml", "b.yaml"])
def test_half_a_set_leaves_the_old_one(own: Site, half: str) -> None:
    """One of the two files is cut off in the middle: nothing of the other counts either, and it is said loudly."""
    assert own.gateway is not None
    at = own.audited()
    write_version(mount_of(own), "..two", CLOSED)
    path = mount_of(own) / "..two" / half
    path.write_text(path.read_text()[: len(path.read_text()) // 2])
    swap(mount_of(own), "..two")
    line = own.gateway.wait_audit(event="policy-refused", after=at)
    assert half in str(line)
    until(lambda: "refused" in own.gateway.admin("/readyz")[1], what="/readyz says so")  # type: ignore[union-attr]
    until(lambda: "gateway_policy_refused 1" in own.gateway.admin("/metrics")[1], what="a refusal")  # type: ignore[union-attr]
    until(lambda: "ERROR" in own.gateway.log(), what="a loud line")  # type: ignore[union-attr]
    outcome: list[object] = []
    producer = Producer(own.app().confluent(**{"enable.idempotence": False}))
    producer.produce(own.topic(), b"x", on_delivery=lambda error, _: outcome.append(error))
    assert producer.flush(60) == 0
    assert outcome == [None]
    write_version(mount_of(own), "..three", CLOSED)
    swap(mount_of(own), "..three")
    revised(own, at)
    until(lambda: "gateway_policy_refused 0" in own.gateway.admin("/metrics")[1], what="no refusal any more")  # type: ignore[union-attr]


def test_a_withdrawn_topic_stops_flowing_and_the_other_goes_on(own: Site) -> None:
    """A consumer with a fetch session on two topics: one is withdrawn while records keep coming in both."""
    assert own.gateway is not None
    kept, withdrawn = own.topic(partitions=1), own.topic("app.secret", partitions=1)
    consumer = Consumer(
        own.app().confluent(**{"group.id": unique("app-g"), "auto.offset.reset": "earliest", "fetch.wait.max.ms": 100})
    )
    feeder = Producer({"bootstrap.servers": own.cluster.bootstrap, "linger.ms": 0})
    seen: dict[str, int] = {kept: 0, withdrawn: 0}
    errors: list[int] = []

    def turn(enough: Callable[[], bool]) -> None:
        ends = time.monotonic() + TURN_SECONDS_MAX
        while not enough():
            assert time.monotonic() < ends, (seen, errors)
            for topic in (kept, withdrawn):
                feeder.produce(topic, b"x")
            feeder.flush(60)
            while (message := consumer.poll(0.02)) is not None:
                if message.error():
                    errors.append(message.error().code())
                else:
                    seen[str(message.topic())] += 1

    try:
        consumer.assign([TopicPartition(kept, 0, 0), TopicPartition(withdrawn, 0, 0)])
        turn(lambda: min(seen.values()) > 10)
        at = own.audited()
        write_version(mount_of(own), "..two", POLICY.replace('["*.pii"]', '["*.pii", "app.secret*"]'))
        swap(mount_of(own), "..two")
        revised(own, at)
        turn(lambda: bool(errors))  # behind all that was fetched before
        before = dict(seen)
        turn(lambda: seen[kept] > before[kept] + 50)
    finally:
        consumer.close()
    assert seen[withdrawn] == before[withdrawn]
    assert set(errors) == {KafkaError.TOPIC_AUTHORIZATION_FAILED}
    own.denied(at, resource=withdrawn, operation="Read")
