"""Runs the project's checks and tests, side by side, and says at the end what failed and what was left out.

    python tests/run.py quick    lint, types, unit tests and scenarios
    python tests/run.py all      everything, real brokers included

``make quick`` and ``make test`` call this. Each step writes to build/test/NAME.log; a failed one's end is shown. What
the machine lacks is left out and listed with how to get it; ``REQUIRE_ALL=1`` makes each such line a failure. Ends
with 0 if all went well, else 1. Standard library only, tests.real.names included.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.real.names import with_names  # noqa: E402 - run as a script, so the path comes first

OUT = ROOT / "build" / "test"
BIN = Path(sys.executable).parent
REQUIRE_ALL = os.environ.get("REQUIRE_ALL") == "1"
JOBS = int(os.environ.get("JOBS", (os.cpu_count() or 2) * 3 // 2))
"""Steps at a time: more than there are cores, since those with real brokers wait for half of their time."""
STEP_SECONDS_MAX = 3000
LOG_LINES_SHOWN = 60
COVERAGE_DATA = OUT / "coverage.data"

COVERAGE_MIN: tuple[tuple[str, float, tuple[str, ...]], ...] = (
    ("policy", 95.0, ("gateway/core/policy/", "gateway/core/limits.py", "gateway/core/documents.py")),
    ("tokens", 95.0, ("gateway/core/tokens/", "gateway/core/keys.py", "gateway/core/strict_json.py")),
    (
        "parsers",
        90.0,
        (
            "gateway/wire/",
            "gateway/core/long_json.py",
            "gateway/kafka/schema/",
            "gateway/kafka/codec.py",
            "gateway/pulsar/commands.py",
            "gateway/pulsar/names.py",
            "gateway/pulsar/plain.py",
            "gateway/kafka/compile_",
            "gateway/kafka/primitives.py",
            "gateway/kafka/scan.py",
            "gateway/kafka/walk.py",
            "gateway/kafka/steps.py",
            "gateway/kafka/fetch_answer.py",
            "gateway/kafka/short_way.py",
            "gateway/kafka/sasl.py",
        ),
    ),
)
"""Lines covered, in percent, of the code whose mistakes would let somebody in."""


@dataclass(frozen=True, slots=True)
class Step:
    """One process. A step of tests writes a JUnit report, from which its tests are counted."""

    name: str
    command: tuple[str, ...]
    tests: bool = False
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Outcome:
    step: Step
    ok: bool
    seconds: float
    cpu: float = 0.0
    """CPU seconds, user and system, of the step's process and of all it waited for: brokers and gateways included."""
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


def tool(*words: str) -> tuple[str, ...]:
    return (str(BIN / words[0]), *words[1:])


CHECKS = (
    Step("types", tool("mypy")),
    Step("lint", tool("ruff", "check", ".")),
    Step("format", tool("ruff", "format", "--check", ".")),
    Step("imports", tool("lint-imports")),
)


def pytest(name: str, *arguments: str, coverage: bool = False, environment: dict[str, str] | None = None) -> Step:
    measured = ("-m", "coverage", "run", f"--data-file={COVERAGE_DATA}", "--source=gateway") if coverage else ()
    report = f"--junitxml={OUT / name}.xml"
    command = (sys.executable, *measured, "-m", "pytest", "-q", report, *arguments)
    return Step(name, command, tests=True, environment=environment or {})


def real_suites() -> list[Step]:
    """The suites that start real brokers, each step with brokers of its own, shared by the files in it."""
    named = {file for files in REAL.values() for file in files}
    found = sorted(file.name for file in (ROOT / "tests/real").glob("test_*.py"))
    files = {"brokers": tuple(file for file in found if file not in named), **REAL}
    return [
        pytest(step, *(f"tests/real/{file}" for file in files[step] if file in found), environment=with_names())
        for step in files
    ]


