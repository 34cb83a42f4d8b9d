"""What this room hands over: requests, responses, and what happened on a connection.

Names of headers are in lower case. Those that belong to one connection alone (framing, keep-alive, upgrades) are not
among them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from gateway.core.reasons import Reason

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Request:
    """A request's head. target: path and query, as they came (origin-form)."""

    method: str
    target: bytes
    headers: Headers
    authority: bytes = b""
    """The host that the client means to speak to, with its port if it named one."""
    length: int | None = 0
    """Octets of its body; None: not said beforehand."""
    expects: bool = False
    """The client waits for ``100 Continue`` before it sends the body."""

    def values(self, name: bytes) -> list[bytes]:
        """Of every header of that name."""
        return [value for each, value in self.headers if each == name]


@dataclass(frozen=True, slots=True)
class Response:
    """A final answer's head."""

    status: int
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """A request has come; its body, if it has one, follows."""

    stream: int
    request: Request


@dataclass(frozen=True, slots=True)
class Data:
    """Octets of a request's body."""

    stream: int
    octets: bytes


@dataclass(frozen=True, slots=True)
class Complete:
    """A request has come whole."""

    stream: int


@dataclass(frozen=True, slots=True)
class Gone:
    """The client does not want the answer any more."""

    stream: int


Happened = Asked | Data | Complete | Gone


class BadRequest(Exception):
    """The connection cannot go on. status: what HTTP/1.1 clients are told; HTTP/2 has its GOAWAY."""

    def __init__(self, reason: Reason, detail: str, status: int = 400) -> None:
        super().__init__(f"{reason.code}: {detail}")
        self.reason = reason
        self.detail = detail
        self.status = status


class Server(Protocol):
    """One connection as a server sees it. `take` gives what is to be sent to the client."""

    multiplexed: bool
    """The client is heard while a request is served."""
    wanted: int
    """Octets, from the first that was not taken, below which `receive` would take nothing more."""

    @property
    def partial(self) -> bool:
        """A head has begun that is not whole yet."""
        ...

    @property
    def taking(self) -> bool:
        """Whether more is to be read from the client now."""
        ...

    @property
    def over(self) -> bool:
        """Nothing more will be taken, or answered."""
        ...

    def receive(self, data: memoryview, now: float) -> tuple[int, list[Happened]]:
        """How many octets were taken, and what they came to. Raises BadRequest; then `refuse` is all that is left."""
        ...

    def welcome(self, stream: int) -> None:
        """The body may come: it will be taken."""
        ...

    def taken(self, stream: int, octets: int) -> None:
        """So much of a body was taken away, and as much may follow."""
        ...

    def answer(self, stream: int, response: Response, length: int | None, *, last: bool = False) -> None:
        """Begin the answer. length: of its body; None: not known. last: nothing follows on this connection."""
        ...

    def send(self, stream: int, octets: bytes) -> None:
        """More of the answer's body; what the client does not take yet is kept."""
        ...

    def end(self, stream: int) -> None:
        """The answer is whole."""
        ...

    def abandon(self, stream: int) -> bool:
        """The rest of the answer will never come. False: the connection must end, so that the client sees it."""
        ...

    def room(self, stream: int) -> int:
        """Octets of body that would be sent at once."""
        ...

    def owed(self, stream: int) -> int:
        """Octets of the answer that are kept until the client takes them."""
        ...

    def refuse(self, bad: BadRequest) -> None:
        """Say why the connection ends."""
        ...

    def take(self) -> list[bytes]:
        """What is to be sent, once."""
        ...
