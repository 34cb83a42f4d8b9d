"""What the steps of either protocol's demo play on, and what one came to."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from gateway.ops.demo.issuer import SigningKey, TokenIssuer
from gateway.ops.demo.process import AuditLine, AuditLog

APPLICATION, FLOODER = "orders-service", "nightly-batch"
CLAIMS = {APPLICATION: {"groups": ["payments-devs"]}, FLOODER: {"groups": ["batch"]}}
"""What the demo's policies bind roles to."""
EXPIRED_DOES = "a client with a token that ended two minutes ago"
FORGED_DOES = "a client with a token of the right issuer, audience and key id, signed by somebody else's key"


@dataclass(frozen=True, slots=True)
class Shown:
    """A step as it came out. `audit` holds the lines that belong to it, as the gateway wrote them."""

    title: str
    does: str
    sees: str
    audit: tuple[str, ...]
    good: bool
    expected: str
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Stage:
    """What the steps play on."""

    bootstrap: str
    ca: Path
    issuer: TokenIssuer
    audit: AuditLog

    def expired(self) -> str:
        return self.issuer.token(APPLICATION, lifetime=-120)

    def forged(self) -> str:
        """By the same key id, but another key."""
        return SigningKey(self.issuer.key.kid).token(self.issuer.url, self.issuer.clients[APPLICATION])


def played(stage: Stage, steps: Iterable[Callable[[Stage], Shown]]) -> Iterator[Shown]:
    """The steps, one after the other."""
    for step in steps:
        stage.audit.mark()
        began = time.monotonic()
        shown = step(stage)
        yield replace(shown, seconds=time.monotonic() - began)


def allowed_on(line: AuditLine, topic: str, operation: str) -> bool:
    return (line.get("event"), line.get("resource"), line.get("operation")) == ("allowed", topic, operation)


def throttled(line: AuditLine) -> bool:
    return line.get("event") == "throttled"


def found(*lines: str | None) -> tuple[str, ...]:
    """The audit lines that came."""
    return tuple(line for line in lines if line is not None)
