"""Memory in which workers tell each other how much principals use and how many connections addresses have.

One region a worker, in which it alone writes (core.shares); the supervisor empties it when the worker has ended, so
that nobody's connections are counted that are gone. Pages that are never touched cost nothing.
"""

from __future__ import annotations

import mmap
import secrets

from gateway.core.limits import IDLE_ACCOUNTS_MAX
from gateway.core.settings import Limits
from gateway.core.shared_limits import WIDTH
from gateway.core.shares import WINDOW, Shares, Table, size
from gateway.ops.workers.places import shared

ADDRESS_WIDTH = 1
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
        self._region = self._first + _pages(size(self._addresses, ADDRESS_WIDTH))
        self._memory = shared(self._region * workers)

    def principals(self, worker: int) -> Shares:
        """A worker's view of what principals use."""
        return self._view(worker, 0, self._principals, WIDTH)

    def addresses(self, worker: int) -> Shares:
        """A worker's view of how many connections addresses have."""
        return self._view(worker, self._first, self._addresses, ADDRESS_WIDTH)

    def _view(self, worker: int, offset: int, count: int, width: int) -> Shares:
        tables = [Table(self._memory, number * self._region + offset, count, width) for number in range(self._workers)]
        others = tuple(table for number, table in enumerate(tables, 1) if number != worker)
        return Shares(self._secret, tables[worker - 1], others)

    def empty(self, worker: int) -> None:
        """The worker has ended: what it had is given back, its pages too."""
        self._memory.madvise(mmap.MADV_REMOVE, (worker - 1) * self._region, self._region)


def _pages(octets: int) -> int:
    return -(-octets // mmap.PAGESIZE) * mmap.PAGESIZE
