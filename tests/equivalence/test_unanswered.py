"""Produce without acknowledgement: there is no answer to compare, so the log and the connection are looked at."""

from __future__ import annotations

import pytest

from tests.equivalence.gateway import through
from tests.equivalence.wire import Closed, Connection
from tests.equivalence.world import World, produce_body

pytestmark = pytest.mark.real
PRODUCE, LIST_OFFSETS, LATEST = 0, 2, -1


def end_of(world: World, topic: str) -> int:
    partitions = [{"partitionIndex": 0, "timestamp": LATEST}]
    answer = world.ask(LIST_OFFSETS, 6, {"replicaId": -1, "topics": [{"name": topic, "partitions": partitions}]})
    offset: int = answer["topics"][0]["partitions"][0]["offset"]
    return offset


def test_the_allowed_part_is_produced_and_the_denied_part_dropped(world: World) -> None:
    before = {name: end_of(world, name) for name in ("a-one", "b-one")}
    body = produce_body("a-one", "b-one", acks=0)
    assert through(world.broker, world.view("half"), world.learn, PRODUCE, 9, body) is None
    assert end_of(world, "b-one") == before["b-one"]  # asked on the same connection, so after what was sent
    assert end_of(world, "a-one") == before["a-one"] + 1


def test_all_denied_closes_the_connection_as_the_broker_does(world: World) -> None:
    body = produce_body("a-one", acks=0)
    direct = Connection(world.cluster.port(1, "SASL"), "nobody")
    direct.ask(PRODUCE, 9, body, answered=False)
    with pytest.raises(Closed):
        direct.ask(3, 9, {"topics": []})
    with pytest.raises(Closed):
        through(world.broker, world.view("nobody"), world.learn, PRODUCE, 9, body)
