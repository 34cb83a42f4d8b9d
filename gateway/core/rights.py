"""What a session needs of a policy: a decision, the rights of one identity, and where the current policy is.

core.policy implements these; protocol code and tests depend on the shapes alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from gateway.core.identity import ClaimValue, Identity


@dataclass(frozen=True, slots=True)
class Decision:
    """Allowed or not, by which rule, and why.

    rule: the deciding rule's id (``id:`` of the policy file, else file:line), "" where none decided.
    why: ``allowed``, the id of the deny, or ``no-rule``, ``no-binding``, ``network``, ``expired``: what kept the
    nearest binding or rule from applying.
    """

    allowed: bool
    rule: str
    why: str


@dataclass(frozen=True, slots=True)
class Quota:
    """What one principal may use over all its connections. Rates per second; 0 is never 'unlimited', it is refused
    at load."""

    produce_bytes: float
    consume_bytes: float
    requests: float
    connections: int
    producers: int = 1000
    consumers: int = 1000
    """Open at one time; where the protocol has such things."""


class Rights(Protocol):
    """What one identity may do on one backend under one policy revision. Immutable but for memory of decisions."""

    revision: str
    valid_until: float
    """Wall time at which some binding or rule of this identity starts or ends; ask the policy again then."""
    quota: Quota

    def decide(self, kind: str, operation: str, name: str) -> Decision: ...

    def decide_any(self, kind: str, operation: str) -> Decision:
        """Whether some name of the kind is allowed (an allow that no deny covers whole)."""
        ...


class Policy(Protocol):
    """One revision of all policy files."""

    revision: str

    def rights(self, identity: Identity, backend: str, wall: float) -> Rights: ...

    def claims_for_audit(self, claims: Mapping[str, ClaimValue]) -> Mapping[str, object]:
        """What of a token's claims has a part in decisions; nothing else of it is written."""
        ...


class PolicySource(Protocol):
    """Where the current policy is; compared by `is` once per chunk."""

    current: Policy
