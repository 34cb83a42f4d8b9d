"""What supervisor, office and workers are made of: mending, the board, sums over workers, turns at the audit."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.core.meters import Meter
from gateway.ops import cores
from gateway.ops.workers import channel, merging, summing
from gateway.ops.workers.channel import Channel, ChannelLost, Fields, Refused
from gateway.ops.workers.mending import PAUSES, STARTS_MAX, STEADY_SECONDS, Mending, exit_words
from gateway.ops.workers.places import Board, Field, Places, SharedTurns
from gateway.ops.workers.present import Present, from_bytes, to_bytes
from gateway.ops.workers.roll import Roll
from gateway.ops.workers.supervisor import TICK_SECONDS, Supervisor

DENIED = Meter("gateway_test_denied_total", "Denied.", ("reason",))
OPEN = Meter("gateway_test_open", "Open.", kind="gauge")
READY = Meter("gateway_test_ready", "Ready.", kind="gauge", over_workers="least")


# ---- mending


def test_who_served_is_started_again_at_once_and_then_later_and_later() -> None:
    mending = Mending()
    pauses = [mending.ended(served=True, seconds=1.0) for _ in range(len(PAUSES) + 2)]
    assert pauses == [*PAUSES, PAUSES[-1], PAUSES[-1]]


def test_who_served_for_long_begins_with_the_first_pause() -> None:
    mending = Mending()
    for _ in range(4):
        mending.ended(served=True, seconds=1.0)
    assert mending.ended(served=True, seconds=STEADY_SECONDS) == PAUSES[0]


def test_too_many_failed_starts_in_a_row_are_given_up() -> None:
    mending = Mending()
    assert all(mending.ended(served=False, seconds=1.0) is not None for _ in range(STARTS_MAX - 1))
    assert mending.ended(served=False, seconds=1.0) is None


def test_one_good_start_forgives_the_failed_ones() -> None:
    mending = Mending()
    for _ in range(STARTS_MAX - 1):
        mending.ended(served=False, seconds=1.0)
    assert mending.ended(served=True, seconds=1.0) is not None
    assert mending.ended(served=False, seconds=1.0) is not None


def test_exits_are_told_in_words() -> None:
    assert (exit_words(2), exit_words(-9), exit_words(-250)) == ("exit code 2", "signal SIGKILL", "signal 250")


# ---- shared memory


def test_what_one_process_writes_into_its_place_another_reads() -> None:
    places = Places(2)
    pid = os.fork()
    if not pid:
        places.put(2, Field.TOTAL, 7.0)
        os._exit(0)
    os.waitpid(pid, 0)
    assert [places.get(place, Field.TOTAL) for place in range(3)] == [0.0, 0.0, 7.0]
    assert not places.stopping
    places.stop()
    assert places.stopping


def test_a_board_keeps_the_old_text_whole_until_the_new_one_is() -> None:
    board = Board(100)
    assert board.read() == b""
    board.write(b"one")
    assert board.read() == b"one"
    board.write(b"x" * 100)
    assert board.read() == b"x" * 100
    with pytest.raises(ValueError, match="101 bytes"):
        board.write(b"y" * 101)
    assert board.read() == b"x" * 100
    board.write(b"")
    assert board.read() == b""


def test_the_present_state_survives_the_board_whatever_its_bytes() -> None:
    present = Present(
        (b"version: 1", b"\xff"), "abc", (("a.yaml", bytes(range(256))), ("b.yaml", b"")),
        {"corp": (b'{"keys": "\xff"}', 12.5)}, "debug",
        tuple(summing.to_json([(DENIED, ("no-rule",), 3.0)])),
    )  # fmt: skip
    assert from_bytes(to_bytes(present)) == present


def test_a_process_that_dies_in_its_turn_holds_nobody_up_and_its_line_is_ended() -> None:
    turns = SharedTurns()
    assert turns.take() is False
    turns.give(False)
    pid = os.fork()
    if not pid:
        turns.take()
        os._exit(0)
    os.waitpid(pid, 0)
    assert turns.take() is True
    turns.give(False)
    assert turns.take() is False
    turns.give(False)


# ---- sums


def test_counters_are_summed_and_those_of_the_dead_are_kept() -> None:
    sums = summing.Sums()
    sums.take(1, 1, [(DENIED, ("no-rule",), 3.0), (OPEN, (), 5.0)])
    sums.take(2, 1, [(DENIED, ("no-rule",), 4.0), (OPEN, (), 6.0)])
    own = [(DENIED, ("no-rule",), 1.0)]
    assert {(m.name, ls): v for m, ls, v in sums.readings(own)} == {
        (DENIED.name, ("no-rule",)): 8.0, (OPEN.name, ()): 11.0,
    }  # fmt: skip
    sums.gone(1, 1)
    assert {m.name: v for m, _, v in sums.readings(own)} == {DENIED.name: 8.0, OPEN.name: 6.0}
    sums.take(1, 2, [(DENIED, ("no-rule",), 1.0)])
    assert {m.name: v for m, _, v in sums.readings(own)}[DENIED.name] == 9.0


def test_another_process_in_a_workers_place_retires_the_first_even_if_nobody_saw_it_die() -> None:
    sums = summing.Sums()
    sums.take(1, 1, [(DENIED, ("no-rule",), 3.0)])
    sums.take(1, 2, [(DENIED, ("no-rule",), 1.0)])
    assert [value for _, _, value in sums.readings([])] == [4.0]


def test_a_process_whose_end_is_seen_after_the_next_has_spoken_is_counted_once() -> None:
    """The next one serves within milliseconds, and the places are looked at twice a second."""
    sums = summing.Sums()
    sums.take(1, 1, [(DENIED, ("no-rule",), 10.0)])
    sums.take(1, 2, [(DENIED, ("no-rule",), 3.0), (OPEN, (), 5.0)])
    sums.gone(1, 1)
    assert {m.name: v for m, _, v in sums.readings([])} == {DENIED.name: 13.0, OPEN.name: 5.0}
    sums.take(1, 2, [(DENIED, ("no-rule",), 4.0), (OPEN, (), 5.0)])
    assert {m.name: v for m, _, v in sums.readings([])} == {DENIED.name: 14.0, OPEN.name: 5.0}
    assert list(sums.kept()) == [(DENIED, ("no-rule",), 10.0)]


def test_what_a_process_said_that_was_seen_to_end_meanwhile_is_not_counted_again() -> None:
    """An answer waits for the others' answers; its process may end meanwhile, and the next may speak."""
    sums = summing.Sums()
    sums.take(1, 1, [(DENIED, ("no-rule",), 10.0)])
    sums.gone(1, 1)
    sums.take(1, 1, [(DENIED, ("no-rule",), 11.0)])
    assert [value for _, _, value in sums.readings([])] == [10.0]
    sums.take(1, 3, [(DENIED, ("no-rule",), 4.0)])
    sums.take(1, 2, [(DENIED, ("no-rule",), 2.0)])
    sums.take(1, 1, [(DENIED, ("no-rule",), 11.0)])
    assert [value for _, _, value in sums.readings([])] == [14.0]
    sums.gone(1, 3)
    assert list(sums.kept()) == [(DENIED, ("no-rule",), 14.0)]


