"""The parts of a Pulsar backend and its listeners, put together. Called by composition."""

from __future__ import annotations

import secrets
from typing import Protocol

from gateway.core.accounts import UpstreamAccount
from gateway.core.audit import AllowedTally, Audit
from gateway.core.clock import Clock
from gateway.core.failed_logins import FailedLogins
from gateway.core.limits import Quotas
from gateway.core.meters import Meters
from gateway.core.rights import PolicySource
from gateway.core.session import Endpoint
from gateway.core.settings import Backend, Limits, Listener
from gateway.core.tokens import Validator
from gateway.pulsar.backend import PulsarBackend
from gateway.pulsar.broker_names import BrokerNames
from gateway.pulsar.context import ListenerContext

NAMES_KEY = secrets.token_bytes(32)
"""For the names of brokers that clients are told. Made as this is imported, which is before workers are forked, so that
a client may come back with a name to any of them."""


class Whole(Protocol):
    """What of the gateway all listeners share."""

    @property
    def policies(self) -> PolicySource: ...
    @property
    def quotas(self) -> Quotas: ...
    @property
    def audit(self) -> Audit: ...
    @property
    def tally(self) -> AllowedTally: ...
    @property
    def meters(self) -> Meters: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def failures(self) -> FailedLogins: ...


def state(backend: Backend, clock: Clock) -> PulsarBackend:
    """What is known of a cluster before any broker of it was reached."""
    brokers = [_endpoint(each) for each in backend.bootstrap]
    return PulsarBackend(backend.name, brokers, BrokerNames(NAMES_KEY, backend.name, clock), backend.insecure_plaintext)


def by_certificate(backend: Backend) -> bool:
    """The gateway shows brokers a certificate of its own, and no token."""
    return backend.tls.certificate is not None and backend.account is None


def context(
    whole: Whole,
    listener: Listener,
    cluster: PulsarBackend,
    backend: Backend,
    validator: Validator | None,
    limits: Limits,
    account: UpstreamAccount | None,
    own_names: frozenset[str],
) -> ListenerContext:
    """What the sessions of one listener share."""
    return ListenerContext(
        listener=listener,
        backend=cluster,
        policies=whole.policies,
        validator=validator,
        quotas=whole.quotas,
        limits=limits,
        audit=whole.audit,
        tally=whole.tally,
        meters=whole.meters,
        clock=whole.clock,
        failures=whole.failures,
        account=account,
        own_names=own_names,
        by_certificate=by_certificate(backend),
        tokens_passed=backend.clients_as == "own-token",
    )


def _endpoint(text: str) -> Endpoint:
    """The configuration has seen to it that it is host:port."""
    host, _, port = text.rpartition(":")
    return Endpoint(host.strip("[]").lower(), int(port))
