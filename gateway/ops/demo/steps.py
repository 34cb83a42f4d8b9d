"""The five steps of the demo: what the client does, what it sees, and the gateway's audit line beside it.

Each step checks itself: the client must have seen the right thing *and* the audit must have said why.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from gateway.ops.demo.client import Client, Seen
from gateway.ops.demo.issuer import SigningKey, TokenIssuer
from gateway.ops.demo.process import AuditLine, AuditLog

ALLOWED_TOPIC = "payments.orders"
DENIED_TOPIC = "payments.orders.pii"
FLOOD_TOPIC = "batch.nightly"
TOPICS = (ALLOWED_TOPIC, DENIED_TOPIC, FLOOD_TOPIC)
APPLICATION, FLOODER = "orders-service", "nightly-batch"
CLAIMS = {APPLICATION: {"groups": ["payments-devs"]}, FLOODER: {"groups": ["batch"]}}
"""What policies/demo.yaml binds roles to."""
FLOOD_RECORDS, FLOOD_RECORD_BYTES = 400, 8 << 10


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

    def client(self, token: Callable[[], str]) -> Client:
        return Client(self.bootstrap, self.ca, token)

    def application(self) -> Client:
        return self.client(lambda: self.issuer.token(APPLICATION))


def play(stage: Stage) -> Iterator[Shown]:
    """The steps, one after the other."""
    for step in (_allowed, _denied, _expired, _forged, _flood):
        stage.audit.mark()
        began = time.monotonic()
        shown = step(stage)
        yield replace(shown, seconds=time.monotonic() - began)


def _allowed(stage: Stage) -> Shown:
    topic = ALLOWED_TOPIC
    client = stage.application()
    brokers = client.brokers()
    produced = client.produce(topic, [f"order {number}".encode() for number in range(3)])
    consumed = client.consume(topic, 3, f"orders-demo-{uuid.uuid4().hex[:6]}")
    lines = _found(
        stage.audit.find(lambda line: line.get("event") == "authenticated"),
        stage.audit.find(lambda line: _allowed_on(line, topic, "Write")),
        stage.audit.find(lambda line: _allowed_on(line, topic, "Read")),
    )
    sees = (
        f"{'one broker' if len(brokers) == 1 else f'{len(brokers)} brokers, each'} by the gateway's own address "
        f"({', '.join(brokers.values())}); "
        f"{produced.delivered} records acknowledged, {consumed.consumed} read back{_errors(produced, consumed)}"
    )
    good = produced.delivered == 3 and consumed.consumed >= 3 and len(lines) == 3
    good = good and all(address.startswith("localhost:") for address in brokers.values())
    return Shown(
        "1  An allowed topic", f"{APPLICATION} produces to {topic} and consumes it in a group", sees, lines, good,
        "acknowledged and read back",
    )  # fmt: skip


def _allowed_on(line: AuditLine, topic: str, operation: str) -> bool:
    return (line.get("event"), line.get("resource"), line.get("operation")) == ("allowed", topic, operation)


def _denied(stage: Stage) -> Shown:
    topic = DENIED_TOPIC
    seen = stage.application().produce(topic, [b"raise"], timeout=10)
    lines = _found(stage.audit.find(lambda line: line.get("event") == "denied" and line.get("resource") == topic))
    name = "TOPIC_AUTHORIZATION_FAILED"
    return Shown(
        "2  A denied topic", f"the same client produces to {topic}", _errors_only(seen), lines,
        name in seen.error_names() and seen.delivered == 0 and len(lines) == 1, f"the library's own {name}",
    )  # fmt: skip


def _expired(stage: Stage) -> Shown:
    token = stage.issuer.token(APPLICATION, lifetime=-120)
    return _refused(stage, "3  An expired token", "a client with a token that ended two minutes ago", token, "expired")


def _forged(stage: Stage) -> Shown:
    forger = SigningKey(stage.issuer.key.kid)  # the same kid, another key
    token = forger.token(stage.issuer.url, stage.issuer.clients[APPLICATION])
    does = "a client with a token of the right issuer, audience and key id, signed by somebody else's key"
    return _refused(stage, "4  A forged token", does, token, "signature")


def _refused(stage: Stage, title: str, does: str, token: str, cause: str) -> Shown:
    seen = stage.client(lambda: token).produce(ALLOWED_TOPIC, [b"?"], timeout=10)
    found = stage.audit.find(lambda line: line.get("event") == "refused" and cause in str(line.get("reason")))
    good = "_AUTHENTICATION" in seen.error_names() and seen.delivered == 0 and found is not None
    return Shown(
        title, does, _errors_only(seen), _found(found), good,
        f"an authentication failure; the reason ({cause}) is in the audit only",
    )  # fmt: skip


def _flood(stage: Stage) -> Shown:
    client = stage.client(lambda: stage.issuer.token(FLOODER))
    total = FLOOD_RECORDS * FLOOD_RECORD_BYTES
    seen = client.produce(FLOOD_TOPIC, [bytes(FLOOD_RECORD_BYTES)] * FLOOD_RECORDS, timeout=30)
    lines = _found(stage.audit.find(_throttled))
    sees = (
        f"{seen.delivered} of {FLOOD_RECORDS} records acknowledged in {seen.seconds:.1f} s; told to wait "
        f"{seen.throttles} times, {seen.throttle_seconds_max:.2f} s at most{_errors(seen)}"
    )
    return Shown(
        "5  A flood", f"{FLOODER} produces {total >> 10} KiB at once, far above its limit", sees, lines,
        seen.delivered == FLOOD_RECORDS and seen.throttles > 0 and len(lines) == 1,
        "every record acknowledged, at the pace the policy allows",
    )  # fmt: skip


def _throttled(line: AuditLine) -> bool:
    return line.get("event") == "throttled"


def _found(*lines: str | None) -> tuple[str, ...]:
    return tuple(line for line in lines if line is not None)


def _errors(*seen: Seen) -> str:
    names = [name for each in seen for name in each.error_names()]
    return f"; errors: {', '.join(names)}" if names else ""


def _errors_only(seen: Seen) -> str:
    """The library's own words, without what it says after every failed connection."""
    if not seen.errors:
        return "nothing: no error came"
    names = [name for name in seen.error_names() if name != "_ALL_BROKERS_DOWN"] or seen.error_names()
    return "; ".join(f"{name}: {seen.error_text(name)}" for name in names[:2])
