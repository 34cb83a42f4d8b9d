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

from tests.real.pulsar.broker import PULSAR_VERSION, PulsarBroker
from tests.real.pulsar.command_play import ANOTHERS, BEGIN, ENDED, IGNORED, RAW, SEND, TC, THERE, Play, Step, Told
from tests.real.pulsar.site import CONSUMER, PRODUCER, ROLE, Site, gateway_for, granted

PAGE = Path(__file__).parents[3] / "docs" / "pulsar-commands.md"
BEGINS, ENDS = "<!-- measured: -->\n", "<!-- :measured -->\n"
NOBODY = "svc-nobody"
GROUPS = {NOBODY: (), PRODUCER: ("producers",), CONSUMER: ("readers",), ROLE: ("app",)}
"""Role -> the groups by which the gateway's policy gives it what the broker gave."""
SHOWN = {NOBODY: "nobody", PRODUCER: "produce", CONSUMER: "consume", ROLE: "both"}
AUTHORIZATION_ERROR = 4
COORDINATORS = "persistent://pulsar/system/transaction_coordinator_assign"
SOMEBODY = "slow"
"""Has both grants, and is none of the roles."""
NOT_READY = 6
"""The topic's bundle is nobody's for a moment: asked again."""
TRIES = 5

OPEN = {"subscription": "app-same", "sub_type": 1, "consumer_id": 1}
EARLIEST = {"ledger_id": (1 << 64) - 1, "entry_id": (1 << 64) - 1}
STRING_SCHEMA = {"name": "s", "type": 1, "schema_data": b""}
WATCH: Step = ("watch_topic_list", {"namespace": "public/default", "watcher_id": 1, "topics_pattern": "none-.*"})
COMMIT = bytes((5 << 3, 0, 6 << 3, 0))
"""END_TXN_ON_*'s fields `txn_action` and low watermark."""
LAST: Step = ("end_txn", {"txn_action": 1})
Case = Callable[[str], list[Step]]
"""Of a topic: the steps, the last of which is compared."""


def _text(number: int, said: str | bytes) -> bytes:
    """One field of a message, as octets."""
    octets = said.encode() if isinstance(said, str) else said
    return bytes((number << 3 | 2, len(octets))) + octets


def _of_consumer(command: str, **fields: Any) -> Case:
    return lambda topic: [("subscribe", {"topic": topic, **OPEN}), (command, {"consumer_id": 1, **fields})]


def _of_message(*last: Step) -> Case:
    """One is there to be had."""
    opened = {**OPEN, "initial_position": 1}
    flow = ("flow", {"consumer_id": 1, "message_permits": 10})
    return lambda topic: [(THERE, {"topic": topic}), ("subscribe", {"topic": topic, **opened}), flow, *last]


def _adds_partition(*before: Step) -> Case:
    return lambda topic: [*before, ("add_partition_to_txn", {"partitions": [topic]})]


def _adds_subscription(*before: Step) -> Case:
    return lambda topic: [
        *before, ("add_subscription_to_txn", {"subscription": [{"topic": topic, "subscription": "app-same"}]})
    ]  # fmt: skip


