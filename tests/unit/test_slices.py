"""core.slices: what a walk goes through, where it stops, and what it leaves."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest

from gateway.core import slices
from gateway.core.identity import Principal
from gateway.core.slices import (
    WALKS_MAX,
    WALKS_OF_PRINCIPAL_MAX,
    Walk,
    Walks,
    gathered,
    in_slices,
    let_go,
    ordered,
    paced,
)

ALICE = Principal("jwt", "corp", "alice")


class Still:
    def monotonic(self) -> float:
        return 0.0

    def wall(self) -> float:
        return 0.0


def walk_of(work: Callable[[], Any]) -> Walk[Any]:
    """It stops after each element."""
    return Walk(work, Still(), 0.0, 0, lambda: None)


def slices_of(walk: Walk[Any]) -> int:
    count = 1
    while not walk.go_on():
        count += 1
    return count


def test_outside_of_a_walk_nothing_is_in_between() -> None:
    items = [1, 2, 3]
    assert paced(items) is items
    assert ordered({"b", "a"}) == ["a", "b"]


def test_a_walk_stops_between_elements_and_comes_to_the_same() -> None:
    walk = walk_of(lambda: [sum(paced(range(each))) for each in paced(range(5))])
    assert slices_of(walk) == 16
    assert walk.outcome == [0, 0, 1, 3, 6]


def test_sorting_and_joining_in_slices() -> None:
    names = [f"{number * 7919 % 5000:04}" for number in range(5000)]
    walk = walk_of(lambda: ordered(names))
    assert slices_of(walk) > 5000
    assert walk.outcome == sorted(names)
    parts = [name.encode() for name in names]
    walk = walk_of(lambda: b"".join(gathered(list(parts))))
    assert slices_of(walk) > 1
    assert walk.outcome == b"".join(parts)


def test_a_message_is_taken_apart_but_for_lists_that_another_may_have() -> None:
    names = ["a", "b"]
    body = {"topics": [{"names": names, "parts": [{"n": 1}]}], "names": names}
    topics = body["topics"]
    assert slices_of(walk_of(lambda: let_go(body))) > 1
    assert topics == []
    assert names == ["a", "b"]


def test_what_is_raised_is_raised_and_the_place_given_back() -> None:
    walks = Walks()
    walks.seconds, walks.elements = 0.0, 0
    walk = walks.begin(ALICE, Still(), lambda: [1 // (3 - each) for each in paced(range(9))])
    assert walk is not None
    with pytest.raises(ZeroDivisionError):
        slices_of(walk)
    assert walks.taken == 0


def test_places_at_the_maximum_and_one_past_it() -> None:
    walks = Walks()
    thresholds = gc.get_threshold()
    principals = [Principal("jwt", "corp", str(number)) for number in range(WALKS_MAX)]
    begun = [walks.begin(each, Still(), int) for each in principals]
    assert all(begun)
    assert walks.begin(ALICE, Still(), int) is None
    assert gc.get_threshold()[2] == slices.NEVER_IN_FULL
    for walk in begun:
        assert walk is not None
        walk.stop()
        walk.stop()
    assert walks.taken == 0
    assert gc.get_threshold() == thresholds
    mine = [walks.begin(ALICE, Still(), int) for _ in range(WALKS_OF_PRINCIPAL_MAX)]
    assert walks.begin(ALICE, Still(), int) is None
    for walk in mine:
        assert walk is not None
        walk.stop()


def test_a_walk_that_is_stopped_ends_where_it_is() -> None:
    seen = []

    def work() -> None:
        try:
            for each in paced(range(9)):
                seen.append(each)
        finally:
            seen.append(-1)

    walk = walk_of(work)
    walk.go_on()
    walk.go_on()
    walk.stop()
    assert seen == [0, -1]


async def test_a_coroutines_long_work_lets_others_have_their_turn() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    assert await in_slices(lambda: sum(paced(range(10_000)))) == sum(range(10_000))
    task.cancel()
    assert turns > 10


def test_without_the_library_a_walk_is_done_in_its_first_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "greenlet", None)
    walk = walk_of(lambda: list(paced(range(100))))
    assert walk.go_on()
    assert walk.outcome == list(range(100))
