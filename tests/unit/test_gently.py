"""What is read anew while running leaves the interpreter as it was, however it ends."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading

import pytest

from gateway.ops.gently import HAND_OVER_SECONDS, NEVER_IN_FULL, gently


def settings() -> tuple[float, int]:
    return round(sys.getswitchinterval(), 6), gc.get_threshold()[2]


async def test_two_at_once_and_everything_as_it_was_afterwards() -> None:
    before = settings()
    going_on = threading.Event()

    def read(say: str) -> tuple[str, float, int]:
        going_on.wait(60)
        return say, *settings()

    both = [asyncio.create_task(gently(read, say)) for say in ("a", "b")]
    await asyncio.sleep(0)
    going_on.set()
    assert await asyncio.gather(*both) == [(say, HAND_OVER_SECONDS, NEVER_IN_FULL) for say in ("a", "b")]
    assert settings() == before


async def test_what_fails_fails_and_leaves_nothing_behind() -> None:
    before = settings()
    with pytest.raises(ZeroDivisionError):
        await gently(lambda: 1 // 0)
    assert settings() == before
