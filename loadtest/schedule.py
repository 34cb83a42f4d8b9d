"""Work at a fixed rate, measured without coordinated omission.

Each item is due at a moment that does not depend on how the earlier ones fared, and its latency counts from that
moment, not from when the client got round to sending it. A pause of the proxy is so felt by every item that was due in
it, as it would be by independent clients. Times are seconds since the start.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

PAUSE_MAX = 0.05


class Schedule:
    """`rate` items a second; those due in the window after the warm-up count."""

    def __init__(self, rate: float, warm_up: float, seconds: float) -> None:
        self._rate = rate
        self._first = math.ceil(rate * warm_up)
        self._end = math.ceil(rate * (warm_up + seconds))
        self._next = 0
        self._latencies: list[float] = []

    def due(self, now: float) -> Iterable[int]:
        """The items that have become due since the last call, late ones too."""
        end = math.floor(now * self._rate) + 1
        if end / self._rate <= now:  # the product was rounded down
            end += 1
        found = range(self._next, max(min(end, self._end), self._next))
        self._next = found.stop
        return found

    def pause(self, now: float) -> float:
        """How long until the next item is due; never negative."""
        return min(max(self._next / self._rate - now, 0.0), PAUSE_MAX)

    def over(self, now: float) -> bool:
        """Whether every item has been due."""
        return self._next >= self._end or now > 10 * (self._end / self._rate) + 10

    def done(self, number: int, now: float) -> None:
        """An item was answered."""
        if number >= self._first:
            self._latencies.append(now - number / self._rate)

    def latencies(self) -> list[float]:
        """Of the items of the window that were answered, in seconds."""
        return self._latencies
