"""Failed logins as all workers of a gateway have counted them (core.failed_logins), in memory that they share.

Each worker has a row of its own for an address or an issuer (core.shares): how many failures it has seen, and when
that was. Whoever looks adds up what is left of each. So somebody who guesses is held back as long whichever worker the
system gives him to. What a worker has counted that dies is forgotten with it.
"""

from __future__ import annotations

from struct import Struct

from gateway.core.failed_logins import Origin, left
from gateway.core.shares import Shares

WIDTH = 2
"""Numbers in a row: how many, and when that was, in monotonic time."""
_ROW = Struct("2d")


class OtherFailures:
    """failed_logins.Others. Without a row (there is room for twice as many as are remembered) a worker counts alone."""

    def __init__(self, shares: Shares) -> None:
        self._shares = shares

    def of(self, key: Origin | str, now: float) -> float:
        digest = self._key(key)
        found = 0.0
        for table in self._shares.others:
            at = table.find(digest)
            if at is not None:
                _, count, when = table.row(at)
                found += left(count, now - when)
        return found

    def tell(self, key: Origin | str, count: float, now: float) -> None:
        own = self._shares.own
        row = own.claim(self._key(key))
        if row is not None:
            own.put_many(row, 0, _ROW, count, now)

    def forget(self, origin: Origin) -> None:
        row = self._shares.own.find(self._key(origin))
        if row is not None:
            self._shares.own.release(row)

    def _key(self, key: Origin | str) -> bytes:
        return self._shares.key("issuer", key) if isinstance(key, str) else self._shares.key("origin", *map(str, key))
