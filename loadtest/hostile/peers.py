"""The strangers: each hangs, trickles or sends garbage, is ended, and comes again.

    python -m loadtest.hostile.peers

Reads one line of JSON (`Crowd`), then goes on until its input ends; then says how often they came, as JSON. They come
from several loopback addresses, and none of them has a token that is worth anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import ssl
import struct
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import uvloop

from loadtest import frames

ARRIVAL_SECONDS = 2.0
"""Over which they come at first."""
PAUSE_SECONDS = (1.0, 3.0)
"""Between being ended and coming again."""
TRICKLE_SECONDS = 0.5
HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(64))
"""The beginning of a TLS hello."""


@dataclass(frozen=True, slots=True)
class Crowd:
    """How many, from how many addresses (127.0.0.2 and up)."""

    port: int
    peers: int
    addresses: int


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def silent(streams: Streams, lots: random.Random) -> None:
    """Hangs without a byte."""


async def half_hello(streams: Streams, lots: random.Random) -> None:
    """Hangs in the middle of its first message."""
    streams[1].write(HELLO)


async def trickle(streams: Streams, lots: random.Random) -> None:
    """A byte at a time."""
    for at in range(len(HELLO)):
        streams[1].write(HELLO[at : at + 1])
        await asyncio.sleep(TRICKLE_SECONDS)


async def garbage(streams: Streams, lots: random.Random) -> None:
    """Anything at all."""
    streams[1].write(lots.randbytes(lots.randrange(1, 4096)))


async def damaged(streams: Streams, lots: random.Random) -> None:
    """Looks like TLS, and is none."""
    streams[1].write(HELLO[:11] + lots.randbytes(506))


async def http(streams: Streams, lots: random.Random) -> None:
    """A browser, or a scanner."""
    streams[1].write(b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n")


async def plain_kafka(streams: Streams, lots: random.Random) -> None:
    """Kafka without TLS."""
    streams[1].write(bytes(frames.api_versions()))


async def secured_silent(streams: Streams, lots: random.Random) -> None:
    """Completes the handshake, and hangs."""


async def secured_garbage(streams: Streams, lots: random.Random) -> None:
    """Completes the handshake, and sends a frame that claims to be long, a byte of it at a time."""
    streams[1].write(struct.pack(">i", 60_000))
    for _ in range(100):
        streams[1].write(b"x")
        await asyncio.sleep(TRICKLE_SECONDS)


async def bad_token(streams: Streams, lots: random.Random) -> None:
    """Tries a token of its own making."""
    streams[1].write(bytes(frames.sasl_handshake()) + bytes(frames.sasl_authenticate("e30.e30.AAAA")))


Manner = Callable[[Streams, random.Random], Awaitable[None]]
MANNERS: tuple[tuple[Manner, bool, int], ...] = (
    (silent, False, 25), (half_hello, False, 15), (trickle, False, 20), (garbage, False, 10), (damaged, False, 8),
    (http, False, 6), (plain_kafka, False, 4), (secured_silent, True, 4), (secured_garbage, True, 4),
    (bad_token, True, 4),
)  # fmt: skip
"""What they do, whether inside TLS, and how many of a hundred."""


def manner_of(number: int) -> tuple[Manner, bool]:
    """What one of them does, and whether inside TLS."""
    each = [(manner, inside) for manner, inside, share in MANNERS for _ in range(share)]
    return each[number % len(each)]


async def peer(crowd: Crowd, number: int, tls: ssl.SSLContext, came: Counter[str]) -> None:
    """One of them, without an end."""
    lots = random.Random(number)
    manner, inside = manner_of(number)
    source = (f"127.0.0.{2 + number % crowd.addresses}", 0)
    await asyncio.sleep(lots.random() * ARRIVAL_SECONDS)
    while True:
        came[manner.__name__] += 1
        writer: asyncio.StreamWriter | None = None
        with contextlib.suppress(OSError, ssl.SSLError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", crowd.port, local_addr=source, ssl=tls if inside else None
            )
            await manner((reader, writer), lots)
            while await reader.read(4096):
                pass
        if writer is not None:
            writer.transport.abort()
        await asyncio.sleep(lots.uniform(*PAUSE_SECONDS))


async def come(crowd: Crowd, over: asyncio.Event) -> Counter[str]:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname = False
    tls.verify_mode = ssl.CERT_NONE  # whoever attacks does not care whom
    came: Counter[str] = Counter()
    tasks = [asyncio.create_task(peer(crowd, number, tls, came)) for number in range(crowd.peers)]
    await over.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return came


async def main() -> int:
    logging.disable()  # what asyncio says of connections that are cut off
    loop = asyncio.get_running_loop()
    crowd = Crowd(**json.loads(await loop.run_in_executor(None, sys.stdin.readline)))
    over = asyncio.Event()

    async def listen() -> None:
        await loop.run_in_executor(None, sys.stdin.read)
        over.set()

    listening = asyncio.create_task(listen())
    came = await come(crowd, over)
    await listening
    print(json.dumps(came), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
