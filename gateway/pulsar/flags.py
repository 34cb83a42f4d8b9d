"""Versions and feature flags: what the client, the broker and the gateway all have.

The gateway speaks for both sides: what it tells the one of the other is what it understands itself.
"""

from __future__ import annotations

from typing import Any

from gateway.pulsar.schema import PARTS

VERSION = 21
"""The newest protocol version whose commands are all in schema.COMMANDS (broker 4.0.8)."""
FLAGS = tuple(PARTS["FeatureFlags"])
AUTH_REFRESH = "supports_auth_refresh"


def common_version(theirs: int) -> int:
    return min(theirs, VERSION)


def common_flags(message: Any, *, without: frozenset[str] = frozenset()) -> dict[str, bool]:
    """The flags set in a CONNECT or CONNECTED that the gateway knows too."""
    flags = message.feature_flags
    return {name: True for name in FLAGS if name not in without and getattr(flags, name)}
