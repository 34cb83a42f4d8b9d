"""The system's clocks. ops hands one instance to everything that is given a `core.clock.Clock`."""

from __future__ import annotations

import time


class SystemClock:
    """`time.monotonic` and `time.time` themselves, which are asked several times per frame."""

    __slots__ = ()

    monotonic = staticmethod(time.monotonic)
    wall = staticmethod(time.time)
