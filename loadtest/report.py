"""The page of a run: figures beside what was asked for, every peer's, features one by one, settings, machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from loadtest.figures import Spread
from loadtest.gateways import STEPS
from loadtest.plot import bars
from loadtest.rows import OURS, PEERS, REFERENCE
from loadtest.tally import SMALLER_IS_BETTER, Results, speed

PAGE = "bench.md"


def write(folder: Path, results: Results) -> None:
    """bench.json, bench.md and the plots that the page shows."""
    results.save(folder)
    (folder / PAGE).write_text(page(results))
    for name, drawn in plots(results).items():
        (folder / name).write_text(drawn)


def plots(results: Results) -> dict[str, str]:
    """File name -> SVG; none of what was not measured."""
    counted = {name: _ratios(results, name, PEERS) for name in _counted(results)}
    latencies = {
        f"{name} {figure.removesuffix('_ms')}": _ratios(results, name, PEERS, figure)
        for name, (_, unit, _) in results.titles.items() if unit == "ms"
        for figure in ("p50_ms", "p99_ms")
    }  # fmt: skip
    drawn = {
        "bench-cpu.svg": ("Work per CPU second of the proxy, nginx = 1.00 (more is better)", counted),
        "bench-latency.svg": ("Latency at 10,000 records/s, nginx = 1.00 (less is better)", latencies),
    }
    return {
        name: bars(title, {row: values for row, values in groups.items() if values})
        for name, (title, groups) in drawn.items() if any(groups.values())
    }  # fmt: skip


def _ratios(results: Results, row: str, peers: Sequence[str], figure: str = "") -> dict[str, float]:
    found = {peer: results.ratio(row, peer, REFERENCE, figure) for peer in peers if peer != REFERENCE}
    return {peer: ratio.median for peer, ratio in found.items() if ratio is not None}


def page(results: Results) -> str:
    scale = results.scale
    parts = [
        "# The gateway beside other proxies\n",
        "Made by `make bench` (loadtest/README.md says how, and how to read it). TLS 1.3 with AES-128-GCM in front of "
        "every proxy, one worker each, a real broker behind. **Read the ratios**: each is of two measurements of the "
        "same round, and the median of the rounds stands here, with the least and the greatest. "
        f"{scale['pairs']} rounds, windows of {scale['seconds']:g} s; {results.seconds / 60:.0f} minutes.\n",
        "## The gateway with everything on, nginx = 1.00, per CPU second of the proxy\n",
        _beside(results),
        "![Work per CPU second](bench-cpu.svg)\n",
        "## Latency at a fixed rate\n",
        _latencies(results),
        "![Latency](bench-latency.svg)\n",
        "## Memory\n",
        _memory(results),
        "## Every peer\n",
        _peers(results),
        "## Features switched on one by one\n",
        _steps(results),
    ]
    if results.failures:
        parts += ["## Left out, since the load failed twice\n", "".join(f"- {line}\n" for line in results.failures)]
    for title, key in (("How each was set", "settings"), ("Machine", "machine"), ("Versions", "versions")):
        parts += [f"## {title}\n", _pairs(results.about.get(key, {}))]
    return "\n".join(parts)


def _counted(results: Results) -> list[str]:
    return [name for name, (_, unit, _) in results.titles.items() if unit not in SMALLER_IS_BETTER]


def _beside(results: Results) -> str:
    lines = [
        "| work | unit | nginx | gateway | ratio | least and greatest | asked for |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in _counted(results):
        title, unit, target = results.titles[name]
        ours, theirs = results.spread(name, OURS), results.spread(name, REFERENCE)
        ratio = results.ratio(name, OURS, REFERENCE)
        if ours is None or theirs is None or ratio is None:
            continue
        asked = f"≥ {target:.2f} {'✓' if ratio.median >= target else '✗'}" if target else ""
        lines.append(
            f"| {title} | {unit} | {theirs.median:,.0f} | {ours.median:,.0f} | **{ratio.median:.2f}** | "
            f"{ratio.low:.2f}, {ratio.high:.2f} | {asked} |"
        )
    return "\n".join(lines) + "\n"


def _latencies(results: Results) -> str:
    lines = [
        "| work | peer | p50 ms | p99 ms | p99.9 ms | p50, p99 beside nginx | CPU ms per s |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, (title, unit, _) in results.titles.items():
        for peer in PEERS if unit == "ms" else ():
            found = [results.spread(name, peer, f"p{each}_ms") for each in ("50", "99", "99.9")]
            if any(each is None for each in found):
                continue
            beside = [results.ratio(name, peer, REFERENCE, f"p{each}_ms") for each in ("50", "99")]
            cells = results.cells[name][peer].values()
            cost = 1000 * sum(cell["cpu"] for cell in cells) / sum(cell["seconds"] for cell in cells)
            shown = " | ".join(f"{each.median:.2f}" for each in found if each is not None)
            lines.append(f"| {title} | {peer} | {shown} | {' / '.join(map(_median, beside))} | {cost:.0f} |")
    return "\n".join(lines) + "\n" + "\nAsked for: p50 ≤ 1.1 and p99 ≤ 1.2 times nginx's.\n"


def _memory(results: Results) -> str:
    lines = [
        "| peer | at rest, MiB (PSS) | growth per idle connection, KiB (PSS) | the same, RSS | connections |",
        "|---|---|---|---|---|",
    ]
    for name, (_, unit, _) in results.titles.items():
        for peer, cells in results.cells[name].items() if unit == "memory" else ():
            for cell in cells.values():
                lines.append(
                    f"| {peer} | {cell['rest_pss_mib']:.1f} | {cell['each_pss_kib']:.1f} | "
                    f"{cell['each_rss_kib']:.1f} | {cell['count']:,.0f} |"
                )
    return "\n".join(lines) + "\n\nAsked for: at most 60 MiB at rest, 40 KiB for each connection.\n"


def _peers(results: Results) -> str:
    """Per CPU second, and the clock's throughput in brackets."""
    lines = ["| work | unit | " + " | ".join(PEERS) + " |", "|---|---|" + "---|" * len(PEERS)]
    for name in _counted(results):
        title, unit, _ = results.titles[name]
        lines.append(f"| {title} | {unit} | " + " | ".join(_cell(results, name, peer) for peer in PEERS) + " |")
    return (
        "Per CPU second of the proxy, the ratio to nginx, and in brackets per second of the clock. Client, broker and "
        "proxy share the cores, so the last is no proxy's limit.\n\n" + "\n".join(lines) + "\n"
    )


