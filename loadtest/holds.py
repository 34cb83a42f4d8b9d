"""How long single messages hold the loop: CPU time of the longest slice, for the longest messages that pass.

    python -m loadtest.holds [--elements N]

A session alone, with a real broker's part played by hand; each message is decided to its end, slice by slice, and its
answer likewise. Collections of garbage are in the figures as they are in a gateway. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.kafka.vocabulary import SYSTEM
from tests.scenarios.kafka_world import ALL_TOPICS, START, TablePolicy, World, request, response
from tests.scenarios.web_world import WebWorld

EVERYTHING = tuple((kind.name, operation, "*") for kind in SYSTEM.kinds.values() for operation in kind.operations)
Body = dict[str, Any]
REST_ELEMENTS = 330_000
"""Names in a list of 16 MB, the longest that is rewritten."""
SHOWN_OCTETS = 256 << 10
"""Of an answer, shown to a session at one time."""
WARM_UP = 500
"""Elements of what is sent first: the codec's forms for slices are made when the first long message of a kind comes."""


class ThreadClock:
    """Slices are told by the processor's time, so that other work on the machine does not shorten them."""

    @property
    def now(self) -> float:
        return 1000.0 + time.thread_time()

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return START


@dataclass(frozen=True, slots=True)
class Case:
    """A request and perhaps its answer; `known`: topics that the gateway knows of. Allowed is everything, or `a`."""

    name: str
    sent: bytes
    answer: bytes | None = None
    allowed: bool = True
    known: int = 0


@dataclass(frozen=True, slots=True)
class Hold:
    """Of one message: octets, seconds of the longest slice, of all, and how many."""

    octets: int
    longest: float
    whole: float
    slices: int

    def __str__(self) -> str:
        return f"{self.longest * 1e3:.1f} ms of {self.whole * 1e3:.0f} in {self.slices:,}"


