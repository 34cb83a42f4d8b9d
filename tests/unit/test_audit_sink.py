"""The audit's way out: lines, order, drops that are counted and told, rotation, a disk that refuses."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.audit import AllowedTally, AuditEvent, FieldValue
from gateway.core.identity import Principal
from gateway.core.meters import Meters
from gateway.core.settings import AuditSettings
from gateway.edge import audit
from gateway.edge.audit import ITEMS_MAX, TEXT_CHARS_MAX, WRITTEN, AuditSink, line

ALICE = Principal("jwt", "corp", "alice")


class Clock:
    def monotonic(self) -> float:
        return 0.0

    def wall(self) -> float:
        return 1_800_000_000.5


def event(number: int = 0, **fields: Any) -> AuditEvent:
    return AuditEvent("denied", 1.0, "c1", ALICE, MappingProxyType({"number": number, **fields}))


def sink(output: Path | str, meters: Meters | None = None, tally: AllowedTally | None = None, **more: Any) -> AuditSink:
    return AuditSink(AuditSettings(output=str(output), **more), tally or AllowedTally(), Clock(), meters or Meters())


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(each) for each in path.read_text().splitlines()]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.005)


def test_a_line() -> None:
    fields: MappingProxyType[str, FieldValue] = MappingProxyType(
        {"reason": "no-rule", "event": "x", "names": ("a", "b")}
    )
    assert line(AuditEvent("denied", 1_800_000_000.1239, "c1", ALICE, fields)) == (
        b'{"time":"2027-01-15T08:00:00.123Z","event":"denied","connection":"c1","principal":"jwt:corp:alice",'
        b'"who":{"method":"jwt","issuer":"corp","name":"alice"},"reason":"no-rule","field_event":"x",'
        b'"names":["a","b"]}\n'
    )
    assert line(AuditEvent("started", 0.0)) == b'{"time":"1970-01-01T00:00:00.000Z","event":"started"}\n'


def test_values_are_bounded_at_the_maximum_and_one_past_it() -> None:
    made = json.loads(line(event(text="x" * TEXT_CHARS_MAX, items=("i",) * ITEMS_MAX)))
    assert made["text"] == "x" * TEXT_CHARS_MAX
    assert made["items"] == ["i"] * ITEMS_MAX
    made = json.loads(line(event(text="x" * (TEXT_CHARS_MAX + 1), items=("i",) * (ITEMS_MAX + 1))))
    assert made["text"] == "x" * TEXT_CHARS_MAX + "... (1 more)"
    assert made["items"] == ["i"] * ITEMS_MAX + ["... (1 more)"]
    many = {str(number): number for number in range(ITEMS_MAX + 1)}
    made = json.loads(line(event(many=many, deep={"a": {"b": {"c": {"d": 1}}}}, odd=object(), big=10**30)))
    assert made["many"]["..."] == "(1 more)"
    assert made["deep"] == {"a": {"b": {"c": "(dict)"}}}
    assert made["odd"] == "(object)"
    assert made["big"] == str(10**30)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@given(st.floats(), st.text(), st.text(), st.dictionaries(st.text(max_size=8), values, max_size=4))
def test_any_event_is_one_line_of_json(at: float, connection: str, name: str, fields: dict[str, Any]) -> None:
    made = line(AuditEvent("denied", at, connection, Principal("jwt", "corp", name), MappingProxyType(fields)))
    assert made.endswith(b"\n")
    assert all(32 <= octet < 127 for octet in made[:-1])
    assert json.loads(made)["event"] == "denied"


async def test_events_arrive_in_order_and_all_of_them(tmp_path: Path) -> None:
    meters, path = Meters(), tmp_path / "audit.log"
    carried = sink(path, meters)
    await carried.start()
    for number in range(5000):
        carried(event(number))
    await carried.close()
    assert [each["number"] for each in lines(path)] == list(range(5000))
    assert meters.cell(WRITTEN, "written").value == 5000
    assert carried.dropped == 0
    assert path.stat().st_mode & 0o007 == 0


async def test_a_full_queue_drops_counts_and_tells(tmp_path: Path) -> None:
    path, meters = tmp_path / "audit.log", Meters()
    carried = sink(path, meters, queue_max=10)
    for number in range(25):  # the thread does not run yet
        carried(event(number))
    assert carried.dropped == 15
    await carried.start()
    await carried.close()
    *written, warning = lines(path)
    assert [each["number"] for each in written] == list(range(10))
    assert (warning["event"], warning["reason"], warning["dropped"]) == ("warning", "audit-dropped", 15)
    assert meters.cell(WRITTEN, "dropped").value == 15


async def test_rotation(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    carried = sink(path)
    await carried.start()
    carried(event(1))
    await until(lambda: path.read_bytes() != b"")
    path.rename(tmp_path / "audit.log.1")
    carried.reopen()
    await until(path.exists)
    carried(event(2))
    await carried.close()
    assert [each["number"] for each in lines(tmp_path / "audit.log.1")] == [1]
    assert [each["number"] for each in lines(path)] == [2]


async def test_a_file_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    path.write_text('{"number":0}\n')
    carried = sink(path)
    await carried.start()
    carried(event(1))
    await carried.close()
    assert [each["number"] for each in lines(path)] == [0, 1]


def test_without_an_audit_there_is_no_start(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        sink(tmp_path / "missing" / "audit.log")


async def test_allowed_access_is_summed_and_written_each_interval(tmp_path: Path) -> None:
    path, tally = tmp_path / "audit.log", AllowedTally()
    carried = sink(path, tally=tally, allowed_interval=0.02)
    await carried.start()
    for _ in range(3):
        tally.add(ALICE, "kafka", "prod", "Write", "topic", "orders", octets=10)
    await until(lambda: path.read_bytes() != b"")
    for number in range(1500):  # more than one batch
        tally.add(ALICE, "kafka", "prod", "Read", "topic", f"t{number}")
    await carried.close()
    first, *rest = lines(path)
    assert (first["event"], first["requests"], first["bytes"]) == ("allowed", 3, 30)
    assert first["principal"] == "jwt:corp:alice"
    assert sorted(each["resource"] for each in rest) == sorted(f"t{number}" for number in range(1500))


async def test_a_disk_that_refuses_holds_nobody_back_and_loses_nothing_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(audit, "RETRY_PAUSE", 0.01)
    real, full, tried = os.write, threading.Event(), threading.Event()
    full.set()

    def write(descriptor: int, data: bytes) -> int:
        if full.is_set() and b"number" in data:
            if not tried.is_set():
                tried.set()
                return real(descriptor, data[:7])  # a part of a line, as a disk takes it that is nearly full
            raise OSError(28, "No space left on device")
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    path = tmp_path / "audit.log"
    carried = sink(path, queue_max=5)
    await carried.start()
    carried(event(0))
    await until(tried.is_set)
    for number in range(1, 9):
        carried(event(number))
    assert carried.dropped == 3
    full.clear()
    await carried.close()
    sound = [json.loads(each) for each in path.read_text().splitlines() if each.endswith("}")]
    assert [each["number"] for each in sound if "number" in each] == [0, 1, 2, 3, 4, 5]
    assert [each["dropped"] for each in sound if each["event"] == "warning"] == [3]
    assert "cannot be written" in caplog.text


async def test_a_short_write_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[: max(300, len(data) // 2)]))
    path = tmp_path / "audit.log"
    carried = sink(path)
    for number in range(50):
        carried(event(number))
    await carried.start()
    await carried.close()
    sound = [json.loads(each) for each in path.read_text().splitlines() if each.endswith("}")]
    assert [each["number"] for each in sound] == list(range(50))


async def test_the_end_does_not_wait_for_a_dead_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(descriptor: int, data: bytes) -> int:
        raise OSError(5, "Input/output error")

    carried = sink(tmp_path / "audit.log")
    monkeypatch.setattr(os, "write", write)
    await carried.start()
    carried(event())
    async with asyncio.timeout(60):
        await carried.close()
    assert carried.dropped == 1


async def test_stdout(capfd: pytest.CaptureFixture[str]) -> None:
    carried = sink("stdout")
    await carried.start()
    carried(event(7))
    carried.reopen()
    await carried.close()
    assert json.loads(capfd.readouterr().out)["number"] == 7
