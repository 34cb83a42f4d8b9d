"""Which form of the channels is used: the compiled one if it is built, the TLS library is known, and it passes a check.

The compiled form reaches OpenSSL past every public interface. So it is used only with releases of `cryptography` that
the project's tests have run with, and only after two connections in memory have greeted each other, exchanged octets
in all the ways that matter and said goodbye. Anything else falls back to the interpreted form (core.pieces).
"""

from __future__ import annotations

import datetime
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import cryptography
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL

from gateway.core.pieces import NotUsable, choose
from gateway.edge import alerts as interpreted
from gateway.edge import channels
from gateway.edge.shortcut import Shortcut
from gateway.edge.streams import StreamEnded
from gateway.edge.tickets import ServerContext

if TYPE_CHECKING:
    from gateway.edge.channels import HandshakeChannel

CRYPTOGRAPHY = range(45, 51)
"""Major releases of `cryptography` that the compiled form is known to work with."""
OPENSSL = (0x30000000, 0x50000000)
"""OpenSSL's version numbers, from and below."""
CHECK_STEPS_MAX = 100
_LARGE = 200_000


ServerChannel = Callable[[ServerContext, socket.socket], "HandshakeChannel"]
"""A client's TLS at a listener whose context is `quiet`."""


class Alerts(Protocol):
    """edge.alerts, or what does the same."""

    def watch(self, tls: SSL.Connection) -> None: ...
    def forget(self) -> None: ...
    def noted(self) -> tuple[int, int]: ...


@dataclass(frozen=True, slots=True)
class Form:
    """Either form of what moves octets; the pieces of one form belong together."""

    tls_channel: type[channels.TlsChannel]
    plain_channel: type[channels.PlainChannel]
    shortcut: type[Shortcut]
    alerts: Alerts
    server_channel: ServerChannel


def _compiled() -> Form:
    """Raises ImportError, NotUsable."""
    check_versions(cryptography.__version__, SSL.OPENSSL_VERSION_NUMBER, SSL.SSLeay_version(SSL.SSLEAY_VERSION))
    from gateway.edge import channels_compiled, shortcut_compiled  # noqa: PLC0415 - they may not be built

    if any(getattr(found, "FORM", None) != channels.FORM for found in (channels_compiled, shortcut_compiled)):
        raise NotUsable("it was built from another version: run 'python setup.py build_ext --inplace' again")
    check(channels_compiled.TlsChannel)
    check(channels_compiled.TlsChannel, channels_compiled.server_channel)
    return Form(
        channels_compiled.TlsChannel,
        channels_compiled.PlainChannel,
        shortcut_compiled.Shortcut,
        channels_compiled.Alerts(),
        channels_compiled.server_channel,
    )


def check_versions(release: str, number: int, words: bytes) -> None:
    """Raises NotUsable."""
    major = release.partition(".")[0]
    if not major.isdigit() or int(major) not in CRYPTOGRAPHY:
        known = f"{CRYPTOGRAPHY[0]} to {CRYPTOGRAPHY[-1]}"
        raise NotUsable(f"cryptography {release} is not among the known releases, {known}")
    if not OPENSSL[0] <= number < OPENSSL[1] or not words.startswith(b"OpenSSL "):
        raise NotUsable(f"the TLS library is {words.decode('ascii', 'replace')}, not OpenSSL 3 or 4")


def check(channel: type[HandshakeChannel], server_channel: ServerChannel | None = None) -> None:
    """Have two connections speak to each other over it; the server's is made by `server_channel`, where that is given.
    Raises NotUsable."""
    context = _context()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for sock in (ours, theirs):
            sock.setblocking(False)
        client = SSL.Connection(context)
        client.set_connect_state()
        if server_channel is None:
            server = SSL.Connection(context)
            server.set_accept_state()
            serving = channel(server, ours)  # type: ignore[call-arg]
        else:
            serving = server_channel(context, ours)
        ends = serving, channel(client, theirs)  # type: ignore[call-arg]
        try:
            _greet(ends)
            _exchange(ends[0], ends[1])
            _exchange(ends[1], ends[0])
            client.shutdown()
            ends[1].flush()
            _await_end(ends[0])
            if ends[0].version() != ends[0].tls.get_protocol_version() or ends[0].group() != client.get_group_name():
                raise ValueError
        except (SSL.Error, OSError, RuntimeError, ValueError) as error:
            raise NotUsable(f"its check at the start failed ({type(error).__name__})") from None
        finally:
            for end in ends:
                end.close()


def _context() -> ServerContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    context = ServerContext(SSL.TLS_METHOD)
    context.clear_mode(SSL_MODE_ENABLE_PARTIAL_WRITE)
    context.use_certificate(builder.sign(key, hashes.SHA256()))
    context.use_privatekey(key)
    context.adapted = True
    return context


SSL_MODE_ENABLE_PARTIAL_WRITE = 1


def _greet(ends: tuple[HandshakeChannel, HandshakeChannel]) -> None:
    done = [False, False]
    ends[1].begin()
    for step in range(CHECK_STEPS_MAX):
        which = 1 - step % 2
        done[which] = ends[which].shake() == channels.DONE
        if all(done):
            return
    raise RuntimeError


_OCTETS = bytes(at * 7 % 251 for at in range(251))
"""Repeated, so that no start spends a sixth of a second on making some."""


def _exchange(writer: HandshakeChannel, reader: HandshakeChannel) -> None:
    """A small and a large piece, read in rooms that are smaller and larger than it."""
    room = memoryview(bytearray(_LARGE))
    for size, most in ((5, _LARGE), (700, 100), (_LARGE, 30_000), (_LARGE, _LARGE)):
        data = (_OCTETS * (size // len(_OCTETS) + 1))[:size]
        written, read = 0, bytearray()
        for _ in range(CHECK_STEPS_MAX):
            written += writer.write(data[written:])
            read += room[: reader.read_into(room[:most])]
            if written == len(read) == size:
                break
        if read != data or writer.unsent or reader.buffered():
            raise ValueError


def _await_end(channel: HandshakeChannel) -> None:
    room = memoryview(bytearray(16))
    try:
        channel.read_into(room)
    except StreamEnded:
        return
    raise ValueError


FORM = choose(
    "tls-engine",
    _compiled,
    Form(channels.TlsChannel, channels.PlainChannel, Shortcut, interpreted, channels.server_channel),
)
tls_channel, plain_channel, shortcut, alerts = FORM.tls_channel, FORM.plain_channel, FORM.shortcut, FORM.alerts
server_channel = FORM.server_channel
