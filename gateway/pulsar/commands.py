"""Frames and commands: the bytes of one frame, as the one command in it, and back.

A frame is [size][command size][command][payload]; sizes are big-endian and do not count themselves. The payload (of
SEND and MESSAGE: checksum, metadata and records, perhaps with a magic in front) is never looked at.

A command is forwarded as it came only if the protobuf library would write the very same octets. Anything else (a field
given twice, two commands in one frame, a number in a roundabout form) is forwarded as the library writes what was
decided about, so that a broker with another parser cannot read something else in it.
"""

from __future__ import annotations

from struct import Struct
from typing import Any

from google.protobuf.message import DecodeError

from gateway.core.session import Part
from gateway.pulsar.schema import COMMAND, NAMES, NUMBERS, Base

HEADER = 8
"""The two sizes."""
SIZE = 4
_SIZES = Struct(">II")

Body = Any
"""A command's own message; its fields are in schema.COMMANDS."""


class Malformed(Exception):
    """It cannot be a command. Says what is wrong with it, and quotes nothing."""


class Command:
    """One decoded command. `encoded` is what is forwarded in its place, None: the octets that came."""

    __slots__ = ("_base", "body", "encoded", "name")

    def __init__(self, name: str, body: Body, base: Any, encoded: bytes | None) -> None:
        self.name = name
        self.body = body
        self._base = base
        self.encoded = encoded

    def changed(self) -> None:
        """`body` was changed: it is written anew."""
        self.encoded = self._base.SerializeToString()

    def parts(self, payload: Part = b"") -> list[Part]:
        """The frame with the command written anew."""
        assert self.encoded is not None
        return frame(self.encoded, payload)


def decode(data: memoryview) -> Command:
    """The command of one frame. Raises Malformed, also for a command that no table knows."""
    try:
        base = Base.FromString(data)  # type: ignore[arg-type]  # it takes any buffer
    except DecodeError:
        raise Malformed("a command that is no protobuf") from None
    number = base.type  # type: ignore[attr-defined]
    name = base.WhichOneof(COMMAND)
    if name is None:
        name = NAMES.get(number)
        if name not in ("ping", "pong"):  # they have no fields, so some clients leave them out
            raise Malformed(f"command {number}, which is not known" if name is None else f"a {name} without itself")
    elif NUMBERS[name] != number:
        raise Malformed(f"a {name} that is called command {number}")
    encoded = base.SerializeToString()
    return Command(name, getattr(base, name), base, None if encoded == data else encoded)


def make(name: str, **fields: Any) -> Command:
    """A command of the gateway's own; a message in it is given as a mapping, "" and None are left out."""
    base = Base(type=NUMBERS[name])
    body = getattr(base, name)
    body.SetInParent()
    for field, value in fields.items():
        if isinstance(value, dict):
            part = getattr(body, field)
            part.SetInParent()
            for key, each in value.items():
                setattr(part, key, each)
        elif isinstance(value, list):
            getattr(body, field).extend(value)
        elif value is not None and value != "":
            setattr(body, field, value)
    return Command(name, body, base, base.SerializeToString())


def framed(name: str, **fields: Any) -> bytes:
    """The whole frame of a command of the gateway's own."""
    encoded = make(name, **fields).encoded
    assert encoded is not None
    return _SIZES.pack(len(encoded) + SIZE, len(encoded)) + encoded


def frame(encoded: bytes, payload: Part = b"") -> list[Part]:
    head = _SIZES.pack(len(encoded) + SIZE + len(payload), len(encoded)) + encoded
    return [head, payload] if len(payload) else [head]


def sizes(data: memoryview, position: int) -> tuple[int, int]:
    """The sizes of the frame, and of the command in it, that begins there."""
    return _SIZES.unpack_from(data, position)