def test_the_roll_says_which_of_a_workers_processes_has_ended() -> None:
    places = Places(2)
    told: list[object] = []
    roll = Roll(places, told.append)
    assert roll.look() == []
    for ends in (1.0, 3.0):  # two of them between two looks
        places.put(2, Field.ENDS, ends)
        assert roll.look() == [(2, int(ends))]
    assert roll.look() == []
    assert len(told) == 2


def test_what_was_kept_is_handed_on_to_the_next_office() -> None:
    sums, following = summing.Sums(), summing.Sums()
    sums.take(1, 1, [(DENIED, ("no-rule",), 3.0)])
    sums.gone(1, 1)
    following.keep(summing.from_json(summing.to_json(sums.kept())))
    assert list(following.readings([])) == [(DENIED, ("no-rule",), 3.0)]


def test_a_yes_or_no_is_yes_only_if_all_say_so() -> None:
    sums = summing.Sums()
    sums.take(1, 1, [(READY, (), 1.0)])
    sums.take(2, 1, [(READY, (), 0.0)])
    assert [value for _, _, value in sums.readings([])] == [0.0]


def test_what_all_workers_lack_is_said_once_and_else_with_the_workers_number() -> None:
    said = {1: ["no broker", "own"], 2: ["no broker"]}
    assert merging.lines(said, ["worker 3: does not answer"]) == [
        "worker 3: does not answer", "no broker", "worker 1: own",
    ]  # fmt: skip


# ---- cores


