"""The TLS engine: one client's TLS. The handshake is pyOpenSSL's, the octets are moved by a channel (edge.channels).

`ServerTls` is all that the rest of the edge knows of it, a `streams.Stream` with a handshake in front. What a failure
means is left to pyOpenSSL. Which form of the channel is used, compiled or interpreted, edge.compiled says. A broker's
TLS is built on the same `TlsStream` (edge.broker_tls).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Literal, Protocol

from OpenSSL import SSL

from gateway.core.certificates import BadCertificate, describe
from gateway.core.identity import Certificate
from gateway.core.reasons import Reason
from gateway.core.session import Part
from gateway.edge import reasons, tickets
from gateway.edge.channels import HandshakeChannel
from gateway.edge.compiled import alerts, server_channel, tls_channel
from gateway.edge.names import readable
from gateway.edge.streams import SocketStream, Stream
from gateway.edge.tls import ClientVerdict, error_words

Want = Literal["done", "read", "write"]
WANTS: tuple[Want, ...] = ("done", "read", "write")
"""By what `HandshakeChannel.shake` gives."""


class HandshakeFailed(Exception):
    """The handshake ended: the reason, and what exactly."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason.code}: {detail}")
        self.reason = reason
        self.detail = detail


class ServerTls(Stream, Protocol):
    """One client's TLS: first the handshake, then a stream."""

    def handshake(self) -> Want:
        """One step. "read" and "write" say what to wait for. Raises HandshakeFailed."""
        ...

    def certificate(self) -> Certificate | None:
        """The client's verified certificate. Raises HandshakeFailed if it can name nobody."""
        ...

    def goodbye(self) -> bool:
        """Say close_notify, of a connection that is closed next. False: not all of it could be sent. Never raises."""
        ...

    @property
    def server_name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def alpn(self) -> str:
        """The protocol that was agreed upon, "" for none."""
        ...

    @property
    def group(self) -> str:
        """The key exchange group, for the meter."""
        ...


class TlsStream(SocketStream):
    """TLS by pyOpenSSL, with a channel that moves the octets: what both directions share."""

    __slots__ = ("channel",)

    channel: HandshakeChannel

    @property
    def unsent(self) -> int:
        return self.channel.unsent

    def read_into(self, room: memoryview) -> int:
        return self.channel.read_into(room)

    def buffered(self) -> bool:
        return self.channel.buffered()

    def write(self, data: Part) -> int:
        return self.channel.write(data)

    def goodbye(self) -> bool:
        return self.channel.goodbye()

    def finish(self) -> bool:
        return self.channel.goodbye() and super().finish()

    def close(self, reset: bool = False) -> None:
        self.channel.close()
        super().close(reset)


