"""Who acts. A name alone is nobody: a principal carries how it was proven and by whom."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from types import MappingProxyType
from typing import Literal

Address = IPv4Address | IPv6Address
Method = Literal["jwt", "certificate"]

ClaimValue = object
"""What a JSON claim can hold: str, int, float, bool, None, list or dict of those."""

ENDPOINT = re.compile(r"vpce-[A-Za-z0-9-]{1,120}|(azure|gcp)-(0|[1-9][0-9]{0,19})")
"""A private-link endpoint's id as the PROXY protocol names it: AWS's own word; Azure's and Google's are numbers, which
carry the cloud's name in front, so that they cannot be taken for each other."""

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
    endpoint: str = ""
    """The private-link endpoint that the client came through, "" for none; see ENDPOINT."""
