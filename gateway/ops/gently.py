"""Work on a thread beside the loop, which goes on serving: reading a policy of thousands of rules takes seconds.

The interpreter hands itself over each 5 ms, so that the loop would wait as long before each of its steps; here it is
half a millisecond. Nor does the garbage collector look at everything that the work has made while it is made: what is
read has no cycles. Used for whatever is read anew while running.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

HAND_OVER_SECONDS = 0.0005
NEVER_IN_FULL = 1 << 30
"""As the collector's third threshold."""

P = ParamSpec("P")
T = TypeVar("T")

_under_way = 0
_before = (0.0, (0, 0, 0))


async def gently(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """`work(...)` on a thread. Raises what it raises."""
    global _under_way, _before  # noqa: PLW0603 - the interpreter has one such setting
    if not _under_way:
        _before = (sys.getswitchinterval(), gc.get_threshold())
        sys.setswitchinterval(HAND_OVER_SECONDS)
        gc.set_threshold(*_before[1][:2], NEVER_IN_FULL)
    _under_way += 1
    try:
        return await asyncio.to_thread(work, *args, **kwargs)
    finally:
        _under_way -= 1
        if not _under_way:
            interval, thresholds = _before
            sys.setswitchinterval(interval)
            gc.set_threshold(*thresholds)
            gc.freeze()  # what was read stays; it need not be looked at again and again
