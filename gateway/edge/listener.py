"""The bound ports of one listener, and what accepts on them.

All ports (bootstrap and the whole broker range) are bound before anything else is done, all or none. Accepting has a
bounded share of each turn of the loop; with no file descriptor left it pauses, and goes on by itself.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_address

from gateway.core import settings
from gateway.core.identity import Address
from gateway.edge import reasons
from gateway.edge.reasons import StartRefused
from gateway.edge.streams import tune

BACKLOG = 4096
"""Connections that wait to be accepted; the system may permit fewer (net.core.somaxconn). A flood fills it in the
moments in which the loop is busy, and whoever finds it full tries again after a second or more."""
ACCEPT_SECONDS = 0.002
"""Of the processor, for accepting at one port in one turn of the loop, as edge.turns has it for handshakes. In a flood
nearly all that is accepted is refused at once, at some 30 us each. A fixed number of them was too few beside the rest
of a busy turn: newcomers waited for seconds in a queue that strangers filled (docs/decisions/0020)."""
ACCEPTS_PER_LOOK = 8
"""Between two looks at that time."""
LOOKS_LEFT_OUT = 15
"""To find that nobody else waits costs as much as to accept somebody. After a connection that came alone, so many more
are taken one in each turn of the loop, which tells of whoever else is there."""
ADDRESSES_KEPT = 4096
"""Addresses that are remembered in their parsed form."""
PAUSE_SECONDS = 0.5
_NO_FILES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BoundPort:
    """One listening socket. `node_id` is the broker that the port stands for, None on the bootstrap port."""

    node_id: int | None
    port: int
    sock: socket.socket


def bind(listener: settings.Listener, *, together: bool = False) -> list[BoundPort]:
    """Bind and listen on every port of a listener. Raises StartRefused, and then none is bound.

    together: others of this gateway bind the same ports, and the system shares the connections out (SO_REUSEPORT).
    It permits the same to any process of this user, so whoever binds first asks without it whether the ports are free.
    """
    return bind_more(listener, {}, together=together)


def try_ports(listener: settings.Listener, held: Collection[tuple[str, int]]) -> None:
    """Whether the ports of a listener that nobody of this gateway holds are free. Raises StartRefused."""
    for _, port in listener.ports():
        if (listener.bind, port) not in held:
            for sock in _bind(listener, port, together=False):
                sock.close()


Held = Mapping[tuple[str, int], Sequence[socket.socket]]
"""(bind, port) -> the sockets that are bound to it already."""


def bind_more(listener: settings.Listener, held: Held, *, together: bool = False) -> list[BoundPort]:
    """Likewise, but for the ports that are held already. Raises StartRefused, and then none is bound anew."""
    bound: list[BoundPort] = []
    try:
        for node_id, port in listener.ports():
            socks = held.get((listener.bind, port)) or _bind(listener, port, together)
            bound += [BoundPort(node_id, port, sock) for sock in socks]
    except BaseException:
        close_new(bound, held)
        raise
    return bound


def close_new(bound: Iterable[BoundPort], held: Held) -> None:
    """Give back those that were not held before."""
    before = {sock for socks in held.values() for sock in socks}
    for each in bound:
        if each.sock not in before:
            each.sock.close()


def _bind(listener: settings.Listener, port: int, together: bool) -> list[socket.socket]:
    """One socket for each address of the bind name. "::" takes IPv4 as well."""
    where = f"listener {listener.name}, {listener.bind} port {port}"
    try:
        found = socket.getaddrinfo(listener.bind, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise StartRefused(reasons.BIND_ADDRESS, f"{where}: {_words(error)}") from None
    socks: list[socket.socket] = []
    try:
        for family, address in dict.fromkeys((each[0], each[4]) for each in found):  # a hosts file may say one twice
            sock = socket.socket(family, socket.SOCK_STREAM)
            socks.append(sock)
            tune(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if together:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address[0] != "::")
            sock.bind(address)
            sock.listen(BACKLOG)
    except OSError as error:
        for sock in socks:
            sock.close()
        unknown = error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
        reason = reasons.BIND_ADDRESS if unknown else reasons.PORT_IN_USE
        raise StartRefused(reason, f"{where}: {_words(error)}") from None
    return socks


def _words(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__


class Acceptor:
    """Accepts on one bound port; `take` gets each connection, which is its own from then on."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        take: Callable[[socket.socket, Address], None],
        paused: Callable[[str], None],
        spent: Callable[[], float] = time.thread_time,
    ) -> None:
        """`paused` is told, with the system's words, when no file descriptor was left. `spent`: the processor's time
        that this thread has had, in seconds."""
        self._loop = loop
        self._spent = spent
        self._sock = sock
        self._take = take
        self._paused = paused
        self._resuming: asyncio.TimerHandle | None = None
        self._open = True
        self._looks_left_out = 0
        loop.add_reader(sock.fileno(), self._accept)

    def _accept(self) -> None:
        if self._looks_left_out:
            self._looks_left_out -= 1
            self._accept_some(1)
        elif self._accept_some(ACCEPTS_PER_LOOK):
            end = self._spent() + ACCEPT_SECONDS
            while self._spent() < end and self._accept_some(ACCEPTS_PER_LOOK):
                pass

    def _accept_some(self, most: int) -> bool:
        """False: nobody else waits, or nobody may be accepted now."""
        for taken in range(most):
            if not self._open:
                return False
            try:
                sock, address = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionError):
                if taken == 1:
                    self._looks_left_out = LOOKS_LEFT_OUT
                return False
            except OSError as error:
                if error.errno in _NO_FILES:
                    self._pause(error)
                else:
                    log.warning("a connection could not be accepted: %s", _words(error))
                return False
            try:
                self._take(sock, client_address(address[0]))
            except Exception as error:
                sock.close()
                log.error("an accepted connection failed: %s", type(error).__name__, exc_info=True)
        return True

    def _pause(self, error: OSError) -> None:
        self._loop.remove_reader(self._sock.fileno())
        self._resuming = self._loop.call_later(PAUSE_SECONDS, self._resume)
        self._paused(_words(error))

    def _resume(self) -> None:
        self._resuming = None
        self._loop.add_reader(self._sock.fileno(), self._accept)

    def release(self) -> None:
        """Accept no more; the socket stays bound, for whoever goes on with it. Doing so twice does nothing."""
        if self._open:
            self._open = False
            if self._resuming is not None:
                self._resuming.cancel()
            else:
                self._loop.remove_reader(self._sock.fileno())

    def close(self) -> None:
        """Accept no more, and give the port back. Doing so twice does nothing."""
        self.release()
        self._sock.close()


@lru_cache(ADDRESSES_KEPT)
def client_address(text: str) -> Address:
    """The address as policies see it: without a scope, and IPv4 where it came mapped into IPv6."""
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
