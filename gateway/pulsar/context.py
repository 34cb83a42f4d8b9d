"""What every session of one listener's port is given."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.core.accounts import UpstreamAccount
from gateway.core.audit import AllowedTally, Audit
from gateway.core.clock import Clock
from gateway.core.failed_logins import FailedLogins
from gateway.core.limits import Quotas
from gateway.core.meters import Meters
from gateway.core.rights import PolicySource
from gateway.core.settings import Limits, Listener
from gateway.core.slices import Walks
from gateway.core.tokens import Validator
from gateway.pulsar.backend import PulsarBackend


@dataclass(slots=True)
class ListenerContext:
    """One per listener. Sessions only read it; when the configuration is reloaded, ops.listening puts new values in
    place."""

    listener: Listener
    backend: PulsarBackend
    policies: PolicySource
    validator: Validator | None
    """None where the listener takes no tokens."""
    quotas: Quotas
    limits: Limits
    audit: Audit
    tally: AllowedTally
    meters: Meters
    clock: Clock
    account: UpstreamAccount | None = None
    """The gateway's own role, None where the brokers do not authenticate."""
    own_names: frozenset[str] = frozenset()
    """What brokers may call the gateway by its certificate: no client may be called so."""
    failures: FailedLogins | None = None
    """By which the refusals of failed logins are held back; None: not at all."""
    tokens_passed: bool = False
    """Brokers are shown the client's own token, not the gateway's role."""
    binary: Listener | None = None
    """That for the binary protocol on the same backend, to which lookups by HTTP lead."""
    walks: Walks = field(default_factory=Walks)
    """Places for answers that are rewritten in slices, shared by the process."""
    by_certificate: bool = False
    """The gateway shows the brokers a certificate of its own (authentication method tls)."""
