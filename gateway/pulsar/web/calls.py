"""A request as a broker is sent it: written anew from what was decided, with the gateway's own credential.

Of the client's own headers only what says of which kind its body is and its answer may be, and how it calls itself.
As the Apache proxy does: `Authorization` is the gateway's role, `X-Original-Principal` the client; the broker asks for
the rights of both. With ``clients_as: own-token`` it is the client's own token, and nothing else. And where a broker
sends a request on to (HTTP 307), read strictly.
"""

from __future__ import annotations

import re

from gateway.core.identity import Principal
from gateway.core.session import Endpoint
from gateway.http.client1 import Http1Call
from gateway.http.messages import Headers, Request, Response
from gateway.pulsar.backend import endpoint
from gateway.pulsar.context import ListenerContext
from gateway.pulsar.rest import target as targets
from gateway.pulsar.rest.results import Passed

REDIRECTS_MAX = 5
"""Brokers that one request is sent on to."""
_LOCATION = re.compile(rb"(https?)://([^/?#@\\]+)(/[^#]*)")
_AUTHORITATIVE = "authoritative"


class NoCredential(Exception):
    """The gateway has nothing of its own to show now."""


def call(
    context: ListenerContext, request: Request, passed: Passed, body: bytes | None, at: Endpoint, target: bytes,
    principal: Principal, token: bytes,
) -> Http1Call:  # fmt: skip
    """token: the client's own. body: None if it is to pass as it comes. Raises NoCredential."""
    headers = [(b"accept", (request.values(b"accept") or [b"*/*"])[0])]
    if body or body is None:
        headers.append((b"content-type", (request.values(b"content-type") or [b"application/json"])[0]))
    software = request.values(b"user-agent")
    if software:
        headers.append((b"user-agent", software[0]))
    headers += _credential(context, principal, token)
    try:
        return Http1Call(passed.method, target, str(at).encode(), tuple(headers), body, request.length)
    except ValueError:
        raise NoCredential("a credential that cannot stand in a header") from None


def _credential(context: ListenerContext, principal: Principal, token: bytes) -> Headers:
    if context.tokens_passed:
        return ((b"authorization", b"Bearer " + token),)
    shown: list[tuple[bytes, bytes]] = []
    if context.account is not None:
        own = context.account.credential()
        if own is None:
            raise NoCredential("no credential of the gateway's own")
        shown.append((b"authorization", b"Bearer " + own.secret.encode()))
    if shown or context.by_certificate:
        shown.append((b"x-original-principal", principal.name.encode("ascii")))
    return tuple(shown)


def redirected(response: Response, scheme: bytes, target: bytes) -> tuple[Endpoint, bytes] | None:
    """Where a broker sends a request on to, and its new target: the same path, with what the broker says of who is
    in charge. None for anything else."""
    locations = [value for name, value in response.headers if name == b"location"]
    found = _LOCATION.fullmatch(locations[0]) if len(locations) == 1 else None
    if found is None or found[1] != scheme:
        return None
    try:
        broker = endpoint(found[2].decode("ascii"))
    except UnicodeDecodeError:
        return None
    asked, told = targets.read(target), targets.read(found[3])
    if broker is None or asked is None or told is None or asked.segments != told.segments:
        return None
    kept = tuple(each for each in asked.parameters if each[0] != _AUTHORITATIVE)
    said = tuple(each for each in told.parameters if each[0] == _AUTHORITATIVE)
    return broker, targets.write(asked.segments, kept + said)
