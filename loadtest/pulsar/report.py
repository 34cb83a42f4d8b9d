"""What a run has measured, as it is kept: pulsar.json, and pulsar.md for readers."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from loadtest.figures import Spread, ratios, spread
from loadtest.pulsar.rows import OURS, REFERENCE, ROWS, SMALLER_IS_BETTER, Row

TARGET = 1.0
FILE = "pulsar.json"


@dataclass(slots=True)
class Results:
    """Values by row, peer and round."""

    about: dict[str, dict[str, str]]
    pairs: int
    seconds: float
    cells: dict[str, dict[str, dict[int, float]]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    took: float = 0.0

    @classmethod
    def load(cls, file: Path) -> Results:
        """What was stored. Raises KeyError, TypeError, ValueError for anything else."""
        data = json.loads(file.read_text())
        cells = {
            row: {peer: {int(number): float(value) for number, value in cell.items()} for peer, cell in peers.items()}
            for row, peers in data["cells"].items()
        }
        return cls(data["about"], data["pairs"], data["seconds"], cells, data["failures"], data["took"])

    def add(self, row: str, peer: str, number: int, value: float) -> None:
        self.cells.setdefault(row, {}).setdefault(peer, {})[number] = round(value, 3)

    def ratio(self, row: Row) -> Spread | None:
        """How much better the gateway is, round by round: above 1 it is, whatever the row counts."""
        found = self.cells.get(row.name, {})
        ours, theirs = found.get(OURS, {}), found.get(REFERENCE, {})
        made = ratios(theirs, ours) if row.unit in SMALLER_IS_BETTER else ratios(ours, theirs)
        return spread(made) if made else None


def write(folder: Path, results: Results) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text(json.dumps(asdict(results), indent=1) + "\n")
    (folder / "pulsar.md").write_text(page(results))


def page(results: Results) -> str:
    lines = [
        "# The gateway beside Apache Pulsar's own proxy\n",
        "Made by `make bench-pulsar`. A real Pulsar behind both, TLS and a token on in both; the gateway authorizes, "
        "limits and audits besides. MiB and messages are per CPU second of the proxy. **Read the ratios** (above 1 the "
        "gateway is better, in every row): each is of two measurements of one round, and the median of the rounds "
        f"stands here. {results.pairs} rounds, windows of {results.seconds:g} s; {results.took / 60:.0f} minutes.\n",
        "| work | unit | Apache proxy | gateway | ratio | least and greatest | asked for |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in ROWS:
        ratio = results.ratio(row)
        if ratio is None:
            continue
        theirs, ours = (spread(list(results.cells[row.name][peer].values())) for peer in (REFERENCE, OURS))
        digits = 2 if row.unit == "ms" else 0
        lines.append(
            f"| {row.title} | {row.unit} | {theirs.median:,.{digits}f} | {ours.median:,.{digits}f} | "
            f"**{ratio.median:.2f}** | {ratio.low:.2f}, {ratio.high:.2f} | "
            f"≥ {TARGET:.2f} {'✓' if ratio.median >= TARGET else '✗'} |"
        )
    if results.failures:
        lines += ["\n## Left out, since the load failed twice\n", *(f"- {line}" for line in results.failures)]
    for title, key in (("How each was set", "settings"), ("Machine", "machine"), ("Versions", "versions")):
        lines += [f"\n## {title}\n", "| | |", "|---|---|"]
        lines += [f"| {name} | {value} |" for name, value in results.about.get(key, {}).items()]
    return "\n".join(lines) + "\n"
