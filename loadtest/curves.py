"""Scale curves: what a request, a partition, an octet or a login costs the gateway as one thing grows a thousandfold.

    python -m loadtest.curves [--only C,C] [--add] [--rounds N] [--seconds S] [--workers 1,2] [--short] [--into FOLDER]

Behind the gateway is a stand-in that answers at once, since no real broker has a hundred thousand topics on this
machine. CPU is the gateway's own. A curve is flat if no point costs more than 1.25 times the cheapest before it; the
others are listed as bends, with what is known of their cause. Points are measured round by round, and the median
counts; each is stored at once, and `--add` goes on from what is stored. With several workers only those curves are
measured that say `both`: a worker has nothing else to do with more of the other things than one process has.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gateway.core.settings import Settings
from loadtest import about, client, plot
from loadtest.curve_sites import Rig, Site, opened
from loadtest.processes import TICK_SECONDS, end_as_by_ctrl_c
from loadtest.work import Door, LoadFailed, Window, Work
from tests.real.gateway import GatewayFailed

FLAT = 1.25
TRIES = 2
"""A point whose load fails is tried once more, as the bench does."""
RESULTS = Path(__file__).parent / "results"
PER = {"request": "µs of CPU per request", "partition": "µs of CPU per partition", "octet": "ns of CPU per octet",
       "login": "µs of CPU per login with one request"}  # fmt: skip

_RAW = Work("raw-produce", Door(0), 0.0, 0.0, topics=1, connections=16)


@dataclass(frozen=True, slots=True)
class Curve:
    """What grows, over which points, and what is counted."""

    name: str
    title: str
    across: str
    per: str
    points: tuple[int, ...]
    work: Callable[[int], Work]
    site: Callable[[int], Site] = lambda _: Site()
    both: bool = False
    """Measured with several workers, too."""
    cause: str = ""
    """Why it bends, where it does."""

    def cost(self, work: Work, window: Window) -> float:
        """In the unit that PER names. A window shorter than the clock's tick counts as one tick."""
        cpu = max(window.cpu, TICK_SECONDS)
        if self.per == "octet":
            return cpu * 1e9 / (window.count * work.per_request * work.record_bytes)
        shared = work.per_request if self.per == "partition" else 1
        return cpu * 1e6 / (window.count * shared)


