"""The load test's arithmetic: percentiles, pairs, a fixed rate without coordinated omission, and what is kept of it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import pytest

from loadtest import frames
from loadtest.figures import latencies, percentile, ratios, spread
from loadtest.report import page
from loadtest.rows import ROWS, Row
from loadtest.schedule import Schedule
from loadtest.tally import Results
from loadtest.work import Window


@pytest.mark.parametrize(("percent", "expected"), [(50, 50), (99, 99), (99.9, 100), (100, 100), (1, 1), (0, 1)])
def test_percentiles_are_values_that_occurred(percent: float, expected: int) -> None:
    assert percentile(range(1, 101), percent) == expected
    assert percentile([7.0], percent) == 7.0


def test_latencies_are_named_and_in_ms() -> None:
    values = [index / 1000 for index in range(1, 1001)]
    random.shuffle(values)
    assert latencies(values) == {"p50_ms": 500, "p99_ms": 990, "p99.9_ms": 999, "max_ms": 1000}
    assert latencies([]) == {}


def test_a_ratio_is_of_the_same_round() -> None:
    assert ratios({0: 10.0, 1: 30.0, 2: 9.0}, {0: 20.0, 1: 30.0, 3: 1.0}) == [0.5, 1.0]
    assert ratios({0: 1.0}, {0: 0.0}) == []
    assert spread([3.0, 1.0, 2.0]).median == 2.0
    assert (spread([3.0, 1.0, 2.0]).low, spread([3.0, 1.0, 2.0]).high, spread([3.0]).rounds) == (1.0, 3.0, 1)


RATE, STALL_FROM, STALL_TO, SERVICE = 1000.0, 2.0, 3.0, 0.001


def answered_at(sent: float) -> float:
    """A server that answers within a millisecond, but stands still for a second."""
    return (STALL_TO if STALL_FROM <= sent < STALL_TO else sent) + SERVICE


def test_a_pause_is_felt_by_all_that_was_due_in_it() -> None:
    """One client that waits for each answer: the pause is one bad value of thousands; here it is a fifth of all."""
    schedule = Schedule(RATE, warm_up=0.0, seconds=5.0)
    now = 0.0
    waited_alone = []
    while not schedule.over(now):
        for number in schedule.due(now):
            end = answered_at(max(now, number / RATE))
            waited_alone.append(end - max(now, number / RATE))
            now = end
            schedule.done(number, now)
        now += schedule.pause(now)
    corrected = latencies(schedule.latencies())
    assert len(schedule.latencies()) == 5000
    assert latencies(waited_alone)["p99_ms"] == pytest.approx(1.0, abs=0.1)  # what coordinated omission would say
    assert corrected["p99_ms"] > 900
    assert corrected["max_ms"] == pytest.approx(1000 * (STALL_TO - STALL_FROM + SERVICE), rel=0.01)


def test_only_what_was_due_in_the_window_counts() -> None:
    schedule = Schedule(10.0, warm_up=1.0, seconds=2.0)
    assert list(schedule.due(0.0)) == [0]
    assert list(schedule.due(0.0)) == []
    assert schedule.pause(0.0) == 0.05
    assert list(schedule.due(1.0)) == list(range(1, 11))  # the client was late: they are due all the same
    for number in range(11):
        schedule.done(number, 1.5)
    assert schedule.latencies() == [0.5]
    assert not schedule.over(1.0)
    assert list(schedule.due(99.0)) == list(range(11, 30))
    assert schedule.over(3.0)


def test_a_batchs_sum_is_castagnolis() -> None:
    assert frames.crc32c(b"123456789") == 0xE3069283
    assert frames.crc32c(b"\0" * 32) == 0x8A9136AA  # RFC 3720, B.4


def made_results(row: Row, ours: list[float], theirs: list[float]) -> Results:
    results = Results()
    results.begin({"machine": {"cores": "2"}}, _Scale(), [row])
    for number, (our, their) in enumerate(zip(ours, theirs, strict=True)):
        results.add(row, "gateway", number, Window(our, int(our), 1.0, 2.0))
        results.add(row, "nginx", number, Window(their, int(their), 1.0, 2.0))
    return results


@dataclass(frozen=True)
class _Scale:
    seconds: float = 3.0
    pairs: int = 2


def row_of(name: str) -> Row:
    return next(row for row in ROWS if row.name == name)


def test_the_page_says_whether_what_was_asked_for_is_reached() -> None:
    row = row_of("small-1")
    assert row.target == 0.9
    assert "**0.95** | 0.90, 1.00 | ≥ 0.90 ✓" in page(made_results(row, [90.0, 100.0], [100.0, 100.0]))
    assert "**0.55** | 0.50, 0.60 | ≥ 0.90 ✗" in page(made_results(row, [50.0, 60.0], [100.0, 100.0]))


def test_results_come_back_as_they_were_stored(tmp_path: Path) -> None:
    results = made_results(row_of("small-8"), [90.0, 100.0], [100.0, 100.0])
    results.failed(row_of("small-8"), "haproxy", 0, "gone")
    results.save(tmp_path)
    again = Results.load(tmp_path)
    assert again == results
    assert again.ratio("small-8", "gateway", "nginx") == results.ratio("small-8", "gateway", "nginx")
    assert Results.load(tmp_path / "nothing.json") == Results()


def test_a_row_measured_anew_replaces_its_old_figures_alone() -> None:
    results = made_results(row_of("small-8"), [90.0], [100.0])
    results.failed(row_of("small-8"), "haproxy", 0, "gone")
    results.begin({}, _Scale(), [row_of("small-1")])
    assert results.values("small-8", "gateway") == {0: 90.0}
    assert results.values("small-1", "gateway") == {}
    assert results.failures
    results.begin({}, _Scale(), [row_of("small-8")])
    assert results.values("small-8", "gateway") == {}
    assert not results.failures


def test_memory_and_latency_rows_have_values_of_their_own() -> None:
    row = row_of("memory")
    results = Results()
    results.begin({}, _Scale(), [row])
    more = {"rest_pss_mib": 50.0, "rest_rss_mib": 60.0, "each_pss_kib": 30.0, "each_rss_kib": 31.0}
    results.add(row, "gateway", 0, Window(5000, 0, 1.0, 1.0, more))
    assert results.values("memory", "gateway") == {0: 30.0}
    assert "| gateway | 50.0 | 30.0 | 31.0 | 5,000 |" in page(results)
    row = row_of("latency")
    results.begin({}, _Scale(), [row])
    results.add(row, "gateway", 0, Window(10, 10, 0.5, 1.0, {"p50_ms": 2.0, "p99_ms": 3.0, "p99.9_ms": 4.0}))
    results.add(row, "nginx", 0, Window(10, 10, 0.5, 1.0, {"p50_ms": 2.0, "p99_ms": 2.0, "p99.9_ms": 4.0}))
    assert "| gateway | 2.00 | 3.00 | 4.00 | 1.00 / 1.50 | 500 |" in page(results)
