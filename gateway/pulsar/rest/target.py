"""A request's target, read in the one way that every reader of it agrees on; and written anew.

Refused is whatever Jetty, Jersey and the broker's own decoding (some names are decoded twice there, by different rules)
could read in different ways: absolute forms, empty segments, ``.`` and ``..``, ``;parameters``, a percent sign that is
no octet, octets that are no UTF-8, and in a decoded name ``/ \\ % + ;`` and what cannot be printed. Percent signs are
decoded exactly once. A subscription's name with a slash or a topic's with a plus can be used by the binary protocol
alone. RFC 3986; called by decide.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

TARGET_BYTES_MAX = 8192
SEGMENTS_MAX = 16
PARAMETERS_MAX = 16
_PLAIN = rb"A-Za-z0-9\-._~!$'()*,:@="
_SEGMENT = re.compile(rb"(?:[" + _PLAIN + rb"]|%[0-9A-Fa-f]{2})+")
_PARAMETER = re.compile(rb"([A-Za-z-]{1,40})=((?:[" + _PLAIN + rb"/?]|%[0-9A-Fa-f]{2})*)")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_TWO_WAYS = frozenset("/\\%+;")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


@dataclass(frozen=True, slots=True)
class Target:
    segments: tuple[str, ...]
    parameters: tuple[tuple[str, str], ...]


def read(target: bytes) -> Target | None:
    """The parts, decoded; None for a target that could be read in two ways.

    >>> read(b"/admin/v2/persistent/public/default/caf%C3%A9?force=true")
    Target(segments=('admin', 'v2', 'persistent', 'public', 'default', 'café'), parameters=(('force', 'true'),))
    """
    if not 1 < len(target) <= TARGET_BYTES_MAX or target[:1] != b"/":
        return None
    path, question, query = target.partition(b"?")
    written = path[1:].split(b"/")
    if len(written) > SEGMENTS_MAX:
        return None
    segments = [_segment(each) for each in written]
    parameters = _parameters(query) if question else ()
    if parameters is None or None in segments:
        return None
    return Target(tuple(each for each in segments if each is not None), parameters)


def _segment(written: bytes) -> str | None:
    if not _SEGMENT.fullmatch(written):
        return None
    name = _decoded(written)
    return None if name is None or name in (".", "..") or not _TWO_WAYS.isdisjoint(name) else name


def _parameters(query: bytes) -> tuple[tuple[str, str], ...] | None:
    found: dict[str, str] = {}
    written = query.split(b"&")
    if len(written) > PARAMETERS_MAX:
        return None
    for each in written:
        match = _PARAMETER.fullmatch(each)
        value = _decoded(match[2]) if match else None
        if match is None or value is None or match[1].decode() in found:
            return None
        found[match[1].decode()] = value
    return tuple(found.items())


def _decoded(written: bytes) -> str | None:
    octets = _ESCAPE.sub(lambda match: bytes((int(match[1], 16),)), written)
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() else None


def write(segments: tuple[str, ...], parameters: tuple[tuple[str, str], ...]) -> bytes:
    """The target of these parts; every octet that is not unreserved is escaped."""
    path = b"".join(b"/" + _escaped(each) for each in segments)
    query = b"&".join(name.encode() + b"=" + _escaped(value) for name, value in parameters)
    return path + b"?" + query if query else path


def _escaped(text: str) -> bytes:
    return b"".join(bytes((each,)) if each in _UNRESERVED else b"%%%02X" % each for each in text.encode())