REAL: dict[str, tuple[str, ...]] = {
    "door": (
        "test_attacks.py", "test_backends.py", "test_bad_input.py", "test_certificates.py", "test_demo.py",
        "test_keys.py", "test_open_files.py", "test_policy_changes.py", "test_refusals.py", "test_sessions.py",
        "test_tls_scan.py",
    ),
    "clients": (
        "test_addresses.py", "test_aiokafka.py", "test_confluent.py", "test_ipv6.py", "test_java.py",
        "test_kafka_python.py", "test_kafkajs.py", "test_ports.py",
    ),
    "loads": ("test_loadtest.py", "test_hostile.py"),
    "proofs": ("test_million.py", "test_account_on_three.py", "test_secrets.py"),
}  # fmt: skip
"""The steps of tests/real, by the brokers their files share: `door` has one broker, `clients` one and three. All other
files are in `brokers`: each starts what it needs."""

UNMEASURED = (
    "tests/fuzz", "tests/scenarios", "tests/property/test_kafka_slices.py", "tests/property/test_any_hpack.py",
    "tests/property/test_any_http.py", "tests/unit/test_broken_settings.py",
)  # fmt: skip
"""Run without counting covered lines, which doubles their time: none of them is about the lines that are judged, or
the unit and property tests that are counted cover those alone."""


def steps(which: str) -> list[Step]:
    """In the order they are started; the long ones first."""
    if which == "quick":
        folders = [name for name in ("tests/unit", "tests/scenarios") if any((ROOT / name).glob("test_*.py"))]
        return [CHECKS[0], pytest("unit", *folders, "--timeout=30"), *CHECKS[1:]]
    elsewhere = ("tests/real", "tests/equivalence", "tests/integration", *UNMEASURED)
    measured = pytest("tests", "tests", *(f"--ignore={folder}" for folder in elsewhere), coverage=True)
    pulsar = pytest("pulsar", "tests/real/pulsar")
    integration = pytest("integration", "tests/integration")
    unmeasured = pytest("unmeasured", *UNMEASURED)
    equivalence = pytest("equivalence", "tests/equivalence")
    brokers, door, clients, loads, proofs = real_suites()
    long = (clients, door, pulsar, brokers, integration, measured)
    return [*long, proofs, unmeasured, loads, equivalence, *CHECKS]


_running: dict[str, subprocess.Popen[bytes]] = {}
_stopping = threading.Event()


def interrupt(number: int, frame: object) -> None:
    """Ctrl-C or SIGTERM: let every step end by itself, so that the brokers it started are ended too."""
    del number, frame
    _stopping.set()
    for process in list(_running.values()):
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGINT)  # not send_signal, which may take the end that perform waits for


