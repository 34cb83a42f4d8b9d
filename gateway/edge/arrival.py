"""A connection between its acceptance and its session: the balancer's header where there is one, the first bytes, the
TLS handshake in its turns, and then its first word inside TLS.

Ends in exactly one call: `arrived` with the stream, who is there and what was read, `failed` with the reason, or
`silent` where the handshake was complete and nothing came of it. Until its first bytes have come, and look like TLS,
nothing is held for it but the socket; until its first word has come there is no session and no pump. So a health check,
and a stranger who only shakes hands, cost little more than TLS itself. A client that has shown a certificate has said
who it is, and is not waited for.

Times: `handshake_timeout` until the handshake is complete, then `authentication_timeout` until the first word. The
login's time is the rest of that one (`Peer.login_until`): a stranger has the sum of the two, whatever he does.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import Protocol

from gateway.core.identity import Certificate
from gateway.core.reasons import Reason
from gateway.core.session_reasons import AUTHENTICATION_TIMEOUT
from gateway.edge import reasons
from gateway.edge.engine import HandshakeFailed, ServerTls
from gateway.edge.proxied import HeaderGate
from gateway.edge.sniff import PEEK, not_tls
from gateway.edge.streams import StreamBarren, StreamEnded, StreamLost, abort
from gateway.edge.turns import HandshakeTurns
from gateway.edge.waits import Waits
from gateway.wire.proxy_protocol import Header


class Host(Protocol):
    """Whom one arrival tells."""

    def secure(self, sock: socket.socket, arrival: Arrival) -> ServerTls:
        """Begin TLS on the socket, of which the loop calls `arrival.ready` already."""

    def proxied(self, header: Header) -> Reason | None:
        """A balancer's header has come. The reason to end the connection for, if there is one."""

    def greeted(self, stream: ServerTls) -> None:
        """The handshake is complete."""

    def arrived(self, stream: ServerTls, certificate: Certificate | None, octets: int) -> None:
        """So many octets of the client's lie in the process's scratch memory; none if its certificate was enough."""

    def failed(self, reason: Reason, detail: str, stream: ServerTls | None) -> None:
        """It did not come to that. The stream is given if its handshake left an alert that the client should still
        read (edge.ending); otherwise the socket is closed."""

    def silent(self, reason: Reason, detail: str) -> None:
        """The handshake was complete, and the connection ended without a word. The socket is closed."""


@dataclass(frozen=True, slots=True)
class Lobby:
    """What the arrivals of a process share."""

    loop: asyncio.AbstractEventLoop
    turns: HandshakeTurns
    handshakes: Waits
    first_words: Waits
    scratch: memoryview


