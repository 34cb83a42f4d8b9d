"""What the load tests make of figures: comparisons, bends of curves, plots, profiles."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import pytest

from loadtest import compare, holds, plot, profiling
from loadtest.curves import CURVES, bends, write
from loadtest.frames import record_batch
from loadtest.pulsar import report
from loadtest.rows import ROWS
from loadtest.standin import Answers, Cluster
from loadtest.tally import Results
from loadtest.work import Window


@dataclass(frozen=True)
class Scale:
    seconds: float = 3.0
    pairs: int = 3


def results(*ratios: float) -> Results:
    """small-1 with these ratios to nginx, a round each."""
    made = Results()
    row = next(row for row in ROWS if row.name == "small-1")
    made.begin({"versions": {"gateway": "abc"}}, Scale(), [row])
    for number, ratio in enumerate(ratios):
        made.add(row, "gateway", number, Window(1000 * ratio, 0, 1.0, 1.0))
        made.add(row, "nginx", number, Window(1000, 0, 1.0, 1.0))
    return made


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        ((0.5, 0.5, 0.5), (0.9, 0.9, 0.9), "better"),
        ((0.9, 0.9, 0.9), (0.5, 0.5, 0.5), "worse"),
        ((0.8, 0.9, 1.0), (0.85, 0.95, 0.99), ""),
        ((0.9, 0.9, 0.9), (0.5, 0.8, 0.95), ""),
    ],
)
def test_a_change_within_the_spread_is_none(before: tuple[float, ...], after: tuple[float, ...], verdict: str) -> None:
    (change,) = compare.changes(compare.of_kafka(results(*before)), compare.of_kafka(results(*after)))
    assert change.verdict == verdict


def test_two_files_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results(0.5, 0.5).save(tmp_path / "old")
    results(0.9, 0.9).save(tmp_path / "new")
    assert compare.main([str(tmp_path / "old" / "bench.json"), str(tmp_path / "new")]) == 0
    assert "| small-1 | 0.50 (0.50 to 0.50) | 0.90 (0.90 to 0.90) | 1.80 | better |" in capsys.readouterr().out
    assert compare.main([str(tmp_path / "new"), str(tmp_path / "old")]) == 1
    with pytest.raises(SystemExit):
        compare.main([str(tmp_path / "nowhere.json"), str(tmp_path / "old")])


def pulsar_results(throughput: float, latency: float) -> report.Results:
    """Two rounds of two rows; in each the Apache proxy has 100."""
    made = report.Results({"versions": {"gateway": "abc"}}, 2, 3.0)
    for number in range(2):
        for row, ours in (("produce-singly", throughput), ("latency-p99", latency)):
            made.add(row, "gateway", number, ours)
            made.add(row, "apache-proxy", number, 100.0)
    return made


def test_results_beside_pulsars_own_proxy_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    report.write(old, pulsar_results(50.0, 200.0))
    report.write(new, pulsar_results(90.0, 80.0))
    assert compare.main([str(old), str(new / "pulsar.json")]) == 0
    told = capsys.readouterr().out
    assert "The gateway beside Apache Pulsar's own proxy." in told
    assert "| produce-singly | 0.50 (0.50 to 0.50) | 0.90 (0.90 to 0.90) | 1.80 | better |" in told
    assert "| latency-p99 | 0.50 (0.50 to 0.50) | 1.25 (1.25 to 1.25) | 2.50 | better |" in told
    assert compare.main([str(new), str(old)]) == 1


def test_of_two_folders_each_kind_is_compared_with_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        report.write(folder, pulsar_results(50.0, 200.0))
        results(0.5, 0.5).save(folder)
    assert compare.main([str(old), str(new)]) == 0
    told = capsys.readouterr().out
    assert "| small-1 |" in told
    assert "| produce-singly |" in told
    with pytest.raises(SystemExit):
        compare.main([str(old / "bench.json"), str(new / "pulsar.json")])
    assert "are of different benches" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["{}", "[]", "garbage", '{"about": {}, "cells": []}'])
def test_what_is_no_result_of_the_bench_is_said_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    file = tmp_path / "other.json"
    file.write_text(text)
    with pytest.raises(SystemExit):
        compare.main([str(file), str(file)])
    assert "other.json is no result of `make bench` or `make bench-pulsar`" in capsys.readouterr().err


def test_rows_that_only_one_result_has_are_not_compared() -> None:
    some, nothing = compare.of_kafka(results(0.5)), compare.of_kafka(Results())
    assert compare.changes(some, nothing) == []
    assert compare.changes(nothing, some) == []


def test_smaller_latencies_and_less_memory_are_better() -> None:
    sides = []
    for p50, memory in ((2.0, 50.0), (1.0, 60.0)):
        made = Results()
        rows = [row for row in ROWS if row.name in ("latency", "memory")]
        made.begin({}, Scale(), rows)
        by_name = {row.name: row for row in rows}
        for peer, factor in (("gateway", 1.0), ("nginx", 0.5)):
            cell = {"p50_ms": p50 if peer == "gateway" else 1.0, "p99_ms": 3.0, "p99.9_ms": 4.0}
            made.add(by_name["latency"], peer, 0, Window(1, 1, 1.0, 1.0, cell))
            made.add(
                by_name["memory"], peer, 0,
                Window(1, 0, 1.0, 1.0, {"rest_pss_mib": memory * factor, "each_pss_kib": 30.0}),
            )  # fmt: skip
        sides.append(made)
    verdicts = {(each.row, each.figure): each.verdict for each in compare.changes(*map(compare.of_kafka, sides))}
    assert verdicts == {
        ("latency", "p50_ms"): "better",
        ("latency", "p99_ms"): "",
        ("memory", "rest_pss_mib"): "worse",
        ("memory", "each_pss_kib"): "",
    }


def test_a_bend_is_measured_from_the_cheapest_point_before() -> None:
    assert bends({1: 100.0, 10: 80.0, 100: 99.0, 1000: 101.0, 10000: 70.0}) == [(1000, 101 / 80)]
    assert bends({10: 1.0, 100: 1.25}) == []
    assert bends({}) == []


def test_the_page_of_curves_names_its_bends() -> None:
    costs = {"10": [1.0, 1.1, 0.9], "100": [2.0], "1000": [1.0]}
    stored = {"curves": {"topics": {"1": {"costs": costs, "failures": ["topics at 10,000, round 1: gone"]}}},
              "machine": {"cores": "2"}, "versions": {}}  # fmt: skip
    page = write(stored)
    assert "Last beside first: 1.00. Bends: 100 (2.00)." in page
    assert "- left out: topics at 10,000, round 1: gone" in page
    assert CURVES[3].title not in page


def test_plots_are_well_formed() -> None:
    drawn = plot.lines("a < b", "things", "µs", {"1 worker": [(1.0, 5.0), (100.0, 7.0)], "2": [(1.0, 4.0)]})
    tree = ElementTree.fromstring(drawn)
    assert len(tree.findall("{*}polyline")) == 2
    assert len(tree.findall("{*}circle")) == 3
    drawn = plot.bars("beside nginx", {"produce": {"gateway": 0.9, "haproxy": 1.1}, "consume": {"gateway": 2.0}})
    tree = ElementTree.fromstring(drawn)
    assert len(tree.findall("{*}rect")) == 1 + 3
    assert max(float(rect.get("width", "0")) for rect in tree.findall("{*}rect")[1:]) < plot.WIDTH


def test_a_profile_counts_by_function_and_library() -> None:
    text = (
        "    7f3c12 SSL_read (/usr/lib/site-packages/cryptography/hazmat/bindings/_rust.abi3.so)\n"
        "  ffffffff81 tcp_sendmsg ([kernel.kallsyms])\n"
        "    7f3c12 SSL_read (/usr/lib/site-packages/cryptography/hazmat/bindings/_rust.abi3.so)\n"
        "    7f0000 py::Session.receive:/x/session.py (/tmp/perf-1234.map)\n"
        "not a sample\n"
    )
    found, total = profiling.samples(text)
    assert total == 4
    assert found == {("_rust.so", "SSL_read"): 2, ("kernel", "tcp_sendmsg"): 1,
                     ("Python", "py::Session.receive:/x/session.py"): 1}  # fmt: skip
    assert "| 50.0 | `SSL_read` | _rust.so |" in profiling.page(ROWS[0], found, total)


def test_the_stand_in_answers_what_it_is_asked() -> None:
    from gateway.kafka import codec
    from loadtest import frames
    from loadtest.topics import topic_name

    answers = Answers(Cluster(port=9, topics=3))
    request = frames.produce(topic_name(2), [0, 5], 1, 100)
    frames.stamp(request, 77)
    answer = answers.answer(memoryview(bytes(request[4:])))
    assert int.from_bytes(answer[:4], "big") == 77
    assert frames.produce_error(topic_name(2), answer) == 0
    body = codec.decode_response(frames.PRODUCE, 10, memoryview(answer)[5:])
    assert [one["index"] for one in body["responses"][0]["partitionResponses"]] == [0, 5]
    answer = answers.answer(memoryview(bytes(frames.metadata()[4:])))
    body = codec.decode_response(frames.METADATA, 12, memoryview(answer)[5:])
    assert [topic["name"] for topic in body["topics"]] == [topic_name(number) for number in range(3)]
    answer = answers.answer(memoryview(bytes(frames.fetch(topic_name(1), [0], 1000)[4:])))
    body = codec.decode_response(frames.FETCH, 12, memoryview(answer)[5:])
    assert len(body["responses"][0]["partitions"][0]["records"]) == len(record_batch(1, 930))


def test_a_bend_stands_beside_its_cause() -> None:
    stored = {"curves": {"topics": {"2": {"costs": {"10": [1.0], "10000": [2.0]}, "failures": []}}},
              "machine": {}, "versions": {}}  # fmt: skip
    assert "Bends: 10,000 (2.00). Cause: the verdicts of" in write(stored)
    stored["curves"]["topics"]["2"]["costs"]["10000"] = [1.2]
    assert "Cause" not in write(stored)


def test_what_holds_the_loop_is_measured_for_every_kind_of_message() -> None:
    for case in holds.cases(60):
        measured = holds.measure(case)
        assert len(measured) == (1 if case.answer is None else 2), case.name
        assert all(0 < hold.longest <= hold.whole for hold in measured), case.name
