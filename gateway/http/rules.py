"""What a request may be, whichever version of HTTP brought it, and what of its headers goes further.

Refused: a target that is not a path (RFC 9112, 3.2.1) unless it is absolute and names the Host, a second Host or
Content-Length, both kinds of framing, any transfer coding but `chunked`, upgrades (WebSocket among them), CONNECT and
TRACE, a Connection header that would take end-to-end headers away. Left out: all that belongs to one connection, and
trailers. Pure; called by server1 and server2.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from gateway.http import reasons
from gateway.http.messages import BadRequest, Headers, Request

TARGET_BYTES_MAX = 8 << 10
"""Of a request's path and query."""
LENGTH_DIGITS_MAX = 15
"""Of a Content-Length."""
_METHOD = re.compile(rb"[A-Z]{1,20}")
_TARGET = re.compile(rb"/[!$-;=?-Z_a-z~%@\[\]]*")
"""Visible ASCII without those that no URI has (RFC 3986): no space, quote, ``#``, ``<>``, ``\\``, ``^`` or braces."""
_AUTHORITY = re.compile(rb"(?:[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_NOT_HERE = frozenset({"CONNECT", "TRACE"})
_OF_CONNECTION = frozenset(
    {
        b"connection", b"content-length", b"expect", b"host", b"http2-settings", b"keep-alive", b"proxy-connection",
        b"te", b"trailer", b"transfer-encoding", b"upgrade",
    }
)  # fmt: skip
_HARMLESS = frozenset({b"close", b"keep-alive", b"te"})
"""What a Connection header may say."""


def _bad(detail: str, status: int = 400) -> BadRequest:
    return BadRequest(reasons.HTTP_MALFORMED, detail, status)


def request_of(method: bytes, target: bytes, headers: Iterable[tuple[bytes, bytes]]) -> Request:
    """An HTTP/1.1 request, its headers' names in lower case. Raises BadRequest."""
    known = tuple(headers)
    authority = _only(known, b"host")
    if authority is None:
        raise _bad("no Host")
    target, named = _origin_form(target)
    if named is not None and named.lower() != authority.lower():
        raise _bad("an absolute target that is not for the Host")
    return _request(method, target, known, authority, _framing(known))


def request_of_stream(
    method: bytes, target: bytes, authority: bytes, headers: Iterable[tuple[bytes, bytes]], *, ended: bool
) -> Request:
    """An HTTP/2 request, whose stream says where its body ends. Raises BadRequest."""
    known = tuple(headers)
    if any(name in (b"transfer-encoding", b"connection", b"upgrade") for name, _ in known):
        raise _bad("a header of a connection's in HTTP/2")
    said = _length(known)
    if ended and said:
        raise _bad("a Content-Length without a body")
    return _request(method, target, known, authority, 0 if ended else said)


def _request(method: bytes, target: bytes, headers: Headers, authority: bytes, length: int | None) -> Request:
    if not _METHOD.fullmatch(method):
        raise _bad("a method that is none")
    name = method.decode("ascii")
    if name in _NOT_HERE:
        raise _bad(f"method {name}", 501)
    if len(target) > TARGET_BYTES_MAX:
        raise BadRequest(reasons.HTTP_HEAD_TOO_LARGE, f"a target of {len(target)} bytes", 414)
    if not _TARGET.fullmatch(target):
        raise _bad("a target that is no path")
    if not _AUTHORITY.fullmatch(authority):
        raise _bad("a Host that is none")
    for each, value in headers:
        if not _VALUE.fullmatch(value):
            raise _bad(f"a value of {each.decode('latin-1')[:40]} that can be none")
    kept = tuple((each, value) for each, value in headers if each not in _OF_CONNECTION)
    return Request(name, target, kept, authority, length, _expects(headers))


def _origin_form(target: bytes) -> tuple[bytes, bytes | None]:
    """Path and query, and the authority that an absolute target names."""
    for scheme in (b"https://", b"http://"):
        if target[: len(scheme)].lower() == scheme:
            authority, slash, rest = target[len(scheme) :].partition(b"/")
            return (b"/" + rest if slash else b"/"), authority
    return target, None


def _only(headers: Headers, name: bytes) -> bytes | None:
    """A header's one value; None without it. Raises BadRequest for two, even if they are equal."""
    found = [value for each, value in headers if each == name]
    if len(found) > 1:
        raise _bad(f"{name.decode()} twice")
    return found[0] if found else None


def _length(headers: Headers) -> int | None:
    """What Content-Length says; None without one."""
    said = _only(headers, b"content-length")
    if said is None:
        return None
    if not said.isdigit() or not said.isascii() or len(said) > LENGTH_DIGITS_MAX:
        raise _bad("a Content-Length that is no number")
    return int(said)


def _framing(headers: Headers) -> int | None:
    """How long an HTTP/1.1 body is; None: chunked."""
    length, coding = _length(headers), _only(headers, b"transfer-encoding")
    if any(name == b"upgrade" for name, _ in headers):
        raise _bad("Upgrade", 501)
    for name, value in headers:
        if name == b"connection":
            words = {word.strip().lower() for word in value.split(b",")}
            if not words <= _HARMLESS:
                raise _bad("a Connection header that names others")
    if coding is None:
        return length or 0
    if length is not None:
        raise _bad("Content-Length and Transfer-Encoding")
    if coding.lower() != b"chunked":
        raise _bad("a transfer coding other than chunked", 501)
    return None


def _expects(headers: Headers) -> bool:
    said = _only(headers, b"expect")
    if said is None:
        return False
    if said.lower() != b"100-continue":
        raise _bad("an expectation other than 100-continue", 417)
    return True
