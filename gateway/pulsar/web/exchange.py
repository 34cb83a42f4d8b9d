"""One request on its way: what has come of it, what was decided, and how far its answer is."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

from gateway.core.rights import Rights
from gateway.core.session import Endpoint
from gateway.http.client1 import Http1Call
from gateway.http.messages import Request
from gateway.pulsar.rest.results import Passed, Shape


class Stage(Enum):
    LOGIN = auto()
    """Whose it is is looked at, or its token's key is awaited."""
    DECIDING = auto()
    BODY = auto()
    """Its body is awaited."""
    SENDING = auto()
    """Its body passes to a broker as it comes."""
    ASKED = auto()
    """A broker has it."""
    ANSWERING = auto()
    """The broker's answer passes."""
    SHOWN = auto()
    """The answer is whole, and not yet taken by the client."""


@dataclass(slots=True)
class Exchange:
    stream: int
    request: Request
    until: float
    """When the stage is over at the latest."""
    stage: Stage = Stage.LOGIN
    waited: bool = False
    """For a key that its token needs."""
    body: bytearray | bytes = field(default_factory=bytearray)
    """What has come of it, unless it passes as it comes; when it is whole it does not change any more."""
    body_max: int = 0
    streams: bool = False
    """Its body passes as it comes: nothing of it is kept, so that it goes once, to one broker."""
    sent: int = 0
    """Octets of such a body that went."""
    complete: bool = False
    """It has come whole."""
    gone: bool = False
    """The client does not want the answer any more."""
    route: str = ""
    refusal: tuple[int, bytes] | None = None
    """Decided already; it is answered when the body is out of the way."""
    needs: bool = False
    """The decision waits for the body."""
    by_body: bool = False
    """It was made by the body too."""
    rights: Rights | None = None
    """By which it was decided."""
    passed: Passed | None = None
    target: bytes = b""
    at: Endpoint | None = None
    """Where a broker sent it on to; None: to any."""
    hops: int = 0
    tries: int = 0
    call: Http1Call | None = None
    fresh: bool = True
    """The broker's connection was opened for it."""
    status: int = 0
    shape: Shape | None = None
    """How the answer is rewritten; None: it passes unread."""
    shaped: bytearray | None = None
    """The answer's body, where it is not passed unread."""
    shaping: bool = False
    """That is whole, and is being rewritten or told, a part at a time."""
    telling: list[bytes] = field(default_factory=list)
    """Parts of the rewritten answer that are not told yet, the last one first."""
    expected: int | None = None
    """How long that will be; None: nobody has said."""
    content: tuple[tuple[bytes, bytes], ...] = ()
