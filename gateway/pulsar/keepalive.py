"""PING and PONG on one side of a connection: when to ask whether the other is there, and when it is not.

Anything that comes is a sign of life. After a silence a PING is sent; after another one the connection ends. Clients
and brokers do the same towards the gateway, which answers at once, so that neither has to wait for the other's.
"""

from __future__ import annotations

PING_SECONDS = 30.0
"""Silence after which a PING is sent; Pulsar's own figure."""
SILENCE_SECONDS_MAX = 60.0
"""Silence after which nobody is there any more."""


class KeepAlive:
    """One side's. All times are monotonic."""

    __slots__ = ("_asked", "_seen")

    def __init__(self, now: float) -> None:
        self._seen = now
        self._asked = False

    def seen(self, now: float) -> None:
        self._seen = now
        self._asked = False

    @property
    def deadline(self) -> float:
        return self._seen + (SILENCE_SECONDS_MAX if self._asked else PING_SECONDS)

    def due(self, now: float) -> bool:
        """Whether a PING is to be sent now; it counts as sent."""
        if self._asked or now < self._seen + PING_SECONDS:
            return False
        self._asked = True
        return True

    def gone(self, now: float) -> bool:
        return now >= self._seen + SILENCE_SECONDS_MAX
