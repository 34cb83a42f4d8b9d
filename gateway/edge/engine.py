"""The TLS engine: one client's TLS, by pyOpenSSL's `Connection` directly on the non-blocking socket.

This is what will be compiled later; `ServerTls` is all that the rest of the edge knows of it, a `streams.Stream` with a
handshake in front. On the socket itself it costs half of what memory BIOs driven from Python cost (facts behind this:
620/1170 MB per CPU second up/down against 370/740).

OpenSSL keeps one error queue per thread, and what one connection leaves in it can end another: the queue is cleared
before every call. pyOpenSSL has no public name for that, and it reads through a copy, which a profile shows; these few
calls are taken from the binding that pyOpenSSL itself uses. A binding without them stops the gateway at import, not
later. What a call's failure means is left to pyOpenSSL.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Literal, Protocol

from cryptography.hazmat.bindings.openssl.binding import Binding
from OpenSSL import SSL

from gateway.core.certificates import BadCertificate, describe
from gateway.core.identity import Certificate
from gateway.core.reasons import Reason
from gateway.core.session import Part
from gateway.edge import reasons
from gateway.edge.streams import RECORD, SocketStream, Stream, StreamCut, StreamEnded, StreamLost
from gateway.edge.tls import ClientVerdict, error_words

WRITE_MAX = 256 * 1024
"""Octets given to OpenSSL in one call, so that one large answer does not hold up the loop."""

_clear_errors: Callable[[], None] = Binding().lib.ERR_clear_error
_ssl_read: Callable[[object, object, int], int] = Binding().lib.SSL_read
_ssl_write: Callable[[object, object, int], int] = Binding().lib.SSL_write
_memory_of: Callable[[Part], object] = Binding.ffi.from_buffer

Want = Literal["done", "read", "write"]


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

    @property
    def server_name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def group(self) -> str:
        """The key exchange group, for the meter."""
        ...


class SocketTls(SocketStream):
    """ServerTls by pyOpenSSL on the socket."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, context: SSL.Context) -> None:
        super().__init__(loop, sock)
        self._tls = SSL.Connection(context, sock)
        self._tls.set_accept_state()
        self._ssl: object = self._tls._ssl
        self._verdict = ClientVerdict()
        self._tls.set_app_data(self._verdict)
        self._read_blocked_by_write = False
        self._write_blocked_by_read = False
        self._wants_reading = False
        self._wants_writing = False
        self._end: StreamEnded | StreamLost | None = None
        """How reading ended, to be said again and again."""

    def handshake(self) -> Want:
        _clear_errors()
        try:
            self._tls.do_handshake()
        except SSL.WantReadError:
            return "read"
        except SSL.WantWriteError:
            return "write"
        except SSL.Error as error:
            raise self._failure(error) from None
        return "done"

    def _failure(self, error: SSL.Error) -> HandshakeFailed:
        verdict = self._verdict
        if verdict.error:
            return HandshakeFailed(reasons.CLIENT_CERTIFICATE_REFUSED, verdict.error)
        if isinstance(error, SSL.SysCallError | SSL.ZeroReturnError):
            return HandshakeFailed(reasons.CLIENT_GAVE_UP, "")
        sent, received = verdict.alert_sent, verdict.alert_received
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
            if self._tls.get_group_name() is None:
                return HandshakeFailed(reasons.NO_SHARED_CIPHER, words)
            if self._tls.get_context().get_verify_mode() & SSL.VERIFY_FAIL_IF_NO_PEER_CERT:
                return HandshakeFailed(reasons.CLIENT_CERTIFICATE_MISSING, "")
        if sent == _PROTOCOL_VERSION:
            return HandshakeFailed(reasons.TLS_VERSION, words)
        return HandshakeFailed(reasons.HANDSHAKE_FAILED, f"alert {sent} was sent; {words}" if sent >= 0 else words)

    def certificate(self) -> Certificate | None:
        chain = self._tls.get_verified_chain(as_cryptography=True)
        if not chain:
            if self._tls.get_peer_certificate(as_cryptography=True) is not None:
                raise HandshakeFailed(reasons.CLIENT_CERTIFICATE_REFUSED, "the certificate has no verified chain")
            return None
        try:
            return describe(chain[0])
        except BadCertificate as bad:
            raise HandshakeFailed(reasons.CLIENT_CERTIFICATE_REFUSED, str(bad)) from None

    @property
    def server_name(self) -> str:
        return (self._tls.get_servername() or b"").decode("ascii", "replace")[:255]

    @property
    def version(self) -> str:
        return self._tls.get_protocol_version_name()

    @property
    def group(self) -> str:
        return self._tls.get_group_name() or ""

    def read_into(self, room: memoryview) -> int:
        if self._end is not None:
            raise self._end
        filled = records = 0
        size = len(room)
        try:
            while filled < size:
                _clear_errors()
                octets = _ssl_read(self._ssl, _memory_of(room[filled:]), min(size - filled, RECORD))
                if octets <= 0:
                    self._tls._raise_ssl_error(self._ssl, octets)
                filled += octets
                records += 1
                if octets < RECORD and not self._looks_further():
                    return filled
        except SSL.WantReadError:
            self._looked(records)
            return filled
        except SSL.WantWriteError:
            self._read_blocked_by_write = True
            super().watch_writing(True)
            return filled
        except SSL.ZeroReturnError:
            self._end = StreamEnded()
        except SSL.Error as error:
            self._end = _lost(error)
        if not filled and self._end is not None:
            raise self._end
        return filled

    def buffered(self) -> bool:
        return self._end is not None or self._tls.pending() > 0

    def write(self, data: Part) -> int:
        _clear_errors()
        try:
            octets = _ssl_write(self._ssl, _memory_of(data), min(len(data), WRITE_MAX))
            if octets <= 0:
                self._tls._raise_ssl_error(self._ssl, octets)
            return octets
        except SSL.WantWriteError:
            return 0
        except SSL.WantReadError:
            self._write_blocked_by_read = True
            super().watch_reading(True)
            return 0
        except SSL.Error as error:
            raise _lost(error) from None

    def finish(self) -> bool:
        _clear_errors()
        try:
            self._tls.shutdown()
        except SSL.WantWriteError:
            return False
        except SSL.Error:
            pass
        return super().finish()

    # Reading may have to wait until something can be written (a key update's answer), and the reverse.

    def _on_readable(self) -> None:
        if self._write_blocked_by_read:
            self._write_blocked_by_read = False
            if not self._wants_reading:
                super().watch_reading(False)
            self._writable()
        if self._wants_reading:
            self._readable()

    def _on_writable(self) -> None:
        if self._read_blocked_by_write:
            self._read_blocked_by_write = False
            if not self._wants_writing:
                super().watch_writing(False)
            self._readable()
        if self._wants_writing:
            self._writable()

    def watch_reading(self, on: bool) -> None:
        self._wants_reading = on
        super().watch_reading(on or self._write_blocked_by_read)

    def watch_writing(self, on: bool) -> None:
        self._wants_writing = on
        super().watch_writing(on or self._read_blocked_by_write)

    def close(self, reset: bool = False) -> None:
        self._read_blocked_by_write = self._write_blocked_by_read = False
        super().close(reset)


def _lost(error: SSL.Error) -> StreamLost:
    if isinstance(error, SSL.SysCallError):
        number, words = error.args
        return StreamCut("without close_notify") if number == -1 else StreamLost(str(words))
    return StreamLost(error_words(error))


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
