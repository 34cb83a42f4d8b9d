"""TLS towards brokers, by the same engine as clients' (edge.engine): whom to believe, and the stream.

A broker is believed if its chain ends at a CA of `tls.ca` (without one, at the system's) and its certificate's subject
alternative names are for the name that is dialled, or for `tls.server_name`. Both are OpenSSL's own checks within the
handshake (X509_VERIFY_PARAM_set1_host and set1_ip), made before an octet of ours is sent; RFC 9525: a wildcard stands
for one whole label, an address is matched by address entries only, the common name never counts. pyOpenSSL has no
public name for these calls; they are taken from the binding that it uses itself, as in edge.channels.

TLS 1.3 and 1.2 with the suites of listeners, no renegotiation, no compression. A session of TLS 1.3 is resumed (RFC
8446, 2.2) with the same broker, under the same name and with the same files, until `SESSION_SECONDS` after the
handshake in which the certificate was shown: one that has expired since is not believed for longer. Records that carry
nothing are counted by the channel, and an end without close_notify is a broken connection, as for clients.

Used by edge.upstream.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.bindings._rust import _openssl
from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL

from gateway.core.session import Endpoint
from gateway.core.settings import Backend
from gateway.edge import reasons
from gateway.edge.compiled import tls_channel
from gateway.edge.engine import WANTS, TlsStream, Want
from gateway.edge.private_files import check_permissions
from gateway.edge.process import DialFailed
from gateway.edge.reasons import StartRefused
from gateway.edge.tls import CHAIN_MAX, PEM_BYTES_MAX, error_words, strict

SESSION_SECONDS = 3600.0
SESSIONS_MAX = 1024
"""Brokers of one backend whose sessions are kept; beyond it the oldest go."""
HOST_MAX = 253
"""Octets of a host name (RFC 1035, 2.3.4)."""

_lib: Any = _openssl.lib
_ffi: Any = _openssl.ffi
FUNCTIONS = (
    "SSL_get0_param", "SSL_get_verify_result", "SSL_session_reused", "X509_VERIFY_PARAM_set1_host",
    "X509_VERIFY_PARAM_set1_ip", "X509_VERIFY_PARAM_set_hostflags", "X509_verify_cert_error_string",
)  # fmt: skip
"""A binding without one of them stops the gateway at import, not later."""
for _name in FUNCTIONS:
    getattr(_lib, _name)

_BELIEVED = 0
"""X509_V_OK."""
_WRONG_NAME = frozenset({62, 64})
"""X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH."""
_WHOLE_LABELS = 0x4
"""X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS."""
_NO_COMMON_NAME = 0x20
"""X509_CHECK_FLAG_NEVER_CHECK_SUBJECT."""


@dataclass(frozen=True, slots=True)
class _Kept:
    session: SSL.Session
    until: float
    """Monotonic; of the handshake in which the certificate was shown, however often it was resumed since."""


class BrokerTrust:
    """What connections to one backend's brokers share: the context, which says whom to believe and shows the own
    certificate, and sessions. (They lie beside the context, since each holds it: it would be a circle.)"""

    def __init__(self, context: SSL.Context, clock: Callable[[], float] = time.monotonic) -> None:
        self._context = context
        self._clock = clock
        self._sessions: OrderedDict[tuple[str, Endpoint], _Kept] = OrderedDict()

    def begin(self, name: str, endpoint: Endpoint) -> tuple[SSL.Connection, float]:
        """A connection that will believe this name only; and until when the session may be resumed that it offers
        itself, 0 for none. Raises ValueError for what can be the name of no host."""
        connection = SSL.Connection(self._context)
        connection.set_connect_state()
        _expect(connection, name)
        kept = self._sessions.get((name, endpoint))
        if kept is None or kept.until <= self._clock():
            return connection, 0.0
        connection.set_session(kept.session)
        return connection, kept.until

    def anew(self) -> float:
        """Until when a session may be resumed whose certificate was shown just now."""
        return self._clock() + SESSION_SECONDS

    def keep(self, name: str, endpoint: Endpoint, session: SSL.Session, until: float) -> None:
        """For the next connection."""
        self._sessions[name, endpoint] = _Kept(session, until)
        self._sessions.move_to_end((name, endpoint))
        if len(self._sessions) > SESSIONS_MAX:
            self._sessions.popitem(last=False)


def broker_trust(backend: Backend) -> BrokerTrust:
    """Reads the files. Raises StartRefused."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    strict(context, ("1.2", "1.3"))
    tls = backend.tls
    try:
        if tls.ca is None:
            context.set_default_verify_paths()
        else:
            context.load_verify_locations(tls.ca)
    except SSL.Error as error:
        detail = f"ca {tls.ca} of the backend {backend.name}: {error_words(error)}"
        raise StartRefused(reasons.TLS_FILE_UNREADABLE, detail) from None
    context.set_verify_depth(CHAIN_MAX)
    context.set_verify(SSL.VERIFY_PEER)
    if tls.certificate is not None and tls.key is not None:
        _use_certificate(context, tls.certificate, tls.key)
    return BrokerTrust(context)


