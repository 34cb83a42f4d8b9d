"""An open byte stream as the pump sees it, whatever carries it: TLS, or plain TCP.

The pump pulls: it reads into memory of its own choice until nothing is left, writes until no more is taken, and says
which of the two it waits for; the stream calls back when that may go on. The interface hides where readiness comes
from: all streams of today watch their socket (`SocketStream`).

Nothing here knows frames, limits or time.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from typing import Protocol

from gateway.core.session import NEVER, Part
from gateway.edge.resets import Resets

RECORD = 16 * 1024
"""Octets of the largest TLS record: more are never read in one call."""
AT_ONCE = 64 * 1024
"""Octets for which it is worth to be called once they are there together (SO_RCVLOWAT), where more are to come anyhow:
a large frame comes in records of 16 KiB, and each would be a turn of the loop."""
AT_ONCE_FROM = AT_ONCE + 2 * RECORD
"""So many are to come, then: a part of a record may lie inside the TLS library already, and is not announced again."""


class StreamEnded(Exception):
    """The other side will send nothing more, in good order (FIN, or TLS close_notify)."""


class StreamLost(Exception):
    """The stream broke: reset, timed out in the network, damaged records. Says how."""


class StreamBarren(StreamLost):
    """The other side sent TLS records without content, one after the other: each costs, and none counts."""


class StreamCut(StreamLost):
    """The other side ended TCP without TLS's close_notify, as hasty clients do; something may be missing at the end."""


class Stream(Protocol):
    """One open connection."""

    proven_until: float
    """Monotonic time until which the other side takes the gateway's own account for proven; NEVER without one."""
    reading: bool
    """Whether `readable` is called while there may be something to read."""

    @property
    def unsent(self) -> int:
        """Octets that were taken and are not sent: `write` sends them on before it takes any other, also with b""."""
        ...

    def start(self, readable: Callable[[], None], writable: Callable[[], None]) -> None:
        """Whom to call from now on; what is watched stays so."""
        ...

    def notice_resets(self, resets: Resets) -> None:
        """Call `readable` and `writable`, whichever is watched, also after the connection broke, until they are not:
        from now on, for as long as the stream is open."""
        ...

    def watch_reading(self, on: bool) -> None:
        """Call `readable` while there may be something to read, or stop that."""
        ...

    def watch_writing(self, on: bool) -> None:
        """Call `writable` while something could be written, or stop that."""
        ...

    def expect(self, octets: int) -> None:
        """So many octets are missing before anything can be done with them: from AT_ONCE_FROM on `readable` need not be
        called before AT_ONCE of them are there, or the end. What is said holds until something else is."""
        ...

    def read_into(self, room: memoryview) -> int:
        """Fill `room` with what is there now. Returns the octets put in, 0 for none. Raises StreamEnded, StreamLost,
        but only after everything before was given."""
        ...

    def buffered(self) -> bool:
        """Whether octets wait inside the stream that no event on the wire would announce: read on without one."""
        ...

    def write(self, data: Part) -> int:
        """Octets taken, possibly not all; 0: none can be taken now. Raises StreamLost.

        What was not taken is offered again, beginning at the same octet and not shorter, before anything else.
        """
        ...

    def finish(self) -> bool:
        """Say that nothing more will be sent (close_notify, FIN). False: it could not be said yet; call again when
        writable. Never raises."""
        ...

    def drop(self, room: memoryview) -> bool:
        """Read and throw away what the other side still sends. True when it has ended too. Never raises."""
        ...

    def close(self, reset: bool = False) -> None:
        """Let go of the socket; `reset` aborts it. Doing so twice does nothing."""
        ...


