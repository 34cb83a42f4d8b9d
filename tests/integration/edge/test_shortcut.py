"""The short step: what it lets through at once, and that everything else is the pump's, in both forms."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.core.meters import Cell
from gateway.core.session import NEVER, Close, Endpoint, Peer
from gateway.edge import pump, reasons, shortcut
from gateway.edge.budget import Budget
from gateway.edge.buffers import SCRATCH, Inbox
from gateway.edge.side import ClientSide
from gateway.edge.spares import Spares
from gateway.edge.streams import AT_ONCE_FROM, StreamEnded
from tests.edge import RelaySession, Running, backend, complete, count, echo, frame, plain_backend, running, until


class Way:
    """Lets whole frames through, up to the first one that begins with an exclamation mark."""

    sent_left = told_left = 0

    def __init__(self, session: ShortSession) -> None:
        self.session = session
        self.requests_shown = self.answers_shown = 0
        self.mute = 0.0
        self.error: Exception | None = None
        self.lie: int | None = None
        self.parks = False
        self.instead: bytes | None = None

    def requests(self, data: memoryview) -> int:
        self.requests_shown += 1
        if self.error is not None:
            raise self.error
        if self.lie is not None:
            return self.lie
        whole, wanted = complete(data)
        octets = 0
        while octets < whole and data[octets + 4] != ord("!"):
            octets += 4 + int.from_bytes(data[octets : octets + 4], "big")
        self.session.client_wanted = wanted if octets == whole else 4
        self.session.owed += count(data[:octets])
        self.session.effects.mute_until = self.mute
        self.session.parked = self.parks and octets > 0
        return octets

    def answers(self, data: memoryview) -> int:
        self.answers_shown += 1
        octets, self.session.upstream_wanted = complete(data)
        self.session.owed -= count(data[:octets])
        if octets:
            self.session.parked = False
            if self.instead is not None:
                self.session.effects.to_client.append(self.instead)
        return octets


class ShortSession(RelaySession):
    """A relay with a short way; what comes to it the general way is counted."""

    def __init__(self, peer: Peer, endpoint: Endpoint | None = None) -> None:
        super().__init__(peer, endpoint)
        self.short_way = Way(self)
        self.received = self.answered = 0

    def receive(self, data: memoryview) -> int:
        self.received += 1
        return super().receive(data)

    def answer(self, data: memoryview) -> int:
        self.answered += 1
        return super().answer(data)


@pytest.fixture(params=["interpreted", "compiled"])
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The shortcut in one form; where the compiled one is not built, its tests are left out."""
    if request.param == "compiled":
        found = pytest.importorskip("gateway.edge.shortcut_compiled", reason="C compiler (gcc, or a wheel)")
        monkeypatch.setattr(pump, "shortcut", found.Shortcut)
    else:
        monkeypatch.setattr(pump, "shortcut", shortcut.Shortcut)
    return str(request.param)


Play = Callable[[Running, ShortSession, Any], Any]


async def play(tmp_path: Path, act: Play, **limits: Any) -> None:
    """A client whose first frame went the general way, so that the second may go the short one."""
    async with backend(echo) as port:
        dial, endpoint = plain_backend(port)
        async with running(tmp_path, lambda peer: ShortSession(peer, endpoint), dial=dial, **limits) as gateway:
            client = await gateway.connect()
            await client.send(frame(b"first"))
            assert await client.receive() == b"first"
            await act(gateway, gateway.sessions[0], client)
            await client.close()


async def test_frames_go_the_short_way_once_all_is_calm(tmp_path: Path, form: str) -> None:
    async def act(gateway: Running, session: ShortSession, client: Any) -> None:
        assert session.received == 1
        for _ in range(20):
            await client.send(frame(b"again"))
            assert await client.receive() == b"again"
        assert session.received == 1
        assert session.short_way.requests_shown == 20
        assert session.short_way.answers_shown >= 20
        assert session.owed == 0
        seen = {meter.name: value for meter, _, value in gateway.meters.series()}
        octets = 4 + 5
        for name in ("client_received", "client_sent", "upstream_received", "upstream_sent"):
            assert seen[f"gateway_{name}_bytes_total"] == 21 * octets

    await play(tmp_path, act)


