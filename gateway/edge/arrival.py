"""A connection between its acceptance and its session: the balancer's header where there is one, the
first bytes, then the TLS handshake, all under one deadline.

Ends in exactly one of two calls: `arrived` with the stream and who is there, or `failed` with the reason. An alert that
the handshake has sent is given time to reach the client (edge.ending).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from gateway.core.identity import Certificate
from gateway.core.reasons import Reason
from gateway.edge import reasons
from gateway.edge.engine import HandshakeFailed, ServerTls
from gateway.edge.proxied import HeaderGate
from gateway.edge.sniff import PEEK, not_tls
from gateway.wire.proxy_protocol import Header

Arrived = Callable[[ServerTls, Certificate | None], None]
Failed = Callable[[Reason, str, bool], None]
"""reason, detail, and whether there is an alert that the client should still read."""

Proxied = Callable[[Header], Reason | None]
"""Told what a balancer's header says; gives the reason to end the connection for, if there is one."""


class Arrival:
    """One accepted connection."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        tls: ServerTls,
        timeout: float,
        arrived: Arrived,
        failed: Failed,
        gate: HeaderGate | None = None,
        proxied: Proxied | None = None,
    ) -> None:
        """`gate`: the connection is a balancer's, whose header `proxied` is told."""
        self._sock = sock
        self._tls = tls
        self._arrived: Arrived | None = arrived
        self._failed = failed
        self._gate = gate
        self._proxied = proxied
        self._sniffed = False
        self._timer = loop.call_later(timeout, self._late)
        tls.start(self._go_on, self._go_on)
        tls.watch_reading(True)

    def abort(self, reason: Reason) -> None:
        """End it now."""
        self._fail(reason, "", False)

    def _late(self) -> None:
        self._fail(reasons.HANDSHAKE_TIMEOUT, "" if self._sniffed else "nothing was sent", False)

    def _fail(self, reason: Reason, detail: str, alert: bool) -> None:
        if self._arrived is not None:
            self._stop()
            self._failed(reason, detail, alert)

    def _stop(self) -> None:
        self._arrived = None
        self._timer.cancel()
        self._tls.watch_reading(False)
        self._tls.watch_writing(False)

    def _go_on(self) -> None:
        if self._arrived is None or (self._gate is not None and not self._pass(self._gate)):
            return
        if not self._sniffed and not self._sniff():
            return
        try:
            want = self._tls.handshake()
            certificate = self._tls.certificate() if want == "done" else None
        except HandshakeFailed as failed:
            self._fail(failed.reason, failed.detail, failed.reason is not reasons.CLIENT_GAVE_UP)
            return
        self._tls.watch_writing(want == "write")
        if want == "done":
            arrived = self._arrived
            self._stop()
            arrived(self._tls, certificate)

    def _pass(self, gate: HeaderGate) -> bool:
        """Read the balancer's header. True when it is complete, or there is none."""
        try:
            header = gate.read()
        except HandshakeFailed as failed:
            self._fail(failed.reason, failed.detail, False)
            return False
        if header is None:
            return False
        self._gate = None
        reason = self._proxied(header) if self._proxied is not None else None
        if reason is not None:
            self._fail(reason, "", False)
        return reason is None

    def _sniff(self) -> bool:
        """Look at the first bytes without taking them. True if TLS may begin."""
        try:
            first = self._sock.recv(PEEK, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            self._fail(reasons.CLIENT_GAVE_UP, error.strerror or "", False)
            return False
        if not first:
            self._fail(reasons.CLIENT_GAVE_UP, "nothing was sent", False)
            return False
        reason = not_tls(first)
        if reason is not None:
            self._fail(reason, "", False)
            return False
        self._sniffed = True
        return True
