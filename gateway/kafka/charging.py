"""What one connection's frames are charged to its principal's account, and how long its client is held back for it.

The client is told the time at once and is not read for as long (KIP-219). Requests are charged by number, Produce and
whatever is large by bytes, and fetched answers when they come, since nobody knows their size before. Called by
kafka.traffic and kafka.relay; the session asks `hold_back` before it takes a request.
"""

from __future__ import annotations

from gateway.core.clock import Clock
from gateway.core.limits import Account
from gateway.core.meters import Cell
from gateway.core.session import Effects
from gateway.core.settings import Limits
from gateway.kafka.steps import FETCH, PRODUCE

LARGE = 64 * 1024
"""Requests and answers of more bytes are charged for these, whatever their API."""
DECIDING_FREE = 0.005
"""Seconds: what takes less to decide is not counted."""
OWED_MIN = 0.001
"""Seconds of debt that are not worth a pause."""
UNHELD = frozenset({11, 12, 13, 14, 17, 36, 68})
"""What keeps a member in its group, and authentication: an old debt does not hold these."""


class Charging:
    """One identity's charges on one connection. `throttled` counts the seconds for which clients are held back."""

    __slots__ = ("_charged", "_clock", "_effects", "_limits", "_throttled", "account", "throttle_seconds")

    def __init__(self, account: Account, limits: Limits, effects: Effects, clock: Clock, throttled: Cell) -> None:
        self.account = account
        self._limits = limits
        self._effects = effects
        self._clock = clock
        self._throttled = throttled
        self.throttle_seconds = 0.0
        """The longest hold since the session last wrote one to the audit."""
        self._charged: float | None = None

    def hold_back(self, api_key: int, octets: int, now: float) -> bool:
        """Whether the next request must not be taken yet, its principal being in debt from any of its connections.

        One pause is never long, so that a rate only holds if a debt is looked at again after it. What keeps a member
        in its group passes: clients have it on a connection of its own.
        """
        account = self.account
        if not account.owing or self._charged is not None or (api_key in UNHELD and octets <= LARGE):
            return False
        owed = account.owed(now)
        if api_key == PRODUCE or octets > LARGE:
            owed = max(owed, account.produce(0, now))
        elif api_key == FETCH:
            owed = max(owed, account.consume(0, now))
        if owed < OWED_MIN:
            return False
        self.hold(min(owed, self._limits.throttle_max), now)
        return True

    def request(self, api_key: int, octets: int, now: float) -> float:
        """Charge a request once, also if it is decided again after waiting. The seconds to hold the client back."""
        if self._charged is None:
            charged = self.account.request(now)
            if api_key == PRODUCE or octets > LARGE:
                charged = max(charged, self.account.produce(octets, now))
            self._charged = min(charged, self._limits.throttle_max)
        return self._charged

    def settle(self, now: float) -> None:
        """The request was decided: hold the client back if it must be; the next one is charged anew."""
        self.hold(self._charged or 0.0, now)
        self._charged = None

    @property
    def settled(self) -> bool:
        """No request is charged that was not decided yet, and no hold waits to be written to the audit."""
        return self._charged is None and not self.throttle_seconds

    def answer(self, api_key: int, octets: int, now: float) -> float:
        """Charge one of the broker's answers. The seconds for which the client is held back by it."""
        if api_key != FETCH and octets <= LARGE:
            return 0.0
        held = min(self.account.consume(octets, now), self._limits.throttle_max)
        self.hold(held, now)
        return held

    def hold(self, seconds: float, now: float) -> None:
        """Do not read the client for that long."""
        if seconds > 0:
            self._effects.mute_until = max(self._effects.mute_until, now + seconds)
            self._throttled.value += seconds
            self.throttle_seconds = max(self.throttle_seconds, seconds)

    def spent(self, seconds: float) -> None:
        """Charge what took long to decide: nobody keeps the gateway busy by requests made for it."""
        if seconds > DECIDING_FREE:
            self.account.decided(seconds, self._clock.monotonic())
