"""From the text of a token to its parts: size, form, encoding, JSON. Nothing here is believed yet.

Each strict step has a name and can be switched off for the tests that show the corpus exercises it. What cannot be
parsed at all is refused whatever is switched off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.core.reasons import Reason
from gateway.core.strict_json import (
    BadBase64,
    BadJson,
    DuplicateMember,
    decode_base64url,
    decode_base64url_loosely,
    parse_object,
)
from gateway.core.tokens import reasons
from gateway.core.tokens.outcome import Refused

HEADER_CHARS_MAX = 4096
"""Of the encoded header; it is decoded before anything is known of the sender."""


@dataclass(frozen=True, slots=True)
class Parts:
    """A token taken apart. `signed` is what the signature covers."""

    header: Mapping[str, Any]
    payload: Mapping[str, Any]
    signed: bytes
    signature: bytes


class _Stop(Exception):
    """(reason, detail)"""

    args: tuple[Reason, str]


def take_apart(token: bytes, token_bytes_max: int, skip: frozenset[str]) -> Parts | Refused:
    """RFC 7515 compact serialization to parts."""
    segments = token.split(b".", 5)
    if "size" not in skip and (len(token) > token_bytes_max or len(segments[0]) > HEADER_CHARS_MAX):
        return Refused(reasons.TOO_LARGE, "header" if len(token) <= token_bytes_max else "token")
    if len(segments) < 3 or (len(segments) > 3 and "form" not in skip):
        return Refused(reasons.FORM, f"{len(segments)} parts" if len(segments) < 6 else "more than 5 parts")
    try:
        decode = decode_base64url_loosely if "encoding" in skip else decode_base64url
        header, payload, signature = (_decoded(decode, segment) for segment in segments[:3])
        return Parts(
            _parsed(header, "header", skip),
            _parsed(payload, "payload", skip),
            b".".join(segments[:2]),
            signature,
        )
    except _Stop as stop:
        return Refused(*stop.args)


def _decoded(decode: Any, segment: bytes) -> bytes:
    try:
        octets: bytes = decode(segment)
    except BadBase64 as error:
        raise _Stop(reasons.ENCODING, str(error)) from None
    return octets


def _parsed(data: bytes, which: str, skip: frozenset[str]) -> dict[str, Any]:
    try:
        return parse_object(data, duplicates="duplicate-member" in skip, constants="json" in skip)
    except DuplicateMember:
        raise _Stop(reasons.DUPLICATE_MEMBER, which) from None
    except BadJson as error:
        raise _Stop(reasons.JSON, f"{which}: {error}") from None
