"""How long the refusal of a failed login is held back: longer with each failure of its address or its claimed issuer.

Whoever tries again at once, a client with an expired token in a tight loop or somebody who guesses, is slowed down
before it costs anybody anything. Only the refusal waits: a valid login is answered at once, whoever failed before it.
Failures are forgotten by halves. An issuer counts more slowly than an address, since many fail in its name when it
has made a mistake itself. Called by protocol sessions, with monotonic time handed in. Several workers count together
(core.shared_failed_logins).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from math import exp2
from typing import Protocol

from gateway.core.identity import Address
from gateway.core.origin import origin

DELAY_SECONDS_FIRST = 0.1
"""As Kafka's broker by default (connection.failed.authentication.delay.ms)."""
HALF_LIFE_SECONDS = 30.0
"""After so long half of the failures are forgotten."""
FAILURES_MAX = 10.0
"""More are not counted, so that nobody waits for longer than some minutes to be as others again."""
ISSUER_FAILURES = 20.0
"""So many failures in an issuer's name weigh as much as one of an address."""
ORIGINS_MAX = 10_000
"""Addresses that are remembered; the one that failed longest ago is forgotten first."""


@dataclass(slots=True)
class _Failures:
    count: float
    at: float

    def more(self, by: float, now: float, most: float = FAILURES_MAX) -> float:
        self.count = min(most, left(self.count, now - self.at) + by)
        self.at = now
        return self.count


def left(count: float, seconds: float) -> float:
    """What is left of so many failures after a time."""
    return count * exp2(-max(0.0, seconds) / HALF_LIFE_SECONDS)


Origin = tuple[int, int]


class Others(Protocol):
    """The other workers of this gateway, who count the same failures."""

    def of(self, key: Origin | str, now: float) -> float:
        """Their failures of an origin, or in an issuer's name, as many as are left now."""

    def tell(self, key: Origin | str, count: float, now: float) -> None:
        """What this worker has now."""

    def forget(self, origin: Origin) -> None:
        """This worker remembers nothing of it any more."""


class FailedLogins:
    """One per process. The names of issuers are those of the configuration, and so bounded by it."""

    def __init__(self, others: Others | None = None) -> None:
        self._others = others
        self._origins: OrderedDict[Origin, _Failures] = OrderedDict()
        self._issuers: dict[str, _Failures] = {}

    def __len__(self) -> int:
        return len(self._origins)

    def delay(self, address: Address, issuer: str, now: float, most: float) -> float:
        """One more has failed: the seconds until it may be told so, `most` at most.

        issuer: the configured issuer that its credential claims to come from; "" for none of them.
        """
        theirs = origin(address)
        failures = self._origins.get(theirs)
        if failures is None:
            failures = self._origins[theirs] = _Failures(0.0, now)
            if len(self._origins) > ORIGINS_MAX:
                oldest, _ = self._origins.popitem(last=False)
                if self._others is not None:
                    self._others.forget(oldest)
        self._origins.move_to_end(theirs)
        by_issuer = self._issuers.setdefault(issuer, _Failures(0.0, now))
        count = max(self._more(theirs, failures, 1.0, now), self._more(issuer, by_issuer, 1.0 / ISSUER_FAILURES, now))
        return min(most, DELAY_SECONDS_FIRST * exp2(count - 1.0))

    def _more(self, key: Origin | str, failures: _Failures, by: float, now: float) -> float:
        """Count it, and give how many there are in all workers."""
        others = self._others
        if others is None:
            return failures.more(by, now)
        theirs = min(FAILURES_MAX, others.of(key, now))
        own = failures.more(by, now, FAILURES_MAX - theirs)
        others.tell(key, own, now)
        return own + theirs
