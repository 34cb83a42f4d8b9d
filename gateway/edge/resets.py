"""Connections that broke: told to their streams, which the event loop may have stopped watching.

For a socket with an error (a reset, above all) libuv ends its watching, and uvloop calls whoever waits once more and
then never again (libuv/libuv#3797, MagicStack/uvloop#552). What that one call leaves in the socket, octets that came
before the reset and the error itself, would be found only when something is written, or when somebody loses patience:
a client whose broker was killed would wait for its answer until its own time is over.

So the sockets of open connections are in a second set of the kernel's besides (epoll(7)), for nothing but errors, and
each tells of one once. It costs a system call per connection. asyncio's own loop goes on watching, and needs none of
this; it takes no harm from it. Used by edge.pump, through `Stream.notice_resets`.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable

AT_ONCE_MAX = 256
"""Broken connections that are told in one turn of the loop."""


class Resets:
    """One for a process."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._set = select.epoll()
        self._told: dict[int, Callable[[], None]] = {}
        loop.add_reader(self._set.fileno(), self._look)

    def watch(self, fd: int, told: Callable[[], None]) -> None:
        """Have `told` called once when the socket has an error, until `leave`."""
        self._told[fd] = told
        self._set.register(fd, select.EPOLLET)  # EPOLLERR and EPOLLHUP are always told

    def leave(self, fd: int) -> None:
        """The socket is about to be closed."""
        if self._told.pop(fd, None) is not None:
            self._set.unregister(fd)

    def close(self) -> None:
        """Nobody is told any more."""
        if not self._set.closed:
            self._loop.remove_reader(self._set.fileno())
            self._set.close()
            self._told.clear()

    def _look(self) -> None:
        for fd, _ in self._set.poll(0, AT_ONCE_MAX):
            told = self._told.get(fd)
            if told is not None:
                told()
