"""Fuzzing guided by coverage: inputs that reach code which none before had reached are kept and varied further.

    python -m tests.fuzz.guided [TARGET,TARGET...] [--seconds N] [--runs N] [--corpus FOLDER]

The engine is libFuzzer, by atheris, which counts the branches of the gateway's Python and of h11, h2 and hpack. Where a
piece has a compiled form the interpreted one, its specification, guides, and both are given each input: they must say
the same. What a target must hold is in `tests.fuzz.targets`. Each runs in a process of its own; a finding ends it, and
its input is shown. With --corpus what was found interesting is kept there, and begun with the next time.
"""

from __future__ import annotations

import argparse
import importlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parents[2]
INSTRUMENTED = ("tests.fuzz.targets", "gateway", "h11", "h2", "hpack", "hyperframe")
TARGETS = (
    "kafka-messages", "kafka-hot", "kafka-stream", "pulsar-command", "pulsar-plain", "pulsar-client", "pulsar-broker",
    "http1-request", "http2-frames", "http-answer", "hpack", "web-client", "web-target", "token", "proxy-header",
)  # fmt: skip
"""Names of functions of tests.fuzz.targets, with - for _."""
SECONDS = 60
INPUT_BYTES_MAX = 2000
ONE_SECONDS_MAX = 15
"""One input that takes longer is a finding, too."""
MEGABYTES_MAX = 1024


@dataclass(frozen=True, slots=True)
class Ended:
    """A run: the exit code of its process, and all that it said."""

    code: int
    said: str


class Nursery:
    """A process that has all targets imported and counted, and makes one of its own for each run: what they import
    takes several times as long to be prepared as a short run takes."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.guided", "--nursery"], cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def fuzz(self, target: str, *, seconds: float, runs: int, corpus: Path | None, seed: int) -> Ended:
        """One target in its own process. runs: -1 for no end but that of time; seed: 0 for another each time."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
            kept = corpus / target if corpus is not None else Path(scratch) / "corpus"
            kept.mkdir(parents=True, exist_ok=True)
            log = Path(scratch) / "log"
            flags = [
                f"-max_total_time={seconds:.0f}", f"-runs={runs}", f"-max_len={INPUT_BYTES_MAX}",
                f"-timeout={ONE_SECONDS_MAX}", f"-seed={seed}", f"-rss_limit_mb={MEGABYTES_MAX}",
                f"-artifact_prefix={scratch}/", "-print_final_stats=1",
            ]  # fmt: skip
            print(json.dumps([str(log), target, str(kept), *flags]), file=self._process.stdin, flush=True)
            code = self._process.stdout.readline()
            if not code:
                raise ChildProcessError(f"the nursery ended with {self._process.wait()}")
            return Ended(int(code), log.read_text(errors="replace"))


def nursery() -> int:
    """Each line of the input says what to do next, each of the output how it ended."""
    atheris = importlib.import_module("atheris")
    counted = atheris.instrument_imports(include=list(INSTRUMENTED), enable_loader_override=False)
    with redirect_stderr(io.StringIO()), counted:  # which names each of two hundred modules
        targets = importlib.import_module("tests.fuzz.targets")
    for line in sys.stdin:
        log, target, corpus, *flags = json.loads(line)
        process = os.fork()
        if not process:
            with open(log, "wb") as stream, open(os.devnull, "rb") as nothing:
                for number, file in enumerate((nothing, stream, stream)):
                    os.dup2(file.fileno(), number)
            for number, seed in enumerate(targets.seeds(target)):
                Path(corpus, f"seed-{number}").write_bytes(seed)
            atheris.Setup([target, corpus, *flags], getattr(targets, target.replace("-", "_")))
            atheris.Fuzz()  # does not return: libFuzzer ends the process
        _, status = os.waitpid(process, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    return 0


def main(arguments: Sequence[str]) -> int:
    if arguments[:1] == ["--nursery"]:
        return nursery()
    parser = argparse.ArgumentParser(description="Fuzzing guided by coverage.")
    parser.add_argument("targets", nargs="?", default=",".join(TARGETS), help=f"some of {', '.join(TARGETS)}")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"for each (default: {SECONDS})")
    parser.add_argument("--runs", type=int, default=-1, help="inputs for each (default: as many as there is time for)")
    parser.add_argument("--corpus", type=Path, default=ROOT / "build" / "fuzz", help="default: build/fuzz")
    options = parser.parse_args(arguments)
    chosen = options.targets.split(",")
    if unknown := set(chosen) - set(TARGETS):
        parser.error(f"{', '.join(sorted(unknown))}: not among {', '.join(TARGETS)}")
    found = 0
    with Nursery() as running:
        for target in chosen:
            done = running.fuzz(
                target, seconds=options.seconds, runs=options.runs, corpus=options.corpus, seed=0
            )  # fmt: skip
            print(f"{target:16} {'FOUND' if done.code else summary(done.said)}", flush=True)
            if done.code:
                found += 1
                print(ending(done))
    return 1 if found else 0


def summary(told: str) -> str:
    """How many inputs, and what they reached."""
    found = re.findall(r"#(\d+)\s+DONE\s+cov: (\d+)", told)
    return "inputs {}, branches {}".format(*found[-1]) if found else "nothing was reached"


def ending(done: Ended) -> str:
    """The end of what a finding says; its input is in the line that begins with Base64."""
    return done.said[-4000:]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
