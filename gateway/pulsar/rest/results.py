"""What becomes of one REST request: it passes, written anew; it is refused; or its body is wanted first."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from gateway.core.reasons import Reason
from gateway.pulsar.handles import Access

JSON = b"application/json"
"""The media type of a refusal's body."""


class Unreadable(Exception):
    """A broker's answer that a shape cannot read: nothing of it may reach the client (502)."""


Shape = Callable[[int, bytes | bytearray], list[bytes]]
"""(status, body of the broker's answer) -> what the client gets, in parts. Raises Unreadable."""


@dataclass(frozen=True, slots=True)
class Passed:
    """Goes to the broker, exactly so."""

    method: str
    target: bytes
    """Path and query, written anew from what was understood of the client's."""
    body_max: int
    """Octets that a request's body may have; 0: it has none."""
    shape: Shape | None
    """None: the answer passes unread."""
    checks: tuple[Access, ...]
    """What was allowed."""
    route: str
    """The row's method and template, for metrics and audit: one of a closed set."""
    body: bytes | None = None
    """What goes on in place of the client's body, where that was decided about; None: the client's own."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Answered here."""

    status: int
    body: bytes
    """``{"reason": ...}``, as brokers write it."""
    reason: Reason
    checks: tuple[Access, ...] = ()
    """What was asked for, as far as it could be understood; one of it is not allowed."""
    route: str = ""


@dataclass(frozen=True, slots=True)
class Needs:
    """The decision depends on the body: read it whole, then decide again with it."""

    body_max: int
    route: str


Decision = Passed | Refused | Needs


def said(words: str) -> bytes:
    """The body of a refusal."""
    return json.dumps({"reason": words}).encode()
