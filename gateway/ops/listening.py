"""What the sessions of one listener share, and how it is brought up to date when the configuration changes.

A session reads it whenever it needs it, so that the addresses it tells, the issuers it believes and the limits it looks
up are those that hold now. Made by ops.composition, changed by ops.reload.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from OpenSSL import SSL

from gateway.core.audit import AllowedTally, Audit
from gateway.core.clock import Clock
from gateway.core.failed_logins import FailedLogins
from gateway.core.keys import KeyRing
from gateway.core.limits import Quotas
from gateway.core.meters import Meters
from gateway.core.rights import PolicySource
from gateway.core.session import SessionFactory
from gateway.core.settings import Issuer, Limits, Listener
from gateway.core.slices import Walks
from gateway.core.tokens import Validator
from gateway.edge.front import ListenerSetup
from gateway.kafka.backend import BackendState
from gateway.kafka.context import ListenerContext as KafkaContext
from gateway.kafka.session import KafkaSession
from gateway.ops import pulsar_parts
from gateway.ops.upstreams import Upstream
from gateway.pulsar.backend import PulsarBackend
from gateway.pulsar.context import ListenerContext as PulsarContext


@dataclass(frozen=True, slots=True)
class Shared:
    """What every listener of the process has in common."""

    policies: PolicySource
    ring: KeyRing
    quotas: Quotas
    failures: FailedLogins
    audit: Audit
    tally: AllowedTally
    meters: Meters
    clock: Clock
    walks: Walks = field(default_factory=Walks)


class Listening:
    """One listener on one backend. A listener that moves to another backend is another one of these."""

    def __init__(
        self,
        shared: Shared,
        state: BackendState | PulsarBackend,
        upstream: Upstream,
        listener: Listener,
        issuers: Sequence[Issuer],
        limits: Limits,
        beside: Sequence[Listener] = (),
    ) -> None:
        self._shared = shared
        self._state = state
        self._upstream = upstream
        self._contexts: dict[int | None, KafkaContext | PulsarContext] = {}
        self._validator: Validator | None = None
        self.use(listener, issuers, limits, beside)

    @property
    def backend(self) -> str:
        return self._state.name

    def use(
        self, listener: Listener, issuers: Sequence[Issuer], limits: Limits, beside: Sequence[Listener] = ()
    ) -> None:
        """From now on this is the listener, these are all issuers there are, and these the limits; `beside`: all
        listeners."""
        self.listener = listener
        self._binary = pulsar_parts.binary(listener, beside)
        self._limits = limits
        taken = [issuer for issuer in issuers if issuer.name in listener.authentication.issuers]
        if self._validator is not None:
            self._validator.use(taken, limits.token_bytes_max)
        elif taken:
            self._validator = Validator(taken, self._shared.ring, limits.token_bytes_max)
        for context in self._contexts.values():
            context.listener = listener
            context.limits = limits
            context.validator = self._validator if taken else None
            if isinstance(context, PulsarContext):
                context.binary = self._binary
        self._taken = bool(taken)
        self.renamed()

    def renamed(self) -> None:
        """The gateway's own account or certificate towards the backend may have become another."""
        for context in self._contexts.values():
            context.account = self._upstream.account
            context.own_names = self._upstream.names
            if isinstance(context, PulsarContext):
                pulsar_parts.shown_anew(context, self._upstream.way.backend)

    def setup(self, context: SSL.Context) -> ListenerSetup:
        """As the edge takes it."""
        upstream = self._upstream
        dial = upstream.dial_web if self.listener.protocol == "pulsar-http" else upstream.dial
        return ListenerSetup(self.listener, context, self._factory, dial, self._missing)

    def _missing(self) -> str:
        return "" if self._state.ready else f"no broker of backend {self._state.name} was reached yet"

    def _factory(self, node_id: int | None) -> SessionFactory:
        context = self._contexts.get(node_id)
        if context is None:
            context = self._contexts[node_id] = self._context(node_id)
        if isinstance(context, PulsarContext):
            return pulsar_parts.sessions(context)
        return partial(KafkaSession, context=context)

    def _context(self, node_id: int | None) -> KafkaContext | PulsarContext:
        shared, state, upstream = self._shared, self._state, self._upstream
        validator = self._validator if self._taken else None
        if isinstance(state, PulsarBackend):
            backend, names = upstream.way.backend, upstream.names
            account = upstream.account
            made = pulsar_parts.context(shared, self.listener, state, backend, validator, self._limits, account, names)
            made.binary = self._binary
            made.walks = shared.walks
            return made
        return KafkaContext(
            listener=self.listener,
            node_id=node_id,
            backend=state,
            policies=shared.policies,
            validator=validator,
            quotas=shared.quotas,
            limits=self._limits,
            audit=shared.audit,
            tally=shared.tally,
            meters=shared.meters,
            clock=shared.clock,
            walks=shared.walks,
            account=upstream.account,
            failures=shared.failures,
            own_names=upstream.names,
        )
