"""The words a system brings to the policy language. Core knows none of them itself.

A protocol folder describes its system once (resource kinds, operations, what the common verbs mean there), ops
hands all descriptions to the policy loader, and a kind, verb or operation that is in none of them is a load error:
what no rule can mention cannot be allowed by silence either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

COMMON_VERBS = ("produce", "consume", "create", "delete", "describe", "alter")
"""Verbs that a rule may use without naming a system. What each grants is in each kind's `verbs`."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of resource of one system, as policy files spell it (``topic``, ``transactional-id``).

    operations: every operation that exists on it, in the system's own words.
    verbs: common verb -> the operations it grants (or denies) on this kind; a verb left out means nothing here.
    implied: operation -> operations that an *allow* of it brings along (never a deny).
    separators: characters that end a name's parts, so that an interpolated claim may not contain them.
    names: the only names that exist of it (a cluster is one resource); empty: any name.
    """

    name: str
    operations: frozenset[str]
    verbs: Mapping[str, frozenset[str]]
    implied: Mapping[str, frozenset[str]]
    separators: str = ""
    names: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class System:
    """A backend's system: ``kafka``, ``pulsar`` or ``kinesis``, and its kinds by name."""

    name: str
    kinds: Mapping[str, Kind]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """All systems a policy may speak of, and the configured names it may refer to."""

    systems: Mapping[str, System]
    backends: Mapping[str, str]
    """Backend name -> system name."""
    issuers: frozenset[str]
    client_cas: frozenset[str] | None = None
    """Names of the client CAs of all listeners; None: not known, so not checked."""
