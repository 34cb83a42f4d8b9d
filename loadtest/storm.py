"""TLS handshakes, full ones or resumed by ticket, each on a connection of its own that is then closed.

Several threads, each with one connection at a time; the handshake itself runs outside Python's lock. A connection is
closed in both directions (close_notify), so that the proxy's work on it is over before the next one counts.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time

from loadtest import frames
from loadtest.processes import CIPHER, cpu_seconds
from loadtest.wire import HOST, NAME, TIMEOUT_SECONDS, client_context
from loadtest.work import LoadFailed, Window, Work

THREADS = 8


class _Storm:
    def __init__(self, work: Work, resumed: bool) -> None:
        self.work = work
        self.resumed = resumed
        self.context = client_context(work.door.ca)
        self.address = (HOST, work.door.handshake_port)
        self.session = _session(work, self.context) if resumed else None
        self.count = [0] * THREADS
        self.failure: Exception | None = None
        self.ended = threading.Event()

    def run(self, index: int) -> None:
        try:
            while not self.ended.is_set():
                self._one()
                self.count[index] += 1
        except Exception as error:  # handed to the main thread
            self.failure = error
            self.ended.set()

    def _one(self) -> None:
        with socket.create_connection(self.address, timeout=TIMEOUT_SECONDS) as plain:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.context.wrap_socket(plain, server_hostname=NAME, session=self.session) as tls:
                if tls.session_reused != self.resumed:
                    raise LoadFailed("the session was not resumed" if self.resumed else "the session was resumed")
                with contextlib.suppress(OSError):  # the other side may have closed at once
                    tls.unwrap()


def full(work: Work) -> Window:
    """Every handshake with certificate and signature."""
    return _run(_Storm(work, resumed=False))


def resumed(work: Work) -> Window:
    """Every handshake by a ticket of one earlier connection, with a new key exchange (psk_dhe_ke)."""
    return _run(_Storm(work, resumed=True))


def _session(work: Work, context: ssl.SSLContext) -> ssl.SSLSession:
    """A session to resume: its tickets come after the handshake, with or before the first answer."""
    with socket.create_connection((HOST, work.door.handshake_port), timeout=TIMEOUT_SECONDS) as plain:  # noqa: SIM117
        with context.wrap_socket(plain, server_hostname=NAME) as tls:
            if (suite := tls.cipher()) is None or suite[0] != CIPHER:
                raise LoadFailed(f"the suite is {suite}, not {CIPHER}")
            with contextlib.suppress(OSError):
                tls.sendall(frames.api_versions())
                tls.recv(1 << 16)
            if tls.session is None or not tls.session.has_ticket:
                raise LoadFailed("the server gives no session ticket")
            return tls.session


def _run(storm: _Storm) -> Window:
    work = storm.work
    threads = [threading.Thread(target=storm.run, args=(index,)) for index in range(THREADS)]
    for thread in threads:
        thread.start()
    try:
        storm.ended.wait(work.warm_up)
        start, cpu, count = time.monotonic(), cpu_seconds(work.door.pid), sum(storm.count)
        storm.ended.wait(work.seconds)
        window = Window(
            sum(storm.count) - count, 0, cpu_seconds(work.door.pid) - cpu, time.monotonic() - start
        )  # fmt: skip
    finally:
        storm.ended.set()
        for thread in threads:
            thread.join()
    if storm.failure is not None:
        raise LoadFailed(f"{type(storm.failure).__name__}: {storm.failure}")
    return window
