"""Load by librdkafka: producers as fast as the broker acknowledges, a consumer, and records at a fixed rate.

A run warms up, reads the proxy's CPU time, works for the window (or until its bytes are spent), and reads it again:
bytes and seconds belong to the same window. A message that fails ends the run with an error.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from loadtest.figures import latencies
from loadtest.processes import cpu_seconds
from loadtest.schedule import Schedule
from loadtest.work import Door, LoadFailed, Window, Work

RECORD = 1024
PRODUCERS = 2
BATCH = 200
WARM_UP_SECONDS_MAX = 30.0
STALL_SECONDS_MAX = 20.0


def produce(work: Work) -> Window:
    """Records of 1 KiB over the partitions in turn."""
    return _measure(work, _produce(work))


def consume(work: Work) -> Window:
    """The topic's partitions from their beginning, again and again."""
    return _measure(work, _consume(work))


def paced(work: Work) -> Window:
    """Records at a fixed rate; latency from the moment each was due to its acknowledgement."""
    producer = Producer(_settings(work))
    payload = bytes(range(256)) * (RECORD // 256)
    schedule = Schedule(work.rate, work.warm_up, work.seconds)
    failures: list[str] = []
    begun: float | None = None
    started = time.monotonic()

    def send(number: int) -> None:
        def delivered(error: KafkaError | None, _: object) -> None:
            if error is not None:
                failures.append(str(error))
            schedule.done(number, time.monotonic() - started)

        producer.produce(work.topic, payload, partition=number % work.partitions, on_delivery=delivered)

    producer.list_topics(work.topic, timeout=20)
    started = time.monotonic()
    while not schedule.over(now := time.monotonic() - started):
        if begun is None and now >= work.warm_up:
            begun = _cpu(work.door)
        for number in schedule.due(now):
            send(number)
        producer.poll(schedule.pause(time.monotonic() - started))
        if failures:
            raise LoadFailed(failures[0])
    spent = _cpu(work.door) - (begun or 0.0)
    if producer.flush(STALL_SECONDS_MAX) or failures:
        raise LoadFailed(failures[0] if failures else "records without an acknowledgement")
    done = schedule.latencies()
    return Window(len(done), len(done) * RECORD, spent, work.seconds, latencies(done))


def settings(door: Door) -> dict[str, Any]:
    """What librdkafka is told of a door; a token is given when it asks (OAUTHBEARER)."""
    made: dict[str, Any] = {
        "bootstrap.servers": f"localhost:{door.port}", "broker.address.family": "v4", "acks": "all",
        "compression.type": "none",
    }  # fmt: skip
    if door.ca:
        made |= {"security.protocol": "SASL_SSL" if door.token else "SSL", "ssl.ca.location": door.ca}
    if door.token:
        made |= {"sasl.mechanism": "OAUTHBEARER", "oauth_cb": lambda _: (door.token, door.token_expires)}
    return made


def _settings(work: Work, **more: Any) -> dict[str, Any]:
    return settings(work.door) | {"linger.ms": work.linger_ms, "error_cb": _fatal} | more


def _fatal(error: KafkaError) -> None:
    if error.fatal() or error.code() == KafkaError._AUTHENTICATION:
        raise LoadFailed(str(error))


def _cpu(door: Door) -> float:
    return cpu_seconds(door.pid) if door.pid else 0.0


def _measure(work: Work, steps: Iterator[int]) -> Window:
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
                start = (time.monotonic(), _cpu(work.door), octets)
        elif (octets > start[2] and (now - start[0] >= work.seconds or octets >= work.bytes_max)) or now > deadline:
            break
    if start is None:
        raise LoadFailed("the work ended in the warm-up")
    done = octets - start[2]
    return Window(done / RECORD, done, _cpu(work.door) - start[1], time.monotonic() - start[0])


def _produce(work: Work) -> Iterator[int]:
    """Yields the bytes acknowledged so far."""
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
    """Yields the bytes received so far."""
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