def cases(n: int) -> Iterator[Case]:
    """The longest messages of each kind, with about `n` elements."""
    names = [f"t{index:06}" for index in range(n)]
    metadata = response(3, 12, 9, _metadata(n * 2 // 5))
    asked = request(3, 12, 9, {"topics": [{"name": name} for name in names[: n * 2 // 5]]})
    yield Case("Metadata by name", asked, metadata, known=n)
    yield Case("Metadata by name, denied", asked, allowed=False, known=n)
    yield Case("Metadata of all", request(3, 12, 9, {"topics": None}), metadata)
    yield Case("Metadata of all, twice as many", request(3, 12, 9, {"topics": None}), response(3, 12, 9, _metadata(n)))
    yield Case("DescribeTopicPartitions of all", request(75, 0, 9, {"topics": []}), known=n)
    topics = [{"name": name, "numPartitions": 1, "replicationFactor": 1} for name in names[: n * 2 // 5]]
    yield Case("CreateTopics", request(19, 7, 9, {"topics": topics}))
    yield Case("CreateTopics, denied", request(19, 7, 9, {"topics": topics}), allowed=False)
    partitions = [{"index": index, "records": None} for index in range(n)]
    some = partitions[: n * 2 // 5]
    yield Case("Produce, denied partitions", _produce({"zzz": partitions}), allowed=False)
    yield Case("Produce, denied topics", _produce(dict.fromkeys(names[: n * 2 // 5], partitions[:1])), allowed=False)
    yield Case("Produce, half denied", _produce({"a": some, "zzz": some}), _produced(len(some)), allowed=False)
    yield Case("Produce, allowed", _produce({"a": partitions}), _produced(n))
    yield Case("Fetch, denied partitions", _fetch("zzz", n), allowed=False)
    yield Case("Fetch, allowed", _fetch("a", n), _fetched(n))
    offsets = [{"partitionIndex": index, "timestamp": 1} for index in range(n)]
    yield Case("ListOffsets", request(2, 9, 9, {"replicaId": -1, "topics": [{"name": "a", "partitions": offsets}]}))
    groups = names[: n * 2 // 5]
    members = [{"memberId": "m" * 20, "memberMetadata": b"x" * 50, "memberAssignment": b"y" * 20}] * 3
    described = [{"errorCode": 0, "groupId": group, "groupState": "Stable", "members": members} for group in groups]
    sent = request(15, 5, 9, {"groups": groups, "includeAuthorizedOperations": True})
    yield Case("DescribeGroups", sent, response(15, 5, 9, {"groups": described}))
    listed = [{"groupId": name, "protocolType": "consumer", "groupState": "Stable"} for name in names]
    yield Case("ListGroups", request(16, 4, 9, {}), response(16, 4, 9, {"groups": listed}), allowed=False)
    sent = request(32, 4, 9, {"resources": [{"resourceType": 2, "resourceName": name} for name in names[: n // 10]]})
    yield Case("DescribeConfigs", sent)
    configs = [{"name": f"x{index}.class", "configOperation": 0, "value": "v"} for index in range(n * 4 // 5)]
    resources = [{"resourceType": 2, "resourceName": "a", "configs": configs}]
    yield Case("IncrementalAlterConfigs, refused", request(44, 1, 9, {"resources": resources}))
    offsets = [{"partitionIndex": index, "committedOffset": 1, "committedMetadata": ""} for index in range(n)]
    yield Case("OffsetCommit", request(8, 8, 9, {"groupId": "g", "topics": [{"name": "a", "partitions": offsets}]}))
    found = [{"key": name, "nodeId": 1, "host": "b", "port": 9, "errorCode": 0} for name in names]
    sent = request(10, 4, 9, {"keyType": 0, "coordinatorKeys": names})
    yield Case("FindCoordinator", sent, response(10, 4, 9, {"coordinators": found}))


def _metadata(topics: int) -> Body:
    part = {"errorCode": 0, "leaderId": 1, "leaderEpoch": 3, "replicaNodes": [1, 2], "isrNodes": [1, 2]}
    parts = [{**part, "partitionIndex": index, "offlineReplicas": []} for index in range(3)]
    named = [
        {"errorCode": 0, "name": f"t{index:06}", "topicId": b"q" * 16, "partitions": parts} for index in range(topics)
    ]
    return {"brokers": [{"nodeId": 1, "host": "b", "port": 9}], "controllerId": 1, "topics": named}


def _produce(topics: dict[str, list[Body]]) -> bytes:
    data = [{"name": name, "partitionData": partitions} for name, partitions in topics.items()]
    return request(0, 9, 9, {"acks": -1, "timeoutMs": 9, "topicData": data})


def _produced(partitions: int) -> bytes:
    parts = [{"index": index, "errorCode": 0, "baseOffset": 1} for index in range(partitions)]
    return response(0, 9, 9, {"responses": [{"name": "a", "partitionResponses": parts}]})


def _fetch(topic: str, partitions: int) -> bytes:
    parts = [{"partition": index, "fetchOffset": 0, "partitionMaxBytes": 1000} for index in range(partitions)]
    return request(1, 12, 9, {"maxWaitMs": 1, "minBytes": 1, "topics": [{"topic": topic, "partitions": parts}]})


def _fetched(partitions: int) -> bytes:
    parts = [{"partitionIndex": index, "errorCode": 0, "records": b""} for index in range(partitions)]
    return response(1, 12, 9, {"sessionId": 7, "responses": [{"topic": "a", "partitions": parts}]})


def measure(case: Case) -> list[Hold]:
    """The holds of the request and, if there is one, of the answer. Raises RuntimeError if the connection ends."""
    world = World(EVERYTHING if case.allowed else ALL_TOPICS, clock=ThreadClock())
    for index in range(case.known):
        world.state.topics.learn(f"t{index:06}", (index + 1 << 8).to_bytes(16, "big"))
    world.login()
    session = world.session
    holds = [_driven(world, session.receive, case.sent)]
    if case.answer is not None:
        holds.append(_driven(world, session.answer, case.answer))
    return holds


def _driven(world: World, show: Callable[[memoryview], int], octets: bytes) -> Hold:
    spent = []
    while not spent or world.session.busy:
        world.session.effects.clear()
        began = time.thread_time()
        show(memoryview(octets))
        spent.append(time.thread_time() - began)
        close = world.session.effects.close
        if close is not None:
            raise RuntimeError(f"the connection ended: {close.reason.code} {close.detail}")
    return Hold(len(octets), max(spent), sum(spent), len(spent))


def lists(n: int) -> Iterator[tuple[str, str, Any]]:
    """Answers of Pulsar's REST interface that are rewritten: a name, the path that is asked, what the broker says."""
    space, topic = "/admin/v2/persistent/public/default", "/admin/v2/persistent/public/default/orders"
    yield "topics", space, [f"persistent://public/default/orders-{index:06}" for index in range(n)]
    yield "topics, a tenth of it", space, [f"persistent://public/default/orders-{index:06}" for index in range(n // 10)]
    yield "subscriptions", f"{topic}/subscriptions", [f"app-{index:030}" for index in range(n)]
    consumer = {"consumerName": "c", "address": "x", "availablePermits": 1000, "msgRateOut": 0.25, "metadata": {}}
    found = {f"app-{index:06}": {"msgBacklog": index, "consumers": [consumer]} for index in range(n // 5)}
    yield "a topic's stand", f"{topic}/stats", {"subscriptions": found}


class _All(frozenset[tuple[str, str, str]]):
    """Rights to everything."""

    def __contains__(self, access: object) -> bool:
        return True


def measure_list(path: str, value: Any) -> Hold:
    """The holds of an answer to one request by HTTP/1.1. Raises RuntimeError if it does not come whole."""
    world = WebWorld()
    world.pulsar.clock = ThreadClock()
    world.policies.current = TablePolicy(())
    world.policies.current.everything(_All())
    world.connect()
    world.ask(path)
    session = world.session
    body = json.dumps(value).encode()
    said = memoryview(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    spent, told = [], 0
    while said or world.busy:
        began = time.thread_time()
        taken = session.answer(memoryview(b"") if world.busy else said[:SHOWN_OCTETS])
        spent.append(time.thread_time() - began)
        said = said[taken:]
        told += sum(map(len, session.effects.to_client))
        session.effects.clear()
    if told < len(body) // 2:
        raise RuntimeError("it did not come whole")
    return Hold(len(body), max(spent), sum(spent), len(spent))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="How long single messages hold the loop.")
    parser.add_argument("--elements", type=int, default=49_000, help="in a request; 50,000 at most pass")
    options = parser.parse_args(arguments)
    for case in cases(min(options.elements, WARM_UP)):
        measure(case)
    gc.collect()
    gc.freeze()
    print("| message | request: longest slice | answer: longest slice |\n|---|---|---|")
    for case in cases(options.elements):
        shown = [f"{hold} ({hold.octets / 1e6:.1f} MB)" for hold in measure(case)]
        print(f"| {case.name} | {' | '.join((*shown, '')[:2])} |", flush=True)
    print("\n| answer of Pulsar's REST interface | longest slice |\n|---|---|")
    for name, path, value in lists(REST_ELEMENTS):
        hold = measure_list(path, value)
        print(f"| {name} | {hold} ({hold.octets / 1e6:.1f} MB) |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