CASES: Mapping[str, Case] = {
    "LOOKUP": lambda topic: [("lookup", {"topic": topic})],
    "LOOKUP of the transactions' coordinators": lambda _: [("lookup", {"topic": f"{COORDINATORS}-partition-0"})],
    "PARTITIONED_METADATA": lambda topic: [("partitioned_metadata", {"topic": topic})],
    "PRODUCER": lambda topic: [("producer", {"topic": topic, "producer_id": 1})],
    "PRODUCER with a schema": lambda topic: [("producer", {"topic": topic, "producer_id": 1, "schema": STRING_SCHEMA})],
    "PRODUCER with a first subscription": lambda topic: [
        ("producer", {"topic": topic, "producer_id": 1, "initial_subscription_name": "app-first"})
    ],
    "PRODUCER of no topic": lambda _: [("producer", {"topic": "persistent://a/b", "producer_id": 1})],
    "SEND": lambda topic: [("producer", {"topic": topic, "producer_id": 1}), SEND],
    "SUBSCRIBE": lambda topic: [("subscribe", {"topic": topic, **OPEN})],
    "SUBSCRIBE, replicated": lambda topic: [
        ("subscribe", {"topic": topic, **OPEN, "replicate_subscription_state": True})
    ],
    "FLOW": _of_message(),
    "REDELIVER_UNACKNOWLEDGED": _of_message(("redeliver_unacknowledged_messages", {"consumer_id": 1})),
    "ACK with a receipt": _of_consumer("ack", request_id=9, ack_type=0, message_id=[{"ledger_id": 0, "entry_id": 0}]),
    "GET_LAST_MESSAGE_ID": _of_consumer("get_last_message_id"),
    "SEEK": _of_consumer("seek", message_id=EARLIEST),
    "CONSUMER_STATS": _of_consumer("consumer_stats"),
    "UNSUBSCRIBE": _of_consumer("unsubscribe"),
    "CLOSE_CONSUMER": _of_consumer("close_consumer"),
    "CLOSE_PRODUCER": lambda topic: [
        ("producer", {"topic": topic, "producer_id": 1}), ("close_producer", {"producer_id": 1})
    ],
    "GET_LAST_MESSAGE_ID of nothing": lambda _: [("get_last_message_id", {"consumer_id": 7})],
    "SEEK of nothing": lambda _: [("seek", {"consumer_id": 7, "message_id": EARLIEST})],
    "CONSUMER_STATS of nothing": lambda _: [("consumer_stats", {"consumer_id": 7})],
    "UNSUBSCRIBE of nothing": lambda _: [("unsubscribe", {"consumer_id": 7})],
    "CLOSE_CONSUMER of nothing": lambda _: [("close_consumer", {"consumer_id": 7})],
    "CLOSE_PRODUCER of nothing": lambda _: [("close_producer", {"producer_id": 7})],
    "GET_TOPICS_OF_NAMESPACE": lambda _: [("get_topics_of_namespace", {"namespace": "public/default", "mode": 0})],
    "WATCH_TOPIC_LIST": lambda _: [WATCH],
    "WATCH_TOPIC_LIST_CLOSE": lambda _: [WATCH, ("watch_topic_list_close", {"watcher_id": 1})],
    "GET_SCHEMA": lambda topic: [("get_schema", {"topic": topic})],
    "GET_OR_CREATE_SCHEMA": lambda topic: [("get_or_create_schema", {"topic": topic, "schema": STRING_SCHEMA})],
    "TC_CLIENT_CONNECT": lambda _: [TC],
    "NEW_TXN": lambda _: [TC, BEGIN],
    "ADD_PARTITION_TO_TXN": _adds_partition(TC, BEGIN),
    "ADD_SUBSCRIPTION_TO_TXN": _adds_subscription(TC, BEGIN),
    "END_TXN": lambda _: [TC, BEGIN, LAST],
    "ADD_PARTITION_TO_TXN, another's": _adds_partition((ANOTHERS, {}), TC),
    "ADD_SUBSCRIPTION_TO_TXN, another's": _adds_subscription((ANOTHERS, {}), TC),
    "END_TXN, another's": lambda _: [(ANOTHERS, {}), TC, LAST],
    "END_TXN_ON_PARTITION": lambda topic: [
        (THERE, {"topic": topic}), ("end_txn_on_partition", {RAW: _text(4, topic) + COMMIT})
    ],
    "END_TXN_ON_SUBSCRIPTION": lambda topic: [
        (THERE, {"topic": topic}),
        ("end_txn_on_subscription", {RAW: _text(4, _text(1, topic) + _text(2, "app-same")) + COMMIT}),
    ],
    "PING": lambda _: [("ping", {})],
    "AUTH_RESPONSE unasked": lambda _: [("auth_response", {"response": {"auth_method_name": "token"}})],
    "CONNECT a second time": lambda _: [("connect", {"client_version": "raw", "protocol_version": 21})],
}  # fmt: skip

