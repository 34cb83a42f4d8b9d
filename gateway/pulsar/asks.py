"""What a session asks of the gateway's own connection to its cluster, and how it is told."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.core.session import Ask, Endpoint, Fact


@dataclass(frozen=True, slots=True)
class BrokerWanted(Ask):
    """A lookup that one broker sends on to another: follow it, in the same client's name."""

    backend: str
    at: Endpoint
    """The broker that was named last."""
    topic: str
    principal: str
    authoritative: bool
    listener: str = ""
    """The brokers' advertised listener that the client asked for."""


@dataclass(frozen=True, slots=True)
class BrokerFound(Fact):
    """Where the lookup ended. broker: None where it failed, with the broker's own code and words."""

    ask: BrokerWanted
    broker: Endpoint | None
    code: int = 0
    words: str = ""