class SocketTls(TlsStream):
    """ServerTls: a client's."""

    __slots__ = ("_context", "_verdict")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        context: SSL.Context,
        ready: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(loop, sock, ready)
        self._context = context
        """Kept though a server name may choose another: the handshake's callbacks are this one's."""
        self._verdict: ClientVerdict | None = None
        """What the callbacks have found; None where there are none."""
        if isinstance(context, tickets.ServerContext) and context.quiet:
            self.channel = server_channel(context, sock)
            return
        tls = tickets.begin(context)
        tls.set_accept_state()
        self._verdict = ClientVerdict()
        tls.set_app_data(self._verdict)
        alerts.watch(tls)
        self.channel = tls_channel(tls, sock)
        self.channel.adapted = isinstance(context, tickets.ServerContext) and context.adapted

    def handshake(self) -> Want:
        """Raises HandshakeFailed, with the alert sent if there is one."""
        alerts.forget()
        try:
            return WANTS[self.channel.shake()]
        except SSL.Error as error:
            failure = self._failure(error)
            self.channel.flush()
            raise failure from None

    def _failure(self, error: SSL.Error) -> HandshakeFailed:
        verdict = self._verdict
        if verdict is not None and verdict.unknown_name is not None:
            return HandshakeFailed(reasons.SERVER_NAME_UNKNOWN, verdict.unknown_name or "the client gave none")
        if verdict is not None and verdict.error:
            return HandshakeFailed(reasons.CLIENT_CERTIFICATE_REFUSED, verdict.error)
        if isinstance(error, SSL.SysCallError | SSL.ZeroReturnError):
            return HandshakeFailed(reasons.CLIENT_GAVE_UP, "")
        sent, received = alerts.noted()
        words = error_words(error)
        if received in _DISTRUST:
            return HandshakeFailed(reasons.CLIENT_DISTRUSTS, f"alert {received} ({_ALERTS[received]})")
        if received >= 0:
            return HandshakeFailed(
                reasons.HANDSHAKE_FAILED, f"the client sent alert {received} ({_ALERTS.get(received, '?')}); {words}"
            )
        if sent == _CERTIFICATE_REQUIRED:
            return HandshakeFailed(reasons.CLIENT_CERTIFICATE_MISSING, "")
        if sent == _HANDSHAKE_FAILURE:
            # TLS 1.2 has this one alert for both: nothing was agreed upon, or it was and the certificate is missing.
            if not self.channel.group():
                return HandshakeFailed(reasons.NO_SHARED_CIPHER, words)
            if self.channel.tls.get_context().get_verify_mode() & SSL.VERIFY_FAIL_IF_NO_PEER_CERT:
                return HandshakeFailed(reasons.CLIENT_CERTIFICATE_MISSING, "")
        if sent == _PROTOCOL_VERSION:
            return HandshakeFailed(reasons.TLS_VERSION, words)
        return HandshakeFailed(reasons.HANDSHAKE_FAILED, f"alert {sent} was sent; {words}" if sent >= 0 else words)

    def certificate(self) -> Certificate | None:
        if self._verdict is None or self._context.get_verify_mode() == SSL.VERIFY_NONE:
            return None
        tls = self.channel.tls
        chain = tls.get_verified_chain(as_cryptography=True)
        if not chain:
            if tls.get_peer_certificate(as_cryptography=True) is not None:
                raise HandshakeFailed(reasons.CLIENT_CERTIFICATE_REFUSED, "the certificate has no verified chain")
            return None
        try:
            return describe(chain[0])
        except BadCertificate as bad:
            raise HandshakeFailed(reasons.CLIENT_CERTIFICATE_REFUSED, str(bad)) from None

    @property
    def server_name(self) -> str:
        return readable(self.channel.server_name())

    @property
    def version(self) -> str:
        return _VERSIONS.get(self.channel.version()) or self.channel.tls.get_protocol_version_name()

    @property
    def alpn(self) -> str:
        if self._verdict is None:
            return ""
        return self.channel.tls.get_alpn_proto_negotiated().decode("ascii")

    @property
    def group(self) -> str:
        return self.channel.group()


_VERSIONS = {0x0303: "TLSv1.2", 0x0304: "TLSv1.3"}
_HANDSHAKE_FAILURE, _PROTOCOL_VERSION, _CERTIFICATE_REQUIRED = 40, 70, 116
_DISTRUST = frozenset({42, 43, 44, 45, 46, 48})
_ALERTS = {
    0: "close_notify", 10: "unexpected_message", 20: "bad_record_mac", 22: "record_overflow", 40: "handshake_failure",
    42: "bad_certificate", 43: "unsupported_certificate", 44: "certificate_revoked", 45: "certificate_expired",
    46: "certificate_unknown", 47: "illegal_parameter", 48: "unknown_ca", 49: "access_denied", 50: "decode_error",
    51: "decrypt_error", 70: "protocol_version", 71: "insufficient_security", 80: "internal_error",
    86: "inappropriate_fallback", 90: "user_canceled", 109: "missing_extension", 110: "unsupported_extension",
    112: "unrecognized_name", 116: "certificate_required", 120: "no_application_protocol",
}  # fmt: skip
"""RFC 8446, 6."""