class Arrival:
    """One accepted connection."""

    __slots__ = ("_gate", "_greeted", "_host", "_lobby", "_open", "_sock", "_tls", "ready")

    def __init__(self, lobby: Lobby, sock: socket.socket, host: Host, gate: HeaderGate | None = None) -> None:
        """`gate`: the connection is a balancer's, whose header comes first."""
        self._lobby = lobby
        self._sock = sock
        self._host = host
        self._gate = gate
        self._tls: ServerTls | None = None
        self._greeted = False
        """The handshake is complete."""
        self._open = True
        self.ready = self._ready
        """Made once: the loop and the stream both hold it."""
        lobby.handshakes.begin(self)
        lobby.loop.add_reader(sock.fileno(), self.ready)

    def abort(self, reason: Reason, detail: str = "") -> None:
        """End it now: by a reset, or by TLS's goodbye where the handshake is complete."""
        if self._greeted:
            self._fall_silent(reason, detail)
        else:
            self._fail(reason, detail, reset=True)

    def late(self) -> None:
        """Its time is over."""
        if self._greeted:
            self._fall_silent(AUTHENTICATION_TIMEOUT, "")
        else:
            self._fail(reasons.HANDSHAKE_TIMEOUT, "" if self._tls is not None else "nothing was sent")

    def _fail(self, reason: Reason, detail: str, *, alert: bool = False, reset: bool = False) -> None:
        if not self._open:
            return
        self._stop()
        tls = self._tls
        if tls is None:
            self._lobby.loop.remove_reader(self._sock.fileno())
            if reset:
                abort(self._sock)
            else:
                self._sock.close()
        elif not alert:
            tls.close(reset)
        self._host.failed(reason, detail, tls if alert else None)

    def _fall_silent(self, reason: Reason, detail: str, *, goodbye: bool = True) -> None:
        """After the handshake nothing came. A client that has ended sends nothing that a reset would answer, and what
        the system still has to send it sends after the close."""
        tls = self._tls
        if not self._open or tls is None:
            return
        self._stop()
        if goodbye:
            tls.goodbye()
        tls.close()
        self._host.silent(reason, detail)

    def _stop(self) -> None:
        self._open = False
        self._lobby.handshakes.end(self)
        self._lobby.first_words.end(self)
        del self.ready  # it holds this object in a circle

    # ---- before TLS -------------------------------------------------------------------------------------------

    def _ready(self) -> None:
        """There is something to read, or room to write."""
        if not self._open:
            return
        if self._greeted:
            self._first_word()
        elif self._tls is not None or self._first_bytes():
            self._lobby.turns.take(self)

    def _first_bytes(self) -> bool:
        """True if TLS has begun."""
        if (self._gate is not None and not self._pass(self._gate)) or not self._sniff():
            return False
        try:
            self._tls = self._host.secure(self._sock, self)
        except Exception as error:  # an error of ours ends this connection and no other
            self._fail(reasons.SESSION_FAILED, type(error).__name__)
        return self._open

    def _pass(self, gate: HeaderGate) -> bool:
        """Read the balancer's header. True when it is complete, or there is none."""
        try:
            header = gate.read()
        except HandshakeFailed as failed:
            self._fail(failed.reason, failed.detail)
            return False
        if header is None:
            return False
        self._gate = None
        reason = self._host.proxied(header)
        if reason is not None:
            self._fail(reason, "")
        return reason is None

    def _sniff(self) -> bool:
        """Look at the first bytes without taking them. True if TLS may begin."""
        try:
            first = self._sock.recv(PEEK, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            first = b""
        reason = not_tls(first) if first else reasons.TCP_PROBE
        if reason is not None:
            self._fail(reason, "")
        return reason is None

    # ---- the handshake ----------------------------------------------------------------------------------------

    def pause(self) -> None:
        """A step is due, in its turn."""
        if self._tls is not None:
            self._tls.watch_reading(False)
            self._tls.watch_writing(False)

    def turn(self) -> None:
        """One step of the handshake."""
        tls = self._tls
        if not self._open or tls is None:
            return
        try:
            want = tls.handshake()
            certificate = tls.certificate() if want == "done" else None
        except HandshakeFailed as failed:
            self._fail(failed.reason, failed.detail, alert=failed.reason is not reasons.CLIENT_GAVE_UP)
            return
        tls.watch_writing(want == "write")
        tls.watch_reading(want != "write")
        if want != "done":
            return
        self._greeted = True
        self._host.greeted(tls)
        if certificate is not None:
            self._arrive(tls, certificate, 0)
            return
        self._lobby.handshakes.end(self)
        self._lobby.first_words.begin(self)
        if tls.buffered():  # it came behind the handshake; what comes later the loop tells
            self._first_word()

    def _first_word(self) -> None:
        """Read what the client says first; it may have come behind its handshake."""
        tls = self._tls
        assert tls is not None
        try:
            octets = tls.read_into(self._lobby.scratch)
        except StreamEnded:
            self._fall_silent(reasons.CLIENT_DISCONNECTED, "")
            return
        except StreamLost as lost:
            barren = isinstance(lost, StreamBarren)
            self._fall_silent(reasons.NO_CONTENT if barren else reasons.CLIENT_LOST, str(lost), goodbye=barren)
            return
        if octets:
            self._arrive(tls, None, octets)

    def _arrive(self, tls: ServerTls, certificate: Certificate | None, octets: int) -> None:
        self._stop()
        self._host.arrived(tls, certificate, octets)
