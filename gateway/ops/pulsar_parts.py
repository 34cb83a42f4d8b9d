"""The parts of a Pulsar backend and its listeners, put together. Called by composition.

The protocol's own rooms are imported where they are first needed; compiled_pieces does so ahead for every configuration
that has a Pulsar backend.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

from gateway.core.accounts import UpstreamAccount
from gateway.core.audit import AllowedTally, Audit
from gateway.core.clock import Clock
from gateway.core.failed_logins import FailedLogins
from gateway.core.limits import Quotas
from gateway.core.meters import Meters
from gateway.core.rights import PolicySource
from gateway.core.session import Endpoint, SessionFactory
from gateway.core.settings import Backend, Limits, Listener
from gateway.core.tokens import Validator
from gateway.edge.control import Control
from gateway.edge.process import Dial
from gateway.pulsar.backend import PulsarBackend, by_certificate, tokens_passed
from gateway.pulsar.broker_names import BrokerNames, endings
from gateway.pulsar.context import ListenerContext
from gateway.pulsar.web_brokers import WebBrokers

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
    names = BrokerNames(NAMES_KEY, backend.name, clock)
    names.endings = endings(_hosts(backend))
    return PulsarBackend(backend.name, brokers, names, backend.insecure_plaintext, web_brokers(backend))


def binary(listener: Listener, beside: Iterable[Listener]) -> Listener | None:
    """Where clients of its backend come by the binary protocol: best the one with a name for each broker."""
    found = [each for each in beside if each.protocol == "pulsar" and each.backend == listener.backend]
    return next((each for each in found if each.broker_names is not None), found[0] if found else None)


def use(cluster: PulsarBackend, backend: Backend) -> None:
    """The operator names other brokers from now on. Those that were reached stay so until the next look."""
    cluster.bootstrap = tuple(_endpoint(each) for each in backend.bootstrap)
    cluster.plaintext = backend.insecure_plaintext
    cluster.web = web_brokers(backend)
    cluster.web_reached = cluster.web_reached and cluster.web is not None
    cluster.names.endings = endings(_hosts(backend))


def _hosts(backend: Backend) -> list[str]:
    """All that the operator says of where brokers are."""
    web = backend.web
    told = (*backend.bootstrap, *(web.addresses + web.brokers if web is not None else ()))
    return [_endpoint(each).host for each in told]


def web_brokers(backend: Backend) -> WebBrokers | None:
    """Where its HTTP interface is."""
    web = backend.web
    if web is None:
        return None
    addresses = [_endpoint(each) for each in web.addresses]
    return WebBrokers(addresses, [_endpoint(each) for each in web.brokers], web.insecure_plaintext)


def shown_anew(context: ListenerContext, backend: Backend) -> None:
    """What brokers are shown by sessions that begin from now on."""
    context.by_certificate = by_certificate(_reached_by(context.listener, backend))
    context.tokens_passed = tokens_passed(backend)


def shows(backend: Backend) -> tuple[bool, bool]:
    """How brokers are shown whom they serve; where it is another, sessions begin anew."""
    return by_certificate(backend), tokens_passed(backend)


def _reached_by(listener: Listener, backend: Backend) -> Backend:
    return backend.of_web if listener.protocol == "pulsar-http" else backend


def sessions(context: ListenerContext) -> SessionFactory:
    """What makes a connection's session, by what its listener speaks."""
    from gateway.pulsar.session import PulsarSession
    from gateway.pulsar.web.session import WebSession

    return partial(WebSession if context.listener.protocol == "pulsar-http" else PulsarSession, context=context)


def control(
    state: PulsarBackend, account: Callable[[], UpstreamAccount | None], backend: Backend, dial_web: Dial
) -> Control:
    """The conversation in which its brokers are found."""
    from gateway.edge.http_exchange import HttpAsking
    from gateway.pulsar.control import PulsarControl

    return PulsarControl(state, account, backend, HttpAsking(dial_web, backend.request_timeout))


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
        by_certificate=by_certificate(_reached_by(listener, backend)),
        tokens_passed=tokens_passed(backend),
    )


def _endpoint(text: str) -> Endpoint:
    """The configuration has seen to it that it is host:port."""
    host, _, port = text.rpartition(":")
    return Endpoint(host.strip("[]").lower(), int(port))
