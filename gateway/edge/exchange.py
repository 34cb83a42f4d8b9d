"""core.exchange over real connections: one length-prefixed frame out, the next one in.

For the gateway's own requests to a backend (edge.control drives them). The connection is dialled like a client's
upstream, TLS and name verified. An answer's length is checked before memory is taken for it, and it has
`request_timeout`; after any failure the connection is closed and of no further use.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.core.exchange import Exchange, ExchangeFailed
from gateway.core.session import NEVER, Endpoint
from gateway.edge.process import Dial, DialFailed
from gateway.edge.reasons import UPSTREAM_ANSWER_TIMEOUT, UPSTREAM_CLOSED, UPSTREAM_RESET
from gateway.edge.streams import Stream, StreamEnded, StreamLost

ANSWER_BYTES_MAX = 64 << 20
"""Of one answer: metadata of a few hundred thousand partitions."""
READ_BYTES = 64 * 1024
"""Room grows by as much as comes, never by what a length only announces."""
RENEWAL_SECONDS_MIN = 1.1
_LENGTH = struct.Struct(">I")
Answer = TypeVar("Answer")


class FrameExchange:
    """One open connection, one request at a time. `core.exchange.Exchange`."""

    def __init__(self, stream: Stream, endpoint: Endpoint, timeout: float) -> None:
        self._stream: Stream | None = stream
        self._endpoint = endpoint
        self._timeout = timeout
        self._ready: asyncio.Future[None] | None = None
        self._received = bytearray()
        stream.start(self._go_on, self._go_on)

    async def call(self, frame: bytes) -> bytes:
        """Raises ExchangeFailed."""
        return await self._exchanged(_LENGTH.pack(len(frame)) + frame, self._receive)

    async def _exchanged(self, data: bytes, receive: Callable[[Stream], Awaitable[Answer]]) -> Answer:
        stream = self._stream
        if stream is None:
            raise ExchangeFailed(f"{self._endpoint}: the connection was closed")
        if self._ready is not None:
            raise RuntimeError("one request at a time")
        try:
            async with asyncio.timeout(self._timeout):
                await self._send(stream, data)
                return await receive(stream)
        except TimeoutError:
            words = f"{UPSTREAM_ANSWER_TIMEOUT.code} ({self._timeout:g} s)"
        except StreamEnded:
            words = UPSTREAM_CLOSED.code
        except StreamLost as lost:
            words = f"{UPSTREAM_RESET.code} ({lost})"
        except BaseException:
            self.close()
            raise
        self.close()
        raise ExchangeFailed(f"{self._endpoint}: {words}")

    async def _send(self, stream: Stream, data: bytes) -> None:
        rest = memoryview(data)
        while True:
            rest = rest[stream.write(rest) :]  # b"" sends on what the stream has taken
            if not rest and not stream.unsent:
                return
            await self._wait(stream, writing=True)

    async def _receive(self, stream: Stream) -> bytes:
        received = self._received
        wanted = _LENGTH.size
        length = -1
        scratch = memoryview(bytearray(READ_BYTES))
        while len(received) < wanted:
            octets = stream.read_into(scratch)
            if not octets:
                await self._wait(stream, writing=False)
                continue
            received += scratch[:octets]
            if length < 0 and len(received) >= _LENGTH.size:
                (length,) = _LENGTH.unpack_from(received)
                if length > ANSWER_BYTES_MAX:
                    self.close()
                    raise ExchangeFailed(f"{self._endpoint}: an answer of {length} bytes, over {ANSWER_BYTES_MAX}")
                wanted += length
        answer = bytes(memoryview(received)[_LENGTH.size : wanted])
        del received[:wanted]
        return answer

    async def _wait(self, stream: Stream, *, writing: bool) -> None:
        if stream.buffered() and not writing:
            return
        self._ready = asyncio.get_running_loop().create_future()
        stream.watch_reading(not writing)
        stream.watch_writing(writing)
        try:
            await self._ready
        finally:
            self._ready = None
            stream.watch_reading(False)
            stream.watch_writing(False)

    def _go_on(self) -> None:
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(None)

    def release(self) -> Stream:
        """The stream, for whoever goes on with it; nothing may have come that was not taken. Raises ExchangeFailed."""
        stream = self._stream
        if stream is None or self._received or stream.buffered():
            self.close()
            raise ExchangeFailed(f"{self._endpoint}: more was sent than was asked for")
        self._stream = None
        return stream

    def close(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.finish()
            stream.close()


Renew = Callable[[Exchange, Endpoint], Awaitable[float]]
"""Proves the gateway's own account again on an open exchange. Until when (monotonic). Raises DialFailed."""


class RenewedExchange:
    """An exchange whose login is renewed before a request, once it is due (KIP-368). `core.exchange.Exchange`."""

    def __init__(self, exchange: FrameExchange, endpoint: Endpoint, proven_until: float, renew: Renew) -> None:
        self._exchange = exchange
        self._endpoint = endpoint
        self._renew = renew
        self._due = self._half_way(proven_until)

    async def call(self, frame: bytes) -> bytes:
        """Raises ExchangeFailed."""
        if time.monotonic() >= self._due:
            try:
                self._due = self._half_way(await self._renew(self._exchange, self._endpoint))
            except DialFailed as failed:
                self.close()
                raise ExchangeFailed(str(failed)) from None
        return await self._exchange.call(frame)

    def close(self) -> None:
        self._exchange.close()

    @staticmethod
    def _half_way(until: float) -> float:
        """Kafka refuses a second login within one second of the last."""
        now = time.monotonic()
        return now + max(RENEWAL_SECONDS_MIN, (until - now) / 2)


class ExchangeDial:
    """Opens exchanges with one backend's brokers. `core.exchange.Dial`."""

    def __init__(self, dial: Dial, request_timeout: float, renew: Renew | None = None) -> None:
        self._dial = dial
        self._timeout = request_timeout
        self._renew = renew

    async def __call__(self, endpoint: Endpoint) -> Exchange:
        """Raises ExchangeFailed."""
        try:
            stream = await self._dial(endpoint)
        except DialFailed as failed:
            raise ExchangeFailed(str(failed)) from None
        exchange = FrameExchange(stream, endpoint, self._timeout)
        if self._renew is None or stream.proven_until == NEVER:
            return exchange
        return RenewedExchange(exchange, endpoint, stream.proven_until, self._renew)
