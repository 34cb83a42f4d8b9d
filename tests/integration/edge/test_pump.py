"""The pump's obligations, one by one, with real sockets: backpressure, time, facts, ends, and the budget."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL

from gateway.core.identity import Principal
from gateway.core.session import Ask, Close, Endpoint, Fact, Part, Unavailable
from gateway.edge import deadlines, ending
from gateway.edge.process import DialFailed
from gateway.edge.reasons import CLIENT_DISCONNECTED, UPSTREAM_UNREACHABLE
from gateway.edge.server import Server
from gateway.edge.side import ClientSide, Side
from gateway.edge.streams import AT_ONCE_FROM, RECORD
from tests.edge import (
    ALICE,
    Client,
    EchoSession,
    FakeSession,
    RelaySession,
    backend,
    complete,
    echo,
    frame,
    plain_backend,
    running,
    until,
)

MIB = 1 << 20


def resident() -> int:
    """This process's memory now, in bytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# ---- backpressure -------------------------------------------------------------------------------------------------


async def test_a_client_that_does_not_read_stops_what_is_read_from_upstream(tmp_path: Path) -> None:
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readexactly(5)
        for _ in range(256):
            writer.write(frame(bytes(MIB)))
            await writer.drain()
            sent += 1

    async with backend(flood) as port:
        dial, endpoint = plain_backend(port)
        async with running(tmp_path, lambda peer: RelaySession(peer, endpoint), dial=dial) as gateway:
            client = await gateway.connect()
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await client.send(frame(b"x"))
            await until(lambda: sent > 1)
            before = -1
            while sent != before:  # until nothing moves any more
                before = sent
                await asyncio.sleep(0.3)
            assert sent < 64, "the gateway took it all"
            assert gateway.server.budget.used < 8 * MIB
            client.writer.transport.resume_reading()  # type: ignore[attr-defined]
            for _ in range(256):
                assert len(await client.receive()) == MIB
            await client.close()


async def test_a_broker_that_does_not_read_stops_what_is_read_from_the_client(tmp_path: Path) -> None:
    go_on = asyncio.Event()
    received = 0

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        await go_on.wait()
        while data := await reader.read(MIB):
            received += len(data)

    total = 128 * (MIB + 4)
    async with backend(slow) as port:
        dial, endpoint = plain_backend(port)
        async with running(tmp_path, lambda peer: RelaySession(peer, endpoint), dial=dial) as gateway:
            client = await gateway.connect()
            sent = 0

            async def send() -> None:
                nonlocal sent
                for _ in range(128):
                    await client.send(frame(bytes(MIB)))
                    sent += 1

            sending = asyncio.create_task(send())
            before = -1
            while sent != before:
                before = sent
                await asyncio.sleep(0.3)
            assert sent < 64, "the gateway took it all"
            assert gateway.server.budget.used < 8 * MIB
            go_on.set()
            await sending
            await until(lambda: received == total)
            await client.close()


class Unanswered(RelaySession):
    """Sends frames that nobody will answer."""

    @property
    def idle(self) -> bool:
        return True


async def test_what_was_decided_reaches_the_broker_after_the_client_has_gone(tmp_path: Path) -> None:
    """A producer with acks=0 that sends and leaves."""
    received = 0

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        while data := await reader.read(64 * 1024):
            received += len(data)
            await asyncio.sleep(0.001)

    async with backend(slow) as port:
        dial, endpoint = plain_backend(port)
        async with running(tmp_path, lambda peer: Unanswered(peer, endpoint), dial=dial) as gateway:
            client = await gateway.connect()
            await client.send(frame(b"first"))
            await until(lambda: received)
            await client.send(frame(bytes(8 * MIB)))
            await client.close()
            await gateway.end_of()
            await until(lambda: received == 9 + 4 + 8 * MIB)


