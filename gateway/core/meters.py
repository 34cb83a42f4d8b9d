"""Counters and gauges as plain cells that hot code adds to; ops.metrics shows them to Prometheus.

A meter is declared once, beside its help text. Its labels are closed words (an API's name, a reason code, a backend
or listener of the configuration), never what a client sends: no label is unbounded, and a meter that meets more than
`SERIES_MAX` label sets sums the rest under ``other``.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

SERIES_MAX = 1000


@dataclass(frozen=True, slots=True)
class Meter:
    """name: Prometheus name with unit and ``_total`` for counters."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    kind: Literal["counter", "gauge"] = "counter"
    over_workers: Literal["sum", "least"] = "sum"
    """What the values of several workers come to: all together, or the least of them (a gauge that says yes or no)."""


Reading = tuple[Meter, tuple[str, ...], float]
"""A series' value at one moment."""


class Cell:
    """One series' value; add to `value` directly. It stands in an array, `number`, for compiled code."""

    __slots__ = ("number",)

    def __init__(self) -> None:
        self.number = array("d", (0.0,))

    @property
    def value(self) -> float:
        return self.number[0]

    @value.setter
    def value(self, value: float) -> None:
        self.number[0] = value


class Meters:
    """All series of one process."""

    def __init__(self) -> None:
        self._cells: dict[Meter, dict[tuple[str, ...], Cell]] = {}

    def cell(self, meter: Meter, *labels: str) -> Cell:
        """The cell of a label set; keep it where it is used often. Raises ValueError on a wrong number of labels."""
        if len(labels) != len(meter.labels):
            raise ValueError(f"{meter.name} takes the labels {meter.labels}")
        cells = self._cells.setdefault(meter, {})
        cell = cells.get(labels)
        if cell is None:
            if len(cells) >= SERIES_MAX:
                labels = ("other",) * len(labels)
            cell = cells.setdefault(labels, Cell())
        return cell

    def series(self) -> Iterator[Reading]:
        for meter, cells in self._cells.items():
            for labels, cell in cells.items():
                yield meter, labels, cell.value
