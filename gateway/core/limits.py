"""What one principal uses over all its connections, held against its quota.

Token buckets that may go into debt: whoever sends one large frame is let through and then waits until the debt is
paid, so no frame is too large to ever pass, and the rate holds over time. The session asks how long to wait, answers
at once with that time and stops reading (KIP-219). Called by protocol sessions, with monotonic time handed in.

What hot code needs of an account stands in arrays of numbers, so that a compiled piece can do `Account.spend` and
`spend_consumed` in the usual case without a call; what they do is said here.
"""

from __future__ import annotations

import math
from array import array
from collections import OrderedDict
from collections.abc import Iterator

from gateway.core.identity import Principal
from gateway.core.rights import Quota

BURST_SECONDS = 1.0
"""An idle principal may use this many seconds' worth at once."""
DEBT_SECONDS_MAX = 600.0
"""Debt past this is forgiven, so that one bad minute does not silence a principal for a day."""
DECIDING_SHARE = 0.25
"""Seconds in a second for which one principal may keep the gateway deciding. Only what takes long is counted."""
KEPT_OCTETS_MAX = 1 << 20
"""Bytes of one principal's requests that are kept decoded until they are answered: they take many times that."""
DENIALS_WRITTEN = 100.0
"""Lines a second about one principal's denials; the others are counted, lest a flood of them hide somebody else's."""
IDLE_ACCOUNTS_MAX = 10_000
"""Principals without a connection whose use is remembered; the longest idle is forgotten first."""


RATE, LEVEL, AT = range(3)
"""A bucket's numbers: units a second, what is saved, and since when that holds."""
SETTLES_AT, PRODUCED_AT_ONCE, CONSUMED_AT_ONCE = range(3)
"""An account's pace: nothing is to be settled with others before that time, nor for fewer octets than these."""
REQUESTS, PRODUCED, CONSUMED, DECIDING = range(4)
"""What was used of each, for whoever settles it with others."""


class Bucket:
    """`rate` units a second, up to `BURST_SECONDS` of them saved, debt allowed."""

    __slots__ = ("numbers",)

    def __init__(self, rate: float, now: float) -> None:
        self.numbers = array("d", (rate, rate * BURST_SECONDS, now))

    @property
    def rate(self) -> float:
        return self.numbers[RATE]

    @rate.setter
    def rate(self, rate: float) -> None:
        """What was saved or owed keeps its time: a debt of two seconds stays one of two seconds."""
        numbers = self.numbers
        numbers[LEVEL] *= rate / numbers[RATE]
        numbers[RATE] = rate

    def take(self, amount: float, now: float) -> float:
        """Use `amount`; returns the seconds until nothing is owed, 0.0 if nothing is."""
        rate, level, at = numbers = self.numbers
        if now > at:
            level = min(rate * BURST_SECONDS, level + (now - at) * rate)
            numbers[AT] = now
        level = max(level - amount, -DEBT_SECONDS_MAX * rate)
        numbers[LEVEL] = level
        return -level / rate if level < 0 else 0.0

    def afford(self, amount: float, now: float) -> bool:
        """`take` if nothing is owed by it; else take nothing, and say False."""
        rate, level, at = numbers = self.numbers
        if now > at:
            level = min(rate * BURST_SECONDS, level + (now - at) * rate)
            numbers[AT] = now
        affordable = level >= amount
        numbers[LEVEL] = level - amount if affordable else level
        return affordable

    def give_back(self, amount: float) -> None:
        """What `afford` just took; less than nothing: what was used elsewhere."""
        numbers = self.numbers
        numbers[LEVEL] = max(numbers[LEVEL] + amount, -DEBT_SECONDS_MAX * numbers[RATE])

    def level(self, now: float) -> float:
        """What is saved now; below zero what is owed."""
        self.take(0.0, now)
        return self.numbers[LEVEL]

    def lower(self, level: float, at: float, now: float) -> None:
        """Have no more than another bucket of the same rate, whose level was so at that time."""
        self.numbers[LEVEL] = min(self.level(now), level + max(0.0, now - at) * self.numbers[RATE])