_TENS = (10, 100, 1_000, 10_000, 100_000)
_SIZES = (100, 1 << 10, 10 << 10, 100 << 10, 1 << 20, 8 << 20, 64 << 20)
_PARTITIONS = (1, 10, 100, 1_000)
_DESCRIPTORS_KEPT = 400
"""Of the gateway's, for everything but clients and their upstreams; each of those takes two together."""
_PERMITTED = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
_MOST = 10_000 if _PERMITTED < 0 else min(10_000, (_PERMITTED - _DESCRIPTORS_KEPT) // 200 * 100)
_CONNECTIONS = (*(number for number in (1, 10, 100, 1_000, 5_000) if number < _MOST), _MOST)
"""Up to 10,000, or what this machine permits one process."""

_CACHES = (
    "a message larger than the processor's caches comes from memory each time that it is looked at: when it is "
    "decrypted, kept, and encrypted or written on"
)

CURVES = (
    Curve("connections-idle", "one busy connection beside idle ones", "connections", "request",
          _CONNECTIONS, lambda n: replace(_RAW, connections=1, idle=n - 1),
          cause="timers of idle connections fall into the window, so many more of them than there are requests"),
    Curve("connections-busy", "all connections busy, one request in flight on each", "connections", "request",
          _CONNECTIONS, lambda n: replace(_RAW, connections=n, first=2 * n, least=2 * n), both=True,
          cause="each connection has a TLS state and two sockets of its own, and thousands of them in turn are not in "
          "the processor's caches"),
    Curve("topics", "requests that go round all topics of the cluster", "topics", "request",
          _TENS, lambda n: replace(_RAW, topics=n, connections=2, first=2 * n), lambda n: Site(topics=n), both=True,
          cause="the verdicts of 100,000 topics are not in the processor's caches. Where more than 2,000 topics of one "
          "principal are in use and some are not within ten seconds, the audit gives up its sums, and each topic is "
          "asked for again, 5 to 10 µs"),
    Curve("rules", "rules in the roles of the client", "rules", "request",
          _TENS, lambda _: replace(_RAW, topics=10), lambda n: Site(rules=n),
          cause="the first request for each topic looks through tables that are not in the processor's caches"),
    Curve("principals", "principals with a binding, logging in in turn", "principals", "login",
          _TENS, lambda _: replace(_RAW, kind="logins"), lambda n: Site(principals=n),
          cause="few principals come again within the window: their tokens were checked before, and their rights, "
          "accounts and sums are there. Of many each login is a first one, and its token's signature is checked"),
    Curve("partitions-produce", "partitions in a Produce request, 100 octets for each", "partitions", "partition",
          _PARTITIONS, lambda n: replace(_RAW, per_request=n), both=True,
          cause=_CACHES),
    Curve("partitions-fetch", "partitions in a Fetch answer, 100 octets for each", "partitions", "partition",
          _PARTITIONS, lambda n: replace(_RAW, kind="raw-fetch", per_request=n), cause=_CACHES),
    Curve("frames-produce", "Produce requests of one record", "octets", "octet",
          _SIZES, lambda n: replace(_RAW, connections=2, record_bytes=n), both=True,
          cause=_CACHES),
    Curve("frames-fetch", "Fetch answers of one record batch", "octets", "octet",
          _SIZES, lambda n: replace(_RAW, kind="raw-fetch", connections=2, record_bytes=n), cause=_CACHES),
)  # fmt: skip


@dataclass(slots=True)
class Measured:
    """Of one curve and number of workers: point -> costs, round by round; and what went wrong."""

    costs: dict[int, list[float]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def medians(self) -> dict[int, float]:
        return {point: statistics.median(costs) for point, costs in self.costs.items()}


def bends(medians: dict[int, float]) -> list[tuple[int, float]]:
    """The points that cost more than FLAT times the cheapest before them, with that ratio."""
    found, least = [], 0.0
    for point, cost in sorted(medians.items()):
        if least and cost > FLAT * least:
            found.append((point, cost / least))
        least = min(least or cost, cost)
    return found


def measure(
    curve: Curve, options: argparse.Namespace, workers: int, measured: Measured, keep: Callable[[], None]
) -> None:
    """One curve, as far as it was not measured before. A point that fails is left out, and that is said."""
    try:
        with tempfile.TemporaryDirectory(prefix="curves-") as folder, ExitStack() as stack:
            _measure(curve, options, workers, measured, keep, Path(folder), stack)
    except GatewayFailed as error:  # at its end; what was measured before is good
        measured.failures.append(f"{curve.name}, at the end: {str(error)[:200]}")


def _measure(
    curve: Curve, options: argparse.Namespace, workers: int, measured: Measured, keep: Callable[[], None],
    folder: Path, stack: ExitStack,
) -> None:  # fmt: skip
    points = curve.points[:2] if options.short else curve.points
    rigs: dict[Site, Rig] = {}
    for number in range(options.rounds):
        for point in points:
            if len(measured.costs.get(point, ())) > number:
                continue
            site = replace(curve.site(point), workers=workers)
            work = replace(curve.work(point), seconds=options.seconds, warm_up=options.seconds / 3)
            for _ in range(TRIES):
                try:
                    if site not in rigs:
                        made = len(list(folder.iterdir()))
                        rigs[site] = stack.enter_context(opened(folder / f"site-{made}", site))
                    rig = rigs[site]
                    cost = curve.cost(work, client.run(replace(work, door=rig.door, tokens=rig.tokens)))
                    break
                except (LoadFailed, TimeoutError, AssertionError, RuntimeError, OSError) as error:
                    why = f"{curve.name} at {point:,}, round {number + 1}: {str(error)[-200:]}"
                    print(why, flush=True)
            else:
                measured.failures.append(why)
                continue
            measured.costs.setdefault(point, []).append(cost)
            print(f"{curve.name:18} {point:>12,}  {cost:10.2f} {PER[curve.per]}", flush=True)
            keep()


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    client.more_descriptors()
    end_as_by_ctrl_c()
    folder: Path = options.into
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "curves.json"
    stored: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    stored |= {"machine": about.machine(), "versions": about.versions()}
    for curve in CURVES:
        if curve.name not in options.only:
            continue
        found = stored.setdefault("curves", {}).setdefault(curve.name, {})
        if not options.add:
            found.clear()
        for workers in options.workers if curve.both else options.workers[:1]:
            each = found.setdefault(str(workers), {"costs": {}, "failures": []})
            measured = Measured({int(point): costs for point, costs in each["costs"].items()})

            def keep(each: dict[str, Any] = each, measured: Measured = measured) -> None:
                each["costs"] = {str(point): measured.costs[point] for point in sorted(measured.costs)}
                each["failures"] = measured.failures
                file.write_text(json.dumps(stored, indent=1) + "\n")

            measure(curve, options, workers, measured, keep)
            keep()
        draw(folder, curve, found)
        page = write(stored)
        (folder / "curves.md").write_text(page)
    print(page)
    failed = any(each["failures"] for found in stored["curves"].values() for each in found.values())
    return 1 if options.short and failed else 0


def draw(folder: Path, curve: Curve, found: dict[str, Any]) -> None:
    """The curve's plot, a line for each number of workers."""
    series = {
        f"{workers} worker{'s' if workers != '1' else ''}": [
            (float(point), cost) for point, cost in _medians(each).items()
        ]
        for workers, each in found.items() if each["costs"]
    }  # fmt: skip
    if series:
        (folder / f"curve-{curve.name}.svg").write_text(plot.lines(curve.title, curve.across, PER[curve.per], series))


def write(stored: dict[str, Any]) -> str:
    """The page: every curve's points, and where it bends."""
    parts = [
        "# Scale curves\n\nMade by `python -m loadtest.curves` (loadtest/README.md). The gateway with everything on, a "
        f"stand-in for the broker behind. A bend is a point that costs more than {FLAT} times the cheapest before it; "
        "where one is seen its cause is told (docs/decisions/0029-flat-curves.md has more).\n"
    ]
    for curve in CURVES:
        for workers, each in stored.get("curves", {}).get(curve.name, {}).items():
            medians = _medians(each)
            if not medians:
                continue
            first, last = min(medians), max(medians)
            bent = ", ".join(f"{point:,} ({ratio:.2f})" for point, ratio in bends(medians)) or "none"
            parts.append(
                f"## {curve.title}, workers: {workers}\n\n| {curve.across} | "
                + " | ".join(f"{point:,}" for point in sorted(medians))
                + " |\n|---|" + "---|" * len(medians) + f"\n| {PER[curve.per]} | "
                + " | ".join(f"{medians[point]:.3g}" for point in sorted(medians))
                + f" |\n\nLast beside first: {medians[last] / medians[first]:.2f}. Bends: {bent}."
                + (f" Cause: {curve.cause}." if bends(medians) and curve.cause else "")
                + f"\n\n![{curve.title}](curve-{curve.name}.svg)\n"
            )  # fmt: skip
            parts += [f"- left out: {line}" for line in each["failures"]]
    for key in ("machine", "versions"):
        parts.append("| | |\n|---|---|\n" + "".join(f"| {name} | {text} |\n" for name, text in stored[key].items()))
    return "\n".join(parts)


def _medians(each: dict[str, Any]) -> dict[int, float]:
    return Measured({int(point): costs for point, costs in each["costs"].items()}).medians()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = [curve.name for curve in CURVES]
    parser = argparse.ArgumentParser(description="What one request costs as one thing grows.")
    parser.add_argument("--only", type=lambda text: text.split(","), default=names, help=f"some of {', '.join(names)}")
    parser.add_argument("--add", action="store_true", help="measure only the rounds that are not stored yet")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a window")
    parser.add_argument("--workers", type=lambda text: [int(each) for each in text.split(",")], default=[1, 2])
    parser.add_argument("--short", action="store_true", help="two points of each curve, to show that it runs")
    parser.add_argument("--into", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    if unknown := set(options.only) - set(names):
        parser.error(f"{', '.join(unknown)}: not among {', '.join(names)}")
    if options.short and options.into == RESULTS:
        parser.error("--short needs --into: its figures are not to be kept as results")
    if max(options.workers) > 1 and "workers" not in Settings.model_fields:
        parser.error("this gateway has one worker")
    return options


if __name__ == "__main__":
    sys.exit(main())
