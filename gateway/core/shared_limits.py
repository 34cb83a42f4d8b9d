"""One principal's use over all workers of a gateway, each of which has an account of it (core.limits).

Every account is a replica: it holds all that the principal used, in whichever worker. Each says in a row of its own
(core.shares) how much it has charged so far, and every `SETTLE_SECONDS` in which it is used, or at once when it
charges more than that time's worth, takes what the others have charged since. An account that was not used for
`REJOIN_SECONDS` takes the lowest level among all instead, since what was saved and used meanwhile cannot be told apart.

What this costs in exactness: what several workers let through within one `SETTLE_SECONDS` of each other, once each, is
not held back by one another, but it is owed, and waited for by all. Over time the quota holds. Connections are counted
exactly: an account first says that it has one more, then looks at the others. Producers and consumers likewise.
"""

from __future__ import annotations

from array import array
from struct import Struct

from gateway.core.identity import Principal
from gateway.core.limits import (
    CONSUMED_AT_ONCE,
    IDLE_ACCOUNTS_MAX,
    PRODUCED_AT_ONCE,
    SETTLES_AT,
    Account,
    Quotas,
)
from gateway.core.rights import Quota
from gateway.core.shares import Shares

SETTLE_SECONDS = 0.01
REJOIN_SECONDS = 0.1
_CONNECTIONS = 0
_HANDLES = {"producer": 1, "consumer": 2}
_CHARGED = 3
"""From here on: what each bucket has charged so far, its level, and when that was."""
_REST = Struct("9d")
WIDTH = _CHARGED + 2 * 4 + 1
"""Numbers in a row."""
_USED, _LEVEL, _AT = 4, 8, 12
"""Where these stand in a row that was read, behind its key."""


