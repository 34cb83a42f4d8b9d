"""The five steps of Kafka's demo: what the client does, what it sees, and the gateway's audit line beside it.

Each step checks itself: the client must have seen the right thing *and* the audit must have said why.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

from gateway.ops.demo.client import Client, Seen
from gateway.ops.demo.shown import (
    APPLICATION,
    EXPIRED_DOES,
    FLOODER,
    FORGED_DOES,
    Shown,
    Stage,
    allowed_on,
    found,
    played,
    throttled,
)

ALLOWED_TOPIC = "payments.orders"
DENIED_TOPIC = "payments.orders.pii"
FLOOD_TOPIC = "batch.nightly"
TOPICS = (ALLOWED_TOPIC, DENIED_TOPIC, FLOOD_TOPIC)
FLOOD_RECORDS, FLOOD_RECORD_BYTES = 400, 8 << 10


def play(stage: Stage) -> Iterator[Shown]:
    """The steps, one after the other."""
    return played(stage, (_allowed, _denied, _expired, _forged, _flood))


def _client(stage: Stage, token: Callable[[], str]) -> Client:
    return Client(stage.bootstrap, stage.ca, token)


def _application(stage: Stage) -> Client:
    return _client(stage, lambda: stage.issuer.token(APPLICATION))


def _allowed(stage: Stage) -> Shown:
    topic = ALLOWED_TOPIC
    client = _application(stage)
    brokers = client.brokers()
    produced = client.produce(topic, [f"order {number}".encode() for number in range(3)])
    consumed = client.consume(topic, 3, f"orders-demo-{uuid.uuid4().hex[:6]}")
    lines = found(
        stage.audit.find(lambda line: line.get("event") == "authenticated"),
        stage.audit.find(lambda line: allowed_on(line, topic, "Write")),
        stage.audit.find(lambda line: allowed_on(line, topic, "Read")),
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


def _denied(stage: Stage) -> Shown:
    topic = DENIED_TOPIC
    seen = _application(stage).produce(topic, [b"raise"], timeout=10)
    lines = found(stage.audit.find(lambda line: line.get("event") == "denied" and line.get("resource") == topic))
    name = "TOPIC_AUTHORIZATION_FAILED"
    return Shown(
        "2  A denied topic", f"the same client produces to {topic}", _errors_only(seen), lines,
        name in seen.error_names() and seen.delivered == 0 and len(lines) == 1, f"the library's own {name}",
    )  # fmt: skip


def _expired(stage: Stage) -> Shown:
    return _refused(stage, "3  An expired token", EXPIRED_DOES, stage.expired(), "expired")


def _forged(stage: Stage) -> Shown:
    return _refused(stage, "4  A forged token", FORGED_DOES, stage.forged(), "signature")


def _refused(stage: Stage, title: str, does: str, token: str, cause: str) -> Shown:
    seen = _client(stage, lambda: token).produce(ALLOWED_TOPIC, [b"?"], timeout=10)
    line = stage.audit.find(lambda line: line.get("event") == "refused" and cause in str(line.get("reason")))
    good = "_AUTHENTICATION" in seen.error_names() and seen.delivered == 0 and line is not None
    return Shown(
        title, does, _errors_only(seen), found(line), good,
        f"an authentication failure; the reason ({cause}) is in the audit only",
    )  # fmt: skip


def _flood(stage: Stage) -> Shown:
    client = _client(stage, lambda: stage.issuer.token(FLOODER))
    total = FLOOD_RECORDS * FLOOD_RECORD_BYTES
    seen = client.produce(FLOOD_TOPIC, [bytes(FLOOD_RECORD_BYTES)] * FLOOD_RECORDS, timeout=30)
    lines = found(stage.audit.find(throttled))
    sees = (
        f"{seen.delivered} of {FLOOD_RECORDS} records acknowledged in {seen.seconds:.1f} s; told to wait "
        f"{seen.throttles} times, {seen.throttle_seconds_max:.2f} s at most{_errors(seen)}"
    )
    return Shown(
        "5  A flood", f"{FLOODER} produces {total >> 10} KiB at once, far above its limit", sees, lines,
        seen.delivered == FLOOD_RECORDS and seen.throttles > 0 and len(lines) == 1,
        "every record acknowledged, at the pace the policy allows",
    )  # fmt: skip


def _errors(*seen: Seen) -> str:
    names = [name for each in seen for name in each.error_names()]
    return f"; errors: {', '.join(names)}" if names else ""


def _errors_only(seen: Seen) -> str:
    """The library's own words, without what it says after every failed connection."""
    if not seen.errors:
        return "nothing: no error came"
    names = [name for name in seen.error_names() if name != "_ALL_BROKERS_DOWN"] or seen.error_names()
    return "; ".join(f"{name}: {seen.error_text(name)}" for name in names[:2])
