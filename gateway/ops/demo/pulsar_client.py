"""A real client library of Pulsar (Apache's C++ one, by pulsar-client) on its way through the gateway."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pulsar  # type: ignore[import-untyped]  # it has no stubs

OPERATION_SECONDS = 10
"""For how long the library tries one thing, also with a token that was refused, of which it says nothing else."""
silent_logger = logging.Logger("gateway.demo.pulsar", logging.CRITICAL)
silent_logger.addHandler(logging.NullHandler())


@dataclass
class Seen:
    """What one use of the client came to; `errors` by the library's names, each once."""

    delivered: int = 0
    consumed: int = 0
    errors: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def failed(self, name: str) -> None:
        if name not in self.errors:
            self.errors.append(name)


class Client:
    """One application with its token: `token()` is asked for whenever the library wants one."""

    def __init__(
        self, bootstrap: str, ca: Path, token: Callable[[], str], operation_seconds: int = OPERATION_SECONDS
    ) -> None:
        self._operation_seconds = operation_seconds
        self._url = f"pulsar+ssl://{bootstrap}"
        self._ca = ca
        self._token = token

    def produce(self, topic: str, values: list[bytes], timeout: float = 15.0) -> Seen:
        """Produce and wait for every acknowledgement."""
        seen = Seen()
        answered = threading.Semaphore(0)

        def done(result: Any, _: object) -> None:
            if result == pulsar.Result.Ok:
                seen.delivered += 1
            else:
                seen.failed(result.name)
            answered.release()

        began = time.monotonic()
        with self._connected(seen) as client:
            producer = client.create_producer(topic, block_if_queue_full=True, batching_enabled=False)
            for value in values:
                producer.send_async(value, done)
            for _ in values:
                answered.acquire(timeout=max(0.0, began + timeout - time.monotonic()))
            seen.seconds = time.monotonic() - began
        return seen

    def consume(self, topic: str, count: int, subscription: str, timeout: float = 15.0) -> Seen:
        """Receive and acknowledge `count` messages of a shared subscription, from the topic's beginning."""
        seen = Seen()
        began = time.monotonic()
        with self._connected(seen) as client:
            consumer = client.subscribe(
                topic, subscription, consumer_type=pulsar.ConsumerType.Shared,
                initial_position=pulsar.InitialPosition.Earliest,
            )  # fmt: skip
            while seen.consumed < count:
                left = began + timeout - time.monotonic()
                consumer.acknowledge(consumer.receive(max(1, int(left * 1000))))
                seen.consumed += 1
        seen.seconds = time.monotonic() - began
        return seen

    @contextmanager
    def _connected(self, seen: Seen) -> Iterator[Any]:
        """The library's client; what it raises is written down in `seen`."""
        client = pulsar.Client(
            self._url,
            authentication=pulsar.AuthenticationToken(self._token),
            tls_trust_certs_file_path=str(self._ca),
            tls_validate_hostname=True,
            operation_timeout_seconds=self._operation_seconds,
            logger=silent_logger,
        )
        try:
            yield client
        except pulsar.PulsarException as error:
            seen.failed(type(error).__name__)
        finally:
            client.close()