def _use_certificate(context: SSL.Context, certificate: str, key: str) -> None:
    """Raises StartRefused."""
    check_permissions(key)
    try:
        with open(key, "rb") as file:
            found = serialization.load_pem_private_key(file.read(PEM_BYTES_MAX), password=None)
        context.use_certificate_chain_file(certificate)
        context.use_privatekey(found)  # type: ignore[arg-type]  # of the kinds in the stubs, or TypeError
        context.check_privatekey()
    except (OSError, SSL.Error, ValueError, TypeError) as error:
        detail = f"{certificate} and {key}: {_words(error)}"
        raise StartRefused(reasons.UPSTREAM_CERTIFICATE_UNUSABLE, detail) from None


def _words(error: Exception) -> str:
    """Nothing of what a file holds."""
    if isinstance(error, SSL.Error):
        return error_words(error)
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return "no key that can be read without a passphrase"


def _expect(connection: SSL.Connection, name: str) -> None:
    """Have the handshake fail unless the certificate is for this name. Raises ValueError for what is none.

    OpenSSL takes an empty name for "any", and one that begins with a dot for "all below": neither comes to it.
    """
    param = _lib.SSL_get0_param(connection._ssl)
    try:
        address = ipaddress.ip_address(name).packed
    except ValueError:
        host = name.removesuffix(".").encode("idna")
        if not 0 < len(host) <= HOST_MAX or host.startswith(b".") or b"\0" in host:
            raise ValueError("no name of a host") from None
        connection.set_tlsext_host_name(host)
        _lib.X509_VERIFY_PARAM_set_hostflags(param, _WHOLE_LABELS | _NO_COMMON_NAME)
        taken = _lib.X509_VERIFY_PARAM_set1_host(param, host, len(host))
    else:
        taken = _lib.X509_VERIFY_PARAM_set1_ip(param, address, len(address))
    if taken != 1:
        raise ValueError("a name that OpenSSL does not take")


class BrokerTls(TlsStream):
    """One connection to a broker: first the handshake, then a stream."""

    __slots__ = ("_begun", "_key", "_to_keep", "_trust", "_until")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        trust: BrokerTrust,
        name: str,
        endpoint: Endpoint,
    ) -> None:
        """Raises ValueError if there can be no certificate for `name`."""
        tls, self._until = trust.begin(name, endpoint)
        super().__init__(loop, sock)
        self._trust = trust
        self._key = name, endpoint
        self.channel = tls_channel(tls, sock)
        self._begun = False
        self._to_keep = False
        """The handshake is complete, and no session of it was kept yet."""

    def handshake(self) -> Want:
        """One step. Raises DialFailed, with the alert sent if there is one."""
        try:
            if not self._begun:
                self._begun = True
                self.channel.begin()
            want = WANTS[self.channel.shake()]
        except SSL.Error as error:
            failed = self._failure(error)
            self.channel.flush()
            raise failed from None
        if want == "done":
            self._complete()
        return want

    def _complete(self) -> None:
        """Raises DialFailed if OpenSSL should have let a certificate pass that it did not believe."""
        tls = self.channel.tls
        if _lib.SSL_get_verify_result(tls._ssl) != _BELIEVED or tls.get_verify_mode() != SSL.VERIFY_PEER:
            raise DialFailed(reasons.UPSTREAM_UNTRUSTED, f"{self._key[1]}: it was not verified")
        if not self.resumed:
            self._until = self._trust.anew()
        self._to_keep = tls.get_protocol_version() == SSL.TLS1_3_VERSION

    def _failure(self, error: SSL.Error) -> DialFailed:
        endpoint = self._key[1]
        verdict = _lib.SSL_get_verify_result(self.channel.tls._ssl)
        if verdict != _BELIEVED:
            reason = reasons.UPSTREAM_WRONG_NAME if verdict in _WRONG_NAME else reasons.UPSTREAM_UNTRUSTED
            words = _ffi.string(_lib.X509_verify_cert_error_string(verdict)).decode("ascii", "replace")
            return DialFailed(reason, f"{endpoint}: {words}, for the name {self._key[0]}")
        if isinstance(error, SSL.SysCallError | SSL.ZeroReturnError):
            return DialFailed(reasons.UPSTREAM_TLS_FAILED, f"{endpoint}: it ended the connection")
        return DialFailed(reasons.UPSTREAM_TLS_FAILED, f"{endpoint}: {error_words(error)}")

    @property
    def resumed(self) -> bool:
        """The session of an earlier connection was gone on with: no certificate was shown."""
        return bool(_lib.SSL_session_reused(self.channel.tls._ssl))

    def read_into(self, room: memoryview) -> int:
        octets = self.channel.read_into(room)
        if octets and self._to_keep:
            self._keep()
        return octets

    def close(self, reset: bool = False) -> None:
        if self._to_keep:
            self._keep()
        if self._fd >= 0:
            self.channel.tls.set_shutdown(
                SSL.SENT_SHUTDOWN
            )  # else OpenSSL forbids the session to those that come after
        super().close(reset)

    def _keep(self) -> None:
        """Brokers give their tickets behind the handshake, before the first answer. Where there was none OpenSSL finds
        nothing in the session to resume, and makes a whole handshake."""
        self._to_keep = False
        session = self.channel.tls.get_session()
        if session is not None:
            self._trust.keep(*self._key, session, self._until)
