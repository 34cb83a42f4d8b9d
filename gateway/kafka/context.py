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
from gateway.kafka.backend import BackendState


@dataclass(slots=True)
class ListenerContext:
    """One per bound port. `node_id` is the broker that the port stands for, None on the bootstrap port.

    Sessions only read it. When the configuration is reloaded, ops.listening puts new values in place, so that what a
    session looks at from then on is what holds now; what it took from here at its beginning stays as it was.
    """

    listener: Listener
    node_id: int | None
    backend: BackendState
    policies: PolicySource
    validator: Validator | None
    """None where the listener takes no tokens."""
    quotas: Quotas
    limits: Limits
    audit: Audit
    tally: AllowedTally
    meters: Meters
    clock: Clock
    walks: Walks = field(default_factory=Walks)
    """The process's places for long decisions."""
    account: UpstreamAccount | None = None
    """The gateway's own, None where the brokers ask for none."""
    failures: FailedLogins | None = None
    """By which the refusals of failed logins are held back; None: not at all."""
    own_names: frozenset[str] = frozenset()
    """What brokers may call the gateway by its certificate: no client may be called so."""