async def test_what_is_made_of_an_answer_is_written_in_its_place(tmp_path: Path, form: str) -> None:
    async def act(gateway: Running, session: ShortSession, client: Any) -> None:
        sent = sum(len(frame(each)) for each in (b"first",))
        for made in (b"made", os.urandom(3_000_000), b"", b"made again"):
            session.short_way.instead = frame(made)
            await client.send(frame(b"asked"))
            size = int.from_bytes(await client.reader.readexactly(4), "big")
            assert await client.reader.readexactly(size) == made
            sent += 4 + len(made)
        assert session.short_way.requests_shown == 4
        session.short_way.instead = None
        await client.send(frame(b"calm again"))
        assert await client.receive() == b"calm again"
        seen = {meter.name: value for meter, _, value in gateway.meters.series()}
        assert seen["gateway_client_sent_bytes_total"] == sent + 4 + len(b"calm again")

    await play(tmp_path, act)


async def test_what_is_not_let_through_goes_the_general_way_in_order(tmp_path: Path, form: str) -> None:
    async def act(gateway: Running, session: ShortSession, client: Any) -> None:
        frames = [b"a", b"b", b"!c", b"d" * 100_000, b"!", b"e"]
        await client.send(b"".join(map(frame, frames[:2])))
        await client.send(b"".join(map(frame, frames[2:])))
        for each in frames:
            assert await client.receive() == each
        assert session.received > 1
        await client.send(frame(b"calm again"))
        assert await client.receive() == b"calm again"

    await play(tmp_path, act)


async def test_frames_in_pieces_and_large_ones(tmp_path: Path, form: str) -> None:
    async def act(gateway: Running, session: ShortSession, client: Any) -> None:
        data = os.urandom(3_000_000)
        sent = frame(b"x") + frame(data) + frame(b"y")
        for at in range(0, 63, 7):
            await client.send(sent[at : at + 7])
            await asyncio.sleep(0)
        await client.send(sent[63:])
        assert await client.receive() == b"x"
        size = int.from_bytes(await client.reader.readexactly(4), "big")
        assert await client.reader.readexactly(size) == data
        assert await client.receive() == b"y"

    await play(tmp_path, act)


async def test_a_mute_left_by_the_short_way_holds(tmp_path: Path, form: str) -> None:
    async def act(gateway: Running, session: ShortSession, client: Any) -> None:
        ends = session.short_way.mute = time.monotonic() + 0.3
        await client.send(frame(b"muted"))
        assert await client.receive() == b"muted"
        session.short_way.mute = 0.0
        await client.send(frame(b"later"))
        assert await client.receive() == b"later"
        assert time.monotonic() >= ends  # the loop's own time is cut to whole milliseconds

    await play(tmp_path, act)


async def test_a_session_that_parks_is_not_shown_more_until_an_answer_frees_it(tmp_path: Path, form: str) -> None:
    async def act(gateway: Running, session: ShortSession, client: Any) -> None:
        session.short_way.parks = True
        for _ in range(5):
            await client.send(frame(b"parks"))
            assert await client.receive() == b"parks"
        assert not session.parked

    await play(tmp_path, act)


async def test_a_new_deadline_is_kept(tmp_path: Path, form: str) -> None:
    async def act(gateway: Running, session: ShortSession, client: Any) -> None:
        session.deadline = asyncio.get_running_loop().time() + 0.05
        await client.send(frame(b"deadline"))
        assert await client.receive() == b"deadline"
        await until(lambda: session.ticks == 1)
        assert session.deadline == NEVER

    await play(tmp_path, act)


async def test_an_error_ends_its_connection_alone(tmp_path: Path, form: str, caplog: pytest.LogCaptureFixture) -> None:
    async def act(gateway: Running, session: ShortSession, client: Any) -> None:
        session.short_way.error = ValueError("not said")
        await client.send(frame(b"x"))
        reason, _ = await gateway.end_of()
        assert reason is reasons.SESSION_FAILED
        assert "not said" not in caplog.text

    await play(tmp_path, act)


