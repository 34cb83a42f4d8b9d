"""A connection that is reset while octets are still in its socket: both are noticed, the octets first.

uvloop calls whoever waits for such a socket once, and never again (edge.resets).
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.edge.plain import PlainStream
from gateway.edge.resets import Resets
from gateway.edge.streams import StreamLost
from tests.edge import until

RESET_AT_CLOSE = struct.pack("ii", 1, 0)


class Reading:
    """Reads ten octets at each call."""

    def __init__(self, stream: PlainStream) -> None:
        self.stream = stream
        self.octets = b""
        self.lost = False
        self.writable = 0
        self.begun = asyncio.Event()

    def readable(self) -> None:
        room = memoryview(bytearray(10))
        try:
            self.octets += room[: self.stream.read_into(room)]
            self.begun.set()
        except StreamLost:
            self.lost = True
            self.stream.watch_reading(False)

    def written(self) -> None:
        self.writable += 1
        self.stream.watch_writing(False)


@contextmanager
def reset_with_octets_left() -> Iterator[Reading]:
    """A stream whose other side has sent 35 octets and a reset."""
    loop = asyncio.get_running_loop()
    resets = Resets(loop)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        other = socket.create_connection(listening.getsockname())
        sock, _ = listening.accept()
    sock.setblocking(False)
    stream = PlainStream(loop, sock)
    reading = Reading(stream)
    stream.start(reading.readable, reading.written)
    stream.notice_resets(resets)
    other.sendall(b"x" * 35)
    other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
    other.close()
    try:
        yield reading
    finally:
        stream.close()
        resets.close()


async def test_all_that_came_before_the_reset_is_read_and_then_the_reset() -> None:
    with reset_with_octets_left() as reading:
        reading.stream.watch_reading(True)
        await until(lambda: reading.lost)
        assert reading.octets == b"x" * 35


async def test_whoever_could_not_take_it_at_once_reads_it_later() -> None:
    with reset_with_octets_left() as reading:
        reading.stream.watch_reading(True)
        await reading.begun.wait()
        reading.stream.watch_reading(False)
        held = reading.octets
        for _ in range(3):
            await asyncio.sleep(0)
        assert reading.octets == held
        reading.stream.watch_reading(True)
        await until(lambda: reading.lost)
        assert reading.octets == b"x" * 35


async def test_the_end_of_a_connection_takes_over_its_stream() -> None:
    """`start` with other callbacks, on a socket that the loop has given up."""
    with reset_with_octets_left() as reading:
        reading.stream.watch_reading(True)
        await reading.begun.wait()
        other = Reading(reading.stream)
        reading.stream.start(other.readable, other.written)
        reading.stream.watch_writing(True)
        await until(lambda: other.lost and other.writable)
        assert not reading.lost
        assert reading.octets + other.octets == b"x" * 35


async def test_a_socket_that_is_closed_is_told_of_no_more() -> None:
    with reset_with_octets_left() as reading:
        reading.stream.watch_reading(True)
        reading.stream.close()
        for _ in range(3):
            await asyncio.sleep(0)
        assert not reading.octets
        assert not reading.lost
