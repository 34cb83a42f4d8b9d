"""Any command of the table, any split, any octets changed: what the session does depends on the stream alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.pieces import NotUsable
from gateway.pulsar import commands, hot, reasons, schema
from gateway.pulsar.commands import Malformed
from gateway.pulsar.table import ROWS, FromClient
from tests.forms import PULSAR_FORMS
from tests.property.pulsar_ways import ShortPulsar, whole
from tests.property.short_ways import GENERAL, PUMP, SESSION
from tests.scenarios.pulsar_world import ORDERS, PAYROLL, SUBSCRIPTION, found, message_frame, send_frame

try:
    COMPILED: hot.Form | None = hot.compiled()
except (ImportError, NotUsable):
    COMPILED = None
NUMBERS_ = st.one_of(st.integers(0, 3), st.integers(0, 2**64 - 1))
TEXTS = st.one_of(st.sampled_from((ORDERS, PAYROLL, SUBSCRIPTION, "", "public/default")), st.text(max_size=20))


def value_of(kind: str, depth: int = 0) -> st.SearchStrategy[Any]:
    """Some value of a field of this kind."""
    if kind.startswith("*"):
        return st.lists(value_of(kind[1:], depth + 1), max_size=3)
    if kind == schema.U64:
        return NUMBERS_
    if kind == schema.BOOL:
        return st.booleans()
    if kind == schema.TEXT:
        return TEXTS
    if kind == schema.OCTETS:
        return st.binary(max_size=20)
    fields = schema.PARTS[kind] if depth < 3 else {}
    return st.fixed_dictionaries({}, optional={name: value_of(each, depth + 1) for name, (_, each) in fields.items()})


def fill(message: Any, fields: dict[str, Any]) -> None:
    for name, value in fields.items():
        part = getattr(message, name)
        if isinstance(value, dict):
            part.SetInParent()
            fill(part, value)
        elif isinstance(value, list):
            for each in value:
                if isinstance(each, dict):
                    fill(part.add(), each)
                else:
                    part.append(each)
        else:
            setattr(message, name, value)


@st.composite
def encoded(draw: st.DrawFn, among: tuple[str, ...] = tuple(schema.COMMANDS)) -> bytes:
    """One command as it is written, any fields set."""
    name = draw(st.sampled_from(among))
    number, fields = schema.COMMANDS[name]
    base = schema.Base(type=number)  # type: ignore[call-arg]
    body = getattr(base, name)
    body.SetInParent()
    fill(body, draw(st.fixed_dictionaries({}, optional={key: value_of(kind) for key, (_, kind) in fields.items()})))
    return bytes(base.SerializeToString())


def frame(command: bytes, payload: bytes = b"") -> bytes:
    return b"".join(bytes(part) for part in commands.frame(command, payload))


@settings(max_examples=300, deadline=None)
@given(encoded(), st.binary(max_size=8))
def test_any_command_is_read_as_it_was_written(command: bytes, unknown: bytes) -> None:
    """And with a field at its end that no table has, which stays where it is."""
    read = commands.decode(memoryview(command))
    assert read.encoded is None, "it goes on as it came"
    assert schema.COMMANDS[read.name][0] == schema.NUMBERS[read.name]
    more = command + b"\xc2\x3e" + bytes([len(unknown)]) + unknown  # field 1000, length-delimited
    again = commands.decode(memoryview(more))
    assert (again.encoded if again.encoded is not None else more) == more
    assert again.name == read.name


@settings(max_examples=300, deadline=None)
@given(encoded(), st.data())
def test_a_command_cut_short_is_no_other_command(command: bytes, data: st.DataObject) -> None:
    """It is no command, or one that is decided as what is left of it says; never an error of another kind."""
    cut = command[: data.draw(st.integers(0, len(command) - 1))]
    try:
        read = commands.decode(memoryview(cut))
    except Malformed:
        return
    assert commands.decode(memoryview(read.encoded if read.encoded is not None else cut)).name == read.name


FROM_CLIENTS = tuple(name for name, row in ROWS.items() if row.client is not FromClient.NEVER and name != "connect")
CLIENT_FRAMES = st.one_of(
    encoded(FROM_CLIENTS).map(frame),
    st.binary(max_size=60).map(lambda payload: send_frame(payload=payload)),
    st.binary(max_size=60).map(lambda payload: send_frame(producer=9, payload=payload)),
)
CLIENT_RUNS = st.tuples(st.binary(max_size=9), st.integers(1, 4)).map(
    lambda each: send_frame(payload=each[0]) * each[1]
)
RECEIPT_BODY = b"\x08\x01\x10\x07\x1a\x0d\x08\x03\x18" + b"\xff" * 9 + b"\x01"
"""Producer 1, sequence 7, a message's id with ledger 3 and partition -1, as brokers write it."""
RECEIPT = frame(b"\x08\x07\x3a" + bytes([len(RECEIPT_BODY)]) + RECEIPT_BODY)
BROKER_RUNS = st.integers(1, 4).flatmap(lambda times: st.sampled_from((RECEIPT * times, message_frame() * times)))
BROKER_FRAMES = st.one_of(
    encoded().map(frame), st.binary(max_size=60).map(lambda payload: message_frame(payload=payload))
)


