"""What every suite shares: real clusters for the session, and the table of what was left out.

A test that lacks something of the machine raises `tests.real.missing.Missing` (or skips with a reason). The run ends
with a table of all of these and how to get them; with ``REQUIRE_ALL=1`` each is a failure instead.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.real.kafka import KafkaCluster
from tests.real.missing import Missing

REQUIRE_ALL = os.environ.get("REQUIRE_ALL") == "1"
hypothesis.settings.register_profile(
    "unhurried", hypothesis.settings(), deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("unhurried")  # how long an example takes is the machine's affair
_left_out = pytest.StashKey[Counter[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_left_out] = Counter()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    error = call.excinfo.value if call.excinfo else None
    reason = _reason(error)
    if reason is not None and not hasattr(report, "wasxfail"):
        _judge(item.config, report, reason, (str(item.path), item.location[1] or 0))
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Any:
    report = yield
    if report.skipped and isinstance(report.longrepr, tuple):
        _judge(collector.config, report, str(report.longrepr[2]).removeprefix("Skipped: "), report.longrepr[:2])
    return report


def _reason(error: BaseException | None) -> str | None:
    if isinstance(error, Missing):
        return str(error)
    if isinstance(error, pytest.skip.Exception):
        return error.msg or "no reason given"
    return None


def _judge(config: pytest.Config, report: Any, reason: str, place: tuple[str, int]) -> None:
    """Count a left out test; make it a skip, or a failure where all is required."""
    config.stash[_left_out][reason] += 1
    if REQUIRE_ALL:
        report.outcome = "failed"
        report.longrepr = f"left out, and REQUIRE_ALL=1 asks for everything: {reason}"
    else:
        report.outcome = "skipped"
        report.longrepr = (*place, f"Skipped: {reason}")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    left_out = config.stash[_left_out]
    terminalreporter.section("left out")
    if not left_out:
        terminalreporter.line("nothing")
    for reason, count in sorted(left_out.items()):
        terminalreporter.line(f"{count:5d} test{'s' if count > 1 else ' '}  {reason}")


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Any:
    result = yield
    if REQUIRE_ALL and session.config.stash[_left_out] and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    return result


@pytest.fixture(scope="session")
def kafka_one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """One real broker for the session, plaintext, everything allowed."""
    with _cluster(tmp_path_factory.mktemp("kafka-one"), nodes=1) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def kafka_three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """Three real brokers for the session; a test that kills one starts it again."""
    with _cluster(tmp_path_factory.mktemp("kafka-three"), nodes=3) as cluster:
        yield cluster


def _cluster(folder: Path, nodes: int) -> KafkaCluster:
    return KafkaCluster(folder, nodes=nodes, properties={"auto.create.topics.enable": "false"})
