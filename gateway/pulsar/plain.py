"""Runs of plain frames: those of which a chunk may hold hundreds, and of which only a few octets have to be looked at.

SEND from a client; MESSAGE and SEND_RECEIPT from a broker. A frame is plain if its command is one of these, has only
the fields that are named here, and is written as the protobuf library itself would write it (each field once, in order,
every number in its shortest form), so that it goes on as it came whatever parser comes next; and if its producer or
consumer is open. What is not plain ends the run and is left to the session's general way, which decides the same about
every frame. Nothing is charged or counted here: the session does so for all of a run, or has it go the general way.

This is the interpreted form, and the specification of the compiled one (plain_compiled). ``FORM`` says which is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gateway.core.pieces import NotUsable, choose
from gateway.pulsar.commands import HEADER, SIZE, sizes
from gateway.pulsar.handles import Handle

REVISION = 1
"""Counts the changes after which a compiled form that was built before may not be used any more."""
SEND, SEND_RECEIPT, MESSAGE = 6, 7, 9
"""Numbers of the commands, which are their fields in the outer message, too."""
VARINT, MESSAGE_ID = 0, 2
"""Wire types; the only messages in these commands are ids of messages."""
VARINT_OCTETS_MAX = 10
NUMBERS: Mapping[int, frozenset[int]] = {
    SEND: frozenset({1, 2, 3, 4, 5, 6}),
    SEND_RECEIPT: frozenset({1, 2, 4}),
    MESSAGE: frozenset({1, 3}),
}
"""Command -> its fields that are numbers; the first is the producer's or consumer's id, which must be there."""
CHUNK = 7
"""SEND's is_chunk, true or false. Its marker (8) is not for clients, and is left to the general way."""
IDS: Mapping[int, int] = {SEND_RECEIPT: 3, MESSAGE: 2}
"""Command -> its field that is a message's id."""
NUMBERS_OF_IDS = frozenset({1, 2, 3, 4, 6})

Run = tuple[int, list[tuple[int, Handle, int, int]]]
"""Where the run ends, and in it, in order, (command, handle, frames, octets) of frames that follow each other."""
Handles = Mapping[int, Handle]


def run(data: memoryview, position: int, frame_max: int, sent: Handles, received: Handles, from_client: bool) -> Run:
    """The run that begins at `position`, where a frame does. `sent` are the producers, `received` the consumers."""
    found: list[tuple[int, Handle, int, int]] = []
    end = len(data)
    while end - position >= HEADER:
        total, size = sizes(data, position)
        stop = position + SIZE + total
        if not SIZE < total <= frame_max or not 0 < size <= total - SIZE or stop > end:
            break
        at = position + HEADER
        command, handle_id = _plain(data[at : at + size])
        if command == 0 or (command == SEND) is not from_client:
            break
        handle = (received if command == MESSAGE else sent).get(handle_id)
        if handle is None or (handle.closing and command != SEND_RECEIPT):
            break
        octets = SIZE + total
        if found and found[-1][0] == command and found[-1][1] is handle:
            _, _, frames, before = found[-1]
            found[-1] = (command, handle, frames + 1, before + octets)
        else:
            found.append((command, handle, 1, octets))
        position = stop
    return position, found


def _plain(octets: memoryview) -> tuple[int, int]:
    """The command, and the id in it; 0 for one that is not plain."""
    if len(octets) < 6 or octets[0] != 0x08:
        return 0, 0
    command = octets[1]
    if command not in NUMBERS or octets[2] != command << 3 | MESSAGE_ID:
        return 0, 0
    length, at = _varint(octets, 3)
    if at == 0 or at + length != len(octets):
        return 0, 0
    handle_id = -1
    last = 0
    while at < len(octets):
        tag = octets[at]
        field, wire = tag >> 3, tag & 7
        if field <= last or tag > 0x7F:
            return 0, 0
        last = field
        value, at = _varint(octets, at + 1)
        if at == 0:
            return 0, 0
        if wire == MESSAGE_ID:
            if IDS.get(command) != field or at + value > len(octets) or not _plain_id(octets[at : at + value]):
                return 0, 0
            at += value
        elif wire != VARINT or not (field in NUMBERS[command] or (command == SEND and field == CHUNK and value < 2)):
            return 0, 0
        if field == 1:
            handle_id = value
    return (command, handle_id) if handle_id >= 0 else (0, 0)


def _plain_id(octets: memoryview) -> bool:
    at = last = 0
    while at < len(octets):
        tag = octets[at]
        if tag > 0x7F or tag & 7 != VARINT or tag >> 3 <= last or tag >> 3 not in NUMBERS_OF_IDS:
            return False
        last = tag >> 3
        _, at = _varint(octets, at + 1)
        if at == 0:
            return False
    return True


def _varint(octets: memoryview, at: int) -> tuple[int, int]:
    """A number in its shortest form, and where it ends; (0, 0) if it is none."""
    value = 0
    for index in range(VARINT_OCTETS_MAX):
        if at + index >= len(octets):
            return 0, 0
        octet = octets[at + index]
        value |= (octet & 0x7F) << 7 * index
        if octet < 0x80:
            short = (octet or not index) and value < 1 << 64
            return (value, at + index + 1) if short else (0, 0)
    return 0, 0


Form = Callable[[memoryview, int, int, Handles, Handles, bool], Run]
INTERPRETED: Form = run


def compiled() -> Form:
    """Raises ImportError if it was not built, NotUsable if it was built from something else than this."""
    from gateway.pulsar import plain_compiled as found  # noqa: PLC0415 - it may not be built

    if getattr(found, "REVISION", None) != REVISION:
        raise NotUsable("it was built from another version: run 'python setup.py build_ext --inplace' again")
    made: Form = found.run
    return made


FORM: Form = choose("pulsar-data-path", compiled, INTERPRETED)
