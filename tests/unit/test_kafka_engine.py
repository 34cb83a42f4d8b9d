"""The engine's parts that scenarios show badly: batches, refused configurations, what is asked and how often."""

from __future__ import annotations

import struct

import pytest

from gateway.kafka import codec
from gateway.kafka.authorize import plan
from gateway.kafka.metadata import is_topic_name
from gateway.kafka.plan import Answer, Body, Forward, Refuse
from gateway.kafka.producing import is_transactional
from gateway.kafka.reasons import API_NOT_OFFERED
from gateway.kafka.rewrite import operation_bits
from gateway.kafka.table import OFFERED, TABLE
from tests.equivalence.acls import AclView, Topics, acls
from tests.equivalence.world import batch

PLAIN, TRANSACTIONAL = batch(), batch(transactional=True, producer_id=7)


def view(*rights: str) -> AclView:
    return AclView(acls(*rights), Topics())


class Counting(AclView):
    """Writes down every right that is asked for aloud."""

    asked: list[tuple[str, str, str]]

    def allowed(self, kind: str, operation: str, name: str) -> bool:
        self.asked.append((kind, operation, name))
        return super().allowed(kind, operation, name)


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        (b"", False),
        (PLAIN, False),
        (TRANSACTIONAL, True),
        (PLAIN + TRANSACTIONAL, True),
        (TRANSACTIONAL[:22], False),  # the attributes are not whole: the broker refuses it as corrupt
        (TRANSACTIONAL[:23], True),
        (PLAIN[:16] + b"\x01" + TRANSACTIONAL[17:], False),  # message format 1 has no transactions
        (struct.pack(">qi", 0, -1) + PLAIN[12:] + TRANSACTIONAL, False),  # a length that leads nowhere ends the walk
        (struct.pack(">qi", 0, 0) + PLAIN[12:] + TRANSACTIONAL, False),
        (struct.pack(">qi", 0, 0x7FFFFFFF) + PLAIN[12:], False),
        (memoryview(TRANSACTIONAL), True),
    ],
)
def test_a_transactional_batch_is_found(records: bytes, expected: bool) -> None:
    assert is_transactional(records) is expected


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("sasl.jaas.config", True),
        ("listener.name.internal.scram-sha-512.SASL.JAAS.Config", True),
        ("sasl.login.callback.handler.class", True),
        ("metric.reporters", True),
        ("config.providers", True),
        ("interceptor.classes", True),
        ("retention.ms", False),
        ("sasl.jaas.configuration", False),
    ],
)
def test_configurations_that_load_code_are_refused_to_everybody(name: str, refused: bool) -> None:
    config = {"name": name, "configOperation": 0, "value": "x"}
    body = {"resources": [{"resourceType": 4, "resourceName": "1", "configs": [config]}], "validateOnly": False}
    made = plan(44, 1, body, view("All cluster"))
    assert isinstance(made, Answer if refused else Forward)
    if isinstance(made, Answer):
        assert made.body["responses"][0]["errorCode"] == 44


@pytest.mark.parametrize(
    ("name", "sound"),
    [("orders", True), ("a" * 249, True), ("a" * 250, False), ("", False), (".", False), ("..", False), ("a b", False)],
)
def test_only_what_can_be_a_topic_is_created(name: str, sound: bool) -> None:
    assert is_topic_name(name) is sound


@pytest.mark.parametrize(
    ("key", "version"), [(18, 3), (17, 1), (36, 2), (29, 3), (4, 0), (0, 2), (0, 14), (24, 4), (68, 2), (999, 0)]
)
def test_what_is_not_in_the_table_is_refused(key: int, version: int) -> None:
    made = plan(key, version, {}, view("All topic *", "All group *", "All cluster"))
    assert isinstance(made, Refuse)
    assert made.reason is API_NOT_OFFERED


def test_the_table_offers_what_the_codec_knows() -> None:
    for key, (first, last) in OFFERED.items():
        api = codec.APIS[key]
        assert api.name == TABLE[key].name
        assert api.versions[0] <= first <= last <= api.versions[1]
        assert TABLE[key].shapes[0].first == first or TABLE[key].shapes[0].first == 0


def test_each_right_is_asked_for_once_and_in_the_brokers_order() -> None:
    counting = Counting(acls("Write transactional-id t", "Read group g"), Topics())
    counting.asked = []
    topics = [{"name": name, "partitions": []} for name in ("a", "b")]
    body: Body = {"transactionalId": "t", "groupId": "g", "topics": topics}
    plan(28, 3, body, counting)
    assert counting.asked == [
        ("transactional-id", "Write", "t"),
        ("group", "Read", "g"),
        ("topic", "Read", "a"),
        ("topic", "Read", "b"),
    ]


def test_a_refused_group_asks_for_nothing_more() -> None:
    counting = Counting((), Topics())
    counting.asked = []
    plan(8, 2, {"groupId": "g", "topics": [{"name": "a", "partitions": []}]}, counting)
    assert counting.asked == [("group", "Read", "g")]


def test_operation_bits_are_kafkas() -> None:
    assert operation_bits(view("All topic *"), "topic", "t") == 0b1101_1111_1000
    assert operation_bits(view("All group *"), "group", "g") == 0b1101_0100_1000
    assert operation_bits(view("All cluster"), "cluster", "kafka-cluster") == 0b1_1111_1010_0000
    assert operation_bits(view(), "topic", "t") == 0


def test_a_kind_of_resource_that_nobody_knows_is_denied() -> None:
    body = {"resources": [{"resourceType": 64, "resourceName": "x", "configurationKeys": None}]}
    made = plan(32, 4, body, view("All topic *", "All group *", "All transactional-id *", "All cluster"))
    assert isinstance(made, Answer)
    assert made.body["results"][0]["errorCode"] == 42