async def test_an_error_while_reading_ends_the_connection(tmp_path: Path, form: str) -> None:
    """One that no stream is known to raise, as want of memory."""

    class Failing:
        unsent = 0

        def read_into(self, room: memoryview) -> int:
            raise MemoryError

    failed: list[Exception] = []
    session: Any = SimpleNamespace(effects=None)
    rest: Any = None
    budget: Any = SimpleNamespace(at_ease=True)
    clock: Any = SimpleNamespace(monotonic=float)
    stream: Any = Failing()
    step = pump.shortcut(
        session, Way(session), True, [], rest, clock, rest, budget, memoryview(bytearray(10)), Cell(), Cell(),
        *[rest] * 4, failed.append, rest,
    )  # fmt: skip
    step.join(stream, stream)
    step.calm = True
    step()
    assert [type(each) for each in failed] == [MemoryError]


@pytest.mark.parametrize("lie", [-1, 10**6])
async def test_more_let_through_than_was_shown_ends_the_connection(tmp_path: Path, form: str, lie: int) -> None:
    async def act(gateway: Running, session: ShortSession, client: Any) -> None:
        session.short_way.lie = lie
        await client.send(frame(b"x"))
        reason, _ = await gateway.end_of()
        assert reason is reasons.SESSION_FAILED

    await play(tmp_path, act)


async def test_the_clients_end(tmp_path: Path, form: str) -> None:
    async def act(gateway: Running, session: ShortSession, client: Any) -> None:
        await client.close()
        reason, _ = await gateway.end_of()
        assert reason is reasons.CLIENT_DISCONNECTED

    await play(tmp_path, act)


async def test_the_upstreams_end(tmp_path: Path, form: str) -> None:
    async def answers_twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            size = int.from_bytes(await reader.readexactly(4), "big")
            writer.write(frame(await reader.readexactly(size)))

    async with backend(answers_twice) as port:
        dial, endpoint = plain_backend(port)
        async with running(tmp_path, lambda peer: ShortSession(peer, endpoint), dial=dial) as gateway:
            client = await gateway.connect()
            for _ in range(2):
                await client.send(frame(b"x"))
                assert await client.receive() == b"x"
            reason, _ = await gateway.end_of()
            assert reason is reasons.UPSTREAM_CLOSED
            await client.close()


async def test_an_upstream_that_is_reset_behind_its_answer(tmp_path: Path, form: str) -> None:
    """Both are in the socket when it is looked at; uvloop tells of such a socket once (edge.resets)."""

    loop = asyncio.get_running_loop()

    async def breaks(listening: socket.socket) -> None:
        sock, _ = await loop.sock_accept(listening)
        sock.setblocking(False)
        for _ in range(3):
            sock.send(await loop.sock_recv(sock, 9))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()  # before the loop has another turn, in which the gateway would read

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        dial, endpoint = plain_backend(listening.getsockname()[1])
        async with (
            asyncio.TaskGroup() as tasks,
            running(tmp_path, lambda peer: ShortSession(peer, endpoint), dial=dial) as gateway,
        ):
            tasks.create_task(breaks(listening))
            client = await gateway.connect()
            for each in (b"first", b"again", b"third"):
                await client.send(frame(each))
                assert await client.receive() == each
            assert (await gateway.end_of())[0] is reasons.UPSTREAM_RESET
            assert gateway.sessions[0].received == 1
            await client.close()


async def test_a_client_that_does_not_read_holds_the_upstream_back(tmp_path: Path, form: str) -> None:
    """Much is asked for and not read; then it is, and every octet comes."""

    async def act(gateway: Running, session: ShortSession, client: Any) -> None:
        session.short_way.lie = 0
        data = os.urandom(500_000)
        client.reader._transport.pause_reading()
        for _ in range(8):
            client.writer.write(frame(data))
        await until(lambda: session.received > 1)
        await asyncio.sleep(0.1)
        client.reader._transport.resume_reading()
        for _ in range(8):
            size = int.from_bytes(await client.reader.readexactly(4), "big")
            assert await client.reader.readexactly(size) == data

    await play(tmp_path, act)


async def test_a_session_that_closes_in_its_general_way(tmp_path: Path, form: str) -> None:
    async def act(gateway: Running, session: ShortSession, client: Any) -> None:
        def close(data: memoryview) -> int:
            session.effects.close = Close(reasons.SHUTTING_DOWN)
            return len(data)

        session.receive = close  # type: ignore[method-assign]
        await client.send(frame(b"!"))
        reason, _ = await gateway.end_of()
        assert reason is reasons.SHUTTING_DOWN

    await play(tmp_path, act)


