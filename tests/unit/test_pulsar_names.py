"""Names in their one form, by the broker's own rules."""

from __future__ import annotations

import pytest

from gateway.core.session import Endpoint
from gateway.pulsar import names
from gateway.pulsar.backend import BROKERS_MAX, NAMED_SECONDS_MAX, PulsarBackend, endpoint
from tests.scenarios.kafka_world import HandClock


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("orders", "persistent://public/default/orders"),
        ("a/b/orders", "persistent://a/b/orders"),
        ("persistent://a/b/orders", "persistent://a/b/orders"),
        ("non-persistent://a/b/orders", "non-persistent://a/b/orders"),
        ("orders-partition-0", "persistent://public/default/orders"),
        ("persistent://a/b/orders-partition-12", "persistent://a/b/orders"),
        ("orders-partition-00", "persistent://public/default/orders-partition-00"),
        ("orders-partition--1", "persistent://public/default/orders-partition--1"),
        ("orders-partition-x", "persistent://public/default/orders-partition-x"),
        ("orders-partition-2147483647", "persistent://public/default/orders"),
        ("orders-partition-2147483648", "persistent://public/default/orders-partition-2147483648"),
        ("orders-partition-1-partition-2", "persistent://public/default/orders-partition-1"),
        ("-partition-1", "persistent://public/default/-partition-1"),
        ("orders-partition-\u0661", "persistent://public/default/orders-partition-\u0661"),
        ("orders-sub-DLQ", "persistent://public/default/orders-sub-DLQ"),
        ("orders-sub-RETRY", "persistent://public/default/orders-sub-RETRY"),
    ],
)
def test_topics(written: str, name: str) -> None:
    assert names.topic(written) == name


@pytest.mark.parametrize(
    "written",
    [
        "", "a/b", "a/b/c/d", "persistent://a/b", "persistent://a/b/c/d", "Persistent://a/b/c", "persistent://a/b/",
        "persistent:///b/c", "persistent://a b/c/d", "x\x00", "x\n", "://a/b/c", "t\u00e9/b/c", "x" * 1001,
    ],
)  # fmt: skip
def test_no_topics(written: str) -> None:
    assert names.topic(written) is None


def test_the_longest_name_is_one() -> None:
    assert names.topic("x" * names.NAME_CHARS_MAX) is not None


@pytest.mark.parametrize("name", ["public/default", "a-b/c.d"])
def test_namespaces(name: str) -> None:
    assert names.namespace(name) == name


@pytest.mark.parametrize("name", ["", "public", "a/b/c", "/b", "a/", "a b/c", "*/*"])
def test_no_namespaces(name: str) -> None:
    assert names.namespace(name) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("b1:6650", Endpoint("b1", 6650)),
        ("pulsar://B1.internal:6650", Endpoint("b1.internal", 6650)),
        ("pulsar+ssl://b1:6651/", Endpoint("b1", 6651)),
        ("[::1]:6650", Endpoint("::1", 6650)),
        ("b1", None),
        ("b1:0", None),
        ("b1:65536", None),
        ("b1:6650,b2:6650", None),
        ("user@b1:6650", None),
        ("::1:6650", None),
        ("b1:\u0661", None),
        ("b1:6650/x", None),
        ("", None),
    ],
)
def test_endpoints(text: str, found: Endpoint | None) -> None:
    assert endpoint(text) == found


def test_brokers_are_remembered_within_bounds() -> None:
    clock = HandClock()
    backend = PulsarBackend("main", [Endpoint("b0", 6650)], clock, plaintext=True)
    for number in range(BROKERS_MAX + 1):
        backend.learn(Endpoint(f"b{number + 1}", 6650))
    assert not backend.knows(Endpoint("b1", 6650))
    assert backend.knows(Endpoint("b2", 6650))
    assert backend.knows(Endpoint("b0", 6650))
    clock.now += NAMED_SECONDS_MAX
    assert not backend.knows(Endpoint("b2", 6650))
    assert backend.knows(Endpoint("b0", 6650))
