"""Connections in quick succession: full TLS handshakes, resumed ones, and logins with one request.

Several threads, each with one connection at a time; the handshake itself runs outside Python's lock. After a handshake
alone a connection is closed in both directions (close_notify), so that the proxy's work on it is over before the next
one counts.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from loadtest import frames
from loadtest.processes import CIPHER, cpu_seconds
from loadtest.topics import topic_name
from loadtest.wire import HOST, NAME, TIMEOUT_SECONDS, Connection, client_context
from loadtest.work import LoadFailed, Window, Work

THREADS = 8
STALL_SECONDS_MAX = 20.0
STALL_LOOK_SECONDS = 0.02
"""Between looks whether what must come at least has come, where the window was too short for it."""


def full(work: Work) -> Window:
    """Every handshake with certificate and signature."""
    return _run(work, _handshakes(work, client_context(work.door.ca), None))


def resumed(work: Work) -> Window:
    """Every handshake by a ticket of one earlier connection, with a new key exchange (psk_dhe_ke)."""
    context = client_context(work.door.ca)
    return _run(work, _handshakes(work, context, _session(work, context)))


def logins(work: Work) -> Window:
    """Connections that shake hands, authenticate where the door asks for it, send one request and go."""
    context = client_context(work.door.ca)
    topic = topic_name(0) if work.topics else work.topic
    frame = frames.produce(topic, [0], 1, work.record_bytes)
    doors = itertools.cycle([replace(work.door, token=token) for token in work.tokens] or [work.door])
    turn = threading.Lock()

    def one() -> None:
        with turn:
            door = next(doors)
        with contextlib.closing(Connection(door, context)) as made:
            if (code := frames.produce_error(topic, made.ask(frame))) != 0:
                raise LoadFailed(f"Produce: error {code}")

    return _run(work, one)


def _handshakes(work: Work, context: ssl.SSLContext, session: ssl.SSLSession | None) -> Callable[[], None]:
    address = (HOST, work.door.handshake_port)

    def one() -> None:
        with socket.create_connection(address, timeout=TIMEOUT_SECONDS) as plain:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with context.wrap_socket(plain, server_hostname=NAME, session=session) as tls:
                if bool(tls.session_reused) != (session is not None):
                    raise LoadFailed("the session was resumed" if session is None else "the session was not resumed")
                with contextlib.suppress(OSError):  # the other side may have closed at once
                    tls.unwrap()

    return one


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


def _run(work: Work, one: Callable[[], None]) -> Window:
    """Call it from every thread for the window. Raises LoadFailed if any call failed."""
    count = [0] * THREADS
    failures: list[Exception] = []
    ended = threading.Event()

    def run(index: int) -> None:
        try:
            while not ended.is_set():
                one()
                count[index] += 1
        except Exception as error:  # handed to the main thread
            failures.append(error)
            ended.set()

    threads = [threading.Thread(target=run, args=(index,)) for index in range(THREADS)]
    for thread in threads:
        thread.start()
    try:
        ended.wait(work.warm_up)
        start, cpu, before = time.monotonic(), cpu_seconds(work.door.pid), sum(count)
        ended.wait(work.seconds)
        while sum(count) < before + work.least and not ended.wait(STALL_LOOK_SECONDS):
            if time.monotonic() - start > work.seconds + STALL_SECONDS_MAX:
                raise LoadFailed(f"fewer than {work.least} in {STALL_SECONDS_MAX} s")
        spent, seconds, done = cpu_seconds(work.door.pid) - cpu, time.monotonic() - start, sum(count) - before
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    if failures:
        raise LoadFailed(f"{type(failures[0]).__name__}: {failures[0]}")
    return Window(done, 0, spent, seconds)
