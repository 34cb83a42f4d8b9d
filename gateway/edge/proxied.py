"""Connections that come through a balancer: whose header is believed, and reading it off the socket before TLS.

Only what certainly belongs to the header is taken from the socket (wire.proxy_protocol); a single byte is looked at
before, to see whether a header comes at all. Used by edge.reception and edge.arrival, under the handshake's deadline.
"""

from __future__ import annotations

import socket

from gateway.core.identity import Address
from gateway.core.reasons import Reason
from gateway.core.settings import ProxyProtocol
from gateway.edge import reasons
from gateway.edge.engine import HandshakeFailed
from gateway.wire.proxy_protocol import BadHeader, Header, HeaderReader

_OPENINGS = (b"P", b"\r")
"""First bytes of version 1 and 2. TLS begins with 0x16."""


class Balancers:
    """Who may speak for others on one listener."""

    def __init__(self, settings: ProxyProtocol | None) -> None:
        self._networks = settings.networks if settings is not None else ()
        self._required = settings is not None and settings.required

    def named(self, address: Address) -> bool:
        return any(address in network for network in self._networks)

    def refused(self, named: bool) -> Reason | None:
        """Why a connection is refused at once for where it came from."""
        return reasons.PROXY_SOURCE_UNNAMED if self._required and not named else None

    def gate(self, sock: socket.socket) -> HeaderGate:
        return HeaderGate(sock, self._required)


class HeaderGate:
    """Reads one connection's header."""

    def __init__(self, sock: socket.socket, required: bool) -> None:
        self._sock = sock
        self._required = required
        self._reader: HeaderReader | None = None

    def read(self) -> Header | None:
        """The header (an empty one where none is needed and none comes), None while it is incomplete.

        Raises HandshakeFailed.
        """
        try:
            if self._reader is None:
                first = self._sock.recv(1, socket.MSG_PEEK)
                if not first:
                    raise HandshakeFailed(reasons.TCP_PROBE, "")
                if first not in _OPENINGS:
                    if self._required:
                        raise HandshakeFailed(reasons.PROXY_HEADER_MISSING, "")
                    return Header()
                self._reader = HeaderReader()
            while True:
                data = self._sock.recv(self._reader.wanted)
                if not data:
                    raise HandshakeFailed(reasons.CLIENT_GAVE_UP, "before the end of the balancer's header")
                header = self._reader.feed(data)
                if header is not None:
                    return header
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as error:
            if self._reader is None:
                raise HandshakeFailed(reasons.TCP_PROBE, "") from None
            raise HandshakeFailed(reasons.CLIENT_GAVE_UP, error.strerror or "") from None
        except BadHeader as bad:
            raise HandshakeFailed(reasons.PROXY_HEADER_BAD, str(bad)) from None
