"""Two results of the bench side by side: what became better or worse.

    python -m loadtest.compare BEFORE AFTER

Each is a bench.json, a pulsar.json, or a folder with either or both. Of each row the gateway's ratio to the peer it is
measured beside (nginx, or Apache Pulsar's own proxy) in both, which is what two runs at different times (or on
different machines) can be compared by, and how it changed. A change that lies within the spread of either run's rounds
is not one, and is marked so. Ends with 1 if a row became worse beyond that, so that it can stand in a script.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtest import tally
from loadtest.figures import Spread
from loadtest.pulsar import report, rows
from loadtest.rows import OURS, REFERENCE
from loadtest.tally import SMALLER_IS_BETTER

FIGURES = {"ms": ("p50_ms", "p99_ms"), "memory": ("rest_pss_mib", "each_pss_kib")}
"""What is compared of rows that are not counted per CPU second; of memory the gateway's own, without nginx's."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One of a result."""

    spread: Spread
    smaller_is_better: bool


@dataclass(frozen=True, slots=True)
class Stored:
    """One file: what the gateway was measured beside, which version of it, and its figures by row and figure."""

    beside: str
    version: str
    figures: Mapping[tuple[str, str], Figure]


@dataclass(frozen=True, slots=True)
class Change:
    """One figure before and after."""

    row: str
    figure: str
    before: Spread
    after: Spread
    smaller_is_better: bool

    @property
    def factor(self) -> float:
        return self.after.median / self.before.median if self.before.median else 0.0

    @property
    def verdict(self) -> str:
        """better, worse, or "" where each median lies within the other's spread."""
        within = self.before.low <= self.after.median <= self.before.high or (
            self.after.low <= self.before.median <= self.after.high
        )
        if within or self.factor == 1.0:
            return ""
        return "better" if (self.factor < 1.0) == self.smaller_is_better else "worse"


def of_kafka(results: tally.Results) -> Stored:
    """What bench.json holds."""
    found = {}
    for row, (_, unit, _) in results.titles.items():
        for name in FIGURES.get(unit, ("",)):
            own = unit == "memory"
            made = results.spread(row, OURS, name) if own else results.ratio(row, OURS, REFERENCE, name)
            if made is not None:
                found[row, name] = Figure(made, unit in SMALLER_IS_BETTER)
    return Stored("nginx (memory: its own)", _version(results.about), found)


def of_pulsar(results: report.Results) -> Stored:
    """What pulsar.json holds: above 1 the gateway is better, whatever the row counts."""
    made = {row.name: results.ratio(row) for row in rows.ROWS}
    found = {(row, ""): Figure(each, False) for row, each in made.items() if each is not None}
    return Stored("Apache Pulsar's own proxy", _version(results.about), found)


def _version(about: Mapping[str, Mapping[str, str]]) -> str:
    return about.get("versions", {}).get("gateway", "?")


def load(path: Path) -> dict[str, Stored]:
    """By what kind of file it is. Raises KeyError, TypeError, ValueError for what is none."""
    if path.is_dir():
        found: dict[str, Stored] = {}
        for each in (path / tally.FILE, path / report.FILE):
            if each.exists():
                found |= load(each)
        if not found:
            raise ValueError("no result")
        return found
    try:
        return {tally.FILE: of_kafka(tally.Results.load(path))}
    except KeyError:
        return {report.FILE: of_pulsar(report.Results.load(path))}


def changes(before: Stored, after: Stored) -> list[Change]:
    """Of all rows and figures that both have."""
    return [
        Change(row, name, figure.spread, after.figures[row, name].spread, figure.smaller_is_better)
        for (row, name), figure in before.figures.items()
        if (row, name) in after.figures
    ]


def table(found: Sequence[Change]) -> str:
    """One line for each figure."""
    lines = ["| row | before | after | after / before | |", "|---|---|---|---|---|"]
    for each in found:
        name = f"{each.row} {each.figure}".strip()
        before, after = (f"{side.median:.2f} ({side.low:.2f} to {side.high:.2f})" for side in (each.before, each.after))
        lines.append(f"| {name} | {before} | {after} | {each.factor:.2f} | {each.verdict} |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Two results of the bench side by side.")
    parser.add_argument("before", type=Path, help="bench.json, pulsar.json, or their folder")
    parser.add_argument("after", type=Path, help="likewise")
    options = parser.parse_args(arguments)
    sides = []
    for path in (options.before, options.after):
        if not path.exists():
            parser.error(f"{path} is not there")
        try:
            sides.append(load(path))
        except (AttributeError, KeyError, TypeError, ValueError):
            parser.error(f"{path} is no result of `make bench` or `make bench-pulsar`")
    before, after = sides
    kinds = [kind for kind in before if kind in after]
    if not kinds:
        parser.error(f"{options.before} and {options.after} are of different benches")
    worse = False
    for kind in kinds:
        found = changes(before[kind], after[kind])
        worse = worse or any(each.verdict == "worse" for each in found)
        print(f"before: {before[kind].version}\nafter: {after[kind].version}\n")
        print(f"The gateway beside {after[kind].beside}.\n\n{table(found)}")
    return int(worse)


if __name__ == "__main__":
    sys.exit(main())
