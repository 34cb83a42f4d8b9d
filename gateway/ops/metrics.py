"""The gateway's meters in Prometheus' words. Read by the admin port alone; nothing here is on a hot path."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator

from cryptography.hazmat.backends.openssl.backend import backend as openssl
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from gateway import __version__
from gateway.core.meters import Meter, Meters, Reading

Readings = Callable[[], Iterable[Reading]]
"""Values that are looked up when asked for: ages, lengths, what is in use."""

BUILD = Meter("gateway_build_info", "What is running; always 1.", ("version", "python", "openssl"), "gauge")


class MetersCollector(Collector):
    """All cells of `meters`, and the readings, at the moment they are asked for."""

    def __init__(self, meters: Meters, readings: Readings) -> None:
        self._meters = meters
        self._readings = readings

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for meter, labels, value in (*self._meters.series(), *self._readings(), build()):
            family = families.get(meter.name)
            if family is None:
                family = families[meter.name] = _family(meter)
            family.add_metric(labels, value)
        yield from families.values()


def _family(meter: Meter) -> CounterMetricFamily | GaugeMetricFamily:
    if meter.kind == "counter":
        return CounterMetricFamily(meter.name, meter.help, labels=meter.labels)
    return GaugeMetricFamily(meter.name, meter.help, labels=meter.labels)


def build() -> Reading:
    return BUILD, (__version__, platform.python_version(), openssl.openssl_version_text()), 1.0


def registry(meters: Meters, readings: Readings) -> CollectorRegistry:
    """The gateway's own meters beside memory, CPU, start time and descriptors of the process."""
    made = CollectorRegistry(auto_describe=False)
    made.register(MetersCollector(meters, readings))
    ProcessCollector(registry=made)
    return made


def exposition(made: CollectorRegistry) -> bytes:
    """The text that Prometheus scrapes."""
    return generate_latest(made)
