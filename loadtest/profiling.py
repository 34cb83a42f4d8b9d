"""Where the gateway's CPU goes under load, native frames included.

    python -m loadtest.profiling [--rows R,R] [--seconds S] [--into FOLDER]

The gateway runs with everything on. Linux's perf samples it while a row's load runs; what is kept is the share of each
library and the heaviest functions. Python's own functions have names there from 3.12 on, by its perf trampolines; with
3.11 they are `_PyEval_EvalFrameDefault`. Needs `perf` (Debian: linux-perf) and the right to use it.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from loadtest import about, bench, client
from loadtest.processes import end_as_by_ctrl_c
from loadtest.rows import OURS, ROWS, Row
from loadtest.stage import Stage
from loadtest.work import LoadFailed
from tests.real.missing import Missing

RESULTS = Path(__file__).parent / "results"
PROFILED = ("produce-12", "consume-12", "small-1", "small-8", "metadata", "handshakes")
HERTZ = 499
SHOWN = 25
MARGIN_SECONDS = 2.0


def profile(row: Row, stage: Stage, folder: Path, seconds: float) -> tuple[Counter[tuple[str, str]], int]:
    """(library, function) -> samples, and how many there are. Raises LoadFailed, RuntimeError, Missing."""
    door = stage.door(OURS, tls_behind=row.tls_behind)
    data = folder / f"{row.name}.perf"
    command = [_perf(), "record", "-q", "-F", str(HERTZ), "-p", str(door.pid), "-o", str(data)]
    work = replace(row.work, door=door, seconds=seconds, warm_up=MARGIN_SECONDS, bytes_max=bench.FULL.bytes_max)
    recorder = subprocess.Popen([*command, "--", "sleep", str(seconds + MARGIN_SECONDS)], stderr=subprocess.PIPE)
    try:
        client.run(work)
    finally:
        _, said = recorder.communicate(timeout=60)
    if not data.exists():
        raise RuntimeError(f"perf recorded nothing: {said.decode()[-500:]}")
    return samples(
        subprocess.run(
            [_perf(), "script", "-i", str(data), "-F", "ip,sym,dso"],
            capture_output=True, text=True, check=True, timeout=120,
        ).stdout
    )  # fmt: skip


def samples(text: str) -> tuple[Counter[tuple[str, str]], int]:
    """perf script's lines ("address function (library)") as counts; without a call chain each line is a sample."""
    found: Counter[tuple[str, str]] = Counter()
    for line in text.splitlines():
        if match := re.fullmatch(r"\s*[0-9a-f]+ (.+?)(?:\+0x[0-9a-f]+)? \((.+)\)\s*", line):
            library = match[2] if match[2].startswith("[") else Path(match[2]).name
            found[_library(library), match[1]] += 1
    return found, found.total()


def _library(name: str) -> str:
    """Short, and without the process's number."""
    if name.startswith("[kernel"):
        return "kernel"
    return re.sub(
        r"\.cpython-\S+|\.abi3\.so|perf-\d+\.map", lambda found: ".so" if "map" not in found[0] else "Python", name
    )


def page(row: Row, found: Counter[tuple[str, str]], total: int) -> str:
    """One row's table: libraries first, then functions."""
    by_library: Counter[str] = Counter()
    for (library, _), count in found.items():
        by_library[library] += count
    shares = ", ".join(f"{library} {100 * count / total:.0f} %" for library, count in by_library.most_common(8))
    lines = [f"## {row.title}\n\n{total} samples: {shares}\n\n| % | function | library |\n|---|---|---|"]
    lines += [
        f"| {100 * count / total:.1f} | `{function[:90]}` | {library} |"
        for (library, function), count in found.most_common(SHOWN)
    ]
    return "\n".join(lines) + "\n"


def _perf() -> str:
    found = shutil.which("perf")
    if found is None:
        raise Missing("perf", "on Debian: apt-get install linux-perf")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Where the gateway's CPU goes, native frames included.")
    parser.add_argument("--rows", default=",".join(PROFILED))
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--into", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    end_as_by_ctrl_c()
    os.environ["PYTHONPERFSUPPORT"] = "1"  # the gateway inherits it
    parts = ["# Where the gateway's time goes\n\nMade by `python -m loadtest.profiling`; everything on, one worker.\n"]
    try:
        _perf()
        with (
            tempfile.TemporaryDirectory(prefix="profile-") as scratch,
            Stage(Path(scratch), stored=bench.FULL.stored, fast_start=False) as stage,
        ):
            for row in ROWS:
                if row.name in options.rows.split(","):
                    found, total = profile(row, stage, Path(scratch), options.seconds)
                    parts.append(page(row, found, total))
                    print(parts[-1], flush=True)
    except (Missing, LoadFailed, RuntimeError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    facts = about.machine() | about.versions()
    parts.append("| | |\n|---|---|\n" + "".join(f"| {name} | {text} |\n" for name, text in facts.items()))
    options.into.mkdir(parents=True, exist_ok=True)
    (options.into / "profile.md").write_text("\n".join(parts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
