"""Long JSON, read and written in slices (core.slices): as strict as strict_json, for answers of many MiB.

What `parse_object` makes of a text at once, `read` makes of it with stops in between; the property tests compare them.
It refuses the same: a member named twice, NaN and Infinity, text that is not UTF-8, nesting past `DEPTH_MAX`; and one
text or number longer than `TOKEN_BYTES_MAX`. Called by what rewrites answers of Pulsar's REST interface.
"""

from __future__ import annotations

import json
import math
import re
from itertools import repeat
from json.encoder import encode_basestring
from typing import Any

from gateway.core.slices import paced
from gateway.core.strict_json import DEPTH_MAX, BadJson, DuplicateMember

TOKEN_BYTES_MAX = 1 << 20
"""Of one text, quotes included: it is looked at without a stop."""
PART_BYTES = 256 << 10
"""What is written comes in parts of about so many octets, which are sent one after another."""
_BROKEN = "broken JSON"
_SPACE = rb"[ \t\n\r]*"
_VALUE = re.compile(
    _SPACE
    + rb'(?:"([^"\\\x00-\x1f]*+(?:\\.[^"\\\x00-\x1f]*+)*+)"'
    + rb"|(-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][-+]?[0-9]++)?|true|false|null)|([\[{]))"
    + _SPACE,
    re.DOTALL,
)
"""A text without its quotes, or what is no text and has no members, or the beginning of what has members."""
_TEXT, _PLAIN = 1, 2
_WHOLE = re.compile(rb"-?[0-9]++")
_CONSTANTS: dict[bytes, bool | None] = {b"true": True, b"false": False, b"null": None}
_MARK = re.compile(rb"([,:\]}])" + _SPACE)


def read(data: bytes | bytearray) -> Any:
    """Any JSON value. Raises BadJson, DuplicateMember."""
    reader = _Reader(data)
    value = reader.value(1)
    if not reader.over:
        raise BadJson(_BROKEN)
    return value


class _Reader:
    """Goes through the text once."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes | bytearray) -> None:
        self._data = data
        self._at = 0

    @property
    def over(self) -> bool:
        return self._at == len(self._data)

    def value(self, depth: int) -> Any:
        if depth > DEPTH_MAX:
            raise BadJson(f"nested more than {DEPTH_MAX} deep")
        found = _VALUE.match(self._data, self._at, self._at + TOKEN_BYTES_MAX)
        if found is None:
            raise BadJson(_BROKEN)
        self._at = found.end()
        if found.lastindex == _TEXT:
            return _text(found)
        if found.lastindex == _PLAIN:
            return _plain(bytes(found[_PLAIN]))
        return self._list(depth) if found[3] == b"[" else self._object(depth)

    def _list(self, depth: int) -> list[Any]:
        made: list[Any] = []
        if self._empty(b"]"):
            return made
        for _ in paced(repeat(None)):
            made.append(self.value(depth + 1))
            if not self._goes_on(b"]"):
                break
        return made

    def _object(self, depth: int) -> dict[str, Any]:
        made: dict[str, Any] = {}
        if self._empty(b"}"):
            return made
        for _ in paced(repeat(None)):
            name = self._name()
            if name in made:
                raise DuplicateMember("a member's name stands twice")
            made[name] = self.value(depth + 1)
            if not self._goes_on(b"}"):
                break
        return made

    def _name(self) -> str:
        found = _VALUE.match(self._data, self._at, self._at + TOKEN_BYTES_MAX)
        if found is None or found.lastindex != _TEXT:
            raise BadJson(_BROKEN)
        self._at = found.end()
        if self._mark() != b":":
            raise BadJson(_BROKEN)
        return _text(found)

    def _empty(self, end: bytes) -> bool:
        """Whether it has no members at all."""
        return self._data[self._at : self._at + 1] == end and self._mark() == end

    def _goes_on(self, end: bytes) -> bool:
        """Whether there is a further member."""
        mark = self._mark()
        if mark not in (b",", end):
            raise BadJson(_BROKEN)
        return mark == b","

    def _mark(self) -> bytes:
        found = _MARK.match(self._data, self._at, self._at + TOKEN_BYTES_MAX)
        if found is None:
            raise BadJson(_BROKEN)
        self._at = found.end()
        return bytes(found[1])


def _text(found: re.Match[bytes]) -> str:
    inner = found[_TEXT]
    try:
        text = inner.decode()
        return str(json.loads(f'"{text}"')) if "\\" in text else text
    except UnicodeDecodeError:
        raise BadJson("not UTF-8") from None
    except ValueError:  # an escape that is none
        raise BadJson(_BROKEN) from None


def _plain(token: bytes) -> bool | int | float | None:
    if token in _CONSTANTS:
        return _CONSTANTS[token]
    try:
        number = int(token) if _WHOLE.fullmatch(token) else float(token)
    except ValueError:  # of thousands of digits
        raise BadJson(_BROKEN) from None
    if number in (math.inf, -math.inf):
        raise BadJson("a number out of all bounds")
    return number


def written(value: Any) -> list[bytes]:
    """The value as JSON without spaces, in parts. Raises UnicodeEncodeError for half a surrogate pair."""
    writer = _Writer()
    writer.value(value)
    return writer.parts()


class _Writer:
    __slots__ = ("_now", "_parts")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._now = bytearray()

    def value(self, value: Any) -> None:
        if isinstance(value, dict):
            self._put(b"{")
            for number, (name, inner) in enumerate(paced(value.items())):
                self._put((b"," if number else b"") + _said(name) + b":")
                self.value(inner)
            self._put(b"}")
        elif isinstance(value, list):
            self._put(b"[")
            for number, inner in enumerate(paced(value)):
                if number:
                    self._put(b",")
                self.value(inner)
            self._put(b"]")
        else:
            self._put(_said(value))

    def _put(self, octets: bytes) -> None:
        self._now += octets
        if len(self._now) >= PART_BYTES:
            self._parts.append(bytes(self._now))
            self._now.clear()

    def parts(self) -> list[bytes]:
        return [*self._parts, bytes(self._now)] if self._now else self._parts


def _said(value: Any) -> bytes:
    return (encode_basestring(value) if isinstance(value, str) else json.dumps(value)).encode()


def take_apart(value: Any) -> None:
    """Let go of all members, some at a time: a million at once would hold the loop. Nothing may use it any more."""
    if isinstance(value, dict):
        for _ in paced(range(len(value))):
            take_apart(value.popitem()[1])
    elif isinstance(value, list):
        for _ in paced(range(len(value))):
            take_apart(value.pop())
