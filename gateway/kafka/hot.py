"""Which form of the hot path is used: the one place that chooses (core.pieces).

The interpreted forms are the specification; the compiled one does the same at a small part of the cost. Tests drive
both, and compare them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.core.pieces import NotUsable, choose
from gateway.kafka import fetch_answer, scan, short_way
from gateway.kafka.scan import FetchScan, ProduceScan


@dataclass(frozen=True, slots=True)
class Form:
    """What both forms offer, by the names of the interpreted one."""

    name: str
    scan_produce: Callable[[memoryview, int, int], ProduceScan]
    scan_fetch: Callable[[memoryview, int, int], FetchScan]
    produced_may_go_on: Callable[[memoryview, int], bool]
    fetch_answer: type[fetch_answer.FetchAnswer]
    short_way: type[short_way.ShortWay]


INTERPRETED = Form(
    "interpreted",
    scan.scan_produce,
    scan.scan_fetch,
    short_way.produced_may_go_on,
    fetch_answer.FetchAnswer,
    short_way.ShortWay,
)


def compiled() -> Form:
    """Raises ImportError if it was not built, NotUsable if it was built from something else than this."""
    from gateway.kafka import hot_compiled as found  # noqa: PLC0415 - it may not be built

    if getattr(found, "FORM", None) != short_way.FORM:
        raise NotUsable("it was built from another version: run 'python setup.py build_ext --inplace' again")
    return Form(
        "compiled",
        found.scan_produce,
        found.scan_fetch,
        found.produced_may_go_on,
        found.FetchAnswer,
        found.ShortWay,
    )


FORM = choose("kafka-data-path", compiled, INTERPRETED)
scan_produce = FORM.scan_produce
scan_fetch = FORM.scan_fetch
ShortWay = FORM.short_way
