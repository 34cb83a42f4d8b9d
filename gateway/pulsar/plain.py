"""Plain commands: those of which a chunk may hold hundreds, and of which only a few octets have to be looked at.

SEND, ACK and FLOW from a client; MESSAGE and SEND_RECEIPT from a broker. A command is plain if it is one of these, has
only the fields that are named here, and is written as the protobuf library itself would write it (in order, each field
once where it is one, every number in its shortest form), so that it goes on as it came whatever parser comes next. What
is not plain is left to the session's general way, which decides the same about every frame. Nothing is decided here:
pulsar.short_way does that, by the producer or consumer that is named.

This is the interpreted form, and the specification of the compiled one (plain_compiled). pulsar.hot says which is used.
"""

from __future__ import annotations

from collections.abc import Mapping

SEND, SEND_RECEIPT, MESSAGE, ACK, FLOW = 6, 7, 9, 10, 11
"""Numbers of the commands, which are their fields in the outer message, too."""
COMMAND_MAX = 4096
"""Octets of a plain command; an acknowledgement of very many messages is left to the general way."""
VARINT, MESSAGE_ID = 0, 2
"""Wire types; the only messages in these commands are ids of messages."""
VARINT_OCTETS_MAX = 10
NUMBERS: Mapping[int, frozenset[int]] = {
    SEND: frozenset({1, 2, 3, 4, 5, 6}),
    SEND_RECEIPT: frozenset({1, 2, 4}),
    MESSAGE: frozenset({1, 3, 5}),
    ACK: frozenset({1, 2, 8}),
    FLOW: frozenset({1, 2}),
}
"""Command -> its fields that are numbers; the first is the producer's or consumer's id, which must be there."""
CHUNK = 7
"""SEND's is_chunk, true or false. Its marker (8) is not for clients, and is left to the general way."""
IDS: Mapping[int, int] = {SEND_RECEIPT: 3, MESSAGE: 2, ACK: 3}
"""Command -> its field that is a message's id; ACK may have several."""
NUMBERS_OF_IDS = frozenset({1, 2, 3, 4, 6})


def read(octets: memoryview) -> tuple[int, int]:
    """The command, and the id in it; (0, 0) for one that is not plain."""
    if not 6 <= len(octets) <= COMMAND_MAX or octets[0] != 0x08:
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
        again = field == last and command == ACK and field == IDS[ACK]
        if (field <= last and not again) or tag > 0x7F:
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
