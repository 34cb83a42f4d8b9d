"""The load: librdkafka producers or a consumer in a process of their own, which measures the proxy over its window.

    python -m loadtest.client < work.json > result.json

The process warms up, reads the proxy's CPU time, works for the window (or until its bytes are spent), and reads it
again: bytes and seconds belong to the same window. A message that fails ends the run with an error.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from loadtest.processes import cpu_seconds

RECORD = 1024
PRODUCERS = 2
BATCH = 200
WARM_UP_SECONDS_MAX = 30.0
STALL_SECONDS_MAX = 20.0


@dataclass(frozen=True, slots=True)
class Work:
    """One measurement. `settings` are the client's; a `token` is given to librdkafka when it asks (OAUTHBEARER)."""

    kind: Literal["produce", "consume"]
    settings: dict[str, Any]
    topic: str
    partitions: int
    seconds: float
    warm_up: float
    bytes_max: int
    """Of the whole run, warm-up included."""
    proxy: int
    """The proxy's pid; 0 measures nothing."""
    token: str | None = None
    token_expires: float = 0.0


@dataclass(frozen=True, slots=True)
class Window:
    """What was moved in the window, what the proxy spent, and how long it took."""

    octets: int
    cpu: float
    seconds: float

    @property
    def mib_per_cpu(self) -> float:
        return self.octets / (1 << 20) / self.cpu if self.cpu else 0.0


class LoadFailed(Exception):
    """The client met an error, or nothing moved for STALL_SECONDS_MAX."""


def run(work: Work) -> Window:
    """Do the work. Raises LoadFailed."""
    steps = _produce(work) if work.kind == "produce" else _consume(work)
    cpu: Callable[[], float] = (lambda: cpu_seconds(work.proxy)) if work.proxy else (lambda: 0.0)
    octets = 0
    warm_from = 0.0
    start: tuple[float, float, int] | None = None
    moved_at = time.monotonic()
    deadline = moved_at + WARM_UP_SECONDS_MAX + work.seconds
    for moved in steps:
        now = time.monotonic()
        if moved != octets:
            octets, moved_at = moved, now
        elif now - moved_at > STALL_SECONDS_MAX:
            raise LoadFailed(f"nothing moved for {STALL_SECONDS_MAX} s after {octets} bytes")
        if octets and not warm_from:
            warm_from = now
        if start is None:
            if warm_from and now - warm_from >= work.warm_up:
                start = (time.monotonic(), cpu(), octets)
        elif now - start[0] >= work.seconds or octets >= work.bytes_max or now > deadline:
            break
    if start is None:
        raise LoadFailed("the work ended in the warm-up")
    return Window(octets - start[2], cpu() - start[1], time.monotonic() - start[0])


def _settings(work: Work, **more: Any) -> dict[str, Any]:
    made = {**work.settings, **more, "error_cb": _fatal}
    if work.token is not None:
        made["oauth_cb"] = lambda _: (work.token, work.token_expires)
    return made


def _fatal(error: KafkaError) -> None:
    if error.fatal() or error.code() == KafkaError._AUTHENTICATION:
        raise LoadFailed(str(error))


def _produce(work: Work) -> Iterator[int]:
    """Produce as fast as the broker acknowledges; yields the bytes acknowledged so far."""
    failures: list[str] = []

    def delivered(error: KafkaError | None, _: object) -> None:
        if error is not None:
            failures.append(str(error))

    producers = [
        Producer(_settings(work, **{"delivery.report.only.error": True, "queue.buffering.max.kbytes": 32 << 10}))
        for _ in range(PRODUCERS)
    ]
    payload = bytes(range(256)) * (RECORD // 256)
    sent = partition = 0
    try:
        while True:
            for producer in producers:
                for _ in range(BATCH):
                    partition = (partition + 1) % work.partitions
                    try:
                        producer.produce(work.topic, payload, partition=partition, on_delivery=delivered)
                    except BufferError:
                        producer.poll(0.005)
                        break
                    sent += 1
                producer.poll(0)
            if failures:
                raise LoadFailed(failures[0])
            yield (sent - sum(len(producer) for producer in producers)) * RECORD
    finally:
        for producer in producers:
            producer.purge()
            producer.flush(5)


def _consume(work: Work) -> Iterator[int]:
    """Read the topic's partitions from their beginning, again and again; yields the bytes received so far."""
    consumer = Consumer(
        _settings(
            work,
            **{"group.id": "loadtest", "enable.auto.commit": False, "queued.max.messages.kbytes": 16 << 10},
        )
    )
    octets = 0
    try:
        ends = {
            partition: consumer.get_watermark_offsets(TopicPartition(work.topic, partition), timeout=20)[1]
            for partition in range(work.partitions)
        }
        left = 0
        while True:
            if left <= 0:
                consumer.assign([TopicPartition(work.topic, partition, 0) for partition in ends])
                left = sum(ends.values())
            for message in consumer.consume(500, timeout=0.5):
                error = message.error()
                if error is not None:
                    raise LoadFailed(str(error))
                octets += len(message.value() or b"")
                left -= 1
            yield octets
    finally:
        consumer.close()


def main() -> int:
    work = Work(**json.load(sys.stdin))
    try:
        window = run(work)
    except (LoadFailed, ProcessLookupError) as error:
        print(error, file=sys.stderr)
        return 1
    json.dump(asdict(window), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
