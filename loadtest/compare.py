"""Two results of the bench side by side: what became better or worse.

    python -m loadtest.compare BEFORE.json AFTER.json

Of each row the gateway's ratio to nginx in both, which is what two runs at different times (or on different machines)
can be compared by, and how it changed. A change that lies within the spread of either run's rounds is not one, and is
marked so. Ends with 1 if a row became worse beyond that, so that it can stand in a script.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtest.figures import Spread
from loadtest.rows import OURS, REFERENCE
from loadtest.tally import SMALLER_IS_BETTER, Results

FIGURES = {"ms": ("p50_ms", "p99_ms"), "memory": ("rest_pss_mib", "each_pss_kib")}
"""What is compared of rows that are not counted per CPU second; of memory the gateway's own, without nginx's."""


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


def changes(before: Results, after: Results) -> list[Change]:
    """Of all rows and figures that both have."""
    found = []
    for row, (_, unit, _) in before.titles.items():
        for figure in FIGURES.get(unit, ("",)):
            sides = [_figure(each, row, unit, figure) for each in (before, after)]
            if sides[0] is not None and sides[1] is not None:
                found.append(Change(row, figure, sides[0], sides[1], unit in SMALLER_IS_BETTER))
    return found


def _figure(results: Results, row: str, unit: str, figure: str) -> Spread | None:
    if row not in results.titles:
        return None
    if unit == "memory":
        return results.spread(row, OURS, figure)
    return results.ratio(row, OURS, REFERENCE, figure)


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
    parser.add_argument("before", type=Path, help="bench.json, or its folder")
    parser.add_argument("after", type=Path, help="likewise")
    options = parser.parse_args(arguments)
    both = []
    for path in (options.before, options.after):
        if not path.exists():
            parser.error(f"{path} is not there")
        try:
            both.append(Results.load(path))
        except (KeyError, TypeError, ValueError):
            parser.error(f"{path} is no result of `make bench`")
    before, after = both
    found = changes(before, after)
    for name, results in (("before", before), ("after", after)):
        print(f"{name}: {results.about.get('versions', {}).get('gateway', '?')}")
    print("\nThe gateway beside nginx (memory: its own).\n\n" + table(found))
    return 1 if any(each.verdict == "worse" for each in found) else 0


if __name__ == "__main__":
    sys.exit(main())
