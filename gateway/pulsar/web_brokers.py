"""The brokers' web service of one backend: where requests go first, and where a broker may send one on to.

The gateway shows its own credential there, so a redirect is followed only to what the operator named: an address, or a
host that one of the patterns takes, with its port, by TLS unless the web service has none. Nothing that a client says
names a broker.
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.core.session import Endpoint


class WebBrokers:
    """One backend's."""

    def __init__(self, addresses: Iterable[Endpoint], patterns: Iterable[Endpoint], plaintext: bool) -> None:
        """patterns: their hosts may begin with ``*.``. Raises ValueError without an address."""
        self.addresses = tuple(addresses)
        if not self.addresses:
            raise ValueError("no address of the web service")
        self._patterns = tuple(patterns)
        self.scheme = b"http" if plaintext else b"https"
        self._next = 0

    @property
    def several(self) -> bool:
        """The operator named more than one, or where there may be more."""
        return len(self.addresses) > 1 or bool(self._patterns)

    def any(self) -> Endpoint:
        """One of the addresses, in turn."""
        self._next = (self._next + 1) % len(self.addresses)
        return self.addresses[self._next]

    def known(self, broker: Endpoint) -> bool:
        """Whether a request may be sent on to it."""
        return broker in self.addresses or any(_fits(each, broker) for each in self._patterns)


def _fits(pattern: Endpoint, broker: Endpoint) -> bool:
    if pattern.port != broker.port:
        return False
    if not pattern.host.startswith("*."):
        return pattern.host == broker.host
    label, _, rest = broker.host.partition(".")
    return bool(label) and rest == pattern.host[2:]
