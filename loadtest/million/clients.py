"""Producers and readers of the run, each in a thread of its own, and the tokens they show.

Producers are idempotent with acks=all; one is transactional and aborts one transaction in ten on purpose. Readers take
read_committed. Nothing here judges: what was promised is written into the stream, what was read into a Reading.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from loadtest.million.records import ACKNOWLEDGED, FAILED, WITHDRAWN, Reading, Stream
from tests.tokens import TokenIssuer

TOKEN_SECONDS = 20.0
"""Short, so that clients re-authenticate again and again."""
TRANSACTION = 200
"""Records of one transaction."""
ABORTED_EACH = 10
DELIVERY_MS = 600_000
COMMIT_SECONDS = 5.0
_SETTINGS: dict[str, Any] = {
    "socket.timeout.ms": 10_000,
    "reconnect.backoff.max.ms": 1_000,
    "topic.metadata.refresh.interval.ms": 5_000,
    "log_level": 0,
}


class Tokens:
    """An issuer whose keys are rotated under running clients: the set holds the new key and the one before."""

    def __init__(self, issuer: TokenIssuer, path: Path) -> None:
        self._issuer = issuer
        self._path = path
        self._lock = threading.Lock()
        self._last: list[dict[str, Any]] = list(issuer.jwks()["keys"])

    def give(self, lifetime: float = TOKEN_SECONDS) -> str:
        with self._lock:
            return self._issuer.token("storm", lifetime=lifetime)

    def rotate(self) -> None:
        """Another key from now on; the one before last is withdrawn."""
        with self._lock:
            self._issuer.rotate()
            keys = self._issuer.jwks()["keys"]
            scratch = self._path.with_suffix(".new")
            scratch.write_text(json.dumps({"keys": [*keys, *self._last]}))
            os.replace(scratch, self._path)
            self._last = keys


class Client(threading.Thread):
    """What the clients share: their thread, how it is stopped, and the errors that were shown to the application."""

    def __init__(self, name: str, settings: dict[str, Any], stop: threading.Event) -> None:
        super().__init__(name=name, daemon=True)
        self._settings = {**_SETTINGS, **settings, "error_cb": self._error}
        self._stop_asked = stop
        self.errors: Counter[str] = Counter()
        """What the library told of by the way: brokers down, connections lost."""
        self.examples: dict[str, str] = {}
        """The first words that came with each."""
        self.failure: str | None = None
        """Why the thread ended before its work was done."""

    def run(self) -> None:
        try:
            self.work()
        except Exception as error:
            self.failure = f"{self.name}: {type(error).__name__}: {error}"

    def work(self) -> None:
        raise NotImplementedError

    def _error(self, error: KafkaError) -> None:
        self._note(error.name(), error)
        if error.fatal():
            self.failure = f"{self.name}: fatal: {error.str()}"

    def _note(self, kind: str, error: KafkaError) -> None:
        self.errors[kind] += 1
        self.examples.setdefault(kind, error.str())


class Pace:
    """So many in a second, and no more to catch up than one second's."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._next = time.monotonic()

    def wait(self, count: int) -> None:
        now = time.monotonic()
        self._next = max(self._next, now - 1.0) + count / self._rate
        if self._next > now:
            time.sleep(self._next - now)


