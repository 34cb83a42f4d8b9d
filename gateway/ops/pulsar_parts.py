"""The parts of a Pulsar backend, put together. Called by composition."""

from __future__ import annotations

from gateway.core.clock import Clock
from gateway.core.session import Endpoint
from gateway.core.settings import Backend
from gateway.pulsar.backend import PulsarBackend


def state(backend: Backend, clock: Clock) -> PulsarBackend:
    """What is known of a cluster before any broker of it was reached."""
    brokers = [Endpoint.of(each.lower()) for each in backend.bootstrap]
    return PulsarBackend(backend.name, brokers, clock, backend.insecure_plaintext)


def by_certificate(backend: Backend) -> bool:
    """The gateway shows brokers a certificate of its own, and no token."""
    return backend.tls.certificate is not None and backend.account is None