class SharedAccount(Account):
    """See above. Without a row (there is room for twice as many as can be needed) nobody connects."""

    __slots__ = ("_buckets", "_found", "_key", "_row", "_settled", "_shares", "_told")

    def __init__(self, shares: Shares, quotas: Quotas, principal: Principal, quota: Quota, now: float) -> None:
        super().__init__(quotas, principal, quota, now)
        self._shares = shares
        self._key = shares.key(principal.method, principal.issuer, principal.name)
        self._row = shares.own.claim(self._key)
        self._buckets = (self._requests, self._produce, self._consume, self._deciding)
        self._told = self.used[:]
        """What the others could see when they last looked."""
        self._found: list[tuple[int, tuple[float, ...]] | None] = [None] * len(shares.others)
        """By other worker: its row, and what it had charged when it was last looked at."""
        self._settled = now
        self._set_pace(now)
        self._rejoin(now)
        self._publish(now)

    def _set_pace(self, settles_at: float) -> None:
        """`pace`: more octets than these, produced or consumed, are told at once."""
        rates = self._produce.rate, self._consume.rate
        self.pace[:] = array("d", (settles_at, *(rate * SETTLE_SECONDS for rate in rates)))

    @property
    def quota(self) -> Quota:
        return self._quota

    @quota.setter
    def quota(self, quota: Quota) -> None:
        if quota != self._quota:
            self._take_quota(quota)
            self._set_pace(self.pace[SETTLES_AT])

    def connect(self) -> bool:
        row, own = self._row, self._shares.own
        if row is None:
            return False
        own.put(row, _CONNECTIONS, self.connections + 1)
        others = self._shares.sum(self._key, _CONNECTIONS)
        taken = others + self.connections < self._quota.connections and super().connect()
        own.put(row, _CONNECTIONS, self.connections)
        return taken

    def disconnect(self) -> None:
        super().disconnect()
        if self._row is not None:
            self._shares.own.put(self._row, _CONNECTIONS, self.connections)

    def open_handle(self, kind: str) -> bool:
        row, own, number = self._row, self._shares.own, _HANDLES[kind]
        if row is None:
            return False
        own.put(row, number, self.handles(kind) + 1)
        others = self._shares.sum(self._key, number)
        taken = others + self.handles(kind) < self.handles_max(kind) and super().open_handle(kind)
        own.put(row, number, self.handles(kind))
        return taken

    def close_handle(self, kind: str) -> None:
        super().close_handle(kind)
        if self._row is not None:
            self._shares.own.put(self._row, _HANDLES[kind], self.handles(kind))

    def forget(self) -> None:
        if self._row is not None:
            self._shares.own.release(self._row)
            self._row = None

    def request(self, now: float) -> float:
        owed = super().request(now)
        if now < self.pace[SETTLES_AT]:
            return owed
        self._settle(now)
        return self._noted(self._requests.take(0.0, now))

    def produce(self, octets: int, now: float) -> float:
        owed = super().produce(octets, now)
        if now < self.pace[SETTLES_AT] and octets <= self.pace[PRODUCED_AT_ONCE]:
            return owed
        self._settle(now)
        return self._noted(self._produce.take(0.0, now))

    def consume(self, octets: int, now: float) -> float:
        owed = super().consume(octets, now)
        if now < self.pace[SETTLES_AT] and octets <= self.pace[CONSUMED_AT_ONCE]:
            return owed
        self._settle(now)
        return self._noted(self._consume.take(0.0, now))

    def spend(self, requests: int, produced: int, now: float) -> bool:
        if now >= self.pace[SETTLES_AT]:
            self._settle(now)
        if not super().spend(requests, produced, now):
            return False
        if produced > self.pace[PRODUCED_AT_ONCE]:
            self._settle(now)
        return True

    def spend_consumed(self, octets: int, now: float) -> bool:
        if now >= self.pace[SETTLES_AT]:
            self._settle(now)
        if not super().spend_consumed(octets, now):
            return False
        if octets > self.pace[CONSUMED_AT_ONCE]:
            self._settle(now)
        return True

    def decided(self, seconds: float, now: float) -> None:
        super().decided(seconds, now)
        self._settle(now)

    def owed(self, now: float) -> float:
        if now >= self.pace[SETTLES_AT]:
            self._settle(now)
        return super().owed(now)

    # ---- the others -------------------------------------------------------------------------------------------

    def _settle(self, now: float) -> None:
        """Take what the others have charged, and say what was charged here."""
        if now - self._settled > REJOIN_SECONDS:
            self._rejoin(now)
        else:
            self._fold(now)
        self._settled = now
        self.pace[SETTLES_AT] = now + SETTLE_SECONDS
        self._publish(now)

    def _fold(self, now: float) -> None:
        for number, table in enumerate(self._shares.others):
            found = self._found[number]
            row = table.row(found[0]) if found is not None else None
            if found is None or row is None or row[0] != self._key:
                self._join(number, now)
                continue
            used, seen = row[_USED:_LEVEL], found[1]
            if used != seen:
                for bucket, more, known in zip(self._buckets, used, seen, strict=True):
                    if more > known:
                        bucket.give_back(known - more)
                self._found[number] = found[0], used

    def _rejoin(self, now: float) -> None:
        for number in range(len(self._found)):
            self._join(number, now)

    def _join(self, number: int, now: float) -> None:
        """Have no more than another worker's account has, if it has one, and less by what was not told it yet."""
        table = self._shares.others[number]
        at = table.find(self._key)
        self._found[number] = None
        if at is None:
            return
        row = table.row(at)
        when = row[_AT]
        for index, bucket in enumerate(self._buckets):
            untold = self.used[index] - self._told[index]
            bucket.lower(row[_LEVEL + index] - untold, when, now)
        self._found[number] = at, row[_USED:_LEVEL]

    def _publish(self, now: float) -> None:
        levels = [bucket.level(now) for bucket in self._buckets]
        if min(levels) < 0.0:
            self.owing = True
        if self._row is not None:
            self._shares.own.put_many(self._row, _CHARGED, _REST, *self.used, *levels, now)
            self._told = self.used[:]


class SharedQuotas(Quotas):
    """The accounts of one worker."""

    def __init__(self, shares: Shares, idle_accounts_max: int = IDLE_ACCOUNTS_MAX) -> None:
        super().__init__(idle_accounts_max)
        self._shares = shares

    def _make(self, principal: Principal, quota: Quota, now: float) -> Account:
        return SharedAccount(self._shares, self, principal, quota, now)
