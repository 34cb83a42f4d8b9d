"""What is measured: one row each, with its unit, its load and the peers that can take part."""

from __future__ import annotations

from dataclasses import dataclass, replace

from loadtest.gateways import STEPS
from loadtest.work import Door, Work

REFERENCE = "nginx"
OURS = "gateway"
PEERS = ("direct", REFERENCE, "haproxy", "kroxylicious", OURS)
STEP_PEERS = tuple(STEPS)[:-1]
ALL_PEERS = (*PEERS[:-1], *STEP_PEERS, OURS)

PRODUCE_12, PRODUCE_1, CONSUME_12, SMALL, PACED = (
    "load.produce12", "load.produce1", "load.consume12", "load.small", "load.paced"
)  # fmt: skip
TOPICS = {PRODUCE_12: 12, PRODUCE_1: 1, CONSUME_12: 12, SMALL: 12, PACED: 12}
METADATA_TOPICS = 100
METADATA_DENIED = 10

_PROXIES = ("nginx", "haproxy", "kroxylicious", "gateway")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    name: str
    title: str
    unit: str
    """What is counted per CPU second of the proxy; "ms" and "memory" rows count otherwise."""
    work: Work
    peers: tuple[str, ...] = PEERS
    target: float = 0.0
    """What issue 5 asks for beside nginx; 0: nothing."""
    tls_behind: bool = False
    """TLS to the broker too."""


_NOWHERE = Door(0)


def _work(kind: str, topic: str = "", partitions: int = 1, **more: object) -> Work:
    return Work(kind, _NOWHERE, 0.0, 0.0, topic, partitions, **more)  # type: ignore[arg-type]


def _rows() -> tuple[Row, ...]:
    with_steps = (*PEERS[:-1], *STEP_PEERS, OURS)
    produce_12 = _work("produce", PRODUCE_12, 12)
    consume_12 = _work("consume", CONSUME_12, 12)
    small = _work("raw-produce", SMALL, TOPICS[SMALL], connections=32)
    rows = (
        Row("produce-12", "produce, 12 partitions, 1 KiB records", "MiB", produce_12, with_steps, 0.95),
        Row("produce-1", "produce, 1 partition, small batches", "MiB",
            _work("produce", PRODUCE_1, 1, linger_ms=0.0), PEERS, 0.90),
        Row("consume-12", "consume, 12 partitions", "MiB", consume_12, with_steps, 0.95),
        Row("small-1", "small produce requests, 1 in flight", "requests", small, with_steps, 0.90),
        Row("small-8", "small produce requests, 8 in flight", "requests", replace(small, in_flight=8), with_steps, 1.0),
        Row("metadata", f"metadata, {METADATA_TOPICS} topics, filtered and rewritten", "requests",
            _work("raw-metadata"), PEERS, 0.60),
        Row("handshakes", "full TLS handshakes", "handshakes", _work("handshakes"), _PROXIES, 0.80),
        Row("resumed", "resumed TLS handshakes", "handshakes", _work("resumed"), _PROXIES),
        Row("logins", "new connections: handshake, login (the gateway's alone), one request", "connections",
            _work("logins", SMALL), _PROXIES),
        Row("latency", "10,000 records/s by librdkafka as it comes (linger 5 ms)", "ms",
            _work("paced", PACED, 12, rate=10_000.0)),
        Row("latency-raw", "10,000 records/s in raw requests of 5 records (no linger)", "ms",
            _work("raw-paced", PACED, 12, rate=10_000.0, records=5, record_bytes=1024)),
        Row("memory", "memory at rest, and growth with idle authenticated connections", "memory",
            _work("idle", SMALL, 1, connections=5000), _PROXIES),
    )  # fmt: skip
    both = ("nginx", "gateway")
    behind = [
        replace(row, name=f"{row.name}-tls", title=f"{row.title}, TLS to the broker too", peers=both, target=0.0,
                tls_behind=True)
        for row in rows if row.name in ("produce-12", "consume-12", "small-1", "small-8")
    ]  # fmt: skip
    return (*rows, *behind)


ROWS = _rows()
