"""A real client library (librdkafka by confluent-kafka) on its way through the gateway, and what it came to see."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

silent_logger = logging.getLogger("gateway.demo.client")
silent_logger.addHandler(logging.NullHandler())
silent_logger.propagate = False
silent_logger.setLevel(logging.CRITICAL)


@dataclass
class Seen:
    """What one use of the client came to."""

    delivered: int = 0
    consumed: int = 0
    errors: list[KafkaError] = field(default_factory=list)
    throttles: int = 0
    throttle_seconds_max: float = 0.0
    seconds: float = 0.0

    def error_names(self) -> list[str]:
        """Each error's name once, in the order they came."""
        return list(dict.fromkeys(error.name() for error in self.errors))

    def error_text(self, name: str) -> str:
        return next((error.str() for error in self.errors if error.name() == name), "")


class Client:
    """One application with its token: `token()` is asked for whenever the library wants one."""

    def __init__(self, bootstrap: str, ca: Path, token: Callable[[], str]) -> None:
        self._bootstrap = bootstrap
        self._ca = ca
        self._token = token

    def produce(self, topic: str, values: list[bytes], timeout: float = 15.0) -> Seen:
        """Produce and wait for every acknowledgement; a token's refusal ends it at once."""
        seen = Seen()
        producer = Producer(self._settings(seen) | {"linger.ms": 0, "enable.idempotence": False})
        began = time.monotonic()
        for value in values:
            while True:
                try:
                    producer.produce(topic, value, on_delivery=_delivered(seen))
                    break
                except BufferError:
                    producer.poll(0.1)
        while len(producer) and time.monotonic() - began < timeout:
            producer.poll(0.05)
            if KafkaError._AUTHENTICATION in [error.code() for error in seen.errors]:
                break
        producer.purge()
        producer.flush(1)
        seen.seconds = time.monotonic() - began
        return seen

    def consume(self, topic: str, count: int, group: str, timeout: float = 20.0) -> Seen:
        """Read `count` records as a member of a group."""
        seen = Seen()
        consumer = Consumer(
            self._settings(seen) | {"group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False}
        )
        began = time.monotonic()
        try:
            consumer.subscribe([topic])
            while seen.consumed < count and not seen.errors and time.monotonic() - began < timeout:
                message = consumer.poll(0.1)
                if message is None:
                    continue
                error = message.error()
                if error is None:
                    seen.consumed += 1
                else:
                    seen.errors.append(error)
            if seen.consumed:
                consumer.commit(asynchronous=False)
        except KafkaException as error:
            seen.errors.append(error.args[0])
        finally:
            consumer.close()
        seen.seconds = time.monotonic() - began
        return seen

    def brokers(self, timeout: float = 10.0) -> dict[int, str]:
        """The brokers as the client is told of them: node id -> host:port."""
        producer = Producer(self._settings(Seen()))
        found = producer.list_topics(timeout=timeout)
        return {node: f"{broker.host}:{broker.port}" for node, broker in sorted(found.brokers.items())}

    def _settings(self, seen: Seen) -> dict[str, Any]:
        def throttled(event: Any) -> None:
            if event.throttle_time > 0:
                seen.throttles += 1
                seen.throttle_seconds_max = max(seen.throttle_seconds_max, event.throttle_time)

        return {
            "bootstrap.servers": self._bootstrap,
            "client.id": f"demo-{uuid.uuid4().hex[:6]}",
            "security.protocol": "SASL_SSL",
            "ssl.ca.location": str(self._ca),
            "sasl.mechanism": "OAUTHBEARER",
            "oauth_cb": lambda _: (self._token(), time.time() + 300),  # said to be good: the gateway shall judge it
            "error_cb": seen.errors.append,
            "throttle_cb": throttled,
            "logger": silent_logger,
        }


def _delivered(seen: Seen) -> Callable[[KafkaError | None, Any], None]:
    def note(error: KafkaError | None, _: Any) -> None:
        if error is None:
            seen.delivered += 1
        elif error.code() not in (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT):
            seen.errors.append(error)

    return note