@pytest.mark.parametrize(("text", "most"), [("max 100000", 64), ("150000 100000", 2), ("50000 100000", 1), ("x", 64)])
def test_auto_is_within_the_quota_of_the_container(tmp_path: Path, text: str, most: int) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(text)
    assert 1 <= cores.workers("auto", file) <= most
    assert cores.workers("auto", tmp_path / "nowhere") >= 1
    assert cores.workers(3, file) == 3


# ---- channel


@pytest.fixture
async def ends() -> AsyncIterator[tuple[Channel, Channel, list[Fields]]]:
    """Two channels that are each other's end, and what was told to the second."""
    told: list[Fields] = []

    async def double(asked: Fields) -> object:
        return asked["number"] * 2

    async def fail(_: Fields) -> object:
        raise LookupError

    async def never(_: Fields) -> object:
        await asyncio.Event().wait()
        return None

    one, other = socket.socketpair()
    first = Channel(*await asyncio.open_unix_connection(sock=one), {}, {})
    second = Channel(
        *await asyncio.open_unix_connection(sock=other),
        {"double": double, "fail": fail, "never": never},
        {"word": told.append},
    )
    running = [asyncio.create_task(each.run()) for each in (first, second)]
    yield first, second, told
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def test_what_is_told_is_known_before_what_is_answered_after(ends: tuple[Channel, Channel, list[Fields]]) -> None:
    first, _, told = ends
    first.tell("word", text="a")
    assert await first.ask("double", seconds=5, number=21) == 42
    assert told == [{"text": "a"}]


async def test_a_question_that_fails_is_refused_and_the_channel_goes_on(
    ends: tuple[Channel, Channel, list[Fields]],
) -> None:
    first, _, _ = ends
    for word in ("fail", "unknown"):
        with pytest.raises(Refused):
            await first.ask(word, seconds=5)
    assert await first.ask("double", seconds=5, number=1) == 2


async def test_no_answer_in_time_is_lost(ends: tuple[Channel, Channel, list[Fields]]) -> None:
    first, _, _ = ends
    with pytest.raises(ChannelLost):
        await first.ask("never", seconds=0.01)


async def test_who_waits_hears_of_the_other_sides_end(ends: tuple[Channel, Channel, list[Fields]]) -> None:
    first, second, _ = ends
    waiting = asyncio.create_task(first.ask("never", seconds=60))
    assert await first.ask("double", seconds=5, number=1) == 2
    second.close()
    with pytest.raises(ChannelLost):
        await waiting
    with pytest.raises(ChannelLost):
        await first.ask("double", seconds=5, number=1)


async def test_too_many_questions_at_once_end_the_channel(
    ends: tuple[Channel, Channel, list[Fields]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "TASKS_MAX", 3)
    first, second, _ = ends
    waiting = [asyncio.create_task(first.ask("never", seconds=60)) for _ in range(4)]
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(each, ChannelLost) for each in found)
    assert second.lost


async def test_a_message_past_the_bound_ends_the_channel(ends: tuple[Channel, Channel, list[Fields]]) -> None:
    first, second, _ = ends
    second.octets_max = 100
    with pytest.raises(ChannelLost):
        await first.ask("double", seconds=5, number=1, more="x" * 200)


class _Family:
    """Whom a supervisor would run; nobody is forked here."""

    shutdown_seconds = 1.0

    def __init__(self) -> None:
        self.places = Places(1)

    def body(self, place: int, line: int) -> int:
        raise NotImplementedError

    def let_go(self) -> None: ...

    def ended(self, worker: int) -> None: ...

    def renew(self) -> None: ...


def test_a_supervisor_sleeps_until_there_is_something_to_do() -> None:
    family = _Family()
    made = Supervisor(family)
    office, worker = made._children
    office.pid = worker.pid = 1
    try:
        assert made._pause() == TICK_SECONDS
        worker.pid = 0
        family.places.put(1, Field.DUE_AT, time.monotonic() + TICK_SECONDS / 2)
        assert 0 < made._pause() <= TICK_SECONDS / 2, "somebody is to be started"
        family.places.put(1, Field.DUE_AT, time.monotonic() - 1)
        assert made._pause() == 0.0
        made._stage = 1  # nobody is started any more: it would turn without a pause
        made._kill_at = time.monotonic() + TICK_SECONDS / 2
        assert 0 < made._pause() <= TICK_SECONDS / 2
        made._kill_at = time.monotonic() - 1
        assert made._pause() == TICK_SECONDS, "who was killed and does not end is waited for"
    finally:
        for descriptor in (made._wake, made._waker, made._line, made._hold, made._office_line, made._office_hold):
            os.close(descriptor)
