"""ApiVersions: what is offered, to whom, and what a wrong question gets."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from gateway.core.session import Endpoint
from gateway.kafka import codec
from gateway.kafka.backend import BackendState, BrokerVersions
from gateway.kafka.table import OFFERED
from tests.scenarios.kafka_world import World, body_of, framed, ready_state, versions

EVERYTHING = {key: api.known for key, api in codec.APIS.items()}


def asked(version: int, world: World | None = None, **fields: Any) -> dict[str, Any]:
    world = world or World()
    return body_of(18, version, world.send(versions(1, version, **fields)).answers[0])


def ranges(answer: dict[str, Any]) -> dict[int, tuple[int, int]]:
    return {each["apiKey"]: (each["minVersion"], each["maxVersion"]) for each in answer["apiKeys"]}


@pytest.mark.parametrize("version", range(6))
def test_never_more_than_the_table_knows(version: int) -> None:
    answer = asked(version)
    assert answer["errorCode"] == 0
    offered = ranges(answer)
    assert offered.pop(17) == (0, 1)
    assert offered.pop(18) == (0, 5)
    assert offered.pop(36) == (0, 2)
    assert offered == {**OFFERED, 0: (0, OFFERED[0][1])}  # KAFKA-18659


def test_never_more_than_every_broker_can_do() -> None:
    world = World()
    world.state.set_versions(2, BrokerVersions({**EVERYTHING, 1: (4, 11), 3: (0, 8)}))
    offered = ranges(asked(3, world))
    assert offered[1] == (4, 11)
    assert offered[3] == (0, 8)


def test_an_api_that_one_broker_lacks_is_left_out() -> None:
    world = World()
    without = {key: range_ for key, range_ in EVERYTHING.items() if key != 68}
    world.state.set_versions(2, BrokerVersions(without))
    assert 68 not in ranges(asked(3, world))


def test_ranges_that_do_not_meet_are_left_out() -> None:
    world = World()
    world.state.set_versions(1, BrokerVersions({**EVERYTHING, 12: (0, 1)}))
    world.state.set_versions(2, BrokerVersions({**EVERYTHING, 12: (2, 4)}))
    assert 12 not in ranges(asked(3, world))


def test_a_broker_that_left_narrows_nothing() -> None:
    world = World()
    world.state.set_versions(2, BrokerVersions({**EVERYTHING, 12: (0, 1)}))
    assert ranges(asked(3, world))[12] == (0, 1)
    world.state.set_brokers({1: Endpoint("broker1.internal", 19092)})
    world.connect()
    assert ranges(asked(3, world))[12] == OFFERED[12]


@pytest.mark.parametrize("version", [6, 7, 99, 0x7FFF, -1])
def test_an_unknown_version_is_answered_in_version_0(version: int) -> None:
    frame = framed(struct.pack(">hhih", 18, version, 1, -1) + b"\0whatever")
    answer = body_of(18, 0, World().send(frame).answers[0])
    assert answer["errorCode"] == 35
    assert ranges(answer) == {18: (0, 5)}


@pytest.mark.parametrize(
    "fields",
    [
        {"clientSoftwareName": ""},
        {"clientSoftwareName": "-x"},
        {"clientSoftwareName": "x y"},
        {"clientSoftwareName": "x\n"},
        {"clientSoftwareVersion": "1.0-"},
        {"clientSoftwareVersion": "ä"},
    ],
)
def test_a_software_name_outside_the_pattern(fields: dict[str, str]) -> None:
    answer = asked(3, **fields)
    assert (answer["errorCode"], answer["apiKeys"]) == (42, [])


@pytest.mark.parametrize(
    ("node_id", "fields", "error"),
    [
        (1, {}, 0),
        (1, {"clusterId": "cluster-1", "nodeId": 1}, 0),
        (1, {"clusterId": "cluster-1", "nodeId": 2}, 129),
        (1, {"clusterId": "cluster-2", "nodeId": 1}, 129),
        (1, {"clusterId": "cluster-1"}, 42),
        (1, {"nodeId": 1}, 42),
        (None, {"clusterId": "cluster-1", "nodeId": 1}, 129),
    ],
)
def test_the_cluster_and_node_that_a_client_believes_in(
    node_id: int | None, fields: dict[str, Any], error: int
) -> None:
    assert asked(5, World(node_id=node_id), **fields)["errorCode"] == error


def test_features() -> None:
    answer = asked(4)
    assert answer["supportedFeatures"] == [{"name": "group.version", "minVersion": 0, "maxVersion": 1}]
    assert answer["finalizedFeatures"] == [{"name": "group.version", "maxVersionLevel": 1, "minVersionLevel": 1}]
    assert answer["finalizedFeaturesEpoch"] == 7
    assert asked(3)["supportedFeatures"] == []  # KAFKA-17011


def test_features_of_brokers_that_differ() -> None:
    state = ready_state()
    state.set_versions(1, BrokerVersions(EVERYTHING, {"a": (0, 3), "b": (1, 1)}, {"a": (1, 2)}, 4))
    state.set_versions(2, BrokerVersions(EVERYTHING, {"a": (1, 2)}, {"a": (1, 1)}, 3))
    assert dict(state.supported_features) == {"a": (1, 2)}
    assert (dict(state.finalized_features), state.finalized_epoch) == ({"a": (1, 2)}, 4)


def test_the_software_is_bounded_in_the_audit() -> None:
    world = World()
    world.send(versions(1, clientSoftwareName="x" * 3000))
    world.login()
    (line,) = world.lines("authenticated")
    assert len(str(line.fields["client_software"])) == 100


def test_not_again_and_again() -> None:
    world = World()
    bad = framed(struct.pack(">hhih", 18, 99, 1, -1))
    assert len(world.send(*[bad] * 10).answers) == 10
    assert world.ended is None
    world.send(bad)
    assert world.ended is not None


# The directory of topics


def test_a_topic_made_anew_loses_its_old_id() -> None:
    state = BackendState("x")
    state.topics.learn("a", b"1" * 16)
    state.topics.learn("a", b"2" * 16)
    assert state.topics.name(b"1" * 16) is None
    assert state.topics.name(b"2" * 16) == "a"
    assert state.topics.topic_id("a") == b"2" * 16


def test_an_id_told_under_two_names_has_the_last_one() -> None:
    state = BackendState("x")
    state.topics.learn("a", b"1" * 16)
    state.topics.learn("b", b"1" * 16)
    assert state.topics.topic_id("a") is None
    assert state.topics.name(b"1" * 16) == "b"


def test_the_zero_id_names_nothing() -> None:
    state = BackendState("x")
    state.topics.learn("a", bytes(16))
    assert state.topics.name(bytes(16)) is None


def test_topics_are_bounded_and_the_oldest_goes() -> None:
    state = BackendState("x")
    state.topics.topics_max = 3
    for number in range(5):
        state.topics.learn(f"t{number}", bytes([number + 1]) * 16)
    assert set(state.topics.names()) == {"t2", "t3", "t4"}
    assert len(state.topics) == 3


def test_what_is_gone_from_the_cluster_is_gone() -> None:
    state = ready_state()
    state.topics.replace([("c", b"C" * 16)])
    assert set(state.topics.names()) == {"c"}
    assert state.topics.name(b"A" * 16) is None
