"""Dials brokers: TCP, then TLS with the host name verified, unless the backend is marked `insecure_plaintext`.

TLS is the engine's, as clients' is (edge.broker_tls). No octet is sent before the certificate and the name in it were
verified. The whole dial, name resolution included, has `dial_timeout`. Used by pumps and by edge.exchange.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable

from gateway.core.meters import Cell
from gateway.core.session import Endpoint
from gateway.core.settings import Backend
from gateway.edge import reasons
from gateway.edge.broker_tls import BrokerTls, BrokerTrust, broker_trust
from gateway.edge.plain import PlainStream
from gateway.edge.process import DialFailed
from gateway.edge.reasons import StartRefused
from gateway.edge.streams import Stream, tune

log = logging.getLogger(__name__)

ADDRESSES_MAX = 8
"""Addresses of one name that are tried, in the resolver's order."""


class Dialer:
    """Opens connections to one backend's brokers. `__call__` is the pump's `Dial`."""

    def __init__(self, backend: Backend, dialled: Callable[[str], Cell] | None = None) -> None:
        """`dialled` gives the cell that counts a result (``ok``, or a reason's code). Raises StartRefused."""
        self._backend = backend
        self._dialled = dialled
        self._trust = None if backend.insecure_plaintext else broker_trust(backend)
        self.trouble = ""
        """Why the files as they are now cannot be used; what was read before is still in use."""

    @property
    def files(self) -> tuple[str, ...]:
        """What is to be watched."""
        tls = self._backend.tls
        return tuple(each for each in (tls.ca, tls.certificate, tls.key) if each is not None)

    async def reload(self) -> None:
        """The CAs or the own certificate may have changed: new connections use them; a bad set changes nothing."""
        if self._trust is None:
            return
        try:
            self._trust = await asyncio.to_thread(broker_trust, self._backend)
        except StartRefused as refused:
            self.trouble = f"{refused.reason.code}: {refused.detail}"
            log.warning("TLS files of backend %s are not taken, the old stay: %s", self._backend.name, self.trouble)
        else:
            self.trouble = ""

    async def __call__(self, endpoint: Endpoint) -> Stream:
        """Raises DialFailed."""
        try:
            async with asyncio.timeout(self._backend.dial_timeout):
                stream = await self._dial(endpoint)
        except TimeoutError:
            failed = DialFailed(reasons.UPSTREAM_DIAL_TIMEOUT, f"{endpoint} within {self._backend.dial_timeout:g} s")
        except DialFailed as error:
            failed = error
        else:
            self._count("ok")
            return stream
        self._count(failed.reason.code)
        raise failed

    def _count(self, result: str) -> None:
        if self._dialled is not None:
            self._dialled(result).value += 1

    async def _dial(self, endpoint: Endpoint) -> Stream:
        loop = asyncio.get_running_loop()
        sock = await _connect(loop, endpoint)
        if self._trust is None:
            return PlainStream(loop, sock)
        name = self._backend.tls.server_name or endpoint.host
        return await _encrypt(loop, sock, self._trust, name, endpoint)


async def _connect(loop: asyncio.AbstractEventLoop, endpoint: Endpoint) -> socket.socket:
    """The first of the name's addresses that takes a connection."""
    try:
        found = await loop.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise DialFailed(reasons.UPSTREAM_UNRESOLVED, f"{endpoint}: {_words(error)}") from None
    words = "no address"
    for family, kind, protocol, _, address in found[:ADDRESSES_MAX]:
        sock = socket.socket(family, kind, protocol)
        try:
            tune(sock)
            await loop.sock_connect(sock, address)
        except OSError as error:
            sock.close()
            words = _words(error)
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise DialFailed(reasons.UPSTREAM_UNREACHABLE, f"{endpoint}: {words}")


async def _encrypt(
    loop: asyncio.AbstractEventLoop, sock: socket.socket, trust: BrokerTrust, name: str, endpoint: Endpoint
) -> Stream:
    try:
        stream = BrokerTls(loop, sock, trust, name, endpoint)
    except ValueError as error:
        sock.close()
        raise DialFailed(reasons.UPSTREAM_WRONG_NAME, f"{endpoint}: {error}") from None
    except BaseException:
        sock.close()
        raise
    try:
        while (want := stream.handshake()) != "done":
            if want == "read":
                await _ready(loop.add_reader, loop.remove_reader, sock.fileno())
            else:
                await _ready(loop.add_writer, loop.remove_writer, sock.fileno())
    except BaseException:
        stream.close()
        raise
    return stream


async def _ready(add: Callable[..., object], remove: Callable[[int], object], fd: int) -> None:
    """Wait until the socket is ready, once."""
    ready = asyncio.get_running_loop().create_future()
    add(fd, lambda: None if ready.done() else ready.set_result(None))
    try:
        await ready
    finally:
        with contextlib.suppress(ValueError):
            remove(fd)


def _words(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
