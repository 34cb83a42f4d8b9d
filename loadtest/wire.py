"""A connection of a lean client: TLS over memory, whole frames in and out, no library of Kafka's.

It is blocking until `detach`, which is for connecting and authenticating; from then on `send` and `receive` never wait,
and an epoll loop drives many of them. Each request is a TLS record of its own, as Kafka's clients write them.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Sequence

from loadtest import frames
from loadtest.processes import CIPHER
from loadtest.work import Door, LoadFailed

HOST = "127.0.0.1"
NAME = "localhost"
TIMEOUT_SECONDS = 30.0
READ = 1 << 18


def client_context(ca: str) -> ssl.SSLContext:
    """Trusts this CA alone. The suite and the group are pinned for the whole process by its OPENSSL_CONF."""
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


class Connection:
    """One connection through a door, authenticated if the door asks for it."""

    def __init__(self, door: Door, context: ssl.SSLContext | None) -> None:
        """Connect, shake hands and authenticate. Raises LoadFailed, OSError, ssl.SSLError."""
        self.socket = socket.create_connection((HOST, door.port), timeout=TIMEOUT_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = bytearray()
        self._unsent = memoryview(b"")
        self._tls: ssl.SSLObject | None = None
        try:
            if context is not None:
                self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
                self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=NAME)
                self._shake_hands(self._tls)
            if door.token:
                self._authenticate(door.token)
        except BaseException:
            self.socket.close()
            raise

    def ask(self, frame: bytes | bytearray) -> bytes:
        """Send a frame and wait for one answer, its length taken off."""
        self.send([frame])
        while True:
            answers = self.receive()
            if answers:
                return answers[0]

    def detach(self) -> None:
        """From now on nothing waits."""
        self.socket.setblocking(False)

    def send(self, requests: Sequence[bytes | bytearray]) -> None:
        """Write frames, a TLS record each; what the kernel does not take now goes with a later call."""
        if self._tls is not None:
            for request in requests:
                self._tls.write(request)
            data = self._outgoing.read()
        else:
            data = b"".join(requests)
        self._unsent = memoryview(bytes(self._unsent) + data if self._unsent else data)
        self.flush()

    def flush(self) -> bool:
        """Whether everything is written."""
        while self._unsent:
            try:
                sent = self.socket.send(self._unsent)
            except BlockingIOError:
                return False
            self._unsent = self._unsent[sent:]
        return True

    def receive(self) -> list[bytes]:
        """The whole frames that have come, their lengths taken off. Raises LoadFailed when the other side has ended."""
        try:
            data = self.socket.recv(READ)
        except BlockingIOError:
            return []
        if not data:
            raise LoadFailed("the other side has ended the connection")
        received = self._received
        if self._tls is None:
            received += data
        else:
            self._incoming.write(data)
            while self._incoming.pending or self._tls.pending():
                try:
                    received += self._tls.read(READ)
                except ssl.SSLWantReadError:
                    break
        found, at, end = [], 0, len(received)
        while end - at >= 4:
            length = int.from_bytes(received[at : at + 4], "big")
            if end - at < 4 + length:
                break
            found.append(bytes(received[at + 4 : at + 4 + length]))
            at += 4 + length
        del received[:at]
        return found

    def close(self) -> None:
        self.socket.close()

    def _shake_hands(self, tls: ssl.SSLObject) -> None:
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                self.socket.sendall(self._outgoing.read())
                data = self.socket.recv(READ)
                if not data:
                    raise LoadFailed("the other side ended the connection in the handshake") from None
                self._incoming.write(data)
                continue
            break
        self.socket.sendall(self._outgoing.read())
        suite = tls.cipher()
        if suite is None or suite[0] != CIPHER:
            raise LoadFailed(f"the suite is {suite}, not {CIPHER}")

    def _authenticate(self, token: str) -> None:
        for frame in (frames.sasl_handshake(), frames.sasl_authenticate(token)):
            (code,) = struct.unpack_from(">h", self.ask(frame), 4)
            if code:
                raise LoadFailed(f"authentication: error {code}")
