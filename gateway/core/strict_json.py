"""JSON and base64url as security needs them: one text, one meaning.

Two parsers that read the same bytes differently are how forged tokens pass, so what is ambiguous is refused: a member
named twice, NaN and Infinity, text that is not UTF-8, nesting past `DEPTH_MAX`, and base64url with padding, foreign
characters or stray low bits. Used for tokens and key sets; callers bound the size first.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Any, NoReturn

DEPTH_MAX = 32
_ALPHABET = re.compile(rb"[A-Za-z0-9_-]*")
_STRUCTURE = re.compile(rb'"(?:[^"\\]|\\.)*"?|[\[\]{}]', re.DOTALL)


class BadJson(Exception):
    """Not an object in strict JSON; says why without quoting it."""


class DuplicateMember(BadJson):
    """A member's name stands twice in one object."""


class BadBase64(Exception):
    """Not base64url, or not the one canonical spelling of its bytes."""


def decode_base64url(text: bytes) -> bytes:
    """RFC 4648 section 5 without padding, canonical. Raises BadBase64."""
    if not _ALPHABET.fullmatch(text) or len(text) % 4 == 1:
        raise BadBase64("a character or length that base64url does not have")
    octets = base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    if base64.urlsafe_b64encode(octets).rstrip(b"=") != text:
        raise BadBase64("low bits that belong to no byte")
    return octets


def decode_base64url_loosely(text: bytes) -> bytes:
    """What many libraries do instead. Only for tests that switch the strict check off. Raises BadBase64."""
    kept = re.sub(rb"[^A-Za-z0-9_-]", b"", text.replace(b"+", b"-").replace(b"/", b"_"))
    try:
        return base64.urlsafe_b64decode(kept + b"=" * (-len(kept) % 4))
    except binascii.Error:
        raise BadBase64("beyond repair") from None


def parse_object(data: bytes, *, duplicates: bool = False, constants: bool = False) -> dict[str, Any]:
    """One JSON object. `duplicates` and `constants` (NaN, Infinity) let through what is refused otherwise.

    Raises BadJson, DuplicateMember.
    """
    if _depth(data) > DEPTH_MAX:
        raise BadJson(f"nested more than {DEPTH_MAX} deep")
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=None if duplicates else _once,
            parse_constant=None if constants else _refuse_constant,
        )
    except BadJson:
        raise
    except UnicodeDecodeError:
        raise BadJson("not UTF-8") from None
    except (ValueError, RecursionError):  # a number of thousands of digits is a ValueError, too
        raise BadJson("broken JSON") from None
    if not isinstance(value, dict):
        raise BadJson("not an object")
    return value


def _depth(data: bytes) -> int:
    """The deepest nesting, strings skipped; in time linear in the text."""
    depth = deepest = 0
    for piece in _STRUCTURE.findall(data):
        if piece in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif piece in b"]}":
            depth -= 1
    return deepest


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise DuplicateMember("a member's name stands twice")
    return made


def _refuse_constant(_: str) -> NoReturn:
    raise BadJson("NaN or Infinity")