_REPLICATED = "a position told to other clusters is a right of its own, as over REST"
_SCHEMAS = "the broker lets every role read and register schemas"
_DELETES = "as over REST: `consume` does not delete a subscription, nor does it describe a namespace"
_TRANSACTION = "the broker asks for nothing but the transaction's owner, until it is used"
_ANOTHERS = "the topic is asked for first; the broker refuses it, too, with another code"
_NO_CLIENTS = (
    "brokers say this to each other; the broker asks for a superuser where there is such a topic or subscription"
)
_GOES_ON = "the broker ends the connection, the gateway only refuses: others go on by it"
WHY: Mapping[str, str] = {
    "SUBSCRIBE, replicated": _REPLICATED,
    "GET_SCHEMA": _SCHEMAS,
    "GET_OR_CREATE_SCHEMA": _SCHEMAS,
    "UNSUBSCRIBE": _DELETES,
    "GET_TOPICS_OF_NAMESPACE": _DELETES,
    "WATCH_TOPIC_LIST": _DELETES,
    "ADD_PARTITION_TO_TXN": _TRANSACTION,
    "ADD_SUBSCRIPTION_TO_TXN": _TRANSACTION,
    "ADD_PARTITION_TO_TXN, another's": _ANOTHERS,
    "ADD_SUBSCRIPTION_TO_TXN, another's": _ANOTHERS,
    "END_TXN_ON_PARTITION": _NO_CLIENTS,
    "END_TXN_ON_SUBSCRIPTION": _NO_CLIENTS,
    "SEND": _GOES_ON,
    "CONSUMER_STATS": _GOES_ON,
    "CONSUMER_STATS of nothing": _GOES_ON,
}
"""Where the gateway denies what the broker would take, or refuses otherwise; and why."""
THE_BROKERS = ("LOOKUP of the transactions' coordinators",)
"""Forwarded without a decision: it is the broker that denies."""


@dataclass(frozen=True, slots=True)
class Compared:
    """What the broker said, and what the gateway did."""

    broker: Told
    gateway: Told

    @property
    def verdict(self) -> str:
        broker, gateway = self.broker, self.gateway
        if broker == gateway:
            if broker in (IGNORED, ENDED):
                return broker[0]
            return "denied" if broker[1] == AUTHORIZATION_ERROR else "refused" if broker[1] else "allowed"
        if gateway[1] == AUTHORIZATION_ERROR or gateway == ENDED:
            return "**stricter**"
        if broker == ENDED and (gateway == IGNORED or gateway[1] is not None):
            return "**goes on**"
        return "DIFFERS"


def asked(site: Site, case: str, role: str) -> Compared:
    """One case of one role, both ways, each on a topic of its own."""
    steps, gateway = CASES[case], site.gateway

    token = site.token(role, groups=GROUPS[role])
    play = Play(site.broker, SOMEBODY)
    own = _ready(lambda: play.played(site.broker.port, None, site.broker.token(role), steps(site.topic())))
    ours = _ready(lambda: play.played(gateway.port(), gateway.ca_file, token, steps(site.topic())))
    return Compared(own, ours)


def _ready(play: Callable[[], Told]) -> Told:
    for _ in range(TRIES):
        told = play()
        if told[1] != NOT_READY:
            break
    return told


def line(case: str, found: Mapping[str, Compared]) -> str:
    """One of the page's."""
    verdicts = [found[role].verdict for role in GROUPS]
    other = any(verdict.startswith("**") for verdict in verdicts)
    why = WHY[case] if other else "the broker decides" if case in THE_BROKERS else ""
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
