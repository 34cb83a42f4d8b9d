"""What a run has measured, as it is kept: rows of cells, a cell for each round and peer, and what was around it.

The file is JSON (bench.json). A value is requests, MiB or handshakes per CPU second of the proxy; of rows in ms the
median latency, of the memory row KiB for each connection. Smaller is better in the latter two.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from loadtest.figures import Spread, ratios, spread
from loadtest.rows import Row
from loadtest.work import Window

FILE = "bench.json"
MIB = 1 << 20
SMALLER_IS_BETTER = ("ms", "memory")


@dataclass(slots=True)
class Results:
    """Cells by row, peer and round."""

    about: dict[str, dict[str, str]] = field(default_factory=dict)
    """Machine and versions, the peers' settings."""
    scale: dict[str, Any] = field(default_factory=dict)
    titles: dict[str, tuple[str, str, float]] = field(default_factory=dict)
    """Row -> title, unit, target."""
    cells: dict[str, dict[str, dict[int, dict[str, float]]]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @classmethod
    def load(cls, folder: Path) -> Results:
        """What was stored; nothing where there is none. Takes a folder or the file itself."""
        file = folder / FILE if folder.is_dir() else folder
        if not file.exists():
            return cls()
        data = json.loads(file.read_text())
        return cls(
            data["about"],
            data["scale"],
            {name: (row["title"], row["unit"], row["target"]) for name, row in data["rows"].items()},
            {
                name: {
                    peer: {int(number): cell for number, cell in cells.items()} for peer, cells in row["peers"].items()
                }
                for name, row in data["rows"].items()
            },
            data["failures"],
            data["seconds"],
        )

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        rows = {
            name: {"title": title, "unit": unit, "target": target, "peers": self.cells.get(name, {})}
            for name, (title, unit, target) in self.titles.items()
        }
        data = {
            "about": self.about, "scale": self.scale, "rows": rows, "failures": self.failures,
            "seconds": round(self.seconds),
        }  # fmt: skip
        (folder / FILE).write_text(json.dumps(data, indent=1) + "\n")

    def begin(self, about: dict[str, dict[str, str]], scale: Any, rows: Sequence[Row]) -> None:
        """These rows are measured anew; others that were loaded stay."""
        self.about = about
        self.scale = asdict(scale)
        for row in rows:
            self.titles[row.name] = (row.title, row.unit, row.target)
            self.cells[row.name] = {}
        names = {row.name for row in rows}
        self.failures = [line for line in self.failures if line.split(":")[0] not in names]

    def add(self, row: Row, peer: str, number: int, window: Window) -> None:
        cell = {
            "count": window.count, "octets": window.octets, "cpu": round(window.cpu, 3),
            "seconds": round(window.seconds, 3), **{name: round(value, 3) for name, value in window.more.items()},
        }  # fmt: skip
        self.cells[row.name].setdefault(peer, {})[number] = cell

    def failed(self, row: Row, peer: str, number: int, why: str) -> None:
        self.failures.append(f"{row.name}: {peer}, round {number + 1}: {why}")

    def values(self, row: str, peer: str, name: str = "") -> dict[int, float]:
        """Round -> the row's value, or another measured figure by name."""
        unit = self.titles[row][1]
        made = {}
        for number, cell in self.cells.get(row, {}).get(peer, {}).items():
            value = cell.get(name) if name else value_of(unit, cell)
            if value is not None:
                made[number] = value
        return made

    def spread(self, row: str, peer: str, name: str = "") -> Spread | None:
        values = self.values(row, peer, name)
        return spread(list(values.values())) if values else None

    def ratio(self, row: str, peer: str, beside: str, name: str = "") -> Spread | None:
        """Of the rounds that have both."""
        made = ratios(self.values(row, peer, name), self.values(row, beside, name))
        return spread(made) if made else None

    def said(self, row: Row, peer: str, number: int) -> str:
        """One cell for the screen."""
        cell = self.cells[row.name][peer][number]
        value = value_of(row.unit, cell)
        if row.unit == "ms":
            return ", ".join(f"p{each} {cell.get(f'p{each}_ms', 0):.2f} ms" for each in ("50", "99", "99.9"))
        if row.unit == "memory":
            return f"{cell['rest_pss_mib']:.1f} MiB at rest, {cell['each_pss_kib']:.1f} KiB for each connection"
        if value is None:
            return f"{speed(row.unit, cell):,.0f} {row.unit}/s"
        return f"{value:,.0f} {row.unit} per CPU s, {speed(row.unit, cell):,.0f} {row.unit}/s"


def value_of(unit: str, cell: Mapping[str, float]) -> float | None:
    """What the row compares; None where no proxy's time was counted."""
    if unit == "ms":
        return cell.get("p50_ms")
    if unit == "memory":
        return cell["each_pss_kib"]
    amount = cell["octets"] / MIB if unit == "MiB" else cell["count"]
    return amount / cell["cpu"] if cell["cpu"] else None


def speed(unit: str, cell: Mapping[str, float]) -> float:
    """Per second of the clock."""
    amount = cell["octets"] / MIB if unit == "MiB" else cell["count"]
    return amount / cell["seconds"] if cell["seconds"] else 0.0