def environment_of(step: Step) -> dict[str, str]:
    """A step's own. What Python has compiled is kept, whatever this machine's wish: else each of the hundreds of
    gateways that the tests start would compile the same two hundred files again, for most of a second."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, **step.environment}


def perform(step: Step) -> Outcome:
    """Run a step to its end, or to the end of its time."""
    started = time.monotonic()
    log = OUT / f"{step.name}.log"
    if _stopping.is_set():
        return Outcome(step, False, 0.0, failed=1)
    with log.open("wb") as stream:
        process = _running[step.name] = subprocess.Popen(
            step.command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT,
            env=environment_of(step), start_new_session=True,
        )  # fmt: skip
        late = threading.Timer(STEP_SECONDS_MAX, os.killpg, (process.pid, signal.SIGKILL))
        late.start()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        del _running[step.name]
        late.cancel()
        if process.returncode == -signal.SIGKILL:
            stream.write(f"\nkilled, perhaps since it took {STEP_SECONDS_MAX} s\n".encode())
    outcome = Outcome(step, process.returncode == 0, time.monotonic() - started, used.ru_utime + used.ru_stime)
    if step.tests:
        count_tests(outcome)
    elif outcome.ok:
        outcome.passed = 1
    else:
        outcome.failed = 1
    return outcome


def count_tests(outcome: Outcome) -> None:
    """Read the JUnit report. A run without one, or without any test, has failed."""
    try:
        cases = list(ElementTree.parse(OUT / f"{outcome.step.name}.xml").iter("testcase"))
    except (OSError, ElementTree.ParseError):
        cases = []
    for case in cases:
        skipped = case.find("skipped")
        broken = [each for each in (case.find("failure"), case.find("error")) if each is not None]
        if broken:
            outcome.failed += 1
            text = broken[0].text or ""
            if text.startswith("left out"):
                outcome.left_out[text.partition(": ")[2].strip()] += 1
        elif skipped is not None:
            outcome.skipped += 1
            outcome.left_out[skipped.get("message") or "no reason given"] += 1
        else:
            outcome.passed += 1
    if not cases or (not outcome.ok and not outcome.failed):
        outcome.ok = False
        outcome.failed += 1


def coverage_step() -> Outcome:
    """Compare what the tests covered with what is asked for."""
    step = Step("coverage", ())
    started = time.monotonic()
    report = OUT / "coverage.json"
    command = [sys.executable, "-m", "coverage", "json", "-q", f"--data-file={COVERAGE_DATA}", "-o", str(report)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = [done.stdout + done.stderr] if done.returncode else []
    files = json.loads(report.read_text())["files"] if done.returncode == 0 else {}
    ok = done.returncode == 0
    for name, least, prefixes in COVERAGE_MIN:
        sums = [each["summary"] for path, each in files.items() if path.startswith(prefixes)]
        covered, total = (sum(each[key] for each in sums) for key in ("covered_lines", "num_statements"))
        percent = 100 * covered / total if total else 0.0
        ok = ok and percent >= least
        lines.append(f"{name:8} {percent:5.1f} % of {total} lines, at least {least:g} % asked")
    (OUT / "coverage.log").write_text("\n".join(lines) + "\n")
    print("  " + "\n  ".join(lines))
    return Outcome(step, ok, time.monotonic() - started, passed=int(ok), failed=int(not ok))


def show_failure(outcome: Outcome) -> None:
    log = (OUT / f"{outcome.step.name}.log").read_text(errors="replace").splitlines()
    print(f"--- {outcome.step.name} failed; the end of build/test/{outcome.step.name}.log")
    print("\n".join(log[-LOG_LINES_SHOWN:]))
    print("---", flush=True)


def show_table(outcomes: Sequence[Outcome]) -> None:
    print(f"\n{'step':<14}{'result':<9}{'seconds':>8}{'cpu':>8}{'passed':>8}{'failed':>8}{'left out':>10}")
    for each in outcomes:
        result = "ok" if each.ok else "FAILED"
        print(
            f"{each.step.name:<14}{result:<9}{each.seconds:>8.1f}{each.cpu:>8.1f}{each.passed:>8}{each.failed:>8}"
            f"{each.left_out.total():>10}"
        )
    left_out: Counter[str] = sum((each.left_out for each in outcomes), Counter())
    print("\nleft out, and how to get it:" if left_out else "\nnothing was left out")
    for reason, count in sorted(left_out.items()):
        print(f"  {count:>5} x  {reason}")
    if left_out and REQUIRE_ALL:
        print("REQUIRE_ALL=1: each of these is a failure")


def main(arguments: Sequence[str]) -> int:
    if list(arguments) not in (["quick"], ["all"]):
        print(__doc__, file=sys.stderr)
        return 2
    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)
    OUT.mkdir(parents=True, exist_ok=True)
    planned = steps(arguments[0])
    print(f"{len(planned)} steps, {JOBS} at a time: {', '.join(step.name for step in planned)}", flush=True)
    outcomes: dict[str, Outcome] = {}
    with ThreadPoolExecutor(JOBS) as pool:
        for done in as_completed([pool.submit(perform, step) for step in planned]):
            outcome = done.result()
            outcomes[outcome.step.name] = outcome
            print(f"{outcome.step.name}: {'ok' if outcome.ok else 'FAILED'} ({outcome.seconds:.1f} s)", flush=True)
            if not outcome.ok:
                show_failure(outcome)
    ordered = [outcomes[step.name] for step in planned]
    if arguments[0] == "all":
        ordered.append(coverage_step())
    show_table(ordered)
    passed, failed, skipped = (sum(getattr(each, name) for each in ordered) for name in ("passed", "failed", "skipped"))
    print(f"\n{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    left_out = REQUIRE_ALL and any(each.left_out for each in ordered)
    return 0 if all(each.ok for each in ordered) and not left_out else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