def opened(way: str = SESSION, short: Any = None) -> ShortPulsar:
    """A client with a producer and a consumer, both of id 1."""
    world = ShortPulsar(way, short)
    world.login()
    world.produce_to()
    world.subscribe_to()
    return world


def played(stream: bytes, cuts: list[int], *, back: bool, way: str = SESSION, short: Any = None) -> tuple[Any, ...]:
    """What came of a stream in these pieces: both sides' octets, the end, the audit, what was counted."""
    world = opened(way, short)
    before = len(world.events)
    up, down = bytearray(), bytearray()
    at = 0
    for cut in (*sorted(cuts), len(stream)):
        if world.ended is not None:
            break
        seen = (world.reply if back else world.send)(stream[at:cut])
        at = max(at, cut)
        up += seen.up
        down += seen.down
    assert world.ended is None or world.ended.reason is not reasons.INTERNAL_ERROR
    told = [(type(event).__name__, getattr(event, "resource", None)) for event in world.events[before:]]
    counted = [tuple(event.fields.values()) for event in world.tally.drain(0.0)]
    counted += [(meter.name, labels, value) for meter, labels, value in world.meters.series() if value]
    return bytes(up), bytes(down), world.ended, told, sorted(counted, key=repr)


def commands_of(octets: bytes) -> list[commands.Command]:
    """Of its whole frames, and of the one at its end that is not."""
    frames, half = whole(octets)
    some = [command for command, _ in found(frames)]
    if half:
        _, size = commands.sizes(memoryview(half), 0)
        some.append(commands.decode(memoryview(half)[8 : 8 + size]))
    return some


def pieces(stream: bytes, data: st.DataObject) -> list[int]:
    return data.draw(st.lists(st.integers(0, len(stream)), max_size=6))


