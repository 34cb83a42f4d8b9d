"""The gateway's own account towards a backend, as protocols and the edge speak of it.

The edge keeps what it consists of (edge.accounts); a protocol turns it into its own login exchange (kafka.login).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from gateway.core.reasons import Reason, reason

ACCOUNT_UNAVAILABLE = reason(
    "account-unavailable",
    cause="There is no credential of the gateway's own now: no token was had yet, or the last one has ended.",
    client_sees="The connection ends; clients retry.",
    remedy="See /readyz and the log for why the token endpoint or token_file gives none.",
)


@dataclass(frozen=True, slots=True)
class Credential:
    """What a login is made of now. mechanism: a SASL mechanism; username: "" where the secret, a token, names it."""

    mechanism: str
    username: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Proven:
    """The backend believes the account. lifetime: the seconds until it wants to be shown it again, NEVER for none."""

    lifetime: float


class LoginFailed(Exception):
    """The account could not be proven. detail: for audit and log; never anything secret, nothing the other side could
    have taken from the exchange."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason.code}: {detail}" if detail else reason.code)
        self.reason = reason
        self.detail = detail


class UpstreamAccount(Protocol):
    """One backend's account."""

    @property
    def names(self) -> frozenset[str]:
        """What the backend may call it: no client may be called so."""
        ...

    def credential(self) -> Credential | None:
        """What to log in with now; None while there is nothing (no token was had yet, or it has ended)."""
        ...

    def renewed(self) -> None:
        """A connection proved the account again."""
        ...

    def refused(self, failed: LoginFailed) -> None:
        """A connection could not prove the account again."""
        ...
