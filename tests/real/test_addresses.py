"""Where the leader is now (KIP-951): told in the tags of Produce and Fetch answers, always by the gateway's ports."""

from __future__ import annotations

import pytest
from confluent_kafka.cimpl import NewTopic

from gateway.kafka import codec
from tests.real.site import Site, unique
from tests.real.wire import RawClient, frame
from tests.scenarios.kafka_world import batch

pytestmark = pytest.mark.parametrize("site", ["three"], indirect=True)

PRODUCE, FETCH, METADATA, NOT_LEADER = 0, 1, 3, 6


def asked(raw: RawClient, key: int, version: int, body: codec.Body) -> tuple[codec.Body, bytes]:
    raw.send(frame(codec.encode_request_header(key, version, 1, "raw") + codec.encode_request(key, version, body)))
    answer = raw.receive()
    return codec.decode_response(key, version, memoryview(answer)[codec.response_header_size(key, version) :]), answer


def connect(site: Site, port: int) -> RawClient:
    assert site.gateway is not None
    raw = RawClient(port, site.gateway.ca_file)
    assert raw.authenticate(site.gateway.issuer.token("svc-raw", groups=["app"]))[0] == 0
    return raw


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
def test_the_new_leader_is_told_by_the_gateways_port(guarded: Site, ask: object, version: int) -> None:
    assert guarded.gateway is not None
    assert callable(ask)
    name, leader = unique("app.one"), 2
    guarded.admin.create_topics([NewTopic(name, num_partitions=1, replica_assignment=[[leader]])])[name].result(20)
    base = guarded.gateway.ports["main"][1]
    with connect(guarded, guarded.gateway.port()) as raw:
        (topic,) = asked(raw, METADATA, 12, {"topics": [{"name": name}]})[0]["topics"]
    key, body = ask(name, bytes(topic["topicId"]), version)
    with connect(guarded, base + 1) as raw:  # which has no replica of it
        answer, octets = asked(raw, key, version, body)
    (told,) = answer["responses"]
    part = told["partitionResponses" if key == PRODUCE else "partitions"][0]
    assert part["errorCode"] == NOT_LEADER
    assert part["currentLeader"]["leaderId"] == leader
    (endpoint,) = answer["nodeEndpoints"]
    assert (endpoint["nodeId"], endpoint["host"], endpoint["port"]) == (leader, "localhost", base + leader)
    assert b"127.0.0.1" not in octets
    assert guarded.cluster.port(leader).to_bytes(4, "big") not in octets
