"""A full house: who is known stays, and somebody honest gets in at a flood's expense, at any stage of a connection."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from gateway.core.meters import Meter
from gateway.core.settings import ProxyProtocol
from gateway.edge import meters as named
from gateway.edge import turns
from gateway.edge.turns import HandshakeTurns
from tests.edge import Client, EchoSession, Running, frame, running, until

FLOOD = ("127.0.0.2", 0)
CLIENT_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
"""The beginning of one."""


class Stranger(EchoSession):
    """Nobody, until its first frame. `refused` once that frame is a wrong one."""

    def __init__(self, peer: Any) -> None:
        super().__init__(peer)
        self.known, self.who = self.who, None
        self.silent = True
        self.refused = False

    def receive(self, data: memoryview) -> int:
        self.silent = False
        if b"wrong" in bytes(data):
            self.refused = self.parked = True
            return len(data)
        self.who = self.known
        return super().receive(data)


@contextmanager
def flood(gateway: Running, how_many: int, first: bytes, source: tuple[str, int] = FLOOD) -> Iterator[list[Any]]:
    """So many that hang after these bytes."""
    with contextlib.ExitStack() as opened:
        socks = []
        for _ in range(how_many):
            sock = opened.enter_context(socket.create_connection(("127.0.0.1", gateway.port), source_address=source))
            sock.sendall(first)
            socks.append(sock)
        yield socks


async def asked(client: Client) -> None:
    await client.send(frame(b"it is me"))
    assert await client.receive() == b"it is me"


def counted(gateway: Running, wanted: Meter) -> float:
    return sum(value for meter, _, value in gateway.meters.series() if meter is wanted)


def shed(gateway: Running) -> float:
    return counted(gateway, named.SHED)


@pytest.mark.parametrize("first", [b"", b"\x16", CLIENT_HELLO], ids=["nothing", "a byte", "half a hello"])
@pytest.mark.parametrize("limits", [{"unauthenticated_max": 8}, {"connections_max": 8}], ids=str)
async def test_who_holds_every_place_keeps_nobody_out(tmp_path: Path, first: bytes, limits: dict[str, int]) -> None:
    async with running(tmp_path, Stranger, **limits) as gateway:
        with flood(gateway, 8, first):
            await until(lambda: gateway.server.unauthenticated == 8)
            clients = [await gateway.connect() for _ in range(4)]
            for client in clients:
                await asked(client)
            assert shed(gateway) == 4
            event = await gateway.until_refused("made-room")
            assert event.fields["address"] == "127.0.0.2"
            assert event.fields["detail"] == next(iter(limits))
        for client in clients:  # who is known is not touched by those that come
            with flood(gateway, 12, first):
                await asked(client)
        for client in clients:
            await client.close()


async def test_a_flood_that_completes_its_handshakes(tmp_path: Path) -> None:
    async with running(tmp_path, Stranger, unauthenticated_max=4) as gateway:
        hanging = [await gateway.connect(local_addr=FLOOD) for _ in range(4)]
        await until(lambda: counted(gateway, named.HANDSHAKES) == 4)
        honest = await gateway.connect()
        await asked(honest)
        assert shed(gateway) == 1
        assert (await gateway.until_refused("made-room")).fields["address"] == "127.0.0.2"
        assert await hanging[3].reader.read() == b"", "the newest goes first"
        assert len(gateway.sessions) == 1, "who has not said a word has no session"
        for client in (*hanging, honest):
            await client.close()


async def test_a_flood_that_begins_to_speak(tmp_path: Path) -> None:
    async with running(tmp_path, Stranger, unauthenticated_max=4) as gateway:
        hanging = []
        for number in range(4):
            hanging.append(await gateway.connect(local_addr=FLOOD))
            await hanging[-1].send(b"\0")
            await until(lambda: len(gateway.sessions) == number + 1)  # noqa: B023 - looked at within this turn
        honest = await gateway.connect()
        await asked(honest)
        assert shed(gateway) == 1
        assert [each.ends[0][0].code for each in gateway.sessions if each.ends] == ["made-room"]
        assert gateway.sessions[3].ends, "the newest goes first"
        assert await hanging[3].reader.read() == b""
        for client in (*hanging, honest):
            await client.close()


async def test_who_says_nothing_after_the_handshake_is_ended(tmp_path: Path) -> None:
    async with running(tmp_path, Stranger, authentication_timeout=0.2) as gateway:
        client = await gateway.connect()
        assert await client.reader.read() == b"", "by TLS's goodbye"
        await gateway.until_refused("authentication-timeout")
        assert not gateway.sessions
        await client.close()


async def test_whose_login_was_refused_goes_before_anybody_else(tmp_path: Path) -> None:
    async with running(tmp_path, Stranger, unauthenticated_max=3) as gateway:
        failed = await gateway.connect()
        await failed.send(frame(b"wrong"))
        await until(lambda: gateway.sessions and gateway.sessions[0].refused)
        waiting = [await gateway.connect(local_addr=FLOOD) for _ in range(2)]
        await until(lambda: gateway.server.unauthenticated == 3)
        late = await gateway.connect(local_addr=FLOOD)
        await until(lambda: gateway.sessions[0].ends)
        for client in (*waiting, late):
            await asked(client)
            await client.close()
        await failed.close()


async def test_behind_a_balancer_the_address_it_names_counts(tmp_path: Path) -> None:
    proxied = {"proxy_protocol": ProxyProtocol(networks=(ip_network("127.0.0.0/8"),), required=True)}
    flooder = b"PROXY TCP4 203.0.113.7 10.0.0.1 40000 9094\r\n"
    async with running(tmp_path, Stranger, change=proxied, unauthenticated_max=6) as gateway:
        with flood(gateway, 6, flooder):
            await until(lambda: sum(line.through is not None for line in gateway.server.connections()) == 6)
            sock = socket.create_connection(("127.0.0.1", gateway.port))
            sock.sendall(b"PROXY TCP4 198.51.100.9 10.0.0.1 40000 9094\r\n")
            reader, writer = await asyncio.open_connection(
                sock=sock, ssl=gateway.client_context(), server_hostname="localhost"
            )
            await asked(Client(reader, writer))
            event = await gateway.until_refused("made-room")
            assert event.fields["address"] == "203.0.113.7"
            await Client(reader, writer).close()


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@pytest.mark.parametrize("end", [socket.socket.close, reset], ids=["closed", "reset"])
async def test_health_checks_are_a_sum_and_no_refusals(tmp_path: Path, end: Any) -> None:
    async with running(tmp_path, Stranger) as gateway:
        for _ in range(5):
            end(socket.create_connection(("127.0.0.1", gateway.port)))
        for _ in range(5):
            client = await gateway.connect()
            await client.close()
        await until(lambda: all(each.ends for each in gateway.sessions) and not list(gateway.server.connections()))
        gateway.server._reception._probes.write()
        lines = [(event.event, *map(event.fields.get, ("reason", "connections"))) for event in gateway.events]
        assert sorted(lines) == [
            ("probed", "tcp-probe", 1), ("probed", "tcp-probe", 4),
            ("probed", "tls-probe", 1), ("probed", "tls-probe", 4),
        ]  # fmt: skip
        assert not [meter for meter, _, _ in gateway.meters.series() if meter in (named.REFUSED, named.CLOSED)]


# ---- turns --------------------------------------------------------------------------------------------------------


class Step:
    """One who takes a turn."""

    def __init__(self, turn: Callable[[], object]) -> None:
        self._turn = turn
        self.paused = False

    def turn(self) -> None:
        self._turn()

    def pause(self) -> None:
        self.paused = True


async def test_between_two_turns_others_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step takes longer than a turn: the loop serves others after each one."""
    monkeypatch.setattr(turns, "TURN_SECONDS", 0.0)
    seen: list[str] = []
    waiting = HandshakeTurns(asyncio.get_running_loop())
    steps = [Step(lambda number=number: seen.append(f"step {number}")) for number in range(3)]  # type: ignore[misc]
    for step in steps:
        waiting.take(step)
    assert seen == ["step 0"], "the first goes on at once"
    assert [step.paused for step in steps] == [False, True, True]

    def other() -> None:
        seen.append("other")
        if len(seen) < 6:
            asyncio.get_running_loop().call_soon(other)

    other()
    await until(lambda: len(seen) >= 6)
    assert seen[:6] == ["step 0", "other", "step 1", "other", "step 2", "other"]


async def test_nobody_overtakes_those_who_wait() -> None:
    """The time that this turn of the loop had left is for those that come within it; the next turn has its own."""
    spent = 0.0
    seen: list[str] = []
    waiting = HandshakeTurns(asyncio.get_running_loop(), lambda: spent)
    waiting.take(Step(lambda: seen.append("first")))
    waiting.take(Step(lambda: seen.append("second")))
    spent = 1.0
    waiting.take(Step(lambda: seen.append("third")))
    spent = 0.0
    waiting.take(Step(lambda: seen.append("fourth")))
    assert seen == ["first", "second"]
    await until(lambda: len(seen) == 4)
    assert seen == ["first", "second", "third", "fourth"]


async def test_a_step_that_fails_does_not_stop_the_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "TURN_SECONDS", 0.0)
    seen: list[str] = []
    loop = asyncio.get_running_loop()
    errors: list[Any] = []
    loop.set_exception_handler(lambda _, context: errors.append(context["exception"]))
    waiting = HandshakeTurns(loop)
    waiting.take(Step(lambda: None))
    waiting.take(Step(lambda: seen.remove("not there")))
    waiting.take(Step(lambda: seen.append("next")))
    await until(lambda: seen)
    assert [type(error) for error in errors] == [ValueError]
