"""Who acts. A name alone is nobody: a principal carries how it was proven and by whom."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from types import MappingProxyType
from typing import Literal

Address = IPv4Address | IPv6Address
Method = Literal["jwt", "certificate"]

ClaimValue = object
"""What a JSON claim can hold: str, int, float, bool, None, list or dict of those."""

NO_CLAIMS: Mapping[str, ClaimValue] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Principal:
    """(method, issuer, name). `issuer` is the configured name of the token issuer, or of the client CA."""

    method: Method
    issuer: str
    name: str

    def __str__(self) -> str:
        return f"{self.method}:{self.issuer}:{self.name}"


@dataclass(frozen=True, slots=True)
class Certificate:
    """The verified client certificate: RFC 4514 subject, subject alternative names, SHA-256 fingerprint (hex)."""

    subject: str
    common_name: str
    uris: tuple[str, ...]
    dns_names: tuple[str, ...]
    fingerprint: str
    not_after: float
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A principal and what was proven about it on one connection."""

    principal: Principal
    address: Address
    """The client's address, after PROXY protocol where that is set up."""
    claims: Mapping[str, ClaimValue] = field(default_factory=lambda: NO_CLAIMS)
    certificate: Certificate | None = None
    expires_at: float = math.inf
    """Seconds since the epoch; the connection ends then unless re-authenticated."""
    token_id: str = ""
    """`jti`, for the audit; never the token."""