class SocketStream:
    """What streams that watch their own non-blocking socket share."""

    __slots__ = (
        "_broken", "_expecting", "_fd", "_loop", "_readable", "_resets", "_sock", "_writable", "_writing",
        "proven_until", "reading",
    )  # fmt: skip

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sock: socket.socket, ready: Callable[[], None] | None = None
    ) -> None:
        """`ready`: what the loop calls already while the socket can be read; otherwise nobody watches it yet."""
        self._loop = loop
        self._sock = sock
        self._fd = sock.fileno()
        self._readable = self._writable = ready or _nobody
        self.reading = ready is not None
        self._writing = self._expecting = self._broken = False
        self._resets: Resets | None = None
        self.proven_until = NEVER

    def start(self, readable: Callable[[], None], writable: Callable[[], None]) -> None:
        self._readable = readable
        self._writable = writable
        if self.reading:  # the loop is told whom to call, not this
            self._add_reader()
        if self._writing:
            self._add_writer()

    def notice_resets(self, resets: Resets) -> None:
        if self._fd >= 0:
            self._resets = resets
            resets.watch(self._fd, self._broke)

    def watch_reading(self, on: bool) -> None:
        if on is not self.reading and self._fd >= 0:
            self.reading = on
            if on:
                self._add_reader()
            else:
                self._loop.remove_reader(self._fd)

    def watch_writing(self, on: bool) -> None:
        if on is not self._writing and self._fd >= 0:
            self._writing = on
            if on:
                self._add_writer()
            else:
                self._loop.remove_writer(self._fd)

    def _add_reader(self) -> None:
        call = self._read_broken if self._broken else self._readable
        try:
            self._loop.add_reader(self._fd, call)
        except RuntimeError:  # uvloop has given it up (edge.resets), and takes it again once it has forgotten it
            self._loop.remove_reader(self._fd)
            self._loop.add_reader(self._fd, call)

    def _add_writer(self) -> None:
        try:
            self._loop.add_writer(self._fd, self._writable)
        except RuntimeError:  # likewise
            self._loop.remove_writer(self._fd)
            self._loop.add_writer(self._fd, self._writable)

    def _broke(self) -> None:
        self._broken = True
        self._watch_anew()

    def _watch_anew(self) -> None:
        """Have the loop look at the socket again, which it has given up perhaps."""
        if self.reading:
            self._loop.remove_reader(self._fd)
            self._add_reader()
        if self._writing:
            self._loop.remove_writer(self._fd)
            self._add_writer()

    def _read_broken(self) -> None:
        """uvloop gives the socket up after each call: not before this one has returned."""
        self._readable()
        if self.reading:
            self._loop.call_soon(self._watch_anew)

    def expect(self, octets: int) -> None:
        many = octets >= AT_ONCE_FROM
        if many is not self._expecting and self._fd >= 0:
            self._expecting = many
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, AT_ONCE if many else 1)

    @property
    def unsent(self) -> int:
        return 0

    def buffered(self) -> bool:
        return False

    def finish(self) -> bool:
        shut_writing(self._sock)
        return True

    def drop(self, room: memoryview) -> bool:
        """On the bare socket: what TLS would say of these octets no longer matters to anybody."""
        for _ in range(16):
            try:
                if not self._sock.recv_into(room):
                    return True
            except (BlockingIOError, InterruptedError):
                return False
            except OSError:
                return True
        return False

    def close(self, reset: bool = False) -> None:
        if self._fd < 0:
            return
        self.watch_reading(False)
        self.watch_writing(False)
        if self._resets is not None:
            self._resets.leave(self._fd)
        self._readable = self._writable = _nobody
        self._fd = -1
        if reset:
            abort(self._sock)
        else:
            self._sock.close()


def shut_writing(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_WR)


def abort(sock: socket.socket) -> None:
    """Close with a reset: at once, and without a TIME_WAIT to remember."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def tune(sock: socket.socket) -> None:
    """No waiting for fuller packets; a dead peer is noticed within about two minutes. What a listening socket was told
    holds for those that it accepts (tcp(7)), but for not blocking."""
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
        option = getattr(socket, name, None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def _nobody() -> None:
    """Before `start` and after `close`."""
