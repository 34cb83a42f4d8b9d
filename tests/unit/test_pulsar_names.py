"""Names in their one form, by the broker's own rules."""

from __future__ import annotations

import pytest

from gateway.core.session import Endpoint
from gateway.pulsar import names
from gateway.pulsar.backend import endpoint
from gateway.pulsar.broker_names import BrokerNames, endings, may_be_label
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
        ("orders-partition-+3", "persistent://public/default/orders-partition-+3"),
        ("orders-partition-\u00b3", "persistent://public/default/orders-partition-\u00b3"),
        ("orders-partition-\u4e09", "persistent://public/default/orders-partition-\u4e09"),
        ("caf\u00e9-partition-3", "persistent://public/default/caf\u00e9"),
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


@pytest.mark.parametrize(
    "number",
    [
        "\uff13",
        "\u0663",
        "\u0967",
        "1\uff13",
        "\uff131",
        "\uff13\u0663",
        "\uff10\uff13",
        "-\uff13",
        "+\uff13",
        "\U0001d7f1",
    ],
)
def test_a_partitions_number_in_other_digits_is_no_name(number: str) -> None:
    """Java's parseInt reads most of them: the broker would take the partition of another topic."""
    for name in ("payroll", "persistent://hr/x/payroll", "non-persistent://hr/x/payroll"):
        assert names.topic(f"{name}-partition-{number}") is None


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
        ("b|1:6650", None),
        ("", None),
    ],
)
def test_endpoints(text: str, found: Endpoint | None) -> None:
    assert endpoint(text) == found


BROKERS = [Endpoint("b1.internal", 6650), Endpoint("::1", 1), Endpoint("b" * 253, 65535), Endpoint("10.0.0.7", 6651)]


@pytest.mark.parametrize("broker", BROKERS, ids=str)
def test_a_brokers_name_leads_back_to_it_and_shows_nothing(broker: Endpoint) -> None:
    told = BrokerNames(b"k" * 32, "main", HandClock()).name(broker)
    assert told is not None
    assert broker.host not in told
    assert all(0 < len(label) < 64 for label in told.partition(":")[0].split("."))
    assert BrokerNames(b"k" * 32, "main", HandClock()).broker(told) == broker


def test_no_other_name_leads_anywhere() -> None:
    clock = HandClock()
    names_here = BrokerNames(b"k" * 32, "main", clock)
    told = names_here.name(BROKERS[0])
    assert told is not None
    others = ["b1.internal:6650", "", "broker:6650", ".broker:6650", told[1:], told + "x", "a" + told, "\u0661" + told]
    others += [told.replace(":6650", ":6651"), told.replace(told[3], "7" if told[3] != "7" else "6", 1), "a" * 10_000]
    for other in others:
        assert names_here.broker(other) is None, other
    assert BrokerNames(b"x" * 32, "main", clock).broker(told) is None
    assert BrokerNames(b"k" * 32, "other", clock).broker(told) is None
    assert names_here.name(Endpoint("b" * 254, 1)) is None


def test_what_is_told_of_a_broker_ends_after_a_day_or_two() -> None:
    clock = HandClock()
    made = BrokerNames(b"k" * 32, "main", clock)
    name, label = made.name(BROKERS[0]), made.label(BROKERS[0])
    assert name is not None
    assert label is not None
    clock.now += 86_400
    assert (made.broker(name), made.of_label(label)) == (BROKERS[0], BROKERS[0])
    clock.now += 86_400
    assert (made.broker(name), made.of_label(label)) == (None, None)


LABELLED = [BROKERS[0], BROKERS[1], BROKERS[3], Endpoint("x" * 26, 65535), Endpoint("pod-7.brokers.pulsar.svc", 6651)]


def labels(key: bytes = b"k" * 32, backend: str = "main") -> BrokerNames:
    made = BrokerNames(key, backend, HandClock())
    made.endings = endings(["brokers.pulsar.svc", "*.pulsar.svc", "10.0.0.1", "bare"])
    return made


@pytest.mark.parametrize("broker", LABELLED, ids=str)
def test_a_brokers_label_leads_back_to_it(broker: Endpoint) -> None:
    told = labels().label(broker)
    assert told is not None
    assert may_be_label(told)
    assert broker.host not in told
    assert labels().of_label(told) == broker
    assert labels().of_label(told.upper()) == broker


def test_what_brokers_hosts_end_with_need_not_be_in_the_label() -> None:
    assert labels().endings == (".brokers.pulsar.svc", ".pulsar.svc", ".bare", ".svc")
    long = Endpoint("y" * 26 + ".brokers.pulsar.svc", 6651)
    told = labels().label(long)
    assert told is not None
    assert labels().of_label(told) == long
    bare = BrokerNames(b"k" * 32, "main", HandClock())
    assert bare.label(long) is None
    assert bare.of_label(told) is None, "its ending is not known any more"
    assert labels().label(Endpoint("y" * 27 + ".brokers.pulsar.svc", 6651)) is None


def test_no_other_label_leads_anywhere() -> None:
    told = labels().label(BROKERS[0])
    assert told is not None
    swapped = told[:5] + ("a" if told[5] != "a" else "b") + told[6:]
    for other in (told[1:], told[:-3], told + "aaaaa", swapped, "", "a", "gw", "a" * 63, "\u0661" * 24, "1" * 24):
        assert labels().of_label(other) is None, other
    assert labels(key=b"x" * 32).of_label(told) is None
    assert labels(backend="other").of_label(told) is None
    whole = labels().name(BROKERS[0])
    assert whole is not None
    assert labels().of_label(whole.partition(".")[0]) is None
    assert labels().broker(f"{told}.broker:6650") is None


@pytest.mark.parametrize("own", ["gw", "pulsar", "", "b1", "a" * 22, "a" * 64, "pulsar-gateway-of-the-whole-company"])
def test_the_gateways_own_names_are_no_labels(own: str) -> None:
    assert not may_be_label(own)
