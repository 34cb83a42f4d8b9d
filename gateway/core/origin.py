"""Whose address it is, where addresses share something: of IPv6 one host is commonly given a whole /64."""

from __future__ import annotations

from ipaddress import IPv6Address

from gateway.core.identity import Address

Origin = tuple[int, int]
"""IP version, and the address (of version 6 its /64)."""
_LOW_64 = (1 << 64) - 1


def origin(address: Address) -> Origin:
    if isinstance(address, IPv6Address):
        return 6, int(address) & ~_LOW_64
    return 4, int(address)
