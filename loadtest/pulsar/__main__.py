"""The gateway beside Apache Pulsar's own proxy, on a real Pulsar.

    python -m loadtest.pulsar [--rows R,R] [--pairs N] [--seconds S] [--unscraped] [--short] [--into FOLDER]

TLS and a token on in both, authorization, limits, audit and metrics in the gateway. Each round measures every row
through both, in an order that turns; what is compared was measured in the same round. Results are stored after each
round. No figure makes it fail. Everything is on loopback, in a temporary folder, and bounded in time and bytes.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from loadtest import about
from loadtest.bench import RESULTS
from loadtest.processes import end_as_by_ctrl_c
from loadtest.pulsar import client
from loadtest.pulsar.report import Results, write
from loadtest.pulsar.rows import FIGURE, OURS, PEERS, REFERENCE, ROWS, Row, Work
from loadtest.pulsar.stage import SCRAPED, SETTINGS, Stage
from loadtest.work import LoadFailed, Window
from tests.real.gateway import GatewayFailed
from tests.real.missing import Missing
from tests.real.pulsar.broker import PULSAR_VERSION

SECONDS, PAIRS = 3.0, 5
WARM_UP = 1.0
JVM_SECONDS_MIN, JVM_SECONDS_MAX = 15.0, 30.0
"""For which the Apache proxy does each kind of work beforehand, uncounted: at least so long, and on until a window
costs it no less CPU than the one before did, so that its compiler has done its work. The gateway, which compiles
nothing, has one window."""
JVM_WINDOW = 5.0
SETTLED = 0.95
"""A window that costs more than this of the one before it: nothing is won by more of them."""
STORED = 150_000
TRIES = 2


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    end_as_by_ctrl_c()
    rows = [row for row in ROWS if row.name in options.rows]
    versions = about.versions() | {"broker": f"Apache Pulsar {PULSAR_VERSION}", "client": client.VERSION}
    settings = SETTINGS if options.unscraped else {peer: text + SCRAPED for peer, text in SETTINGS.items()}
    facts = {"machine": about.machine(), "versions": versions, "settings": settings}
    results = Results(facts, options.pairs, options.seconds)
    began = time.monotonic()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="loadtest-pulsar-") as scratch,
            _stage(Path(scratch), options) as stage,
        ):
            if not options.short:
                _warm(stage, rows)
            for number in range(options.pairs):
                _round(stage, rows, number, options, results)
                results.took = time.monotonic() - began
                write(options.into, results)
    except Missing as missing:
        print(f"left out: {missing}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"ended early; what was measured is in {options.into}", file=sys.stderr)
        return 130
    print((options.into / "pulsar.md").read_text())
    return 1 if options.short and results.failures else 0


def _stage(folder: Path, options: argparse.Namespace) -> Stage:
    stored = STORED // 50 if options.short else STORED
    return Stage(folder, stored=stored, scraping=not options.unscraped, fast_start=options.short)


def _warm(stage: Stage, rows: Sequence[Row]) -> None:
    """Each kind of work through both, as it is measured. A work that fails is told of by its measurement."""
    for work in {row.work.kind + row.work.topic: row.work for row in rows if row.work.kind != "idle"}.values():
        with suppress(LoadFailed):
            _window(stage, work, OURS)
            spent, before, cost = 0.0, math.inf, 0.0
            while spent < JVM_SECONDS_MIN or (spent < JVM_SECONDS_MAX and cost < SETTLED * before):
                before, cost = cost or math.inf, _window(stage, work, REFERENCE)
                spent += JVM_WINDOW
                print(f"warming up {work.topic.rpartition('/')[2]}: {cost * 1e6:.1f} us a message", flush=True)


def _window(stage: Stage, work: Work, peer: str) -> float:
    """CPU seconds of the proxy for each message. Raises LoadFailed."""
    window = client.run(replace(work, seconds=JVM_WINDOW, door=stage.door(peer)))
    return window.cpu / window.count


def _round(stage: Stage, rows: Sequence[Row], number: int, options: argparse.Namespace, results: Results) -> None:
    measured: dict[tuple[str, str], Window] = {}
    for row in rows:
        for peer in PEERS if number % 2 == 0 else reversed(PEERS):
            key = (row.work.kind + row.work.topic, peer)
            if key not in measured:
                window = _cell(stage, row, peer, options, results)
                if window is None:
                    continue
                measured[key] = window
            value = _value(row, measured[key])
            results.add(row.name, peer, number, value)
            print(f"{row.name:16} {peer:13} {value:,.2f} {row.unit}", flush=True)


def _cell(stage: Stage, row: Row, peer: str, options: argparse.Namespace, results: Results) -> Window | None:
    """One measurement, tried once more if the load fails."""
    work = replace(row.work, seconds=options.seconds, warm_up=WARM_UP)
    if options.short:
        work = replace(work, warm_up=0.3, connections=min(work.connections, 20))
    why = ""
    for _ in range(TRIES):
        try:
            if work.kind == "idle" and not options.short:
                with stage.opened(peer) as door:
                    return client.run(replace(work, door=door))
            return client.run(replace(work, door=stage.door(peer)))
        except (LoadFailed, RuntimeError, GatewayFailed) as error:
            why = str(error).strip()[-200:]
    results.failures.append(f"{row.name}: {peer}: {why}")
    return None


def _value(row: Row, window: Window) -> float:
    """As the row compares it."""
    if row.name in FIGURE:
        return window.more[FIGURE[row.name]]
    amount = window.octets / (1 << 20) if row.unit == "MiB" else window.count
    return amount / max(window.cpu, 0.01)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = [row.name for row in ROWS]

    def some(text: str) -> list[str]:
        if unknown := [each for each in text.split(",") if each not in names]:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not among {', '.join(names)}")
        return text.split(",")

    parser = argparse.ArgumentParser(description="The gateway beside Apache Pulsar's own proxy.")
    parser.add_argument("--rows", type=some, default=names, help=f"some of {', '.join(names)}")
    parser.add_argument("--pairs", type=int, default=PAIRS, help=f"rounds (default: {PAIRS})")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"length of a window (default: {SECONDS:g})")
    parser.add_argument("--unscraped", action="store_true", help="read no proxy's metrics meanwhile (a JVM pays more)")
    parser.add_argument("--short", action="store_true", help="only show that everything runs; judge nothing by it")
    parser.add_argument("--into", type=Path, default=RESULTS, help="folder of the results (default: loadtest/results)")
    options = parser.parse_args(arguments)
    if options.short and options.into == RESULTS:
        parser.error("--short needs --into: its figures are not to be kept as results")
    return options


if __name__ == "__main__":
    sys.exit(main())
