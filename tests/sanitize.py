"""The compiled pieces under AddressSanitizer and UndefinedBehaviorSanitizer: the tests that drive them, on a build of
their own, made in a temporary folder.

    python -m tests.sanitize [FILE OR FOLDER OF TESTS]...      `make sanitize`

An octet read or written outside of its memory, memory used after it was freed, an overflowing or misaligned number ends
the run with the report. Needs gcc with both libraries (Debian's gcc has them). Python's own allocator is left out, so
that each object's memory is watched by itself. What lies in OpenSSL is not: it comes built, without the sanitizers.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
COPIED = (
    "gateway",
    "tests",
    "loadtest",
    "policies",
    "conf",
    "docs",
    "setup.py",
    "pyproject.toml",
    "README.md",
    "LICENSE",
)
FLAGS = "-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -g"
DRIVEN_BY = (
    "tests/property/test_kafka_scan.py",
    "tests/property/test_kafka_fetch_answer.py",
    "tests/property/test_kafka_short_way.py",
    "tests/property/test_pulsar_stream.py",
    "tests/scenarios/test_pulsar_partly.py",
    "tests/fuzz/test_kafka_bytes.py",
    "tests/fuzz/test_pulsar_bytes.py",
    "tests/scenarios/test_session_traffic.py",
    "tests/scenarios/test_session_streaming.py",
    "tests/scenarios/test_session_metadata.py",
    "tests/integration/edge",
)
"""Whatever reaches a compiled piece with octets of somebody else's."""
LEFT_OUT = ("interpreted", "exhaust_memory")
"""Words in the names of tests: those of the other form, and those that measure how much memory the process has, which
is the sanitizers' own for the larger part."""
PIECES = 3
"""How many `gateway version` has to tell of as compiled."""
SECONDS_MAX = 1800


class NotBuilt(Exception):
    """What was to be watched is not there; says why."""


def copy(folder: Path) -> None:
    """The project without anything that was built."""
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)


def build(folder: Path) -> None:
    """Build the pieces there. Raises NotBuilt."""
    environment = {**os.environ, "CFLAGS": FLAGS, "LDFLAGS": "-fsanitize=address,undefined"}
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace", "-j", "4"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    watched = [path for path in folder.glob("gateway/**/*.so") if b"__asan_report" in path.read_bytes()]
    if len(watched) != len(list(folder.glob("gateway/**/*.pyx"))):
        raise NotBuilt(f"{len(watched)} pieces were built with the sanitizers\n{done.stdout}{done.stderr}")


def environment(folder: Path) -> dict[str, str]:
    """In which Python loads such pieces. Raises NotBuilt."""
    compiler = os.environ.get("CC", "gcc")
    found = subprocess.run([compiler, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    library = Path(found.stdout.strip())
    if not library.is_absolute():
        raise NotBuilt(f"{compiler} has no libasan.so")
    return {
        **os.environ,
        "LD_PRELOAD": str(library),
        "PYTHONPATH": str(folder),
        "PYTHONMALLOC": "malloc",
        "ASAN_OPTIONS": f"detect_leaks=0:log_path={folder}/report",
        "UBSAN_OPTIONS": f"print_stacktrace=1:log_path={folder}/report",
    }


def run(folder: Path, tests: Sequence[str]) -> int:
    """The tests' exit code; what the sanitizers found is printed, and makes it 1."""
    around = environment(folder)
    told = subprocess.run(
        [sys.executable, "-m", "gateway", "version"],
        cwd=folder,
        env=around,
        capture_output=True,
        text=True,
        check=False,
    )
    if told.stdout.count(": compiled") != PIECES:
        raise NotBuilt(f"not everything runs compiled\n{told.stdout}{told.stderr}")
    told_by_us = (
        "-p",
        "no:faulthandler",
        "-p",
        "no:cacheprovider",
        "--durations=10",
        "--timeout=600",
        "-q",
        "--hypothesis-profile=ci",
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        *told_by_us,
        "-k",
        " and ".join(f"not {word}" for word in LEFT_OUT),
        *tests,
    ]
    code = subprocess.run(command, cwd=folder, env=around, timeout=SECONDS_MAX, check=False).returncode
    reports = sorted(folder.glob("report.*"))
    for report in reports:
        print(report.read_text(errors="replace"), file=sys.stderr)
    return 1 if reports else code


def main(arguments: Sequence[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="sanitize-") as scratch:
        folder = Path(scratch)
        try:
            copy(folder)
            build(folder)
            return run(folder, arguments or DRIVEN_BY)
        except NotBuilt as error:
            print(error, file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
