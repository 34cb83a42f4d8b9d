"""What is measured, and one measurement as it is handed to a client's process."""

from __future__ import annotations

from dataclasses import dataclass

from tests.real.pulsar.wire import RawPulsar

REFERENCE, OURS = "apache-proxy", "gateway"
PEERS = (REFERENCE, OURS)
TENANT = "persistent://public/default"
STORED = f"{TENANT}/load-stored"
"""Filled beforehand, in batches; STORED_SINGLY without."""
STORED_SINGLY = f"{TENANT}/load-singly"
MESSAGE_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Door:
    """A proxy, as clients are told of it."""

    port: int
    pid: int
    ca: str
    token: str


@dataclass(frozen=True, slots=True)
class Work:
    """One measurement. `kind` is a name of loadtest.pulsar.client's table."""

    kind: str
    topic: str
    batched: bool = True
    rate: float = 0.0
    """Messages per second, for work at a fixed rate."""
    connections: int = 0
    seconds: float = 0.0
    """Length of the window that is measured."""
    warm_up: float = 0.0
    door: Door | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `unit` is counted per CPU second of the proxy; of "ms" and "KiB" less is better."""

    name: str
    title: str
    unit: str
    work: Work


def _rows() -> tuple[Row, ...]:
    def produced(name: str, *, batched: bool) -> Work:
        return Work("produce", f"{TENANT}/load-{name}", batched)

    paced = Work("paced", f"{TENANT}/load-paced", False, rate=2000.0)
    return (
        Row("produce-batched", "produce, 1 KiB messages in batches", "MiB", produced("batched", batched=True)),
        Row("produce-singly", "produce, 1 KiB messages one by one", "messages", produced("one", batched=False)),
        Row("consume-batched", "consume, 1 KiB messages in batches", "MiB", Work("consume", STORED)),
        Row("consume-singly", "consume, 1 KiB messages one by one", "messages", Work("consume", STORED_SINGLY)),
        Row("latency-p50", "2,000 messages/s one by one, p50", "ms", paced),
        Row("latency-p99", "2,000 messages/s one by one, p99", "ms", paced),
        Row("memory-rest", "memory at rest", "KiB", Work("idle", f"{TENANT}/load-idle", connections=1000)),
        Row("memory-idle", "memory with 1,000 idle authenticated connections", "KiB",
            Work("idle", f"{TENANT}/load-idle", connections=1000)),
    )  # fmt: skip


ROWS = _rows()
FIGURE = {
    "latency-p50": "p50_ms", "latency-p99": "p99_ms", "memory-rest": "rest_kib", "memory-idle": "idle_kib",
}  # fmt: skip
"""Rows that are one measurement's second figure are measured with the first."""
SMALLER_IS_BETTER = ("ms", "KiB")


def named(client: RawPulsar, topic: str) -> str:
    """What a proxy calls the broker of a topic, as a client is to ask for it when it returns."""
    answer = client.ask("lookup", topic=topic, request_id=1)
    return str(answer.body.broker_url_tls or answer.body.broker_url).partition("://")[2]
