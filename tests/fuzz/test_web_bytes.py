"""Garbage as HTTP, from clients and from brokers: it ends its own connection, and nothing undecided goes on."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.pulsar import reasons
from tests.http import PREFACE, Http2Client, request
from tests.scenarios.web_world import OK, Table, WebWorld, answered, table

__all__ = ["table"]
pytestmark = pytest.mark.usefixtures("table")
TOLD = {"Authorization": "Bearer alice"}
KEEP = settings(
    max_examples=300, deadline=20_000, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)  # the table only remembers


def sound(world: WebWorld, seen_up: bytes, table: Table) -> None:
    """What a broker was sent is what was decided, in the gateway's role."""
    assert world.ended is None or world.ended.reason is not reasons.INTERNAL_ERROR, world.ended
    asked = seen_up.count(b" HTTP/1.1\r\nhost: ")
    assert asked <= len(table.asked)
    assert seen_up.count(b"x-original-principal: alice\r\n") == asked


@KEEP
@given(st.binary(max_size=300), st.sampled_from(["http/1.1", "h2"]), st.booleans())
def test_garbage_from_a_client(table: Table, data: bytes, alpn: str, known: bool) -> None:
    world = WebWorld(alpn=alpn)
    if alpn == "h2":
        seen = world.send(PREFACE if known else b"", data)
    else:
        seen = world.send(request("/body", "PUT", b"x" * 20, **TOLD)[: -10 if known else 0], data)
    sound(world, seen.up, table)


@pytest.mark.parametrize("alpn", ["http/1.1", "h2"])
@pytest.mark.parametrize("seed", range(4))
def test_real_requests_with_wrong_octets(table: Table, alpn: str, seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(100):
        world = WebWorld(alpn=alpn)
        client = Http2Client()
        if alpn == "h2":
            told = {"authorization": "Bearer alice"}
            data = client.out() + client.ask(1, **told) + client.ask(3, "/body", "PUT", b"x" * 50, **told)
        else:
            data = request("/open", **TOLD) + request("/body", "PUT", b"x" * 50, **TOLD)
        broken = bytearray(data)
        for _ in range(dice.randrange(1, 4)):
            broken[dice.randrange(len(broken))] = dice.choice((0, 10, 13, 32, 58, 255, dice.randrange(256)))
        seen = world.send(bytes(broken), chunk=dice.randrange(1, 200))
        for _ in range(3):
            if world.ended is None and not world.session.idle:
                seen += world.reply(OK)
        sound(world, seen.up, table)


@KEEP
@given(st.binary(max_size=300), st.sampled_from(["http/1.1", "h2"]), st.integers(0, len(OK)))
def test_garbage_from_a_broker(table: Table, data: bytes, alpn: str, kept: int) -> None:
    world = WebWorld(alpn=alpn)
    if alpn == "h2":
        world.stream(1)
    else:
        world.ask()
    world.reply(OK[:kept] + data, chunk=50)
    sound(world, b"", table)
    if world.ended is None and world.session.idle:
        world.alpn = alpn
        assert (world.stream(3) if alpn == "h2" else world.ask()).up


@KEEP
@given(st.binary(max_size=100))
def test_garbage_as_a_redirect(table: Table, data: bytes) -> None:
    world = WebWorld()
    world.ask()
    clean = data.decode("latin-1").translate(dict.fromkeys((0, 10, 13)))
    seen = world.reply(answered(307, f"Location: https://{clean}").replace(b"\xc2", b""))
    assert not seen.up or world.session.upstream_endpoint() in world.backend.web.addresses  # type: ignore[union-attr]
