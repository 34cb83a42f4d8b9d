"""Dials brokers: TCP, then TLS with the host name verified, unless the backend is marked `insecure_plaintext`.

TLS here is the standard library's, directly on the non-blocking socket, so that an answer is decrypted into the
process's scratch memory and no connection owns a buffer. No octet is sent before the certificate and the name in it
were verified. The whole dial, name resolution included, has `dial_timeout`. Used by pumps and by edge.exchange.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable

from gateway.core.meters import Cell
from gateway.core.session import Endpoint
from gateway.core.settings import Backend
from gateway.edge import reasons
from gateway.edge.plain import PlainStream
from gateway.edge.private_files import check_permissions
from gateway.edge.process import DialFailed
from gateway.edge.reasons import StartRefused
from gateway.edge.streams import SslStream, Stream, tune

log = logging.getLogger(__name__)

_HOSTNAME_MISMATCH = frozenset({62, 64})
"""X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH."""
ADDRESSES_MAX = 8
"""Addresses of one name that are tried, in the resolver's order."""


class Dialer:
    """Opens connections to one backend's brokers. `__call__` is the pump's `Dial`."""

    def __init__(self, backend: Backend, dialled: Callable[[str], Cell] | None = None) -> None:
        """`dialled` gives the cell that counts a result (``ok``, or a reason's code). Raises StartRefused."""
        self._backend = backend
        self._dialled = dialled
        self._context = None if backend.insecure_plaintext else client_context(backend)
        self.trouble = ""
        """Why the files as they are now cannot be used; what was read before is still in use."""

    @property
    def files(self) -> tuple[str, ...]:
        """What is to be watched."""
        tls = self._backend.tls
        return tuple(each for each in (tls.ca, tls.certificate, tls.key) if each is not None)

    async def reload(self) -> None:
        """The CAs or the own certificate may have changed: new connections use them; a bad set changes nothing."""
        if self._context is None:
            return
        try:
            self._context = await asyncio.to_thread(client_context, self._backend)
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
        if self._context is None:
            return PlainStream(loop, sock)
        name = self._backend.tls.server_name or endpoint.host
        return SslStream(loop, await _encrypt(loop, sock, self._context, name, endpoint))


def client_context(backend: Backend) -> ssl.SSLContext:
    """Raises StartRefused."""
    try:
        context = ssl.create_default_context(cafile=backend.tls.ca)
    except (OSError, ssl.SSLError) as error:
        detail = f"ca {backend.tls.ca} of the backend {backend.name}: {error.strerror or type(error).__name__}"
        raise StartRefused(reasons.TLS_FILE_UNREADABLE, detail) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    tls = backend.tls
    if tls.certificate is not None and tls.key is not None:
        _use_certificate(context, tls.certificate, tls.key)
    return context


def _use_certificate(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """Raises StartRefused."""
    check_permissions(key)
    try:
        context.load_cert_chain(certificate, key, _no_passphrase)
    except (OSError, ValueError) as error:
        detail = f"{certificate} and {key}: {_words(error)}"
        raise StartRefused(reasons.UPSTREAM_CERTIFICATE_UNUSABLE, detail) from None


def _no_passphrase() -> str:
    """Instead of asking at the terminal."""
    raise ValueError("a key under a passphrase")


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
    loop: asyncio.AbstractEventLoop, sock: socket.socket, context: ssl.SSLContext, name: str, endpoint: Endpoint
) -> ssl.SSLSocket:
    encrypted: ssl.SSLSocket | None = None
    try:
        encrypted = context.wrap_socket(sock, server_hostname=name, do_handshake_on_connect=False)
        while True:
            try:
                encrypted.do_handshake()
            except ssl.SSLWantReadError:
                await _ready(loop.add_reader, loop.remove_reader, encrypted.fileno())
            except ssl.SSLWantWriteError:
                await _ready(loop.add_writer, loop.remove_writer, encrypted.fileno())
            else:
                return encrypted
    except ssl.SSLCertVerificationError as error:
        wrong_name = error.verify_code in _HOSTNAME_MISMATCH
        reason = reasons.UPSTREAM_WRONG_NAME if wrong_name else reasons.UPSTREAM_UNTRUSTED
        failed = DialFailed(reason, f"{endpoint}: {error.verify_message}")
    except (OSError, ValueError) as error:
        failed = DialFailed(reasons.UPSTREAM_TLS_FAILED, f"{endpoint}: {_words(error)}")
    except BaseException:
        (encrypted or sock).close()
        raise
    (encrypted or sock).close()
    raise failed


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
    if isinstance(error, ssl.SSLError):
        return error.reason or type(error).__name__
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