class IdempotentProducer(Client):
    """Sends until `count` records are sent, then waits for the last acknowledgement."""

    def __init__(
        self, stream: Stream, count: int, rate: float, settings: dict[str, Any], stop: threading.Event
    ) -> None:
        more = {"enable.idempotence": True, "acks": "all", "linger.ms": 20, "message.timeout.ms": DELIVERY_MS}
        super().__init__(f"producer {stream.number}", {**settings, **more}, stop)
        self._stream = stream
        self._count = count
        self._pace = Pace(rate)

    def finish(self) -> None:
        """Send no more; the thread ends with the last acknowledgement."""
        self._count = 0

    def work(self) -> None:
        producer = Producer(self._settings)
        stream = self._stream
        try:
            while len(stream.states) < self._count and not self._ended():
                for _ in range(min(100, self._count - len(stream.states))):
                    self._send(producer, stream.sent())
                producer.poll(0)
                self._pace.wait(100)
            while len(producer) and not self._ended():
                producer.flush(0.5)
        finally:
            producer.purge()
            producer.flush(5)

    def _send(self, producer: Producer, number: int) -> None:
        stream = self._stream
        while True:
            try:
                producer.produce(
                    stream.topic, stream.value(number), stream.key(number), partition=stream.partition(number),
                    on_delivery=partial(self._delivered, number),
                )  # fmt: skip
                return
            except BufferError:
                if self._ended():
                    return
                producer.poll(0.1)

    def _delivered(self, number: int, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._note(f"delivery: {error.name()}", error)
            self._stream.settle(range(number, number + 1), FAILED)
            return
        offset = message.offset()
        self._stream.stored(number, -1 if offset is None else offset)
        self._stream.settle(range(number, number + 1), ACKNOWLEDGED)

    def _ended(self) -> bool:
        return self._stop_asked.is_set() or self.failure is not None


class TransactionalProducer(Client):
    """Sends in transactions until `count` records are committed. A transaction that fails is aborted, and its records'
    numbers are never used again; one whose outcome is unknown is remembered as such."""

    def __init__(
        self, stream: Stream, count: int, rate: float, settings: dict[str, Any], stop: threading.Event
    ) -> None:
        more = {"transactional.id": "storm-transactions", "linger.ms": 5, "transaction.timeout.ms": 60_000,
                "message.timeout.ms": 60_000}  # fmt: skip
        super().__init__(f"transactions {stream.number}", {**settings, **more}, stop)
        self._stream = stream
        self._count = count
        self._pace = Pace(rate)
        self.committed = 0
        self.aborted = 0
        self.restarted = 0

    def _error(self, error: KafkaError) -> None:
        """A fatal one is raised besides, by the call that met it, and ends that instance alone."""
        self._note(error.name(), error)

    def work(self) -> None:
        while self._stream.acknowledged < self._count and not self._stop_asked.is_set():
            producer = Producer(self._settings)
            try:
                _patiently(self._stop_asked, partial(producer.init_transactions, COMMIT_SECONDS))
                while self._stream.acknowledged < self._count and not self._stop_asked.is_set():
                    self._transaction(producer)
                    self._pace.wait(TRANSACTION)
            except KafkaException as error:
                if not error.args[0].fatal():
                    raise
                self.restarted += 1  # another instance fences this one off, and the coordinator ends what it left

    def _transaction(self, producer: Producer) -> None:
        stream = self._stream
        first = len(stream.states)
        wanted = min(TRANSACTION, self._count - stream.acknowledged)
        done = ACKNOWLEDGED if (self.committed + self.aborted) % ABORTED_EACH else WITHDRAWN
        asked = False
        try:
            producer.begin_transaction()
            for _ in range(wanted):
                number = stream.sent()
                producer.produce(
                    stream.topic, stream.value(number), stream.key(number), partition=stream.partition(number)
                )
            producer.poll(0)
            if done == ACKNOWLEDGED:
                asked = True
                _patiently(self._stop_asked, lambda: producer.commit_transaction(COMMIT_SECONDS))
            else:
                _patiently(self._stop_asked, lambda: producer.abort_transaction(COMMIT_SECONDS))
        except KafkaException as failed:
            error = failed.args[0]
            self._note(f"transaction: {error.name()}", error)
            numbers = range(first, len(stream.states))
            if not error.txn_requires_abort():
                if asked:
                    stream.transactions.append(numbers)
                else:
                    stream.settle(numbers, WITHDRAWN)
                raise
            _patiently(self._stop_asked, lambda: producer.abort_transaction(COMMIT_SECONDS))
            done = WITHDRAWN
        stream.settle(range(first, len(stream.states)), done)
        self.committed += done == ACKNOWLEDGED
        self.aborted += done == WITHDRAWN


def _patiently(stop: threading.Event, step: Callable[[], object]) -> None:
    """Again and again while the library says that it may be tried again. Raises KafkaException."""
    while True:
        try:
            step()
            return
        except KafkaException as failed:
            error = failed.args[0]
            if not error.retriable() or error.txn_requires_abort() or stop.is_set():
                raise


class GroupReader(Client):
    """One member of a group that reads while everything moves, and commits what it has read."""

    def __init__(
        self, name: str, topics: list[str], reading: Reading, settings: dict[str, Any], stop: threading.Event
    ) -> None:
        more = {"group.id": "storm-group", "auto.offset.reset": "earliest", "enable.auto.commit": True,
                "auto.commit.interval.ms": 1_000, "isolation.level": "read_committed",
                "session.timeout.ms": 10_000}  # fmt: skip
        super().__init__(name, {**more, **settings}, stop)
        self._topics = topics
        self._reading = reading

    def work(self) -> None:
        consumer = Consumer(self._settings)
        try:
            consumer.subscribe(self._topics)
            while not self._stop_asked.is_set():
                for message in consumer.consume(500, timeout=0.2):
                    error = message.error()
                    if error is not None:
                        self._note(f"message: {error.name()}", error)
                        continue
                    look(self._reading, message)
        finally:
            consumer.close()


def look(reading: Reading, message: Message) -> None:
    topic, at, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None
    assert at is not None
    assert offset is not None
    reading.take(topic, at, offset, _octets(message.key()), _octets(message.value()))


def _octets(found: str | bytes | None) -> bytes | None:
    return found.encode() if isinstance(found, str) else found


def read_all(settings: dict[str, Any], streams: list[Stream], seconds: float) -> Reading:
    """Every partition from its first offset to its end as it is now, without a group. Raises TimeoutError."""
    reading = Reading(streams)
    more = {"group.id": "storm-all", "enable.auto.commit": False, "isolation.level": "read_committed",
            "enable.partition.eof": True}  # fmt: skip
    consumer = Consumer({**_SETTINGS, **settings, **more})
    deadline = time.monotonic() + seconds
    try:
        left = {(stream.topic, number) for stream in streams for number in range(stream.partitions)}
        consumer.assign([TopicPartition(topic, number, 0) for topic, number in left])
        while left:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(left)} partitions are not read to their end within {seconds:.0f} s")
            for message in consumer.consume(1000, timeout=0.5):
                error = message.error()
                if error is None:
                    look(reading, message)
                elif error.code() == KafkaError._PARTITION_EOF:
                    left.discard((message.topic() or "", message.partition() or 0))
    finally:
        consumer.close()
    return reading