class Account:
    """One principal's use. Each taking method returns the seconds to wait from now, 0.0 for none."""

    __slots__ = (
        "_consume", "_deciding", "_denials", "_handles", "_kept", "_principal", "_produce", "_quota", "_quotas",
        "_requests", "connections", "owing", "pace", "used",
    )  # fmt: skip

    def __init__(self, quotas: Quotas, principal: Principal, quota: Quota, now: float) -> None:
        self._quotas = quotas
        self._principal = principal
        self._quota = quota
        self._produce = Bucket(quota.produce_bytes, now)
        self._consume = Bucket(quota.consume_bytes, now)
        self._requests = Bucket(quota.requests, now)
        self._deciding = Bucket(DECIDING_SHARE, now)
        self._denials = Bucket(DENIALS_WRITTEN, now)
        self._kept = 0
        self._handles: dict[str, int] = {}
        self.owing = False
        """Whether anything may be owed: as long as it is False no bucket has to be looked at."""
        self.pace = array("d", (math.inf, math.inf, math.inf))
        self.used = array("d", (0.0,) * 4)
        self.connections = 0

    @property
    def quota(self) -> Quota:
        return self._quota

    @quota.setter
    def quota(self, quota: Quota) -> None:
        if quota != self._quota:
            self._take_quota(quota)

    def _take_quota(self, quota: Quota) -> None:
        self._quota = quota
        self._produce.rate = quota.produce_bytes
        self._consume.rate = quota.consume_bytes
        self._requests.rate = quota.requests

    def connect(self) -> bool:
        """Count a connection; False, and not counted, if the principal has all it may have."""
        if self.connections >= self._quota.connections:
            return False
        self.connections += 1
        if self.connections == 1:
            self._quotas.wake(self._principal, self)
        return True

    def disconnect(self) -> None:
        """Give back what `connect` counted. Raises ValueError if nothing was."""
        if self.connections == 0:
            raise ValueError(f"{self._principal} has no connection to give back")
        self.connections -= 1
        if self.connections == 0:
            self._quotas.rest(self._principal, self)

    def open_handle(self, kind: str) -> bool:
        """Count a producer or consumer; False, and not counted, if the principal has all it may have."""
        if self.handles(kind) >= self.handles_max(kind):
            return False
        self._handles[kind] = self.handles(kind) + 1
        return True

    def handles(self, kind: str) -> int:
        """The producers or consumers that are open."""
        return self._handles.get(kind, 0)

    def handles_max(self, kind: str) -> float:
        return self._quota.producers if kind == "producer" else self._quota.consumers

    def close_handle(self, kind: str) -> None:
        """Give back what `open_handle` counted."""
        self._handles[kind] -= 1

    def forget(self) -> None:
        """Called by `Quotas` when nobody will ask for it again."""

    def request(self, now: float) -> float:
        self.used[REQUESTS] += 1.0
        return self._noted(self._requests.take(1.0, now))

    def produce(self, octets: int, now: float) -> float:
        self.used[PRODUCED] += octets
        return self._noted(self._produce.take(octets, now))

    def consume(self, octets: int, now: float) -> float:
        self.used[CONSUMED] += octets
        return self._noted(self._consume.take(octets, now))

    def numbers(self) -> tuple[array[float], array[float], array[float]]:
        """The buckets of requests and of octets produced and consumed: the same arrays for the account's life."""
        return self._requests.numbers, self._produce.numbers, self._consume.numbers

    def spend(self, requests: int, produced: int, now: float) -> bool:
        """Several requests at once, with the octets that they produce, if nothing is owed by it or from before.

        Charges nothing and says False otherwise: then they are charged one by one.
        """
        if self.owing or not self._requests.afford(requests, now):
            return False
        if produced and not self._produce.afford(produced, now):
            self._requests.give_back(requests)
            return False
        self.used[REQUESTS] += requests
        self.used[PRODUCED] += produced
        return True

    def spend_consumed(self, octets: int, now: float) -> bool:
        """Octets of an answer, if nothing is owed by it; charges nothing and says False otherwise."""
        if not self._consume.afford(octets, now):
            return False
        self.used[CONSUMED] += octets
        return True

    def _noted(self, owed: float) -> float:
        if owed:
            self.owing = True
        return owed

    def decided(self, seconds: float, now: float) -> None:
        """A request or answer took that long to decide."""
        self.used[DECIDING] += seconds
        self._noted(self._deciding.take(seconds, now))

    def may_write_denial(self, now: float) -> bool:
        """Whether another line about a denial may be written now; it is counted if so."""
        if self._denials.take(0.0, now) > 0.0:
            return False
        self._denials.take(1.0, now)
        return True

    def owed(self, now: float) -> float:
        """Seconds until nothing is owed for requests and for the deciding of them."""
        owed = max(self._requests.take(0.0, now), self._deciding.take(0.0, now))
        self.owing = bool(owed or self._produce.take(0.0, now) or self._consume.take(0.0, now))
        return owed

    def debt(self, now: float) -> float:
        """Seconds until nothing at all is owed: requests, deciding, bytes either way."""
        return max(self.owed(now), self._produce.take(0.0, now), self._consume.take(0.0, now))

    def may_keep(self, octets: int) -> bool:
        """Whether a request may be kept until its answer, beside those that are; one alone always may."""
        return not self._kept or self._kept + octets <= KEPT_OCTETS_MAX

    def keep(self, octets: int) -> None:
        self._kept += octets

    def let_go(self, octets: int) -> None:
        """Give back what `keep` counted."""
        self._kept -= octets


class Quotas:
    """The accounts of one process: of connected principals (bounded by the connections), and some idle ones."""

    def __init__(self, idle_accounts_max: int = IDLE_ACCOUNTS_MAX) -> None:
        self._idle_accounts_max = idle_accounts_max
        self._connected: dict[Principal, Account] = {}
        self._idle: OrderedDict[Principal, Account] = OrderedDict()

    def __len__(self) -> int:
        return len(self._connected) + len(self._idle)

    def account(self, principal: Principal, quota: Quota, now: float) -> Account:
        """The principal's account, under this quota from now on."""
        account = self._connected.get(principal) or self._idle.get(principal)
        if account is None:
            account = self._make(principal, quota, now)
            self.rest(principal, account)
        else:
            account.quota = quota
        return account

    def _make(self, principal: Principal, quota: Quota, now: float) -> Account:
        return Account(self, principal, quota, now)

    def in_debt(self, now: float) -> Iterator[tuple[Principal, float]]:
        """The connected principals that are held back now, and for how many seconds."""
        for principal, account in self._connected.items():
            seconds = account.debt(now)
            if seconds > 0.0:
                yield principal, seconds

    def wake(self, principal: Principal, account: Account) -> None:
        """Called by an account that has its first connection."""
        self._idle.pop(principal, None)
        self._connected[principal] = account

    def rest(self, principal: Principal, account: Account) -> None:
        """Called by an account that has lost its last connection."""
        if self._connected.get(principal) is account:
            del self._connected[principal]
        self._idle[principal] = account
        self._idle.move_to_end(principal)
        while len(self._idle) > self._idle_accounts_max:
            _, forgotten = self._idle.popitem(last=False)
            forgotten.forget()
