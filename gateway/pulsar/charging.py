"""What one connection's frames are charged to its principal's account, and how long its client is held back for it.

Pulsar's answers have no throttle time: a client is held back by not being read, and a consumer by its FLOW commands not
being read. Every frame counts as one request, SEND and MESSAGE by their bytes besides. Called by the session.
"""

from __future__ import annotations

from gateway.core.limits import Account
from gateway.core.meters import Cell
from gateway.core.session import Effects

OWED_MIN = 0.001
"""Seconds of debt that are not worth a pause."""


class Charging:
    """One connection's. `throttled` counts the seconds for which clients are held back."""

    __slots__ = ("_account", "_effects", "_throttle_max", "_throttled", "throttle_seconds")

    def __init__(self, account: Account, throttle_max: float, effects: Effects, throttled: Cell) -> None:
        self._account = account
        self._throttle_max = throttle_max
        self._effects = effects
        self._throttled = throttled
        self.throttle_seconds = 0.0
        """The longest hold since the session last wrote one to the audit."""

    def hold_back(self, now: float) -> bool:
        """Whether the next frame is not taken yet, its principal being in debt from any of its connections."""
        if not self._account.owing:
            return False
        owed = self._account.debt(now)
        if owed < OWED_MIN:
            return False
        seconds = min(owed, self._throttle_max)
        self._effects.mute_until = max(self._effects.mute_until, now + seconds)
        self._throttled.value += seconds
        self.throttle_seconds = max(self.throttle_seconds, seconds)
        return True

    def request(self, now: float) -> None:
        self._account.request(now)

    def produced(self, octets: int, now: float) -> None:
        self._account.request(now)
        self._account.produce(octets, now)

    def consumed(self, octets: int, now: float) -> None:
        self._account.consume(octets, now)
