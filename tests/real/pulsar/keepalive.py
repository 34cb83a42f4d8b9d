"""Connections on which nothing is said from the suite's beginning on, until test_keepalive looks at them."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Self

import pulsar

from tests.real.pulsar.site import QUIET, Site, unique
from tests.real.pulsar.wire import RawPulsar

DAY = 86400.0


class Quiet:
    """A real client with a consumer and a producer, which answers PINGs; and raw ones that answer none: one through the
    gateway, one straight at the broker."""

    consumer: pulsar.Consumer
    producer: pulsar.Producer
    at_gateway: RawPulsar
    at_broker: RawPulsar
    begun: int
    """Lines of the audit when the real client was there."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        site = self._site
        token = site.token(QUIET, groups=("quiet",), lifetime=DAY)
        topic = f"persistent://public/default/{unique('quiet')}"
        try:
            client = self._stack.enter_context(site.client(token))
            self.consumer, self.producer = client.subscribe(topic, "app-quiet"), client.create_producer(topic)
            self.begun = site.audited()
            gateway = site.gateway
            self.at_gateway = self._stack.enter_context(RawPulsar(gateway.port(), gateway.ca_file))
            self.at_broker = self._stack.enter_context(RawPulsar(site.broker.port, None))
            for raw, shown in ((self.at_gateway, token), (self.at_broker, site.broker.token(QUIET))):
                raw.connect(shown)
                assert raw.receive().name == "connected"
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
