"""Both ways to tell the brokers apart, a port each and a host name each, on one gateway before three brokers.

Where the leader is now (KIP-951) is told in the tags of Produce and Fetch answers, always by the gateway's addresses.
"""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import nullcontext

import pytest
from confluent_kafka.cimpl import NewTopic

from gateway.kafka import codec
from tests.real.gateway import GatewayProcess
from tests.real.kafka import KafkaCluster
from tests.real.site import Site, unique
from tests.real.wire import RawClient, frame
from tests.scenarios.kafka_world import batch

PRODUCE, FETCH, METADATA = 0, 1, 3
UNKNOWN_TOPIC, NOT_LEADER, UNKNOWN_TOPIC_ID = 3, 6, 100
HEARD_SECONDS_MAX = 30.0


def asked(raw: RawClient, key: int, version: int, body: codec.Body) -> tuple[codec.Body, bytes]:
    raw.send(frame(codec.encode_request_header(key, version, 1, "raw") + codec.encode_request(key, version, body)))
    answer = raw.receive()
    return codec.decode_response(key, version, memoryview(answer)[codec.response_header_size(key, version) :]), answer


def connect(site: Site, node: int | None = None) -> RawClient:
    """To a broker, or to where clients begin. The names need no resolver here."""
    assert site.gateway is not None
    host, _, port = site.bootstrap.rpartition(":")
    name, at = (host, int(port)) if node is None else site.gateway.broker_address(node, site.door)
    raw = RawClient(at, site.gateway.ca_file, name=name)
    assert raw.authenticate(site.gateway.issuer.token("svc-raw", groups=["app"]))[0] == 0
    return raw


def id_of(site: Site, name: str) -> bytes:
    """As soon as the broker that is asked has heard of the topic."""
    deadline = time.monotonic() + HEARD_SECONDS_MAX
    with connect(site) as raw:
        while True:
            (topic,) = asked(raw, METADATA, 12, {"topics": [{"name": name}]})[0]["topics"]
            if not topic["errorCode"]:
                return bytes(topic["topicId"])
            assert time.monotonic() < deadline, topic


def by_produce(name: str, topic_id: bytes, version: int) -> tuple[int, codec.Body]:
    topic = {"topicId": topic_id} if version >= 13 else {"name": name}
    topics = [topic | {"partitionData": [{"index": 0, "records": batch(0, 10)}]}]
    return PRODUCE, {"acks": -1, "timeoutMs": 5000, "topicData": topics}


def by_fetch(name: str, topic_id: bytes, version: int) -> tuple[int, codec.Body]:
    del name, version
    partition = {"partition": 0, "fetchOffset": 0, "partitionMaxBytes": 1 << 20, "currentLeaderEpoch": -1}
    topics = [{"topicId": topic_id, "partitions": [partition]}]
    return FETCH, {
        "maxWaitMs": 100, "minBytes": 1, "maxBytes": 1 << 20, "sessionId": 0, "sessionEpoch": -1, "topics": topics,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("ask", "version"),
    [(by_produce, 10), (by_produce, 13), (by_fetch, 16), (by_fetch, 18)],
    ids=["produce-v10", "produce-v13", "fetch-v16", "fetch-v18"],
)
@pytest.mark.parametrize("site", ["three", "names"], indirect=True)
def test_the_new_leader_is_told_by_the_gateways_address(guarded: Site, ask: object, version: int) -> None:
    assert guarded.gateway is not None
    assert callable(ask)
    name, leader = unique("app.one"), 2
    guarded.admin.create_topics([NewTopic(name, num_partitions=1, replica_assignment=[[leader]])])[name].result(20)
    key, body = ask(name, id_of(guarded, name), version)
    partitions = "partitionResponses" if key == PRODUCE else "partitions"
    with connect(guarded, 1) as raw:  # which has no replica of it
        deadline = time.monotonic() + HEARD_SECONDS_MAX
        while True:
            answer, octets = asked(raw, key, version, body)
            (told,) = answer["responses"]
            part = told[partitions][0]
            if part["errorCode"] not in (UNKNOWN_TOPIC, UNKNOWN_TOPIC_ID) or time.monotonic() > deadline:
                break  # until then the broker has not heard of the new topic
    assert part["errorCode"] == NOT_LEADER
    assert part["currentLeader"]["leaderId"] == leader
    (endpoint,) = answer["nodeEndpoints"]
    assert (endpoint["host"], endpoint["port"]) == guarded.gateway.broker_address(leader, guarded.door)
    assert endpoint["nodeId"] == leader
    assert b"127.0.0.1" not in octets
    assert guarded.cluster.port(leader).to_bytes(4, "big") not in octets


@pytest.mark.parametrize(
    ("door", "name", "covered"),
    [
        ("names", "kafka.test", "kafka.test"),
        ("names", "b1.kafka.test", "b1.kafka.test"),
        ("names", "b2.kafka.test", "*.kafka.test"),
        ("names", "B3.Kafka.Test", "*.kafka.test"),
        ("main", "localhost", "localhost"),
        ("names", "b10.kafka.test", None),
        ("names", "localhost", None),
    ],
)
def test_each_name_has_its_own_certificate(
    three: tuple[KafkaCluster, GatewayProcess | None], door: str, name: str, covered: str | None
) -> None:
    """A name that no broker has is refused by TLS itself."""
    gateway = three[1]
    if gateway is None:
        pytest.skip("REAL_DOOR=direct: the certificates are the gateway's (unset it)")
    context = ssl.create_default_context(cafile=gateway.ca_file)
    with (
        socket.create_connection(("127.0.0.1", gateway.port(door)), timeout=10) as plain,
        pytest.raises(ssl.SSLError, match=r"(?i)unrecognized") if covered is None else nullcontext(),
        context.wrap_socket(plain, server_hostname=name) as encrypted,
    ):
        found = encrypted.getpeercert()
        assert found is not None
        assert found["subjectAltName"][0] == ("DNS", covered)
