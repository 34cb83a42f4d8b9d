"""Long answers of Pulsar's REST interface through the real pump: others have their turns meanwhile, under small limits
their memory is granted or they are refused, and what comes is the list without what may not be seen."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.core.session import Endpoint
from gateway.core.settings import Limits
from gateway.edge.clock import SystemClock
from gateway.pulsar.web.session import WebSession
from gateway.pulsar.web_brokers import WebBrokers
from tests.edge import Client, Running, backend, plain_backend, running, until
from tests.http import request
from tests.scenarios.web_world import WebWorld

TOPICS = "/admin/v2/persistent/public/default"
SMALL = {"buffered_bytes_max": 1 << 20, "frame_bytes_max": 3 << 18, "frame_timeout": 5.0}
PIECE = 32 << 10
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class EvenOnes(frozenset[tuple[str, str, str]]):
    """Rights to every other topic, and to ask for them."""

    def __contains__(self, access: object) -> bool:
        assert isinstance(access, tuple)
        return access[0] == "namespace" or access[2][-1] in "02468"


def listed(octets: int) -> list[str]:
    """Names whose list has about so many octets."""
    return [f"persistent://public/default/orders-{number:06}" for number in range(octets // 45)]


def broker(names: list[str], *, whole: bool) -> Serve:
    """Answers every request with the list; `whole`: and says how long it is."""
    body = json.dumps(names).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    if whole:
        said = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    else:
        said = head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            for at in range(0, len(said), PIECE):
                writer.write(said[at : at + PIECE])
                await writer.drain()
                await asyncio.sleep(0)  # so that it is not read in one go

    return serve


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Callable[..., WebWorld]:
    """One that lives in real time, as the pump does."""
    monkeypatch.setattr("tests.scenarios.pulsar_world.HandClock", SystemClock)

    def made(port: int, **limits: Any) -> WebWorld:
        made = WebWorld(limits=Limits(**limits))
        made.policies.current.everything(EvenOnes())
        made.backend.web = WebBrokers([Endpoint("127.0.0.1", port)], (), plaintext=True)
        return made

    return made


async def asked(gateway: Running, target: str = TOPICS) -> Client:
    client = await gateway.connect()
    await client.send(request(target, Authorization="Bearer alice"))
    return client


async def answer(client: Client) -> tuple[int, Any]:
    """Status and what it says."""
    head = await client.reader.readuntil(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    (length,) = (int(line.partition(":")[2]) for line in lines if line.startswith("content-length:"))
    return int(lines[0].split()[1]), json.loads(await client.reader.readexactly(length))


@asynccontextmanager
async def in_the_middle(
    tmp_path: Path, world: Callable[..., WebWorld]
) -> AsyncIterator[tuple[WebWorld, Running, Client, list[str]]]:
    """A long list is asked for and its rewriting has begun, in as many slices as there can be. Who asked, and what the
    broker's list has."""
    names = listed(2 << 20)
    async with backend(broker(names, whole=True)) as port:
        made = world(port)
        made.pulsar.walks.seconds = 0.0
        dial, _ = plain_backend(port)
        async with running(tmp_path, lambda peer: WebSession(peer, made.pulsar), dial=dial) as gateway:
            client = await asked(gateway)
            await until(lambda: gateway.sessions and gateway.sessions[0].busy == "upstream")
            yield made, gateway, client, names


async def test_others_have_their_turn_while_a_long_list_is_rewritten(
    tmp_path: Path, world: Callable[..., WebWorld]
) -> None:
    async with in_the_middle(tmp_path, world) as (made, gateway, long, names):
        other = await asked(gateway, "/nowhere")
        assert (await answer(other))[0] == 404
        assert gateway.sessions[0].busy == "upstream", "it was not done at once"
        assert await answer(long) == (200, [name for name in names if name[-1] in "02468"])
        await long.send(request("/nowhere", Authorization="Bearer alice"))
        assert (await answer(long))[0] == 404, "the connection goes on"
        await long.close()
        await other.close()
    assert made.pulsar.walks.taken == 0


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(("octets", "status"), [(250_000, 200), (700_000, 502)])
async def test_under_small_limits_a_list_is_granted_or_refused_and_never_waits(
    tmp_path: Path, world: Callable[..., WebWorld], octets: int, status: int, whole: bool
) -> None:
    """What may be rewritten is a quarter of all that may be buffered: more would have waited for memory in vain."""
    names = listed(octets)
    async with backend(broker(names, whole=whole)) as port:
        made = world(port, **SMALL)
        dial, _ = plain_backend(port)
        async with running(tmp_path, lambda peer: WebSession(peer, made.pulsar), dial=dial, **SMALL) as gateway:
            for _ in range(3):
                client = await asked(gateway)
                told, said = await answer(client)
                assert told == status
                assert status != 200 or len(said) == (len(names) + 1) // 2
                await client.close()


async def test_who_leaves_in_the_middle_of_a_long_list_leaves_nothing_behind(
    tmp_path: Path, world: Callable[..., WebWorld]
) -> None:
    async with in_the_middle(tmp_path, world) as (made, gateway, client, _):
        client.writer.transport.abort()
        await until(lambda: not list(gateway.server.connections()))
        assert made.pulsar.walks.taken == 0
