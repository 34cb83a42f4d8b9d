"""What is known of one Pulsar cluster. One per backend; control.PulsarControl writes it, sessions read it.

Besides those that the operator named, a broker is one because a broker named it in the answer to a lookup
(broker_names); nothing else that a client says makes one known.
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.core.session import Endpoint
from gateway.core.settings import Backend
from gateway.pulsar.broker_names import BrokerNames
from gateway.pulsar.web_brokers import WebBrokers


class PulsarBackend:
    """One cluster as the gateway knows it now."""

    def __init__(
        self,
        name: str,
        bootstrap: Iterable[Endpoint],
        names: BrokerNames,
        plaintext: bool,
        web: WebBrokers | None = None,
    ) -> None:
        """plaintext: brokers are reached without TLS."""
        self.name = name
        self.cluster_id: str | None = None
        """Brokers do not tell it."""
        self.bootstrap = tuple(bootstrap)
        self.names = names
        self.plaintext = plaintext
        self.web = web
        """Their HTTP interface, None where no listener may offer it."""
        self.reached = False
        self.web_reached = False
        """Some address of the HTTP interface answered."""
        self._next = 0

    @property
    def brokers(self) -> dict[int, Endpoint]:
        """Those that the operator named, numbered; for `gateway status`."""
        return dict(enumerate(self.bootstrap))

    @property
    def ready(self) -> bool:
        """Whether some broker was reached, so that clients can be answered."""
        return self.reached

    @property
    def several(self) -> bool:
        """The operator says that it has more than one broker."""
        web = self.web
        return len(self.bootstrap) > 1 or (web is not None and web.several)

    def any_broker(self) -> Endpoint:
        """One of those the operator named, in turn."""
        self._next = (self._next + 1) % len(self.bootstrap)
        return self.bootstrap[self._next]


def by_certificate(backend: Backend) -> bool:
    """The gateway shows brokers a certificate of its own, and no token."""
    return backend.tls.certificate is not None and backend.account is None


def tokens_passed(backend: Backend) -> bool:
    """Brokers are shown the client's own token, not the gateway's role."""
    return backend.clients_as == "own-token"


def endpoint(text: str) -> Endpoint | None:
    """``host:port``, an IPv6 address in brackets, with or without a scheme in front, as a broker says it; None for
    anything else."""
    authority = text.partition("://")[2] if "://" in text else text
    host, colon, port = authority.rstrip("/").rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    if not colon or not host or (":" in host) is not bracketed or not (port.isascii() and port.isdigit()):
        return None
    if len(port) > 5 or not 0 < int(port) < 65536 or not host.isprintable() or any(each in host for each in "/@?# ,|"):
        return None
    return Endpoint(host.lower(), int(port))