async def test_what_was_decided_reaches_a_broker_that_was_still_being_dialled(tmp_path: Path) -> None:
    go_on = asyncio.Event()
    received = bytearray()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(MIB):
            received.extend(data)

    async with backend(take) as port:
        plain, endpoint = plain_backend(port)

        async def slowly(where: Endpoint) -> Any:
            await go_on.wait()
            return await plain(where)

        async with running(tmp_path, lambda peer: Unanswered(peer, endpoint), dial=slowly) as gateway:
            client = await gateway.connect()
            await client.send(frame(bytes(100_000)))
            await client.close()
            assert (await gateway.end_of())[0].code == "client-disconnected"
            assert not received
            go_on.set()
            await until(lambda: len(received) == 4 + 100_000)
            await until(lambda: not list(gateway.server.connections()))


@pytest.mark.parametrize("end", ["refused", "never"])
async def test_a_dial_that_outlives_its_client_ends_too(
    tmp_path: Path, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending, "FLUSH_SECONDS", 0.2)
    go_on = asyncio.Event()
    dials: list[str] = []

    async def dial(where: Endpoint) -> Any:
        try:
            await go_on.wait()
        except asyncio.CancelledError:
            dials.append("cancelled")
            raise
        raise DialFailed(UPSTREAM_UNREACHABLE, "nobody there")

    async with running(tmp_path, lambda peer: Unanswered(peer, Endpoint("x", 1)), dial=dial) as gateway:
        client = await gateway.connect()
        await client.send(frame(b"x"))
        await client.close()
        await gateway.end_of()
        if end == "refused":
            go_on.set()
        await until(lambda: not list(gateway.server.connections()))
        await until(lambda: dials == ([] if end == "refused" else ["cancelled"]))


# ---- a client that ends its sending side --------------------------------------------------------------------------


def half_closing(port: int, ca: Path, sent: bytes) -> bytes:
    """What comes back after a close_notify behind the last request. (The standard library cannot say only that.)"""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.load_verify_locations(str(ca))
    received = bytearray()
    with socket.create_connection(("127.0.0.1", port)) as sock:
        tls = SSL.Connection(context, sock)
        tls.set_connect_state()
        tls.do_handshake()
        tls.sendall(sent)
        assert not tls.shutdown()
        sock.shutdown(socket.SHUT_WR)
        while True:
            try:
                received += tls.recv(MIB)
            except SSL.ZeroReturnError:
                return bytes(received)


async def test_whole_requests_before_a_half_close_are_answered_as_a_broker_does(tmp_path: Path) -> None:
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.readexactly(3 * 9)
        await asyncio.sleep(0.2)  # the end is there long before the answers are
        writer.write(data)
        await writer.drain()
        assert await reader.read() == b""

    sent = frame(b"one..") + frame(b"two..") + frame(b"three")
    async with backend(slow) as port:
        dial, endpoint = plain_backend(port)
        async with running(tmp_path, lambda peer: RelaySession(peer, endpoint), dial=dial) as gateway:
            assert await asyncio.to_thread(half_closing, gateway.port, gateway.ca.path, sent + b"cut") == sent
            assert (await gateway.end_of())[0].code == "client-disconnected"


async def test_the_last_answers_are_not_awaited_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlines, "LAST_ANSWERS_SECONDS", 0.2)

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with backend(never) as port:
        dial, endpoint = plain_backend(port)
        async with running(tmp_path, lambda peer: RelaySession(peer, endpoint), dial=dial) as gateway:
            assert await asyncio.to_thread(half_closing, gateway.port, gateway.ca.path, frame(b"x")) == b""
            assert (await gateway.end_of())[0].code == "client-disconnected"


# ---- the client's turn --------------------------------------------------------------------------------------------


class Muting(EchoSession):
    """Mutes for a while after each frame that says so."""

    def receive(self, data: memoryview) -> int:
        octets = super().receive(data)
        if b"mute" in bytes(data[:octets]):
            self.effects.mute_until = asyncio.get_running_loop().time() + 0.3
        return octets


async def test_a_muted_client_is_not_read_and_then_read_again(tmp_path: Path) -> None:
    async with running(tmp_path, Muting) as gateway:
        client = await gateway.connect()
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await client.send(frame(b"mute"))
        assert await client.receive() == b"mute", "the answer goes out at once"
        assert loop.time() - begun < 0.25
        await client.send(frame(b"next"))
        assert await client.receive() == b"next"
        assert loop.time() - begun >= 0.29
        await client.close()


@dataclass(frozen=True, slots=True)
class Question(Ask):
    word: str


