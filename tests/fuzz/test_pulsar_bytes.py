"""Garbage as Pulsar frames: it ends its own connection with a reason, and nothing undecided goes on."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.pulsar import commands, reasons, schema
from gateway.pulsar.commands import Malformed
from tests.scenarios.pulsar_world import ORDERS, PulsarWorld, message_frame, names, send_frame


@settings(max_examples=1500, deadline=20_000)
@given(st.binary(max_size=120))
def test_garbage_as_a_command(data: bytes) -> None:
    try:
        command = commands.decode(memoryview(data))
    except Malformed:
        return
    again = command.encoded if command.encoded is not None else data
    assert commands.decode(memoryview(again)).encoded is None, "what is written is stable"


@settings(max_examples=300, deadline=20_000)
@given(st.binary(max_size=300), st.booleans())
def test_garbage_as_bytes(data: bytes, known: bool) -> None:
    world = PulsarWorld()
    if known:
        world.login()
    seen = world.send(data)
    assert seen.close is None or seen.close.reason is not reasons.INTERNAL_ERROR
    assert all(name in schema.COMMANDS for name in names(seen.up))


def _wrong(frame: bytes, dice: random.Random) -> bytes:
    """Other octets somewhere in the command, or sizes that lie."""
    broken = bytearray(frame)
    for _ in range(dice.randrange(1, 4)):
        broken[dice.randrange(len(broken))] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)))
    return bytes(broken)


@pytest.mark.parametrize("seed", range(8))
def test_real_commands_with_wrong_bytes(seed: int) -> None:
    """Both ways; whatever comes of it, no frame goes on that nobody opened a producer or consumer for."""
    dice = random.Random(seed)
    good = [
        commands.framed("producer", topic=ORDERS, producer_id=1, request_id=1),
        commands.framed("subscribe", topic=ORDERS, subscription="app-sub", consumer_id=1, request_id=2),
        commands.framed("lookup", topic=ORDERS, request_id=3),
        commands.framed("ack", consumer_id=1, ack_type=0),
        send_frame(),
    ]
    back = [
        commands.framed("success", request_id=2),
        commands.framed("lookup_response", request_id=3, response=1, broker_url="pulsar://b2:6650"),
        message_frame(),
    ]
    for _ in range(150):
        world = PulsarWorld()
        world.login()
        seen = world.send(_wrong(dice.choice(good), dice))
        assert seen.close is None or seen.close.reason is not reasons.INTERNAL_ERROR
        assert "send" not in names(seen.up)
        if world.ended is None:
            seen = world.reply(_wrong(dice.choice(back), dice))
            assert seen.close is None or seen.close.reason is not reasons.INTERNAL_ERROR
            assert "message" not in names(seen.down)


@settings(max_examples=200, deadline=20_000)
@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_no_size_makes_it_wait_for_more_than_its_limit(total: int, size: int) -> None:
    world = PulsarWorld()
    world.send(struct.pack(">II", total, size))
    assert world.session.client_wanted <= 4 + world.limits.frame_bytes_before_authentication_max
