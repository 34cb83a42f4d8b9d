"""The bench: the gateway beside nginx, HAProxy, Kroxylicious and no proxy at all, on a real Kafka.

    python -m loadtest.bench [--rows R,R] [--peers P,P] [--pairs N] [--seconds S] [--short] [--into FOLDER] [--add]

Each round runs every row through every peer, one after the other, in an order that turns from round to round; what is
compared is what was measured in the same round. nginx and the gateway take part in every round, the others in every
second one. Results are stored after each round, so that a run that is ended leaves what it has. No figure makes it
fail. Everything is on loopback, in a temporary folder, and bounded in time and bytes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from loadtest import client
from loadtest.about import facts
from loadtest.processes import end_as_by_ctrl_c
from loadtest.report import write
from loadtest.rows import ALL_PEERS, OURS, REFERENCE, ROWS, Row
from loadtest.stage import Stage
from loadtest.tally import Results
from loadtest.work import LoadFailed, Window
from tests.real.gateway import GatewayFailed
from tests.real.missing import Missing

RESULTS = Path(__file__).parent / "results"
SHORT_ROWS = ("small-1",)
"""Where the other peers take part in a short run."""
WARMING = ("produce-12", "consume-12", "small-8", "metadata")
TRIES = 2
"""A cell that fails is tried once more; a peer that fails twice is left out of that round, and that is said."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of it: a full run, or one that only shows that everything works."""

    seconds: float
    pairs: int
    warm_up: float
    jvm_seconds: float
    """For which broker and Kroxylicious work beforehand, uncounted, so that their compilers have done theirs."""
    bytes_max: int
    stored: int
    connections: int
    """Idle ones, in the memory row."""
    short: bool


FULL = Scale(
    seconds=2.5, pairs=5, warm_up=1.0, jvm_seconds=8.0, bytes_max=1 << 30, stored=192 << 20, connections=5000,
    short=False,
)  # fmt: skip
SHORT = Scale(
    seconds=0.5, pairs=1, warm_up=0.2, jvm_seconds=0.0, bytes_max=64 << 20, stored=24 << 20, connections=50,
    short=True,
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    end_as_by_ctrl_c()
    scale = SHORT if options.short else FULL
    scale = replace(scale, pairs=options.pairs or scale.pairs, seconds=options.seconds or scale.seconds)
    rows = [row for row in ROWS if row.name in options.rows]
    started = time.monotonic()
    results = Results.load(options.into) if options.add else Results()
    try:
        results.begin(facts(options.peers), scale, rows)
        with (
            tempfile.TemporaryDirectory(prefix="loadtest-") as scratch,
            Stage(Path(scratch), stored=scale.stored, fast_start=scale.short) as stage,
        ):
            warm(stage, rows, options.peers, scale)
            for number in range(scale.pairs):
                for row in rows:
                    measure(stage, row, number, options.peers, scale, results, say=partial(print, flush=True))
                results.seconds = time.monotonic() - started
                write(options.into, results)
    except Missing as missing:
        print(f"left out: {missing}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"ended early; what was measured is in {options.into}", file=sys.stderr)
        return 130
    print((options.into / "bench.md").read_text())
    return 1 if options.short and results.failures else 0


def warm(stage: Stage, rows: Sequence[Row], peers: Sequence[str], scale: Scale) -> None:
    """Let the JVMs compile what the rows to come will use: the broker's, and Kroxylicious'."""
    if not scale.jvm_seconds:
        return
    for peer in ("direct", *(each for each in peers if each == "kroxylicious")):
        for row in rows:
            if row.name in WARMING:
                work = replace(row.work, seconds=scale.jvm_seconds, warm_up=0.0, bytes_max=scale.bytes_max)
                with suppress(LoadFailed):  # the measurement itself will tell
                    client.run(replace(work, door=stage.door(peer)))


def measure(
    stage: Stage,
    row: Row,
    number: int,
    peers: Sequence[str],
    scale: Scale,
    results: Results,
    say: Callable[[str], None],
) -> None:
    """One row through its peers, in this round's order."""
    taking_part = [peer for peer in row.peers if peer in peers and takes_part(row, peer, number, short=scale.short)]
    turn = number % len(taking_part) if taking_part else 0
    for peer in taking_part[turn:] + taking_part[:turn]:
        for attempt in range(TRIES):
            try:
                window = _cell(stage, row, peer, scale)
            except (LoadFailed, RuntimeError, GatewayFailed) as error:
                say(f"{row.name:16} {peer:14} failed: {str(error).strip()[-300:]}")
                if attempt == TRIES - 1:
                    results.failed(row, peer, number, str(error).strip()[-200:])
                continue
            results.add(row, peer, number, window)
            say(f"{row.name:16} {peer:14} {results.said(row, peer, number)}")
            break


def takes_part(row: Row, peer: str, number: int, *, short: bool = False) -> bool:
    """Memory is measured once, the reference and the gateway in every round, the others in every second one.

    In a short run every row and every peer occurs, but not each with each.
    """
    if row.unit == "memory" and number > 0:
        return False
    if peer in (REFERENCE, OURS):
        return True
    return row.name in SHORT_ROWS if short else number % 2 == 0


def _cell(stage: Stage, row: Row, peer: str, scale: Scale) -> Window:
    work = replace(row.work, seconds=scale.seconds, warm_up=scale.warm_up, bytes_max=scale.bytes_max)
    if row.unit == "memory":
        with stage.opened(peer) as door:
            return client.run(replace(work, door=door, connections=scale.connections))
    door = stage.door(peer, tls_behind=row.tls_behind)
    return client.run(replace(work, door=door))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = [row.name for row in ROWS]

    def some(of: Sequence[str]) -> Callable[[str], list[str]]:
        def chosen(text: str) -> list[str]:
            unknown = [each for each in text.split(",") if each not in of]
            if unknown:
                raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not among {', '.join(of)}")
            return text.split(",")

        return chosen

    parser = argparse.ArgumentParser(description="The gateway beside other proxies, per CPU second of the proxy.")
    parser.add_argument("--rows", type=some(names), default=names, help=f"some of {', '.join(names)}")
    parser.add_argument(
        "--peers", type=some(ALL_PEERS), default=list(ALL_PEERS), help=f"some of {', '.join(ALL_PEERS)}"
    )
    parser.add_argument("--pairs", type=int, help=f"rounds (default: {FULL.pairs})")
    parser.add_argument("--seconds", type=float, help=f"length of a window (default: {FULL.seconds:g})")
    parser.add_argument("--short", action="store_true", help="only show that everything runs; judge nothing by it")
    parser.add_argument("--into", type=Path, default=RESULTS, help="folder of the results (default: loadtest/results)")
    parser.add_argument("--add", action="store_true", help="keep the stored rows that are not measured now")
    options = parser.parse_args(arguments)
    if options.short and options.into == RESULTS:
        parser.error("--short needs --into: its figures are not to be kept as results")
    return options


if __name__ == "__main__":
    sys.exit(main())
