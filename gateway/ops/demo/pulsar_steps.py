"""The five steps of Pulsar's demo: what the client does, what it sees, and the gateway's audit line beside it.

Each step checks itself: the client must have seen the right thing *and* the audit must have said why.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

from gateway.ops.demo.pulsar_client import Client, Seen
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

NAMESPACE = "persistent://public/default"
"""Every broker has it."""
ALLOWED_TOPIC = f"{NAMESPACE}/payments.orders"
DENIED_TOPIC = f"{NAMESPACE}/payments.orders.pii"
FLOOD_TOPIC = f"{NAMESPACE}/batch.nightly"
FLOOD_MESSAGES, FLOOD_MESSAGE_BYTES = 400, 8 << 10
REFUSED_SECONDS = 2
"""For how long the library is let try with a token that is refused."""
REFUSED = {"Timeout", "ConnectError", "AuthenticationError"}
"""How the library's releases show that they were not let in."""
FLOOD_SECONDS_MIN = 1.0
"""3.1 MiB at 1 MiB/s, of which a second's worth passes at once."""


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
    produced = client.produce(topic, [f"order {number}".encode() for number in range(3)])
    consumed = client.consume(topic, 3, f"orders-demo-{uuid.uuid4().hex[:6]}")
    lines = found(
        stage.audit.find(lambda line: line.get("event") == "authenticated"),
        stage.audit.find(lambda line: allowed_on(line, topic, "Produce")),
        stage.audit.find(lambda line: allowed_on(line, topic, "Consume")),
    )
    sees = (
        f"{produced.delivered} messages acknowledged, {consumed.consumed} received on a shared "
        f"subscription{_errors(produced, consumed)}"
    )
    return Shown(
        "1  An allowed topic", f"{APPLICATION} produces to {topic} and consumes it", sees, lines,
        produced.delivered == 3 and consumed.consumed == 3 and len(lines) == 3, "acknowledged and received",
    )  # fmt: skip


def _denied(stage: Stage) -> Shown:
    topic = DENIED_TOPIC
    seen = _application(stage).produce(topic, [b"raise"])
    lines = found(stage.audit.find(lambda line: line.get("event") == "denied" and line.get("resource") == topic))
    name = "AuthorizationError"
    return Shown(
        "2  A denied topic", f"the same client produces to {topic}", _names(seen), lines,
        name in seen.errors and seen.delivered == 0 and len(lines) == 1, f"the library's own {name}",
    )  # fmt: skip


def _expired(stage: Stage) -> Shown:
    return _refused(stage, "3  An expired token", EXPIRED_DOES, stage.expired(), "expired")


def _forged(stage: Stage) -> Shown:
    return _refused(stage, "4  A forged token", FORGED_DOES, stage.forged(), "signature")


def _refused(stage: Stage, title: str, does: str, token: str, cause: str) -> Shown:
    seen = Client(stage.bootstrap, stage.ca, lambda: token, REFUSED_SECONDS).produce(ALLOWED_TOPIC, [b"?"])
    line = stage.audit.find(lambda line: line.get("event") == "refused" and cause in str(line.get("reason")))
    good = set(seen.errors) <= REFUSED and bool(seen.errors) and seen.delivered == 0 and line is not None
    return Shown(
        title, does, f"{_names(seen)}, having tried for {REFUSED_SECONDS} s", found(line), good,
        f"no connection, which this library shows as a Timeout; the reason ({cause}) is in the audit only",
    )  # fmt: skip


def _flood(stage: Stage) -> Shown:
    client = _client(stage, lambda: stage.issuer.token(FLOODER))
    total = FLOOD_MESSAGES * FLOOD_MESSAGE_BYTES
    seen = client.produce(FLOOD_TOPIC, [bytes(FLOOD_MESSAGE_BYTES)] * FLOOD_MESSAGES, timeout=30)
    lines = found(stage.audit.find(throttled))
    sees = f"{seen.delivered} of {FLOOD_MESSAGES} messages acknowledged in {seen.seconds:.1f} s{_errors(seen)}"
    return Shown(
        "5  A flood", f"{FLOODER} produces {total >> 10} KiB at once, far above its limit", sees, lines,
        seen.delivered == FLOOD_MESSAGES and seen.seconds > FLOOD_SECONDS_MIN and len(lines) == 1,
        "every message acknowledged, at the pace the policy allows: the gateway reads no faster",
    )  # fmt: skip


def _errors(*seen: Seen) -> str:
    names = list(dict.fromkeys(name for each in seen for name in each.errors))
    return f"; errors: {', '.join(names)}" if names else ""


def _names(seen: Seen) -> str:
    return ", ".join(seen.errors) or "nothing: no error came"
