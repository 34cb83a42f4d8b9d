"""The result of a hostile run: what was wrong with it, its table, and where it is kept."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Result:
    """`quiet` and `attacked` are windows of loadtest.hostile.known with the gateway's CPU share, `last` asked every
    connection once more; `came`: how often strangers came, by manner, in `lasted` seconds."""

    scale: dict[str, Any]
    quiet: dict[str, Any]
    attacked: dict[str, Any]
    last: dict[str, Any]
    came: dict[str, int]
    lasted: float
    counted: dict[str, int]

    def mistakes(self) -> list[str]:
        """What may not be: an error of a known client, a lost connection, nobody new let in, no flood."""
        found = [f"{name}: {what} ({times} times)" for name, window in self._windows()
                 for what, times in window["errors"].items()]  # fmt: skip
        expected = self.scale["idle"] + self.scale["busy"]
        if self.last["requests"] != expected:
            found.append(f"{self.last['requests']} of {expected} connections answered at the end")
        if not self.attacked["newcomers"]:
            found.append("no newcomer with a valid token was let in")
        if not self.attacked["requests"] or sum(self.came.values()) < self.scale["peers"]:
            found.append("nothing was shown: no requests, or too few strangers")
        return found

    def _windows(self) -> tuple[tuple[str, dict[str, Any]], ...]:
        return ("quiet", self.quiet), ("attacked", self.attacked), ("at the end", self.last)


ROWS = (
    ("requests answered", "requests", "{:,.0f}"),
    ("their latency, p50, ms", "p50", "{:.2f}"),
    ("p99, ms", "p99", "{:.2f}"),
    ("the longest, ms", "most", "{:.1f}"),
    ("newcomers with a token let in", "newcomers", "{:,.0f}"),
    ("until they were, p50, ms", "newcomers_p50", "{:.1f}"),
    ("the longest, ms", "newcomers_most", "{:.1f}"),
    ("attempts of theirs that were reset", "newcomers_refused", "{:,.0f}"),
    ("the gateway's share of a core", "cpu", "{:.2f}"),
)


def table(result: Result) -> str:
    scale = result.scale
    lines = [
        f"{scale['idle']:,} idle and {scale['busy']} busy clients ({scale['rate']:g} Produce requests/s), "
        f"{scale['peers']:,} strangers from {scale['addresses']} addresses, {scale['unauthenticated_max']:,} places "
        f"for the unauthenticated; windows of {scale['seconds']:g} s\n",
        "| | quiet | attacked |",
        "|---|---|---|",
    ]
    lines += [f"| {title} | {form.format(result.quiet[key])} | {form.format(result.attacked[key])} |"
              for title, key, form in ROWS]  # fmt: skip
    came = sum(result.came.values())
    lines.append(f"\nStrangers came {came:,} times, {came / result.lasted:,.0f} a second. Refused, by reason: "
                 + ", ".join(f"{key} {value:,.0f}" for key, value in sorted(result.counted.items())) + ".")  # fmt: skip
    total = scale["idle"] + scale["busy"]
    lines.append(f"At the end {result.last['requests']:,} of {total:,} known connections answered once more.")
    mistakes = result.mistakes()
    lines.append("Errors of known clients, lost connections: " + ("; ".join(mistakes) if mistakes else "none") + ".")
    return "\n".join(lines)


def store(folder: Path, result: Result, about: dict[str, dict[str, str]]) -> None:
    """hostile.json and hostile.md."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "hostile.json").write_text(json.dumps(asdict(result) | about, indent=1) + "\n")
    page = [
        "# Known clients among strangers\n",
        "Made by `make hostile`. Latencies count from the moment that a request was due. Broker, gateway, known "
        "clients and strangers share the machine's cores: read the two columns beside each other.\n",
        table(result),
    ]
    for title, facts in about.items():
        page.append(f"\n## {title.capitalize()}\n")
        page += [f"- {name}: {value}" for name, value in facts.items() if name != "client"]
    (folder / "hostile.md").write_text("\n".join(page) + "\n")
