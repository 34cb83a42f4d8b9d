"""What validating a token comes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.core.identity import ClaimValue, Principal
from gateway.core.reasons import Reason


@dataclass(frozen=True, slots=True)
class Accepted:
    """The token is good until `expires_at` (seconds since the epoch). `claims` is read-only, `token_id` its jti."""

    principal: Principal
    claims: Mapping[str, ClaimValue]
    expires_at: float
    token_id: str


@dataclass(frozen=True, slots=True)
class Refused:
    """`detail` is for the audit: names of checks and members, never a part of the token.

    issuer: the configured issuer that the token claims to be of, "" for none.
    """

    reason: Reason
    detail: str = ""
    issuer: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class KeyMissing:
    """All is well so far, but the issuer's key set does not have `kid` ("" if the token names none).

    no_keys: there is no key set of the issuer at all, yet.
    """

    issuer: str
    kid: str
    no_keys: bool = False


Outcome = Accepted | Refused | KeyMissing
