"""Commands that go to a real broker and through the gateway, by roles with equal grants; and the page that says so.

`python -m tests.real.pulsar.command_cases` starts both, asks every case of every role, and writes
docs/pulsar-commands.md.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.pulsar import commands
from gateway.pulsar.commands import Command
from tests.real.pulsar.broker import PULSAR_VERSION, PulsarBroker
from tests.real.pulsar.site import CONSUMER, PRODUCER, ROLE, Site, gateway_for, granted
from tests.real.pulsar.wire import RawPulsar

PAGE = Path(__file__).parents[3] / "docs" / "pulsar-commands.md"
BEGINS, ENDS = "<!-- measured: -->\n", "<!-- :measured -->\n"
NOBODY = "svc-nobody"
GROUPS = {NOBODY: (), PRODUCER: ("producers",), CONSUMER: ("readers",), ROLE: ("app",)}
"""Role -> the groups by which the gateway's policy gives it what the broker gave."""
SHOWN = {NOBODY: "nobody", PRODUCER: "produce", CONSUMER: "consume", ROLE: "both"}
AUTHORIZATION_ERROR = 4
COORDINATORS = "persistent://pulsar/system/transaction_coordinator_assign"
UNASKED = ("active_consumer_change", "ping")
NOT_READY = 6
"""The topic's bundle is nobody's for a moment: asked again."""
TRIES = 5

Steps = list[tuple[str, dict[str, Any]]]
OPEN = {"subscription": "app-same", "sub_type": 1, "consumer_id": 1}
STRING_SCHEMA = {"name": "s", "type": 1, "schema_data": b""}


def _of_consumer(command: str, **fields: Any) -> Callable[[str], Steps]:
    return lambda topic: [("subscribe", {"topic": topic, **OPEN}), (command, {"consumer_id": 1, **fields})]


CASES: Mapping[str, Callable[[str], Steps]] = {
    "LOOKUP": lambda topic: [("lookup", {"topic": topic})],
    "LOOKUP of the transactions' coordinators": lambda _: [("lookup", {"topic": f"{COORDINATORS}-partition-0"})],
    "PARTITIONED_METADATA": lambda topic: [("partitioned_metadata", {"topic": topic})],
    "PRODUCER": lambda topic: [("producer", {"topic": topic, "producer_id": 1})],
    "PRODUCER with a schema": lambda topic: [("producer", {"topic": topic, "producer_id": 1, "schema": STRING_SCHEMA})],
    "PRODUCER with a first subscription": lambda topic: [
        ("producer", {"topic": topic, "producer_id": 1, "initial_subscription_name": "app-first"})
    ],
    "PRODUCER of no topic": lambda _: [("producer", {"topic": "persistent://a/b", "producer_id": 1})],
    "SUBSCRIBE": lambda topic: [("subscribe", {"topic": topic, **OPEN})],
    "SUBSCRIBE, replicated": lambda topic: [
        ("subscribe", {"topic": topic, **OPEN, "replicate_subscription_state": True})
    ],
    "GET_LAST_MESSAGE_ID": _of_consumer("get_last_message_id"),
    "UNSUBSCRIBE": _of_consumer("unsubscribe"),
    "CLOSE_CONSUMER": _of_consumer("close_consumer"),
    "CLOSE_PRODUCER": lambda topic: [
        ("producer", {"topic": topic, "producer_id": 1}), ("close_producer", {"producer_id": 1})
    ],
    "UNSUBSCRIBE of nothing": lambda _: [("unsubscribe", {"consumer_id": 7})],
    "CLOSE_CONSUMER of nothing": lambda _: [("close_consumer", {"consumer_id": 7})],
    "CLOSE_PRODUCER of nothing": lambda _: [("close_producer", {"producer_id": 7})],
    "GET_TOPICS_OF_NAMESPACE": lambda _: [("get_topics_of_namespace", {"namespace": "public/default", "mode": 0})],
    "WATCH_TOPIC_LIST": lambda _: [
        ("watch_topic_list", {"namespace": "public/default", "watcher_id": 1, "topics_pattern": "none-.*"})
    ],
    "GET_SCHEMA": lambda topic: [("get_schema", {"topic": topic})],
    "GET_OR_CREATE_SCHEMA": lambda topic: [("get_or_create_schema", {"topic": topic, "schema": STRING_SCHEMA})],
    "TC_CLIENT_CONNECT": lambda _: [("tc_client_connect_request", {"tc_id": 0})],
    "NEW_TXN": lambda _: [
        ("tc_client_connect_request", {"tc_id": 0}), ("new_txn", {"txn_ttl_seconds": 30, "tc_id": 0})
    ],
}  # fmt: skip