@dataclass(frozen=True, slots=True)
class Told(Fact):
    word: str


class Asking(FakeSession):
    """Parks on each frame until its fact is told, then answers with it."""

    def __init__(self, peer: Any) -> None:
        super().__init__(peer)
        self.calls_while_parked = 0

    def receive(self, data: memoryview) -> int:
        self.calls_while_parked += self.parked
        octets, self.client_wanted = complete(data)
        if not octets:
            return 0
        (length,) = struct.unpack_from(">I", data)
        self.effects.asks.append(Question(bytes(data[4 : 4 + length]).decode()))
        self.parked = True
        self.client_wanted = 4
        return int(4 + length)

    def told(self, fact: Fact) -> None:
        super().told(fact)
        self.effects.to_client.append(frame(fact.word.encode() if isinstance(fact, Told) else b"unavailable"))


async def test_a_parked_frame_waits_for_its_fact_and_those_behind_it_wait_too(tmp_path: Path) -> None:
    asked: list[str] = []
    go_on = asyncio.Event()

    async def answer(ask: Ask) -> Fact:
        assert isinstance(ask, Question)
        asked.append(ask.word)
        await go_on.wait()
        if ask.word == "broken":
            raise ValueError("no")
        return Told(ask.word.upper())

    async with running(tmp_path, Asking, answer=answer) as gateway:
        client = await gateway.connect()
        await client.send(frame(b"one") + frame(b"broken") + frame(b"three"))
        await until(lambda: asked)
        other = await gateway.connect()  # who comes later is asked about sooner than those that wait
        await other.send(frame(b"other"))
        await until(lambda: "other" in asked)
        assert asked == ["one", "other"]
        go_on.set()
        assert [await client.receive() for _ in range(3)] == [b"ONE", b"unavailable", b"THREE"]
        assert await other.receive() == b"OTHER"
        await other.close()
        assert asked == ["one", "other", "broken", "three"]
        session = gateway.sessions[0]
        assert session.calls_while_parked == 0
        assert [type(fact) for fact in session.facts] == [Told, Unavailable, Told]
        await client.close()


async def test_nothing_is_told_to_a_session_that_has_ended(tmp_path: Path) -> None:
    go_on, answered = asyncio.Event(), asyncio.Event()

    async def answer(ask: Ask) -> Fact:
        try:
            await go_on.wait()
            return Told("late")
        finally:
            answered.set()

    async with running(tmp_path, Asking, answer=answer) as gateway:
        client = await gateway.connect()
        await client.send(frame(b"one"))
        await until(lambda: gateway.sessions and gateway.sessions[0].parked)
        await client.close()
        next(gateway.server.connections()).pump.abort(CLIENT_DISCONNECTED)  # type: ignore[union-attr]
        await gateway.end_of()
        go_on.set()
        await answered.wait()
        for _ in range(10):  # turns for whoever would tell it
            await asyncio.sleep(0)
        assert gateway.sessions[0].facts == []


class InFlight(RelaySession):
    """Takes one frame at a time: the next one only when the answer has come."""

    def receive(self, data: memoryview) -> int:
        octets, self.client_wanted = complete(data)
        if not octets or self.owed:
            self.parked = self.owed > 0
            return 0
        (length,) = struct.unpack_from(">I", data)
        self.owed = 1
        self.effects.to_upstream.append(data[: 4 + length])
        self.client_wanted = 4
        return int(4 + length)

    def answer(self, data: memoryview) -> int:
        octets = super().answer(data)
        self.parked = self.owed > 0
        return octets


async def test_a_full_queue_of_expected_answers_goes_on_when_an_answer_frees_a_place(tmp_path: Path) -> None:
    payloads = [os.urandom(size) for size in (1, 100_000, 3, 0, 300_000, 5) * 5]
    async with backend(echo) as port:
        dial, endpoint = plain_backend(port)
        async with running(tmp_path, lambda peer: InFlight(peer, endpoint), dial=dial) as gateway:
            client = await gateway.connect()
            sending = asyncio.create_task(client.send(b"".join(map(frame, payloads))))
            for payload in payloads:
                assert await client.receive() == payload
            await sending
            await client.close()


# ---- time ---------------------------------------------------------------------------------------------------------


