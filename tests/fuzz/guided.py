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
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

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


def fuzz(target: str, *, seconds: float, runs: int, corpus: Path | None, seed: int) -> subprocess.CompletedProcess[str]:
    """One target in its own process. runs: -1 for no end but that of time; seed: 0 for another each time."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        kept = corpus / target if corpus is not None else Path(scratch) / "corpus"
        kept.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable, "-m", "tests.fuzz.guided", "--child", target, str(kept), f"-max_total_time={seconds:.0f}",
            f"-runs={runs}", f"-max_len={INPUT_BYTES_MAX}", f"-timeout={ONE_SECONDS_MAX}", f"-seed={seed}",
            f"-rss_limit_mb={MEGABYTES_MAX}", f"-artifact_prefix={scratch}/", "-print_final_stats=1",
        ]  # fmt: skip
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def child(arguments: Sequence[str]) -> None:
    """Does not return: libFuzzer ends the process."""
    target, corpus, *flags = arguments
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=list(INSTRUMENTED), enable_loader_override=False):
        targets = importlib.import_module("tests.fuzz.targets")
    one = getattr(targets, target.replace("-", "_"))
    for number, seed in enumerate(targets.seeds(target)):
        Path(corpus, f"seed-{number}").write_bytes(seed)
    atheris.Setup([target, corpus, *flags], one)
    atheris.Fuzz()


def main(arguments: Sequence[str]) -> int:
    if arguments[:1] == ["--child"]:
        child(arguments[1:])
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
    for target in chosen:
        done = fuzz(target, seconds=options.seconds, runs=options.runs, corpus=options.corpus, seed=0)
        print(f"{target:16} {summary(done.stderr) if not done.returncode else 'FOUND'}", flush=True)
        if done.returncode:
            found += 1
            print(ending(done))
    return 1 if found else 0


def summary(told: str) -> str:
    """How many inputs, and what they reached."""
    found = re.findall(r"#(\d+)\s+DONE\s+cov: (\d+)", told)
    return "inputs {}, branches {}".format(*found[-1]) if found else "nothing was reached"


def ending(done: subprocess.CompletedProcess[str]) -> str:
    """The end of what a finding says; its input is in the line that begins with Base64."""
    return (done.stdout + done.stderr)[-4000:]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
