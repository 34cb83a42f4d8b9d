"""What clients get: answers of the gateway's own, and of a broker's what may pass.

Of a broker's headers pass those of this list; one that names an address, sets a cookie, or is of another kind than was
thought of stays behind.
"""

from __future__ import annotations

import json

from gateway.http.messages import Headers, Response
from gateway.pulsar.rest.results import Unreadable
from gateway.pulsar.rest.shapes import read

JSON = (b"content-type", b"application/json")
CHALLENGE = (b"www-authenticate", b'Bearer realm="gateway"')
_PASSED = frozenset(
    {
        b"allow", b"cache-control", b"content-disposition", b"content-language", b"content-type", b"date", b"etag",
        b"expires", b"last-modified", b"retry-after", b"vary",
    }
)  # fmt: skip
_PASSED_PREFIX = b"x-pulsar-"
"""Of a message's properties and position (peek, examine, get by id)."""
_NOT_PASSED = frozenset({b"x-pulsar-broker-address"})
WORDS = {
    401: "authentication is required",
    403: "not allowed",
    408: "the request did not come whole in time",
    413: "the request's body is too large",
    421: "another principal needs another connection",
    429: "too many connections",
    500: "internal error",
    502: "the broker could not be asked",
    503: "not ready",
    504: "the broker did not answer in time",
}
"""Status -> what clients are told where nothing more is to be said."""


def own(status: int) -> tuple[Response, bytes]:
    """An answer of the gateway's, as brokers write theirs."""
    headers: Headers = (JSON, CHALLENGE) if status == 401 else (JSON,)
    return Response(status, headers), json.dumps({"reason": WORDS[status]}).encode()


def denied(status: int, body: bytes | bytearray) -> list[bytes]:
    """A broker's 401, behind which is its authorization of the client: most routes are denied so, with ``reason``.

    Raises Unreadable for any other, which is said of the gateway's own credential before a route is looked at.
    """
    said = read(bytes(body))
    if not isinstance(said, dict) or not isinstance(said.get("reason"), str):
        raise Unreadable("not a denial's words")
    return [bytes(body)]


def passed(response: Response) -> Response:
    """A broker's answer, with what of its headers may pass."""
    kept = tuple(
        (name, value)
        for name, value in response.headers
        if name in _PASSED or (name.startswith(_PASSED_PREFIX) and name not in _NOT_PASSED)
    )
    return Response(response.status, kept)
