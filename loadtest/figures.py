"""Percentiles, medians and ratios of pairs: the arithmetic of the reports, without any I/O."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

PERCENTILES = (50.0, 99.0, 99.9)


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile of values in ascending order; there must be some."""
    rank = math.ceil(round(percent * len(ordered) / 100, 6))  # 99.9 % of 1,000 is the 999th, whatever floats say
    return ordered[max(rank, 1) - 1]


def latencies(seconds: Sequence[float]) -> dict[str, float]:
    """p50, p99, p99.9 and the maximum in ms; empty if nothing was answered."""
    if not seconds:
        return {}
    ordered = sorted(seconds)
    made = {f"p{percent:g}_ms": percentile(ordered, percent) * 1000 for percent in PERCENTILES}
    return made | {"max_ms": ordered[-1] * 1000}


@dataclass(frozen=True, slots=True)
class Spread:
    """Of several rounds: the median, and the least and the greatest."""

    median: float
    low: float
    high: float
    rounds: int


def spread(values: Sequence[float]) -> Spread:
    """There must be some."""
    return Spread(statistics.median(values), min(values), max(values), len(values))


def ratios(ours: Mapping[int, float], theirs: Mapping[int, float]) -> list[float]:
    """Round by round: ours divided by what was measured beside it in the same round."""
    return [ours[each] / theirs[each] for each in sorted(ours) if theirs.get(each)]
