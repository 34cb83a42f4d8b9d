"""What is measured, and what came of it: the values that the bench hands to a client's process and gets back."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Door:
    """A way to the broker, as a client is told it."""

    port: int
    pid: int = 0
    """The proxy's process; 0: there is none, and nothing is counted."""
    ca: str = ""
    """PEM file of the CA that the proxy's certificate is checked against; "": no TLS."""
    token: str = ""
    """For SASL/OAUTHBEARER; "": no authentication."""
    token_expires: float = 0.0
    handshake_port: int = 0
    """Where a connection can end after its TLS handshake without a broker being dialled."""


@dataclass(frozen=True, slots=True)
class Work:
    """One measurement through one door."""

    kind: str
    """What to do: a name in loadtest.client's table."""
    door: Door
    seconds: float
    """Length of the window that is measured."""
    warm_up: float
    topic: str = ""
    partitions: int = 1
    bytes_max: int = 0
    """Of the whole run, warm-up included."""
    linger_ms: float = 5.0
    connections: int = 16
    in_flight: int = 1
    records: int = 1
    """Of one raw request, for each of its partitions."""
    record_bytes: int = 100
    per_request: int = 1
    """Partitions in one raw request."""
    topics: int = 0
    """Topics of the stand-in that raw requests go round; 0: `topic` alone."""
    first: int = 0
    """Answers that must have come before the window of raw requests begins, however long that takes."""
    least: int = 1
    """Answers that must come within it, however long it gets."""
    idle: int = 0
    """More connections that have sent one request and then nothing."""
    tokens: tuple[str, ...] = ()
    """Logins take them in turn, instead of the door's."""
    rate: float = 0.0
    """Records per second, for work at a fixed rate."""


@dataclass(frozen=True, slots=True)
class Window:
    """What was done in the window, what the proxy spent on it, and how long it took."""

    count: float
    """Requests, records, handshakes or connections."""
    octets: int
    cpu: float
    """The proxy's user and system time, in seconds."""
    seconds: float
    more: dict[str, float] = field(default_factory=dict)
    """What else was measured: latencies in ms, memory in KiB."""


class LoadFailed(Exception):
    """The client met an error, or nothing moved for too long."""