_REPLICATED = "a position told to other clusters is a right of its own, as over REST"
_SCHEMAS = "the broker lets every role read and register schemas"
_DELETES = "as over REST: `consume` does not delete a subscription, nor does it describe a namespace"
STRICTER: Mapping[str, str] = {
    "SUBSCRIBE, replicated": _REPLICATED,
    "GET_SCHEMA": _SCHEMAS,
    "GET_OR_CREATE_SCHEMA": _SCHEMAS,
    "UNSUBSCRIBE": _DELETES,
    "GET_TOPICS_OF_NAMESPACE": _DELETES,
    "WATCH_TOPIC_LIST": _DELETES,
}
"""Where the gateway denies what the broker would take, and why."""
THE_BROKERS = ("LOOKUP of the transactions' coordinators",)
"""Forwarded without a decision: it is the broker that denies."""


@dataclass(frozen=True, slots=True)
class Compared:
    """What the broker said, and what the gateway did: (command, code or None)."""

    broker: tuple[str, int | None]
    gateway: tuple[str, int | None]

    @property
    def verdict(self) -> str:
        if self.broker == self.gateway:
            return "denied" if self.broker[1] == AUTHORIZATION_ERROR else "refused" if self.broker[1] else "allowed"
        if self.gateway[1] == AUTHORIZATION_ERROR and self.broker[1] != AUTHORIZATION_ERROR:
            return "**stricter**"
        return "DIFFERS"


def asked(site: Site, case: str, role: str) -> Compared:
    """One case of one role, both ways, each on a topic of its own."""
    steps = CASES[case]
    token = site.token(role, groups=GROUPS[role])
    own = _ready(lambda: played(site.broker.port, None, site.broker.token(role), steps(site.topic())))
    ours = _ready(lambda: played(site.gateway.port(), site.gateway.ca_file, token, steps(site.topic())))
    return Compared((own.name, code_of(own)), (ours.name, code_of(ours)))


def _ready(play: Callable[[], Command]) -> Command:
    for _ in range(TRIES):
        answer = play()
        if code_of(answer) != NOT_READY:
            break
    return answer


def played(port: int, ca_file: str | None, token: str, steps: Steps) -> Command:
    """The answer to the last step."""
    with RawPulsar(port, ca_file) as client:
        client.connect(token, feature_flags={"supports_topic_watchers": True})
        answer = client.receive()
        assert answer.name == "connected"
        for number, (name, fields) in enumerate(steps):
            client.send(commands.framed(name, request_id=number + 1, **fields))
            answer = client.receive()
            while answer.name in UNASKED:
                answer = client.receive()
        return answer


def code_of(answer: Command) -> int | None:
    body = answer.body
    for field in ("error", "error_code"):
        if hasattr(body, field) and body.HasField(field):
            return int(getattr(body, field))
    return None


def line(case: str, found: Mapping[str, Compared]) -> str:
    """One of the page's."""
    verdicts = [found[role].verdict for role in GROUPS]
    why = STRICTER[case] if "**stricter**" in verdicts else "the broker decides" if case in THE_BROKERS else ""
    return f"| {case} | {' | '.join(verdicts)} | {why} |\n"


def rendered(results: Mapping[str, Mapping[str, Compared]]) -> str:
    head = f"| asked (Pulsar {PULSAR_VERSION}) | {' | '.join(SHOWN[role] for role in GROUPS)} | why |\n"
    return head + "|---" * (len(GROUPS) + 2) + "|\n" + "".join(line(case, found) for case, found in results.items())


def main() -> int:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pulsar-commands-")))
        broker = stack.enter_context(PulsarBroker(folder / "broker"))
        granted(broker)
        site = Site(broker, stack.enter_context(gateway_for(folder / "gateway", broker)))
        results = {case: {role: asked(site, case, role) for role in GROUPS} for case in CASES}
    for case, found in results.items():
        print(case, {SHOWN[role]: (each.broker, each.gateway) for role, each in found.items()})
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGINS)
    PAGE.write_text(before + BEGINS + rendered(results) + ENDS + rest.partition(ENDS)[2])
    return 0


if __name__ == "__main__":
    sys.exit(main())
