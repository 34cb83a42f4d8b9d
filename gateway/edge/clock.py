"""The system's clocks. ops hands one instance to everything that is given a `core.clock.Clock`."""

from __future__ import annotations

import time


class SystemClock:
    """`time.monotonic` and `time.time`."""

    __slots__ = ()

    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()