def test_a_frame_is_gathered_without_a_step_of_the_pump(form: str) -> None:
    """Until it is whole, more is there than was asked for, or its stream ends."""
    budget = Budget(1 << 20, lambda call: None)
    inbox = Inbox(budget, Spares(), 4096)
    inbox.keep(memoryview(b"x" * 5000), 20_000, None, lambda: None)
    pieces = [b"a" * 6000, b"", b"b" * 6000, b"c" * 3000]
    said: list[str] = []

    class Pieces:
        unsent = 0
        inside = False

        def read_into(self, room: memoryview) -> int:
            if not pieces:
                raise StreamEnded
            piece = pieces.pop(0)
            room[: len(piece)] = piece
            return len(piece)

        def buffered(self) -> bool:
            return self.inside

    rest: Any = None
    stream: Any = Pieces()
    session: Any = SimpleNamespace(effects=None)
    clock: Any = SimpleNamespace(monotonic=lambda: 7.0)
    times: Any = SimpleNamespace(active=0.0)
    received = Cell()
    step = pump.shortcut(
        session, Way(session), True, [], inbox, clock, times, budget, memoryview(bytearray(6500)), received, Cell(),
        lambda: said.append("general"), rest, lambda: said.append("gathered"),
        lambda end: said.append(type(end).__name__), rest, rest,
    )  # fmt: skip
    step.join(stream, stream)
    step.gathering = 20_000
    for filled in (11_000, 11_000, 17_000):
        step()
        assert (inbox.filled, said) == (filled, [])
    assert times.active == 7.0
    step()
    assert bytes(inbox.bytes()) == b"x" * 5000 + b"a" * 6000 + b"b" * 6000 + b"c" * 3000
    assert (said, step.gathering, received.value) == (["gathered"], 0, 15_000)
    step()
    assert said == ["gathered", "general"]

    inbox.clear()
    inbox.keep(memoryview(b"x" * 5000), 20_000, None, lambda: None)
    step.gathering = 20_000
    pieces.append(b"d" * 6500)  # as much as was asked for: perhaps there is more
    step()
    assert said[2:] == ["gathered"]
    step.gathering = 20_000
    pieces.append(b"e")
    stream.inside = True
    step()
    assert said[3:] == ["gathered"]
    step.gathering = 20_000
    step()
    assert said[4:] == ["StreamEnded"]
    budget.used = budget.octets_max
    budget.at_ease = False
    step.calm = True
    step()
    assert said[5:] == ["general"]


def test_a_stream_is_told_anew_how_much_is_to_come(form: str) -> None:
    """Also where the pump had told it last: what is missing in the end would not wake it by itself."""
    told: list[int] = []

    class Steady:
        unsent = 0

        def read_into(self, room: memoryview) -> int:
            return 5000

        def write(self, data: memoryview) -> int:
            return len(data)

        def buffered(self) -> bool:
            return False

        def expect(self, octets: int) -> None:
            told.append(octets)

    session: Any = SimpleNamespace(effects=SimpleNamespace(mute_until=0.0), parked=False, deadline=NEVER)
    way: Any = SimpleNamespace(requests=len, answers=len, sent_left=0, told_left=0)
    clock: Any = SimpleNamespace(monotonic=lambda: 7.0)
    times: Any = SimpleNamespace(active=0.0, armed_for=NEVER)
    budget: Any = SimpleNamespace(at_ease=True)
    rest: Any = None
    stream: Any = Steady()
    steps = [
        pump.shortcut(
            session,
            way,
            upwards,
            [],
            rest,
            clock,
            times,
            budget,
            memoryview(bytearray(8192)),
            Cell(),
            Cell(),
            *[rest] * 6,
        )
        for upwards in (True, False)
    ]
    for step, name in zip(steps, ("sent_left", "told_left"), strict=True):
        step.join(stream, stream)
        step.calm = True
        for left in (0, AT_ONCE_FROM - 1, AT_ONCE_FROM, AT_ONCE_FROM - 1, 5):
            setattr(way, name, left)
            step()
        assert told == [AT_ONCE_FROM, AT_ONCE_FROM - 1]
        told.clear()
        step.expecting = True
        step()
        step()
        assert told == [5]
        told.clear()


