"""Whatever is counted, Prometheus reads from our text what it reads from its own library's."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Metric, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from gateway.core.meters import Meter, Reading
from gateway.ops import process_readings
from gateway.ops.metrics import text

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True).filter(lambda name: not name.endswith("_total"))
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ["", "\\", '"', "\n", "\\n", 'a"b', "\\\\", ",", "{}", "a=b", " ", "#"]
)
NUMBERS = st.floats() | st.integers(-(10**20), 10**20).map(float)


@st.composite
def meters(draw: st.DrawFn) -> Meter:
    labels = tuple(draw(st.lists(NAMES, max_size=3, unique=True)))
    if draw(st.booleans()):
        return Meter(draw(NAMES) + "_total", draw(WORDS), labels, "counter")
    return Meter(draw(NAMES), draw(WORDS), labels, "gauge")


@st.composite
def readings(draw: st.DrawFn) -> list[Reading]:
    found: list[Reading] = []
    several = draw(st.lists(meters(), max_size=4, unique_by=lambda meter: meter.name.removesuffix("_total")))
    for meter in several:
        labels = st.tuples(*(WORDS for _ in meter.labels))
        for each in draw(st.lists(labels, max_size=3, unique=True)):
            found.append((meter, each, draw(NUMBERS)))
    return draw(st.permutations(found))


class _Theirs(Collector):
    def __init__(self, found: Sequence[Reading]) -> None:
        self._found = found

    def collect(self) -> list[Metric]:
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for meter, labels, value in self._found:
            kind = CounterMetricFamily if meter.kind == "counter" else GaugeMetricFamily
            family = families.setdefault(meter.name, kind(meter.name, meter.help, labels=meter.labels))
            family.add_metric(labels, value)
        return list(families.values())


def theirs(collector: Collector) -> str:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    return generate_latest(registry).decode()


def parsed(exposed: str) -> list[tuple[object, ...]]:
    """Families in their order, each with its help, its kind and its samples."""
    return [
        (family.name, family.documentation, family.type, [
            (sample.name, sample.labels, "NaN" if math.isnan(sample.value) else sample.value)
            for sample in family.samples
        ])
        for family in text_string_to_metric_families(exposed)
    ]  # fmt: skip


@given(readings())
def test_it_reads_as_the_librarys_own(found: list[Reading]) -> None:
    ours = text(found).decode()
    assert parsed(ours) == parsed(theirs(_Theirs(found)))
    assert sum(not line.startswith("#") for line in ours.split("\n")[:-1]) == len(found)


def test_of_the_process_it_says_the_same() -> None:
    """Values move between two looks, but for those that do not."""
    own = text(process_readings.readings()).decode()
    other = theirs(ProcessCollector(registry=None))
    ours, librarys = parsed(own), parsed(other)
    assert sorted(each[:3] for each in ours) == sorted(each[:3] for each in librarys)
    for name in ("process_start_time_seconds", "process_max_fds"):
        mine, its = ([each[3] for each in found if each[0] == name] for found in (ours, librarys))
        assert mine == its
    resident = [value for _, _, value in process_readings.readings()][1]
    assert 1 << 20 < resident < 1 << 40
