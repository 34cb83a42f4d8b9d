"""What the run says: a line of progress, the table at its end, and the two files that are kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass
class Result:
    """One run. `findings` empty: everything that was promised was kept."""

    records: int
    """Asked for."""
    seed: int
    seconds_between: float
    workers: int
    """Processes of the gateway."""
    seconds: float = 0.0
    states: dict[str, int] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    fault_seconds: dict[str, float] = field(default_factory=dict)
    gateway_away_seconds: float = 0.0
    read_at_the_end: int = 0
    read_by_the_group: int = 0
    read_again_by_the_group: int = 0
    read_from_the_brokers: int = 0
    transactions: dict[str, int] = field(default_factory=dict)
    logins: dict[str, int] = field(default_factory=dict)
    """What the audit says of logins and connections."""
    client_errors: dict[str, int] = field(default_factory=dict)
    """Told to the applications by the way; the libraries went on by themselves."""
    examples: dict[str, str] = field(default_factory=dict)
    """The words of one of each."""
    about: dict[str, str] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.findings


def progress(seconds: float, sent: int, acknowledged: int, read: int, wanted: int) -> str:
    share = 100 * acknowledged // max(1, wanted)
    return f"{seconds:6.0f} s  {sent:>9,} sent  {acknowledged:>9,} acknowledged ({share:>3} %)  {read:>9,} read"


def table(result: Result) -> str:
    """Markdown."""
    return (
        _rows(("what was done meanwhile", "times", "seconds"), [
            (name, f"{count}", f"{result.fault_seconds.get(name, 0.0):.0f}") for name, count in result.faults.items()
        ])
        + "\n"
        + _rows(("records", "", ""), [
            *((name, f"{count:,}", "") for name, count in result.states.items()),
            ("read through the gateway at the end, each once", f"{result.read_at_the_end:,}", ""),
            ("read straight from the brokers, each once", f"{result.read_from_the_brokers:,}", ""),
            ("read by the group meanwhile", f"{result.read_by_the_group:,}", ""),
            ("of these again after a rebalance, at the same offset", f"{result.read_again_by_the_group:,}", ""),
        ])
        + "\n"
        + _rows(("clients", "times", ""), [
            *((f"transactions {name}", f"{count:,}", "") for name, count in result.transactions.items()),
            *((f"audit: {name}", f"{count:,}", "") for name, count in result.logins.items()),
            *((f"told to the application: {name}", f"{count:,}", "") for name, count in result.client_errors.items()),
        ])
    )  # fmt: skip


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)


def store(folder: Path, result: Result) -> None:
    """Write million.json and million.md."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "million.json").write_text(json.dumps(asdict(result) | {"ok": result.ok}, indent=1) + "\n")
    (folder / "million.md").write_text(page(result))


def page(result: Result) -> str:
    verdict = (
        "Every acknowledged record is there exactly once, unaltered and in order."
        if result.ok
        else "**Not as promised:**\n\n" + "\n".join(f"- {finding}" for finding in result.findings)
    )
    about = _rows(("machine and versions", ""), list(result.about.items()))
    return f"""\
# {result.records:,} records while everything falls out, moves and is renewed

Made by `make million` (loadtest/million). Three real brokers, replication 3, min.insync.replicas 2, behind TLS and the
gateway's own account, re-authenticated again and again; idempotent producers with acks=all and one transactional
producer; readers with read_committed. Every record is made from its number, so each octet of it is compared. A record
"without an answer" or "refused" may be there once or not at all, and never twice; a "withdrawn" one belonged to an
aborted transaction and is never seen.

{verdict}

{result.seconds:.0f} s in all; for {result.gateway_away_seconds:.0f} s of these no gateway was there. About
{result.seconds_between:g} s between two faults; {result.workers} worker processes; seed {result.seed}.

{table(result)}
{about}"""
