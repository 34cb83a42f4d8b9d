"""What is known of one Pulsar cluster: its brokers, and what they can do. One per backend.

A broker is known because the operator named it, or because a known broker named it in the answer to a lookup. Nothing
that a client says makes one known (CVE-2022-24280). control.PulsarControl and the sessions write it; both are told by
brokers alone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from gateway.core.clock import Clock
from gateway.core.session import Endpoint

BROKERS_MAX = 1000
"""Brokers remembered from lookups; the one named longest ago gives way."""
NAMED_SECONDS_MAX = 3600.0
"""After so long without being named again a broker is no longer known; clients look their topics up again anyway."""


class PulsarBackend:
    """One cluster as the gateway knows it now."""

    def __init__(self, name: str, bootstrap: Iterable[Endpoint], clock: Clock, plaintext: bool) -> None:
        """plaintext: brokers are reached without TLS."""
        self.name = name
        self.cluster_id: str | None = None
        """Brokers do not tell it."""
        self.bootstrap = tuple(bootstrap)
        self.plaintext = plaintext
        self.reached = False
        self._clock = clock
        self._named: OrderedDict[Endpoint, float] = OrderedDict()
        self._next = 0

    def use(self, bootstrap: Iterable[Endpoint], plaintext: bool) -> None:
        """The operator names these brokers now."""
        named = tuple(bootstrap)
        self.plaintext = plaintext
        if named != self.bootstrap:
            self.bootstrap = named
            self._named.clear()

    @property
    def brokers(self) -> dict[int, Endpoint]:
        """Those known now, numbered as they became known; for `gateway status`."""
        return dict(enumerate((*self.bootstrap, *(each for each in self._named if each not in self.bootstrap))))

    @property
    def ready(self) -> bool:
        """Whether some broker was reached, so that clients can be answered."""
        return self.reached

    def any_broker(self) -> Endpoint:
        """One of those the operator named, in turn."""
        self._next = (self._next + 1) % len(self.bootstrap)
        return self.bootstrap[self._next]

    def learn(self, broker: Endpoint) -> None:
        """A known broker has named this one."""
        self._named.pop(broker, None)
        if len(self._named) >= BROKERS_MAX:
            self._named.popitem(last=False)
        self._named[broker] = self._clock.monotonic()

    def knows(self, broker: Endpoint) -> bool:
        if broker in self.bootstrap:
            return True
        named_at = self._named.get(broker)
        return named_at is not None and self._clock.monotonic() - named_at < NAMED_SECONDS_MAX


def endpoint(text: str) -> Endpoint | None:
    """``host:port``, an IPv6 address in brackets, with or without a scheme in front; None for anything else.

    What the client says and what brokers say is compared in this form alone.
    """
    authority = text.partition("://")[2] if "://" in text else text
    host, colon, port = authority.rstrip("/").rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    if not colon or not host or (":" in host) is not bracketed or not (port.isascii() and port.isdigit()):
        return None
    if len(port) > 5 or not 0 < int(port) < 65536 or not host.isprintable() or any(each in host for each in "/@?# ,"):
        return None
    return Endpoint(host.lower(), int(port))
