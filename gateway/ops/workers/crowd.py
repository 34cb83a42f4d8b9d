"""Memory in which workers tell each other how much principals use, how many connections addresses have, and whose
logins have failed.

One region a worker, in which it alone writes (core.shares); the supervisor empties it when the worker has ended, so
that nobody's connections are counted that are gone. Pages that are never touched cost nothing.
"""

from __future__ import annotations

import mmap
import secrets

from gateway.core.failed_logins import ORIGINS_MAX
from gateway.core.limits import IDLE_ACCOUNTS_MAX
from gateway.core.settings import Limits
from gateway.core.shared_failed_logins import WIDTH as FAILURES_WIDTH
from gateway.core.shared_limits import WIDTH
from gateway.core.shares import WINDOW, Shares, Table, size
from gateway.edge.admission import Origin
from gateway.ops.workers.places import Field, Places, shared

ADDRESS_WIDTH = 1
ISSUERS = 1000
"""More than a configuration has; there is room for as many again."""
SPARE = 2
"""Rows for each that can be in use, and a little more: then one is always found near where its key points."""


def rows(most: int) -> int:
    return (SPARE * most // WINDOW + 2) * WINDOW


class Crowd:
    """Made by the supervisor before the first fork."""

    def __init__(self, workers: int, limits: Limits) -> None:
        self._workers = workers
        self._secret = secrets.token_bytes(32)
        self._principals = rows(limits.connections_max + IDLE_ACCOUNTS_MAX)
        self._addresses = rows(limits.connections_max)
        self._first = _pages(size(self._principals, WIDTH))
        self._second = self._first + _pages(size(self._addresses, ADDRESS_WIDTH))
        self._failures = rows(ORIGINS_MAX + ISSUERS)
        self._region = self._second + _pages(size(self._failures, FAILURES_WIDTH))
        self._memory = shared(self._region * workers)

    def principals(self, worker: int) -> Shares:
        """A worker's view of what principals use."""
        return self._view(worker, 0, self._principals, WIDTH)

    def addresses(self, worker: int) -> Shares:
        """A worker's view of how many connections addresses have."""
        return self._view(worker, self._first, self._addresses, ADDRESS_WIDTH)

    def failures(self, worker: int) -> Shares:
        """A worker's view of logins that have failed."""
        return self._view(worker, self._second, self._failures, FAILURES_WIDTH)

    def _view(self, worker: int, offset: int, count: int, width: int) -> Shares:
        tables = [Table(self._memory, number * self._region + offset, count, width) for number in range(self._workers)]
        others = tuple(table for number, table in enumerate(tables, 1) if number != worker)
        return Shares(self._secret, tables[worker - 1], others)

    def empty(self, worker: int) -> None:
        """The worker has ended: what it had is given back, its pages too."""
        self._memory.madvise(mmap.MADV_REMOVE, (worker - 1) * self._region, self._region)


class OtherWorkers:
    """What the other workers have of connections (edge.admission.Others). Numbers in all are in the places."""

    def __init__(self, places: Places, place: int, addresses: Shares) -> None:
        self._places = places
        self._place = place
        self._others = [each for each in range(1, places.workers + 1) if each != place]
        self._addresses = addresses

    def total(self) -> int:
        return int(sum(self._places.get(each, Field.TOTAL) for each in self._others))

    def unauthenticated(self) -> int:
        return int(sum(self._places.get(each, Field.UNAUTHENTICATED) for each in self._others))

    def of(self, theirs: Origin) -> int:
        return int(self._addresses.sum(self._key(theirs), 0))

    def tell(self, total: int, unauthenticated: int) -> None:
        self._places.put(self._place, Field.TOTAL, total)
        self._places.put(self._place, Field.UNAUTHENTICATED, unauthenticated)

    def tell_of(self, theirs: Origin, count: int) -> None:
        own = self._addresses.own
        row = own.claim(self._key(theirs))
        if row is None:  # there is room for twice as many as there can be: the limit of the process itself holds
            return
        own.put(row, 0, count)
        if not count:
            own.release(row)

    def _key(self, theirs: Origin) -> bytes:
        return self._addresses.key(*map(str, theirs))


def _pages(octets: int) -> int:
    return -(-octets // mmap.PAGESIZE) * mmap.PAGESIZE