class Parts(Way):
    """Lets the upstream's frames through from their fifth octet on; `!` stands for one that is not for it."""

    def answers(self, data: memoryview, general: bool = False) -> int:
        self.answers_shown += not general
        at = min(self.told_left, len(data))
        self.told_left -= at
        while not self.told_left and len(data) - at > 4 and (general or data[at + 4] != ord("!")):
            size = 4 + int.from_bytes(data[at : at + 4], "big")
            self.told_left = max(size - (len(data) - at), 0)
            at += size - self.told_left
        self.session.upstream_wanted = 1 if self.told_left else 5
        return at


class PartsSession(ShortSession):
    def __init__(self, peer: Peer, endpoint: Endpoint | None = None) -> None:
        super().__init__(peer, endpoint)
        self.short_way: Parts = Parts(self)

    def answer(self, data: memoryview) -> int:
        self.answered += 1
        taken = self.short_way.answers(data, general=True)
        self.effects.to_client.append(data[:taken])
        return taken


async def test_the_rest_of_a_long_frame_that_began_the_general_way_is_not_left_in_the_socket(
    tmp_path: Path, form: str
) -> None:
    """The stream was told to call for many octets, and few are left after the first short step."""
    pieces = [frame(b"!") + frame(bytes(150_000))[:1000], bytes(130_000), bytes(150_004 - 131_000)]
    wait: asyncio.Queue[bytes] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(len(frame(b"first"))))
        while piece := await wait.get():
            writer.write(piece)

    async with backend(serve) as port:
        dial, endpoint = plain_backend(port)
        async with running(tmp_path, lambda peer: PartsSession(peer, endpoint), dial=dial) as gateway:
            client = await gateway.connect()
            await client.send(frame(b"first"))
            assert await client.receive() == b"first"
            for piece in pieces:
                wait.put_nowait(piece)
                async with asyncio.timeout(20.0):
                    assert await client.reader.readexactly(len(piece)) == piece
            assert gateway.sessions[0].short_way.answers_shown >= 2
            wait.put_nowait(b"")
            await client.close()


async def test_what_the_stream_holds_inside_goes_the_short_way_too(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than one reading holds: the rest lies in the TLS library, and no event tells of it."""
    general: list[int] = []
    read = ClientSide.read

    def noticed(self: ClientSide, scratch: memoryview, most: int) -> tuple[int, memoryview]:
        general.append(most)
        return read(self, scratch, most)

    async def act(gateway: Running, session: ShortSession, client: Any) -> None:
        monkeypatch.setattr(ClientSide, "read", noticed)
        sent = [bytes([number]) * 4092 for number in range(128)]
        assert len(b"".join(sent)) > SCRATCH
        await client.send(b"".join(map(frame, sent)))
        for expected in sent:
            assert await client.receive() == expected
        assert session.owed == 0
        assert not general

    await play(tmp_path, act)


async def test_what_the_stream_holds_inside_comes_when_a_parked_session_goes_on(tmp_path: Path, form: str) -> None:
    async def act(gateway: Running, session: ShortSession, client: Any) -> None:
        session.short_way.parks = True
        sent = [bytes([number]) * 60_000 for number in range(60)]
        await client.send(b"".join(map(frame, sent)))
        for expected in sent:
            assert await client.receive() == expected
        assert session.owed == 0

    await play(tmp_path, act)


async def test_one_reading_without_an_event_is_due_at_a_time(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However full the client's socket is: else each event would add a reading to each turn of the loop."""
    loop = asyncio.get_running_loop()
    turns = [0]
    follow = pump.Pump._client_follows

    def turned() -> None:
        turns.append(0)
        loop.call_soon(turned)

    def followed(self: pump.Pump) -> None:
        turns[-1] += 1
        follow(self)

    async def act(gateway: Running, session: ShortSession, client: Any) -> None:
        loop.call_soon(turned)
        sent = [bytes([number]) * 60_000 for number in range(200)]

        async def read() -> None:
            for expected in sent:
                assert await client.receive() == expected

        await asyncio.gather(client.send(b"".join(map(frame, sent))), read())
        assert max(turns) == 1

    monkeypatch.setattr(pump.Pump, "_client_follows", followed)
    await play(tmp_path, act)
