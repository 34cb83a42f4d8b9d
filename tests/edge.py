"""The edge in tests: a server of fake sessions on free loopback ports, TLS clients, and a backend that answers frames.

The fake protocol is Kafka's outer shape: a frame is a 32-bit length and that many octets. `EchoSession` answers each
frame itself; `RelaySession` sends frames on and relays the answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.core import settings
from gateway.core.audit import AuditEvent
from gateway.core.clock import Clock
from gateway.core.identity import Principal
from gateway.core.meters import Meters
from gateway.core.reasons import Reason
from gateway.core.session import NEVER, Ask, Close, Effects, Endpoint, Fact, Peer, Session
from gateway.edge.clock import SystemClock
from gateway.edge.front import ListenerSetup
from gateway.edge.process import DialFailed
from gateway.edge.reasons import UPSTREAM_UNREACHABLE
from gateway.edge.server import Server
from gateway.edge.streams import Stream
from gateway.edge.tls import server_context
from gateway.edge.upstream import Dialer
from tests.certificates import Ca, make_ca
from tests.real.ports import free_ports

ALICE = Principal("jwt", "test", "alice")
FAREWELL_SECONDS_MAX = 5.0
"""For the gateway's goodbye, where it is not read from; Python's own default are 30."""


class FakeSession:
    """What the fakes share: an immediate principal, no deadline, and a record of how it ended."""

    def __init__(self, peer: Peer, endpoint: Endpoint | None = None) -> None:
        self.peer = peer
        self.effects = Effects()
        self.client_wanted = 4
        self.upstream_wanted = 4
        self.parked = False
        self.deadline = NEVER
        self.who: Principal | None = ALICE
        self.endpoint = endpoint
        self.ends: list[tuple[Reason, str]] = []
        self.facts: list[Fact] = []
        self.losses: list[tuple[Reason, str]] = []
        self.ticks = 0

    @property
    def principal(self) -> Principal | None:
        return self.who

    def receive(self, data: memoryview) -> int:
        raise NotImplementedError

    def answer(self, data: memoryview) -> int:
        raise NotImplementedError

    def told(self, fact: Fact) -> None:
        self.facts.append(fact)
        self.parked = False

    def tick(self) -> None:
        self.ticks += 1
        self.deadline = NEVER

    def upstream_endpoint(self) -> Endpoint | None:
        return self.endpoint

    def upstream_lost(self, reason: Reason, detail: str) -> None:
        self.losses.append((reason, detail))
        self.effects.close = Close(reason, detail)

    def closed(self, reason: Reason, detail: str) -> None:
        self.ends.append((reason, detail))


def complete(data: memoryview) -> tuple[int, int]:
    """Octets of the complete frames in front, and what the next one wants."""
    offset = 0
    while len(data) - offset >= 4:
        (length,) = struct.unpack_from(">I", data, offset)
        if len(data) - offset < 4 + length:
            return offset, 4 + length
        offset += 4 + length
    return offset, 4


class EchoSession(FakeSession):
    """Sends complete frames back."""

    def receive(self, data: memoryview) -> int:
        octets, self.client_wanted = complete(data)
        if octets:
            self.effects.to_client.append(data[:octets])
        return octets


class RelaySession(FakeSession):
    """Sends complete frames on, and complete answers back; knows how many answers it owes."""

    def __init__(self, peer: Peer, endpoint: Endpoint | None = None) -> None:
        super().__init__(peer, endpoint)
        self.owed = 0

    @property
    def idle(self) -> bool:
        return self.owed == 0

    def receive(self, data: memoryview) -> int:
        octets, self.client_wanted = complete(data)
        if octets:
            self.owed += count(data[:octets])
            self.effects.to_upstream.append(data[:octets])
        return octets

    def answer(self, data: memoryview) -> int:
        octets, self.upstream_wanted = complete(data)
        if octets:
            self.owed -= count(data[:octets])
            self.effects.to_client.append(data[:octets])
        return octets


def count(data: memoryview) -> int:
    found = offset = 0
    while offset < len(data):
        offset += 4 + int(struct.unpack_from(">I", data, offset)[0])
        found += 1
    return found


def frame(payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + payload


@dataclass
class Running:
    """A server of fakes, and what it has seen."""

    server: Server
    port: int
    ca: Ca
    meters: Meters
    events: list[AuditEvent] = field(default_factory=list)
    sessions: list[Any] = field(default_factory=list)

    def client_context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca.path))

    async def connect(self, context: ssl.SSLContext | None = None, **options: Any) -> Client:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1",
            self.port,
            ssl=context or self.client_context(),
            server_hostname="localhost",
            limit=1 << 20,
            ssl_shutdown_timeout=FAREWELL_SECONDS_MAX,
            **options,
        )
        return Client(reader, writer)

    def reasons(self) -> list[str]:
        """The codes by which connections were refused before their session."""
        return [str(event.fields["reason"]) for event in self.events if event.event == "refused"]

    async def until_refused(self, code: str) -> AuditEvent:
        try:
            await until(lambda: code in self.reasons())
        except TimeoutError:
            seen = [dict(event.fields) for event in self.events]
            raise AssertionError(f"no connection was refused as {code}; seen: {seen}") from None
        return next(event for event in self.events if event.fields.get("reason") == code)

    async def end_of(self, index: int = 0) -> tuple[Reason, str]:
        """How a session ended; it must have been told once."""
        await until(lambda: len(self.sessions) > index and self.sessions[index].ends)
        assert len(self.sessions[index].ends) == 1
        return self.sessions[index].ends[0]  # type: ignore[no-any-return]


@dataclass
class Client:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def receive(self) -> bytes:
        (length,) = struct.unpack(">I", await self.reader.readexactly(4))
        return await self.reader.readexactly(length)

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            await self.writer.wait_closed()


async def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Let the loop run until something is so."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)


async def nobody_answers(ask: Ask) -> Fact:
    raise AssertionError("nothing is asked here")


async def nobody_dialled(endpoint: Endpoint) -> Stream:
    raise DialFailed(UPSTREAM_UNREACHABLE, str(endpoint))


def listener_settings(ca: Ca, hosts: list[str] | None = None, *, brokers: int = 1, **tls: Any) -> settings.Listener:
    certificate, key = ca.server(hosts=hosts or ["localhost", "127.0.0.1"])
    port = free_ports(brokers + 1, consecutive=True)[0]
    return settings.Listener(
        name="front",
        backend="back",
        port=port,
        broker_ports=settings.BrokerPorts(base=port + 1, node_ids=f"0-{brokers - 1}"),
        advertised="localhost",
        tls=settings.ListenerTls(**{"certificate": str(certificate), "key": str(key), **tls}),
        authentication=settings.Authentication(issuers=("test",)),
    )


@asynccontextmanager
async def running(
    tmp: Path,
    make: Callable[[Peer], Session],
    *,
    ca: Ca | None = None,
    tls: dict[str, Any] | None = None,
    dial: Callable[[Endpoint], Awaitable[Stream]] = nobody_dialled,
    answer: Callable[[Ask], Awaitable[Fact]] = nobody_answers,
    ready: Callable[[], str] = lambda: "",
    brokers: int = 1,
    change: dict[str, Any] | None = None,
    factory_of: Callable[[int | None], None] = lambda node_id: None,
    clock: Clock | None = None,
    **limits: Any,
) -> AsyncIterator[Running]:
    ca = ca or make_ca(tmp)
    listener = listener_settings(ca, brokers=brokers, **(tls or {})).model_copy(update=change or {})
    events: list[AuditEvent] = []
    sessions: list[Any] = []
    meters = Meters()

    def factory(peer: Peer) -> Session:
        sessions.append(make(peer))
        return sessions[-1]  # type: ignore[no-any-return]

    def factory_for(node_id: int | None) -> Callable[[Peer], Session]:
        factory_of(node_id)
        return factory

    context = server_context(listener.tls, *listener.host_names(), sni=listener.sni, alpn=listener.alpn)
    setup = ListenerSetup(listener, context, factory_for, dial, ready)
    limits.setdefault("shutdown_timeout", 2.0)
    server = Server([setup], settings.Limits(**limits), events.append, meters, clock or SystemClock(), answer)
    server.bind()
    server.start()
    try:
        yield Running(server, listener.port, ca, meters, events, sessions)
    finally:
        await server.shutdown()
        assert not list(server.connections())
        assert server.budget.used == 0, "bytes were reserved and not given back"
        assert server.budget.waiting == 0


def plain_backend(port: int) -> tuple[Dialer, Endpoint]:
    backend = settings.Backend(
        name="back", bootstrap=(f"127.0.0.1:{port}",), insecure_plaintext=True, dial_timeout=30.0
    )
    return Dialer(backend), Endpoint("127.0.0.1", port)


@asynccontextmanager
async def backend(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], **options: Any
) -> AsyncIterator[int]:
    """A broker's stand-in; `serve` handles one connection. Gives the port."""
    tasks: set[asyncio.Task[None]] = set()

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(run, "127.0.0.1", 0, limit=1 << 20, **options)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers every octet with itself."""
    while data := await reader.read(1 << 18):
        writer.write(data)
        await writer.drain()
