"""The contract between the pump (edge, which performs) and a protocol's session (which decides).

A session is I/O-free. It is shown bytes, told facts, and leaves effects; it never awaits, sleeps or reads a clock
it was not given. It is called once per chunk, not per frame.

The pump's obligations:

* it keeps unconsumed bytes and shows them again, followed by more, once at least `wanted` bytes are there;
* before it buffers more than `wanted` it reserves them from the process's budget, and does not read without;
* after *every* call it takes the effects, in the order: `part_upstream`, `to_upstream`, `to_client`, `asks`,
  `mute_until`, `close`;
* it calls `tick` no later than `deadline`;
* each ask is answered by exactly one `told`, also when the fact could not be had; if the connection ended, by none;
* after *every* call it looks at `parked`, `mute_until`, the two `wanted` and `deadline` again: unconsumed client bytes
  of at least `client_wanted` are shown as soon as the session is neither parked nor muted, also when no new bytes came
  (an answer freed a place in the queue, a fact was told, a mute ended).

Parts in `to_upstream` and `to_client` may be views of the bytes just shown: they are valid until the next call only,
and the pump writes or copies them before it calls again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeVar, cast, runtime_checkable

from gateway.core.identity import Address, Certificate, Identity, Principal
from gateway.core.reasons import Reason

Part = bytes | bytearray | memoryview
Busy = Literal["", "client", "upstream"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to dial: host as written by the operator or told by the backend, port."""

    host: str
    port: int

    @classmethod
    def of(cls, text: str) -> Endpoint:
        """``host:port`` as the configuration has it, an IPv6 address in brackets."""
        host, _, port = text.rpartition(":")
        return cls(host.strip("[]"), int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Peer:
    """What the edge knows of a client before its first byte of protocol."""

    connection: str
    """The connection's id, unique in the gateway's life; it prefixes the decision ids."""
    address: Address
    port: int
    certificate: Certificate | None = None
    server_name: str = ""
    tls_version: str = ""
    through: Address | None = None
    """The balancer that named `address` by PROXY protocol; None: the client connected itself."""
    endpoint: str = ""
    """The private-link endpoint that the balancer named, "" for none."""
    alpn: str = ""
    """The protocol that was agreed upon in the handshake (RFC 7301), "" for none."""
    greeted: float | None = None
    """Monotonic time of the end of its handshake; None: now."""

    def login_until(self, now: float, seconds: float) -> float:
        """When its time to log in is over: it runs from the handshake, however late the first word comes."""
        return (now if self.greeted is None else self.greeted) + seconds


class Ask:
    """An outside fact a session wants; subclasses name it. Hashable: equal asks may be answered together."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class KeysWanted(Ask):
    """The issuer's key set did not have `kid`; wait for the next permitted fetch. Told: `KeysRefreshed`."""

    issuer: str
    kid: str


class Fact:
    """The answer to an ask."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class KeysRefreshed(Fact):
    issuer: str


@dataclass(frozen=True, slots=True)
class Unavailable(Fact):
    """The fact could not be had in time; the session refuses what waited for it."""

    ask: Ask


@dataclass(frozen=True, slots=True)
class Close:
    """End the connection: what is in `to_client` is still written, then TLS close_notify is sent."""

    reason: Reason
    detail: str = ""
    """For the audit; never anything secret."""


@dataclass(slots=True)
class Effects:
    """What the pump is to do; the pump calls `clear` when it has taken them."""

    part_upstream: bool = False
    """Let the upstream go, with what was not sent to it yet: `to_upstream` goes to another, which is dialled."""
    to_upstream: list[Part] = field(default_factory=list)
    to_client: list[Part] = field(default_factory=list)
    asks: list[Ask] = field(default_factory=list)
    mute_until: float = 0.0
    """Monotonic time before which the client is neither read nor shown; the larger of several holds."""
    close: Close | None = None

    def clear(self) -> None:
        self.part_upstream = False
        self.to_upstream.clear()
        self.to_client.clear()
        self.asks.clear()
        self.mute_until = 0.0
        self.close = None


class Session(Protocol):
    """One client connection's protocol. See the module's text for the pump's side of the contract."""

    effects: Effects

    client_wanted: int
    """Bytes of client input, from the first unconsumed one, below which `receive` would consume nothing more."""
    upstream_wanted: int
    """Likewise for `answer`."""
    parked: bool
    """True while a frame waits for an outside fact, or the queue of expected answers is full: the client is neither
    read nor shown. May turn false in any call."""
    deadline: float
    """Monotonic time of the next `tick`; math.inf for none."""

    @property
    def principal(self) -> Principal | None:
        """Whose share of budgets and limits this connection's bytes are; None before authentication."""
        ...

    def receive(self, data: memoryview) -> int:
        """Take client bytes. Returns how many were consumed."""
        ...

    def answer(self, data: memoryview) -> int:
        """Take upstream bytes. Returns how many were consumed."""
        ...

    def told(self, fact: Fact) -> None:
        """Take the answer to an ask; the pump then shows any unconsumed client bytes again."""
        ...

    def tick(self) -> None:
        """`deadline` has come."""
        ...

    def upstream_endpoint(self) -> Endpoint | None:
        """Where this connection's upstream is, asked when there is first something to send; None: not known now."""
        ...

    def upstream_lost(self, reason: Reason, detail: str) -> None:
        """The upstream could not be dialled, or ended. The session answers or closes; it may not stay silent."""
        ...

    def closed(self, reason: Reason, detail: str) -> None:
        """The connection has ended, for whatever side's reason: write the audit, release what is held."""
        ...


@runtime_checkable
class Drainable(Protocol):
    """What a session may offer besides, so that a gateway that stops lets answers go out first."""

    @property
    def idle(self) -> bool:
        """Nothing is owed to the client: no answer is expected, no frame waits for a fact."""
        ...


@runtime_checkable
class Described(Protocol):
    """What a session may offer besides, so that ``gateway status`` can say how a client is known and until when."""

    @property
    def mechanism(self) -> str:
        """How the principal was proven, e.g. OAUTHBEARER; "" before authentication."""
        ...

    @property
    def expires_at(self) -> float:
        """Wall time at which the connection ends unless re-authenticated; math.inf for none."""
        ...


@runtime_checkable
class Stranger(Protocol):
    """What a session may offer besides, about a client that has not been authenticated."""

    @property
    def silent(self) -> bool:
        """Nothing that the client sent was ever taken. `closed` writes nothing about such a client: the edge sums."""
        ...

    @property
    def refused(self) -> bool:
        """Its login was refused, and to say so at its time is all that is left: its place is the first to be taken."""
        ...


@runtime_checkable
class Identified(Protocol):
    """What a session may offer besides, so that it can be looked at again what it proved when the configuration has
    changed: whether its issuer is still believed, and for the same audience."""

    @property
    def identity(self) -> Identity | None:
        """Who is on the connection, and what was proven about it; None before authentication."""
        ...


@runtime_checkable
class Proving(Protocol):
    """What a session may offer besides, where its upstream was shown the gateway's own account as it was dialled."""

    def upstream_proven(self, until: float) -> None:
        """The upstream is open, and takes the gateway for who it is until that monotonic time (NEVER: without end).
        Told once, before any answer."""
        ...


@runtime_checkable
class Sliced(Protocol):
    """What a session may offer besides, whose longer messages are decided in slices (core.slices).

    As long as it is busy the pump neither reads nor shows anything of either side, but when the connection's turn has
    come, after others have had theirs: then it shows that side's unconsumed octets again, whose front is the message
    at hand; none, where the session has consumed it and keeps it itself (Holding). Ends, ticks and facts come as ever.
    """

    @property
    def busy(self) -> Busy:
        """Whose message is at hand; "" for none. May change in any call."""
        ...


@runtime_checkable
class Holding(Protocol):
    """What a session may offer besides, that keeps octets of its own from one call to the next: bodies that are decided
    about whole, answers that are rewritten.

    The pump has them in the process's budget. While it waits for that it shows the session nothing of either side; so
    what comes unreserved is what one call brought.
    """

    @property
    def holds(self) -> int:
        """Octets that are held, or will be before anything is decided. May change in any call."""
        ...


class ShortWay(Protocol):
    """What a session may offer besides: the short way of octets that go on as they came, or as they did before.

    It takes from the front of what it is shown what an earlier verdict lets through, and nothing else: the pump writes
    `data[:taken]` to the other side at once, and shows `receive` or `answer` the rest if that is as long as `wanted`
    says. It asks nothing, closes nothing, writes no audit line and answers nothing itself. Two effects it may leave:
    `mute_until`, and behind `answers` one part in `to_client`, which is written in place of `data[:taken]`: an answer
    of which the client's form is known from an earlier time. `client_wanted`, `upstream_wanted`, `parked` and
    `deadline` hold after it as after those two. It is called only when they could be, and with nothing unsent towards
    the side that the octets go to.
    """

    @property
    def sent_left(self) -> int:
        """Octets that are still to come from the client, and are sure to go on, of a request whose front went on."""
        ...

    @property
    def told_left(self) -> int:
        """Likewise from the upstream."""
        ...

    def requests(self, data: memoryview) -> int:
        """How many of the client's octets go on as they are (of a request whose front is all that is decided about,
        perhaps a part), 0 for none."""
        ...

    def answers(self, data: memoryview) -> int:
        """How many of the upstream's octets go on as they are (of an answer whose front is decided, perhaps a part), or
        are one answer that goes on as `effects.to_client` has it."""
        ...


@runtime_checkable
class Shortened(Protocol):
    """Said by a session that offers a short way."""

    @property
    def short_way(self) -> ShortWay: ...


@runtime_checkable
class TalksItself(Protocol):
    """Said by a session that sometimes has something to settle with the upstream that is not its client's."""

    @property
    def talking(self) -> bool:
        """It does now: what comes from there, and is not passed on, is no sign of the client's being there."""
        ...


Offer = TypeVar("Offer")
_offered: dict[tuple[type, type], bool] = {}


def offered(session: Session, offer: type[Offer]) -> Offer | None:
    """The session as one of the protocols above, if it offers that. What one session offers, all of its class do:
    `isinstance` looks at every member anew each time, which costs more than the rest of a connection's making."""
    key = (type(session), offer)
    found = _offered.get(key)
    if found is None:
        found = _offered[key] = isinstance(session, offer)
    return cast(Offer, session) if found else None


SessionFactory = Callable[[Peer], Session]

NEVER = math.inf