@settings(max_examples=150, deadline=None)
@given(st.lists(CLIENT_FRAMES, max_size=6), st.data())
def test_any_split_of_a_clients_stream(frames: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(frames)
    assert played(stream, pieces(stream, data), back=False) == played(stream, [], back=False)


@settings(max_examples=120, deadline=None)
@given(st.lists(BROKER_FRAMES, max_size=6), st.data())
def test_any_split_of_a_brokers_stream(frames: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(frames)
    assert played(stream, pieces(stream, data), back=True) == played(stream, [], back=True)


@settings(max_examples=120, deadline=None)
@given(st.lists(CLIENT_FRAMES, min_size=1, max_size=4), st.data())
def test_octets_changed_anywhere(frames: list[bytes], data: st.DataObject) -> None:
    """Nothing is sent for a producer that is not open, no split matters, and nothing but commands goes on."""
    stream = bytearray(b"".join(frames))
    for _ in range(data.draw(st.integers(1, 4))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    once = played(bytes(stream), [], back=False)
    assert played(bytes(stream), pieces(bytes(stream), data), back=False)[0] == once[0]
    sent = [command.body.producer_id for command in commands_of(once[0]) if command.name == "send"]
    assert set(sent) <= {1}, "a message of a producer that nobody opened"


@settings(max_examples=120, deadline=None)
@given(st.lists(BROKER_FRAMES, min_size=1, max_size=4), st.data())
def test_octets_of_a_brokers_changed_anywhere(frames: list[bytes], data: st.DataObject) -> None:
    stream = bytearray(b"".join(frames))
    for _ in range(data.draw(st.integers(1, 4))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    down = played(bytes(stream), [], back=True)[1]
    told = [command.body.consumer_id for command in commands_of(down) if command.name == "message"]
    assert set(told) <= {1}, "a message for a consumer that nobody opened"


@pytest.mark.parametrize("form", PULSAR_FORMS)
@pytest.mark.parametrize("way", [SESSION, PUMP])
@settings(max_examples=60, deadline=None)
@given(frames=st.lists(st.one_of(CLIENT_FRAMES, CLIENT_RUNS), max_size=8), data=st.data())
def test_the_short_way_of_a_clients_frames_is_the_general_one(
    way: str, form: hot.Form, frames: list[bytes], data: Any
) -> None:
    """Plain frames and others, whole and with octets changed: every octet, denial, sum and end is the same."""
    _ways_agree(way, form, frames, data, back=False)


@pytest.mark.parametrize("form", PULSAR_FORMS)
@pytest.mark.parametrize("way", [SESSION, PUMP])
@settings(max_examples=60, deadline=None)
@given(frames=st.lists(st.one_of(BROKER_FRAMES, BROKER_RUNS), max_size=8), data=st.data())
def test_the_short_way_of_a_brokers_frames_is_the_general_one(
    way: str, form: hot.Form, frames: list[bytes], data: Any
) -> None:
    _ways_agree(way, form, frames, data, back=True)


def _ways_agree(way: str, form: hot.Form, frames: list[bytes], data: Any, *, back: bool) -> None:
    stream = bytearray(b"".join(frames))
    for _ in range(data.draw(st.integers(0, 2)) if stream else 0):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    cuts = pieces(bytes(stream), data)
    general = played(bytes(stream), cuts, back=back, way=GENERAL)
    agree(general, played(bytes(stream), cuts, back=back, way=way, short=form.short_way), bytes(stream), back=back)


def agree(general: tuple[Any, ...], short: tuple[Any, ...], stream: bytes, *, back: bool) -> None:
    """The one difference: of a message that is not whole what is there went on, and was counted with its front."""
    (up, half_up), (down, half_down) = whole(short[0]), whole(short[1])
    assert (up, down, *short[2:4]) == general[:4]
    if not half_up and not half_down:
        assert short[4] == general[4]
        return
    half = half_down if back else half_up
    assert not (half_up if back else half_down)
    assert stream.endswith(half)
    (command,) = commands_of(half)
    assert command.name == ("message" if back else "send")
    assert (command.body.consumer_id if back else command.body.producer_id) == 1


@settings(max_examples=300, deadline=None)
@given(st.one_of(encoded(("send", "message", "ack", "flow")), st.just(RECEIPT[8:])), st.data())
def test_both_forms_find_the_same_commands_plain(command: bytes, data: st.DataObject) -> None:
    """And what is plain, the protobuf library would have written so, too."""
    octets = bytearray(command)
    for _ in range(data.draw(st.integers(0, 3))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    read_alike(bytes(octets))


def read_alike(octets: bytes) -> None:
    """What a command is to either form."""
    view = memoryview(octets)
    number, handle_id = hot.INTERPRETED.read(view)
    if COMPILED is not None:
        assert COMPILED.read(view) == (number, handle_id)
    if not number:
        return
    command = commands.decode(view)
    assert command.encoded is None
    assert schema.NUMBERS[command.name] == number
    ids = "producer_id" if command.name.startswith("send") else "consumer_id"
    assert getattr(command.body, ids) == handle_id
