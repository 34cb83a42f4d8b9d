"""The gateway's meters as the text that Prometheus scrapes (exposition format 0.0.4).

Written here, since a scrape is most of what a gateway at rest does, and a library's general way takes five times as
long (docs/decisions/0037). tests/property compare it with that library's. Read by the admin port alone.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable

from cryptography.hazmat.backends.openssl.backend import backend as openssl

from gateway import __version__
from gateway.core.meters import Meter, Meters, Reading
from gateway.ops import process_readings

Readings = Callable[[], Iterable[Reading]]
"""Values that are looked up when asked for: ages, lengths, what is in use."""
Exposition = Callable[[], bytes]
"""The text as it is now."""

BUILD = Meter("gateway_build_info", "What is running; always 1.", ("version", "python", "openssl"), "gauge")

_NAMED = {"inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}


def build() -> Reading:
    return BUILD, (__version__, platform.python_version(), openssl.openssl_version_text()), 1.0


def exposition(meters: Meters, readings: Readings) -> Exposition:
    """All cells of `meters`, and the readings, beside memory, CPU, start time and descriptors of the process."""
    built = build()
    return lambda: text((*meters.series(), *readings(), built, *process_readings.readings()))


def text(found: Iterable[Reading]) -> bytes:
    """The readings of one name stand together, in the order in which the names come first."""
    families: dict[str, list[str]] = {}
    for meter, labels, value in found:
        name = meter.name
        lines = families.get(name)
        if lines is None:
            lines = families[name] = [f"# HELP {name} {_in_line(meter.help)}\n# TYPE {name} {meter.kind}\n"]
        shown = repr(float(value))
        lines.append(f"{name}{_labels(meter.labels, labels)} {_NAMED.get(shown, shown)}\n")
    return "".join([line for lines in families.values() for line in lines]).encode()


def _labels(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    if not names:
        return ""
    pairs = [f'{name}="{_quoted(value)}"' for name, value in zip(names, values, strict=True)]
    return "{" + ",".join(pairs) + "}"


def _in_line(words: str) -> str:
    return words.replace("\\", r"\\").replace("\n", r"\n")


def _quoted(words: str) -> str:
    return _in_line(words).replace('"', r"\"")