def _cell(results: Results, row: str, peer: str) -> str:
    cells = results.cells[row].get(peer, {}).values()
    if not cells:
        return "."
    unit = results.titles[row][1]
    speeds = sorted(speed(unit, cell) for cell in cells)
    clock = f"({speeds[len(speeds) // 2]:,.0f})"
    value, ratio = results.spread(row, peer), results.ratio(row, peer, REFERENCE)
    return f"{value.median:,.0f} · {_median(ratio)} {clock}" if value is not None else clock


def _steps(results: Results) -> str:
    rows = [name for name in _counted(results) if any(step in results.cells[name] for step in STEPS if step != OURS)]
    if not rows:
        return "Not measured in this run.\n"
    lines = ["| | " + " | ".join(rows) + " |", "|---|" + "---|" * len(rows)]
    for step in STEPS:
        shown = " | ".join(_median(results.ratio(row, step, REFERENCE)) for row in rows)
        lines.append(f"| {step}: {STEPS[step]} | {shown} |")
    return "Beside nginx, as above.\n\n" + "\n".join(lines) + "\n"


def _median(found: Spread | None) -> str:
    return "." if found is None else f"{found.median:.2f}"


def _pairs(found: dict[str, str]) -> str:
    return "| | |\n|---|---|\n" + "".join(f"| {name} | {value} |\n" for name, value in found.items())