class Ticking(EchoSession):
    def __init__(self, peer: Any) -> None:
        super().__init__(peer)
        self.deadline = asyncio.get_running_loop().time() + 0.1

    def tick(self) -> None:
        assert asyncio.get_running_loop().time() >= self.deadline - 0.002
        super().tick()
        self.effects.to_client.append(frame(b"tick"))
        self.effects.close = Close(CLIENT_DISCONNECTED, "its time had come")


async def test_a_session_is_ticked_at_its_deadline(tmp_path: Path) -> None:
    async with running(tmp_path, Ticking) as gateway:
        client = await gateway.connect()
        await client.send(b"\0")
        assert await client.receive() == b"tick"
        assert (await gateway.end_of())[1] == "its time had come"
        assert gateway.sessions[0].ticks == 1
        await client.close()


async def test_a_frame_that_is_never_completed(tmp_path: Path) -> None:
    async with running(tmp_path, EchoSession, frame_timeout=0.3) as gateway:
        client = await gateway.connect()
        await client.send(frame(b"whole") + frame(b"incomplete")[:-1])
        assert await client.receive() == b"whole"
        assert (await gateway.end_of())[0].code == "frame-timeout"
        await client.close()


async def test_a_frame_that_dribbles_is_not_given_more_time_by_each_octet(tmp_path: Path) -> None:
    async with running(tmp_path, EchoSession, frame_timeout=0.3) as gateway:
        client = await gateway.connect()
        await client.send(frame(bytes(100_000))[:10])
        async with asyncio.timeout(60):  # a third of what the whole frame would take
            while not gateway.sessions or not gateway.sessions[0].ends:
                client.writer.write(b"x")
                await asyncio.sleep(0.002)
        assert (await gateway.end_of())[0].code == "frame-timeout"
        await client.close()


async def test_a_client_that_is_idle(tmp_path: Path) -> None:
    async with running(tmp_path, EchoSession, idle_timeout=1.5) as gateway:
        client = await gateway.connect()
        begun = asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() < begun + 2.0:  # never idle, for longer than may be idled
            await client.send(frame(b"x"))
            assert await client.receive() == b"x"
        assert not gateway.sessions[0].ends
        assert (await gateway.end_of())[0].code == "idle-timeout"
        assert await client.reader.read() == b""
        await client.close()


class Talkative(RelaySession):
    """Has something to settle with the upstream again and again, which is not its client's."""

    def __init__(self, peer: Any, endpoint: Endpoint) -> None:
        super().__init__(peer, endpoint)
        self.talking = False

    def tick(self) -> None:
        super().tick()
        self.talking = True
        self.effects.to_upstream.append(frame(b"own"))

    def answer(self, data: memoryview) -> int:
        if self.talking:
            octets, self.upstream_wanted = complete(data)
        else:
            octets = super().answer(data)
        if octets:
            self.talking = False
            self.deadline = time.monotonic() + 0.05
        return octets


async def test_what_a_session_settles_by_itself_keeps_no_idle_client_alive(tmp_path: Path) -> None:
    async with backend(echo) as port:
        dial, endpoint = plain_backend(port)
        async with running(tmp_path, lambda peer: Talkative(peer, endpoint), dial=dial, idle_timeout=0.5) as gateway:
            client = await gateway.connect()
            await client.send(frame(b"x"))
            assert await client.receive() == b"x"
            assert (await gateway.end_of())[0].code == "idle-timeout"
            assert gateway.sessions[0].ticks > 1
            await client.close()


# ---- errors of our own --------------------------------------------------------------------------------------------


class Failing(EchoSession):
    def __init__(self, peer: Any, where: str) -> None:
        super().__init__(peer)
        self.where = where
        if where == "tick":
            self.deadline = 0.0

    def receive(self, data: memoryview) -> int:
        if self.where == "receive":
            raise ValueError(bytes(data))
        if self.where == "greedy":
            return len(data) + 1
        return super().receive(data)

    def tick(self) -> None:
        raise ValueError("tick")

    def closed(self, reason: Any, detail: str) -> None:
        super().closed(reason, detail)
        if self.where == "closed":
            raise ValueError("closed")


