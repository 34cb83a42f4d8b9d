"""The gateway's answers beside the broker's own authorization, with equal grants.

Each command goes straight to the broker as a role with or without a grant, and through the gateway as a principal with
or without the same right. The gateway never allows what the broker denies; where it denies more, STRICTER says why;
otherwise the answers have the same command and the same code. docs/pulsar-commands.md has what came of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gateway.pulsar.commands import Command
from tests.real.pulsar.site import ROLE, Site
from tests.real.pulsar.wire import RawPulsar

NOBODY = "svc-nobody"
AUTHORIZATION_ERROR = 4
OPEN = {"subscription": "app-same", "sub_type": 1, "consumer_id": 1}
CASES: dict[str, Callable[[str], list[tuple[str, dict[str, Any]]]]] = {
    "lookup": lambda topic: [("lookup", {"topic": topic})],
    "partitioned_metadata": lambda topic: [("partitioned_metadata", {"topic": topic})],
    "producer": lambda topic: [("producer", {"topic": topic, "producer_id": 1})],
    "producer, first subscription": lambda topic: [
        ("producer", {"topic": topic, "producer_id": 1, "initial_subscription_name": "app-first"})
    ],
    "subscribe": lambda topic: [("subscribe", {"topic": topic, **OPEN})],
    "get_topics_of_namespace": lambda _: [("get_topics_of_namespace", {"namespace": "public/default", "mode": 0})],
    "watch_topic_list": lambda _: [
        ("watch_topic_list", {"namespace": "public/default", "watcher_id": 1, "topics_pattern": "none-.*"})
    ],
    "get_schema": lambda topic: [("get_schema", {"topic": topic})],
    "get_last_message_id": lambda topic: [
        ("subscribe", {"topic": topic, **OPEN}), ("get_last_message_id", {"consumer_id": 1})
    ],
    "unsubscribe of nothing": lambda _: [("unsubscribe", {"consumer_id": 7})],
    "close of no consumer": lambda _: [("close_consumer", {"consumer_id": 7})],
    "close of no producer": lambda _: [("close_producer", {"producer_id": 7})],
    "no topic": lambda _: [("producer", {"topic": "persistent://a/b", "producer_id": 1})],
}  # fmt: skip
STRICTER = {
    ("get_schema", NOBODY): "the broker lets every role read schemas",
}
OTHERWISE = {
    "no topic": "the broker looks a name up as it is and says it is invalid in its own words",
    "unsubscribe of nothing": "the same meaning by another code",
}


def played(port: int, ca_file: str | None, token: str, steps: list[tuple[str, dict[str, Any]]]) -> Command:
    """The answer to the last step."""
    with RawPulsar(port, ca_file) as client:
        client.connect(token, feature_flags={"supports_topic_watchers": True})
        answer = client.receive()
        assert answer.name == "connected"
        for number, (command, fields) in enumerate(steps):
            answer = client.ask(command, request_id=number + 1, **fields)
            while answer.name == "active_consumer_change":
                answer = client.receive()
        return answer


def code_of(answer: Command) -> int | None:
    body = answer.body
    for field in ("error", "error_code"):
        if hasattr(body, field) and body.HasField(field):
            return int(getattr(body, field))
    return None


@pytest.mark.parametrize("role", [ROLE, NOBODY])
@pytest.mark.parametrize("case", CASES)
def test_answers_are_the_brokers_own(site: Site, case: str, role: str) -> None:
    topic = site.topic()
    steps = CASES[case](topic)
    groups = ("app",) if role == ROLE else ()
    own = played(site.broker.port, None, site.broker.token(role), steps)
    ours = played(site.gateway.port(), site.gateway.ca_file, site.token(role, groups=groups), steps)
    shown = f"{own.name} {code_of(own)} / {ours.name} {code_of(ours)}"
    if code_of(own) == AUTHORIZATION_ERROR:
        assert code_of(ours) == AUTHORIZATION_ERROR, shown
    if (case, role) in STRICTER:
        assert code_of(ours) == AUTHORIZATION_ERROR, shown
        return
    if case not in OTHERWISE:
        assert (own.name, code_of(own)) == (ours.name, code_of(ours)), shown
    else:
        assert code_of(own) is not None, shown
        assert code_of(ours) is not None, shown
