"""Which form of the hot path is used: the one place that chooses.

The interpreted form is the specification; the compiled one, where it was built, does the same at a small part of the
cost. Tests drive both.
"""

from __future__ import annotations

from gateway.kafka.short_way import ShortWay

__all__ = ["COMPILED", "ShortWay"]

COMPILED = False
"""Whether the compiled form is used."""