@pytest.mark.parametrize("where", ["receive", "greedy", "tick", "closed"])
async def test_an_exception_ends_its_connection_alone_and_shows_no_payload(
    tmp_path: Path, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    made: list[str] = []

    def make(peer: Any) -> FakeSession:
        made.append("")
        return EchoSession(peer) if len(made) == 1 else Failing(peer, where)

    async with running(tmp_path, make) as gateway:
        bystander = await gateway.connect()
        await bystander.send(frame(b"x"))
        assert await bystander.receive() == b"x"
        client = await gateway.connect()
        await client.send(frame(b"payload"))
        if where == "closed":
            await client.receive()
            await client.close()
            await gateway.end_of(1)
        else:
            reason, detail = await gateway.end_of(1)
            assert reason.code == "session-failed"
            assert "Error at " in detail
            assert "payload" not in detail
            await client.close()
        assert "payload" not in caplog.text
        assert caplog.records
        await bystander.send(frame(b"still here"))
        assert await bystander.receive() == b"still here"
        await bystander.close()
        await gateway.end_of(0)


# ---- the budget ---------------------------------------------------------------------------------------------------


def number_of(server: Server) -> int:
    return len(list(server.connections()))


@pytest.mark.parametrize("principals", ["one", "each its own"])
async def test_200_half_sent_large_frames_neither_exhaust_memory_nor_stop_the_others(
    tmp_path: Path, principals: str
) -> None:
    made: list[EchoSession] = []

    def make(peer: Any) -> EchoSession:
        session = EchoSession(peer)
        if principals != "one":
            session.who = Principal("jwt", "test", str(len(made)))
        made.append(session)
        return session

    async with running(tmp_path, make, frame_timeout=60.0, frame_bytes_max=100 * MIB) as gateway:
        gc.collect()
        before = resident()
        context = gateway.client_context()
        half = memoryview(struct.pack(">I", 64 * MIB) + bytes(32 * MIB))
        clients = []
        for _ in range(200):
            client = await gateway.connect(context)
            clients.append(client)

        async def send_half(client: Any) -> None:
            for offset in range(0, len(half), 256 * 1024):
                await client.send(half[offset : offset + 256 * 1024])

        sending = [asyncio.create_task(send_half(client)) for client in clients]
        await until(lambda: gateway.server.budget.waiting > 190)
        other = await gateway.connect(context)
        for size in (10, 50_000, 500_000, 4 * MIB):
            payload = os.urandom(size)
            await other.send(frame(payload))
            async with asyncio.timeout(60):
                assert await other.receive() == payload
        assert gateway.server.budget.used <= 256 * MIB
        # What the clients of this test hold themselves is half a MiB of ciphertext each, and what TLS is making of it.
        assert resident() - before < 256 * MIB + 200 * 768 * 1024
        for task in sending:
            task.cancel()
        await asyncio.gather(*sending, return_exceptions=True)
        for client in (*clients, other):
            client.writer.transport.abort()  # type: ignore[attr-defined]
        await until(lambda: number_of(gateway.server) == 0)
        assert gateway.server.budget.used == 0
        assert gateway.server.budget.waiting == 0


async def test_a_frame_that_finds_no_memory_is_ended_by_name(tmp_path: Path) -> None:
    async with running(
        tmp_path, EchoSession, frame_timeout=0.5, buffered_bytes_max=4 * MIB, frame_bytes_max=3 * MIB
    ) as gateway:
        held = [gateway.server.budget.charge(ALICE, 3 * MIB)]
        client = await gateway.connect()
        client.writer.write(frame(bytes(2 * MIB)))
        assert (await gateway.end_of())[0].code == "buffer-budget-timeout"
        held[0].release()
        client.writer.transport.abort()  # type: ignore[attr-defined]


async def test_a_frame_that_waited_for_memory_goes_through_when_there_is_some(tmp_path: Path) -> None:
    async with running(
        tmp_path, EchoSession, frame_timeout=60.0, buffered_bytes_max=4 * MIB, frame_bytes_max=3 * MIB
    ) as gateway:
        held = gateway.server.budget.charge(ALICE, 3 * MIB)
        client = await gateway.connect()
        payload = os.urandom(2 * MIB)
        sending = asyncio.create_task(client.send(frame(payload)))
        await until(lambda: gateway.server.budget.waiting == 1)
        held.release()
        assert await client.receive() == payload
        await sending
        await client.close()


async def test_a_client_that_does_not_read_is_ended_when_memory_is_short(tmp_path: Path) -> None:
    async with running(
        tmp_path, EchoSession, frame_timeout=0.3, buffered_bytes_max=64 * MIB, frame_bytes_max=32 * MIB
    ) as gateway:
        held = gateway.server.budget.charge(None, 40 * MIB)
        client = await gateway.connect()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        for _ in range(16):
            client.writer.write(frame(bytes(MIB)))
        assert (await gateway.end_of())[0].code == "client-not-reading"
        held.release()
        client.writer.transport.abort()  # type: ignore[attr-defined]


# ---- the broker's end, and ours -----------------------------------------------------------------------------------


async def test_answers_before_the_brokers_end_still_arrive(tmp_path: Path) -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(5)
        writer.write(frame(bytes(3 * MIB)) + frame(b"last") + frame(b"cut")[:-1])
        await writer.drain()

    async with backend(once) as port:
        dial, endpoint = plain_backend(port)
        async with running(tmp_path, lambda peer: RelaySession(peer, endpoint), dial=dial) as gateway:

            def talk() -> bytes:  # (uvloop's own TLS client loses what came before close_notify while it is paused)
                sock = socket.create_connection(("127.0.0.1", gateway.port))
                with gateway.client_context().wrap_socket(
                    sock, server_hostname="localhost", suppress_ragged_eofs=False
                ) as tls:
                    tls.sendall(frame(b"x"))
                    received = bytearray()
                    while data := tls.recv(MIB):
                        received += data
                    return bytes(received)

            assert await asyncio.to_thread(talk) == frame(bytes(3 * MIB)) + frame(b"last")
            assert (await gateway.end_of())[0].code == "upstream-closed"
            assert len(gateway.sessions[0].losses) == 1


async def test_an_upstream_that_cannot_be_reached(tmp_path: Path) -> None:
    async with backend(echo) as port:
        dial, endpoint = plain_backend(port)
    async with running(tmp_path, lambda peer: RelaySession(peer, endpoint), dial=dial) as gateway:
        client = await gateway.connect()
        await client.send(frame(b"x"))
        reason, detail = await gateway.end_of()
        assert reason.code == "upstream-unreachable"
        assert str(port) in detail
        await client.close()


async def test_an_upstream_that_is_not_known(tmp_path: Path) -> None:
    async with running(tmp_path, RelaySession) as gateway:
        client = await gateway.connect()
        await client.send(frame(b"x"))
        assert (await gateway.end_of())[0].code == "upstream-endpoint-unknown"
        await client.close()


async def test_a_stopping_gateway_lets_answers_out_first(tmp_path: Path) -> None:
    asked = asyncio.Event()
    go_on = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.readexactly(9)
        asked.set()
        await go_on.wait()
        writer.write(data)
        await writer.drain()
        await reader.read()

    async with backend(slow) as port:
        dial, endpoint = plain_backend(port)
        async with running(tmp_path, lambda peer: RelaySession(peer, endpoint), dial=dial) as gateway:
            client, idle = await gateway.connect(), await gateway.connect()
            await client.send(frame(b"hello"))
            await asked.wait()
            stopping = asyncio.create_task(gateway.server.shutdown())
            assert await idle.reader.read() == b"", "who is owed nothing is let go at once"
            with pytest.raises(OSError):  # noqa: PT011
                await gateway.connect()
            go_on.set()
            assert await client.receive() == b"hello"
            assert await client.reader.read() == b""
            await stopping
            assert {each.ends[0][0].code for each in gateway.sessions} == {"shutting-down"}
            await client.close()
            await idle.close()


async def test_a_stopping_gateway_does_not_wait_for_ever(tmp_path: Path) -> None:
    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        await asyncio.sleep(60)

    async with backend(never) as port:
        dial, endpoint = plain_backend(port)
        async with running(
            tmp_path, lambda peer: RelaySession(peer, endpoint), dial=dial, shutdown_timeout=0.3
        ) as gateway:
            client = await gateway.connect()
            await client.send(frame(b"x"))
            await until(lambda: gateway.sessions and gateway.sessions[0].owed)
            async with asyncio.timeout(60):
                await gateway.server.shutdown()
            reason, detail = await gateway.end_of()
            assert (reason.code, detail) == ("shutting-down", "its answers did not come in time")
            await client.close()


class Splitting(RelaySession):
    """Sends each frame on in many small views, and one large one."""

    def receive(self, data: memoryview) -> int:
        octets, self.client_wanted = complete(data)
        parts: list[Part] = [data[at : min(at + 1000, octets)] for at in range(0, min(octets, 40_000), 1000)]
        if octets > 40_000:
            parts.append(data[40_000:octets])
        self.effects.to_upstream += parts
        return octets

    def answer(self, data: memoryview) -> int:
        octets, self.upstream_wanted = complete(data)
        self.effects.to_client += [data[:octets][at : at + 7000] for at in range(0, octets, 7000)]
        return octets


async def test_parts_are_joined_in_order(tmp_path: Path) -> None:
    payloads = [os.urandom(size) for size in (10, 39_000, 41_000, 700_000, 1)]

    async def dial_nothing(endpoint: Endpoint) -> Any:
        raise AssertionError

    async with backend(echo) as port:
        dial, endpoint = plain_backend(port)
        async with running(tmp_path, lambda peer: Splitting(peer, endpoint), dial=dial) as gateway:
            client = await gateway.connect()
            sending = asyncio.create_task(client.send(b"".join(map(frame, payloads))))
            for payload in payloads:
                assert await client.receive() == payload
            await sending
            await client.close()


# ---- large frames -------------------------------------------------------------------------------------------------


@dataclass
class Readings:
    """How often clients were read."""

    count: int = 0


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> Readings:
    made = Readings()
    read = Side.read

    def counted(side: Side, scratch: memoryview, most: int) -> tuple[int, memoryview]:
        made.count += isinstance(side, ClientSide)
        return read(side, scratch, most)

    monkeypatch.setattr(Side, "read", counted)
    return made


async def in_pieces(client: Client, data: bytes, size: int) -> None:
    """Each a TLS record, with turns of the loop for whoever wants to read it."""
    for at in range(0, len(data), size):
        await client.send(data[at : at + size])
        for _ in range(3):
            await asyncio.sleep(0)


async def test_a_large_frame_is_read_by_many_records_at_once(tmp_path: Path, readings: Readings) -> None:
    data = os.urandom(MIB)
    async with running(tmp_path, EchoSession) as gateway:
        client = await gateway.connect()
        await in_pieces(client, frame(data), 4000)  # 263 records
        assert await client.receive() == data
        assert readings.count < 90
        before = readings.count
        await in_pieces(client, frame(data[:20_000]), 4000)  # and a small one as it comes
        assert await client.receive() == data[:20_000]
        assert readings.count >= before + 3
        await client.close()


@pytest.mark.parametrize("version", ["1.2", "1.3"])
async def test_frames_about_the_size_of_what_is_awaited_at_once_come_whole(tmp_path: Path, version: str) -> None:
    """Whatever lies in the TLS library, or comes with the next frame: nothing is awaited that does not come."""
    sizes = [size + few for size in (AT_ONCE_FROM, AT_ONCE_FROM + RECORD) for few in (-5, 0, 7)]
    async with running(tmp_path, EchoSession, tls={"versions": (version,)}) as gateway:
        client = await gateway.connect()
        for size in sizes:
            for piece in (5000, RECORD):
                first, second = os.urandom(size), os.urandom(10)
                await in_pieces(client, frame(first) + frame(second), piece)
                assert await client.receive() == first
                assert await client.receive() == second
        await client.close()


async def test_a_client_that_goes_in_the_middle_of_a_large_frame_is_noticed(tmp_path: Path) -> None:
    async with running(tmp_path, EchoSession) as gateway:
        client = await gateway.connect()
        await in_pieces(client, frame(os.urandom(MIB))[: MIB // 2 + 77], 5000)
        client.writer.transport.abort()
        reason, _ = await gateway.end_of()
        assert reason is CLIENT_DISCONNECTED
