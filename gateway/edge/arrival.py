"""A connection between its acceptance and its session: the balancer's header where there is one, the first bytes, then
the TLS handshake in its turns, all under one deadline.

Ends in exactly one of two calls: `arrived` with the stream and who is there, or `failed` with the reason. Until its
first bytes have come, and look like TLS, nothing is held for it but the socket.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass

from gateway.core.identity import Certificate
from gateway.core.reasons import Reason
from gateway.edge import reasons
from gateway.edge.engine import HandshakeFailed, ServerTls
from gateway.edge.proxied import HeaderGate
from gateway.edge.sniff import PEEK, not_tls
from gateway.edge.streams import abort, tune
from gateway.edge.turns import Turns
from gateway.wire.proxy_protocol import Header


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whom an arrival tells. `failed` is given the stream if its handshake left an alert that the client should still
    read (edge.ending); otherwise the socket is closed. `proxied` is told a balancer's header, and gives the reason to
    end the connection for, if there is one."""

    arrived: Callable[[ServerTls, Certificate | None], None]
    failed: Callable[[Reason, str, ServerTls | None], None]
    proxied: Callable[[Header], Reason | None]


class Arrival:
    """One accepted connection."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        secure: Callable[[socket.socket], ServerTls],
        turns: Turns,
        timeout: float,
        outcome: Outcome,
        gate: HeaderGate | None = None,
    ) -> None:
        """`secure` begins TLS on the socket. `gate`: the connection is a balancer's, whose header comes first."""
        self._loop = loop
        self._sock = sock
        self._secure = secure
        self._turns = turns
        self._outcome = outcome
        self._gate = gate
        self._tls: ServerTls | None = None
        self._open = True
        self._timer = loop.call_later(timeout, self._late)
        loop.add_reader(sock.fileno(), self._first_bytes)

    def abort(self, reason: Reason, detail: str = "") -> None:
        """End it now, by a reset."""
        self._fail(reason, detail, reset=True)

    def _late(self) -> None:
        self._fail(reasons.HANDSHAKE_TIMEOUT, "" if self._tls is not None else "nothing was sent")

    def _fail(self, reason: Reason, detail: str, *, alert: bool = False, reset: bool = False) -> None:
        if not self._open:
            return
        tls = self._stop()
        if not alert:
            if tls is not None:
                tls.close(reset)
            elif reset:
                abort(self._sock)
            else:
                self._sock.close()
        self._outcome.failed(reason, detail, tls if alert else None)

    def _stop(self) -> ServerTls | None:
        self._open = False
        self._timer.cancel()
        tls = self._tls
        if tls is None:
            self._loop.remove_reader(self._sock.fileno())
        else:
            tls.watch_reading(False)
            tls.watch_writing(False)
        return tls

    # ---- before TLS -------------------------------------------------------------------------------------------

    def _first_bytes(self) -> None:
        if not self._open or (self._gate is not None and not self._pass(self._gate)) or not self._sniff():
            return
        self._loop.remove_reader(self._sock.fileno())
        try:
            tune(self._sock)
            tls = self._tls = self._secure(self._sock)
        except Exception as error:  # an error of ours ends this connection and no other
            self._fail(reasons.SESSION_FAILED, type(error).__name__)
            return
        tls.start(self._wait_turn, self._wait_turn)
        self._turns.ask(self._turn)

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
        reason = self._outcome.proxied(header)
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

    def _wait_turn(self) -> None:
        """There is something to read or room to write: a step is due, in its turn."""
        if self._open and self._tls is not None:
            self._tls.watch_reading(False)
            self._tls.watch_writing(False)
            self._turns.ask(self._turn)

    def _turn(self) -> None:
        tls = self._tls
        if not self._open or tls is None:
            return
        try:
            want = tls.handshake()
            certificate = tls.certificate() if want == "done" else None
        except HandshakeFailed as failed:
            self._fail(failed.reason, failed.detail, alert=failed.reason is not reasons.CLIENT_GAVE_UP)
            return
        if want == "done":
            self._stop()
            self._outcome.arrived(tls, certificate)
        elif want == "write":
            tls.watch_writing(True)
        else:
            tls.watch_reading(True)
