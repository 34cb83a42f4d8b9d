"""PING and PONG on one side of a connection: when to ask whether the other is there, and when it is not.

Anything that comes is a sign of life. After a silence a PING is sent; after another one the connection ends. Clients
and brokers do the same towards the gateway, which answers at once, so that neither has to wait for the other's.
"""

from __future__ import annotations

from array import array

PING_SECONDS = 30.0
"""Silence after which a PING is sent; Pulsar's own figure."""
SILENCE_SECONDS_MAX = 60.0
"""Silence after which nobody is there any more."""


SEEN, ASKED = range(2)
"""A side's numbers: when something came last, and 1.0 if a PING was sent since. Read and written by hot code, too."""


class KeepAlive:
    """One side's. All times are monotonic."""

    __slots__ = ("numbers",)

    def __init__(self, now: float) -> None:
        self.numbers = array("d", (now, 0.0))

    def seen(self, now: float) -> None:
        numbers = self.numbers
        numbers[SEEN], numbers[ASKED] = now, 0.0

    @property
    def deadline(self) -> float:
        seen, asked = self.numbers
        return seen + (SILENCE_SECONDS_MAX if asked else PING_SECONDS)

    def due(self, now: float) -> bool:
        """Whether a PING is to be sent now; it counts as sent."""
        if self.numbers[ASKED] or now < self.numbers[SEEN] + PING_SECONDS:
            return False
        self.numbers[ASKED] = 1.0
        return True

    def gone(self, now: float) -> bool:
        return now >= self.numbers[SEEN] + SILENCE_SECONDS_MAX
