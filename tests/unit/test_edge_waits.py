"""Waits of one length: who is late is told in order, once, and nobody whose wait was ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.edge.waits import Waits
from tests.edge import until


class Guest:
    def __init__(self, name: str, told: list[str], then: Callable[[], None] = lambda: None) -> None:
        self.name = name
        self.at = 0.0
        self._told = told
        self._then = then

    def late(self) -> None:
        self.at = asyncio.get_running_loop().time()
        self._told.append(self.name)
        self._then()


async def test_who_is_late_is_told_in_order_and_once() -> None:
    told: list[str] = []
    waits = Waits(asyncio.get_running_loop(), 0.05)
    guests = [Guest(str(number), told) for number in range(5)]
    for guest in guests:
        waits.begin(guest)
    waits.end(guests[2])
    waits.end(guests[2])
    await until(lambda: not len(waits))
    assert told == ["0", "1", "3", "4"]


async def test_later_waits_have_their_own_time() -> None:
    told: list[str] = []
    loop = asyncio.get_running_loop()
    waits = Waits(loop, 0.1)
    waits.begin(Guest("first", told))
    half = loop.time() + 0.05
    await until(lambda: loop.time() >= half)
    second, begun = Guest("second", told), loop.time()
    waits.begin(second)
    await until(lambda: told == ["first", "second"])
    assert second.at - begun >= 0.1 - 0.02
    again = Guest("again", told)
    waits.begin(again)
    await until(lambda: "again" in told)


async def test_one_that_is_late_may_end_another() -> None:
    told: list[str] = []
    waits = Waits(asyncio.get_running_loop(), 0.02)
    second = Guest("second", told)
    waits.begin(Guest("first", told, lambda: waits.end(second)))
    waits.begin(second)
    third = Guest("third", told)
    waits.begin(third)
    await until(lambda: not len(waits))
    assert told == ["first", "third"]
