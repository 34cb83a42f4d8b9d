"""Whether the gateway's own account may be shown to a broker now: a refused account is not shown again and again.

A broker that took it last time is always open to it: its connections are a client's each. After a refusal a broker is
tried again after a pause that doubles, one try at a time for all brokers of the backend, so that an account that is
refused everywhere is shown about once a minute and is not locked by some directory behind the brokers.
"""

from __future__ import annotations

import random

from gateway.core.clock import Clock
from gateway.core.session import Endpoint

PAUSE_SECONDS_MIN = 1.0
PAUSE_SECONDS_MAX = 60.0
BROKERS_MAX = 1000
"""Brokers that are remembered as good."""


class LoginGate:
    """One backend's. Every `enter` that said yes is followed by one of `took`, `refused` and `left`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._good: set[Endpoint] = set()
        self._failures = 0
        self._closed_until = 0.0
        self._trying: Endpoint | None = None

    @property
    def failing(self) -> bool:
        return self._failures > 0

    def pause(self, endpoint: Endpoint) -> float:
        """0.0: a login may be tried. Otherwise the seconds to wait."""
        if not self._failures or endpoint in self._good:
            return 0.0
        left = self._closed_until - self._clock.monotonic()
        return max(left, PAUSE_SECONDS_MIN) if self._trying is not None else max(left, 0.0)

    def enter(self, endpoint: Endpoint) -> float:
        """Likewise, and at 0.0 the try is taken."""
        pause = self.pause(endpoint)
        if not pause and self._failures and endpoint not in self._good:
            self._trying = endpoint
        return pause

    def took(self, endpoint: Endpoint) -> None:
        """The broker believes the account."""
        if endpoint not in self._good or endpoint == self._trying:
            self._failures = 0
        if len(self._good) < BROKERS_MAX:
            self._good.add(endpoint)
        self.left(endpoint)

    def refused(self, endpoint: Endpoint) -> None:
        """It does not, or could not be believed itself."""
        tried = endpoint == self._trying
        if endpoint in self._good or tried or not self._failures:
            self._good.discard(endpoint)
            self._failures += 1
            pause = min(PAUSE_SECONDS_MAX, PAUSE_SECONDS_MIN * 2 ** min(self._failures - 1, 10))
            jitter = 0.75 + random.random() / 4  # noqa: S311  (no secret)
            self._closed_until = self._clock.monotonic() + pause * jitter
        self.left(endpoint)

    def left(self, endpoint: Endpoint) -> None:
        """Neither: the broker was not reached, or went away."""
        if endpoint == self._trying:
            self._trying = None

    def distrust(self) -> None:
        """The account was refused on a connection that had it proven: no broker is known as good any more."""
        self._good.clear()
        if not self._failures:
            self._failures = 1
            self._closed_until = self._clock.monotonic() + PAUSE_SECONDS_MIN

    def reset(self) -> None:
        """The account is another one now."""
        self._failures = 0
        self._closed_until = 0.0
        self._trying = None
