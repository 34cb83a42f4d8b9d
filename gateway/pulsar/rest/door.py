"""Where a client that looks a topic up by HTTP is led: back to the gateway, and by a name that says which broker.

Such a client dials the address it is told, and says in CONNECT no more than it would to any broker. Where the binary
listener has `broker_names`, each broker is a host name under its wildcard, which the client then asks for in TLS (SNI);
else all brokers are the listener itself, by the name that the client called, which is right for a cluster of one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.core.session import Endpoint
from gateway.core.settings import Listener
from gateway.pulsar.backend import PulsarBackend


@dataclass(frozen=True, slots=True)
class Door:
    web: str
    """As the client calls the HTTP interface: host, and port if it said one."""
    binary: Callable[[Endpoint], str | None]
    """Broker -> host:port for the binary protocol; None for one that cannot be named."""
    plaintext: bool
    """Which of its addresses is the broker the gateway's: that without TLS."""


def door(binary: Listener | None, backend: PulsarBackend, called: bytes) -> Door | None:
    """called: the request's Host. None: clients could not be led to the right broker."""
    if binary is None:
        return None
    web = called.decode("ascii")
    port = binary.advertised_port or binary.port
    if binary.broker_names is not None:
        ending = binary.broker_names.removeprefix("*")

        def named(broker: Endpoint) -> str | None:
            label = backend.names.label(broker)
            return f"{label}{ending}:{port}" if label is not None else None

        return Door(web, named, backend.plaintext)
    if backend.several:
        return None
    bare = web if web.endswith("]") else web.rpartition(":")[0] or web
    return Door(web, lambda _: f"{bare}:{port}", backend.plaintext)
