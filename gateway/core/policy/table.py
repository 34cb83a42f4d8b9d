"""A policy set as it is looked up: rules by (kind, operation) and name, bindings by what an identity shows.

Made once per revision by load. Nothing here grows with rules or bindings that do not concern the one who asks:
bindings are found by hash (issuer and name, issuer and claim value, certificate field), rules through the roles that
were bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Address, IPv6Network

from gateway.core.identity import Address, Certificate, Identity
from gateway.core.policy.claims import claim_at, says, words
from gateway.core.policy.pattern import Pattern, PatternMap, Shape, fill
from gateway.core.rights import Decision, Quota

Need = tuple[str, str]
"""(kind, operation)"""


@dataclass(frozen=True, slots=True)
class Place:
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Grant:
    """Operations on one kind of one system, on the names that the patterns match."""

    system: str
    kind: str
    operations: frozenset[str]
    patterns: tuple[Pattern, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """One rule of a role, verbs resolved to operations (what they imply included, for an allow)."""

    id: str
    place: Place
    role: str
    deny: bool
    backends: frozenset[str] | None
    grants: tuple[Grant, ...]

    @property
    def decision(self) -> Decision:
        return Decision(False, self.id, self.id) if self.deny else Decision(True, self.id, "allowed")

    def on(self, backend: str, system: str) -> Iterator[Grant]:
        """The grants that concern a backend."""
        if self.backends is None or backend in self.backends:
            yield from (grant for grant in self.grants if grant.system == system)


class RuleTable:
    """Rules by need and name. Two of these, for allows and denies, are what a decision looks at."""

    __slots__ = ("_allows", "_denies")

    def __init__(self) -> None:
        self._allows: dict[Need, PatternMap[Rule]] = {}
        self._denies: dict[Need, PatternMap[Rule]] = {}

    def add(self, rule: Rule, grant: Grant, shape: Shape) -> None:
        side = self._denies if rule.deny else self._allows
        for operation in grant.operations:
            need = (grant.kind, operation)
            found = side.get(need)
            if found is None:
                found = side[need] = PatternMap()
            found.add(shape, rule)

    def allow(self, need: Need, name: str) -> Rule | None:
        found = self._allows.get(need)
        return found.first(name) if found else None

    def deny(self, need: Need, name: str) -> Rule | None:
        found = self._denies.get(need)
        return found.first(name) if found else None

    def allowed_shapes(self, need: Need) -> Mapping[Shape, Rule]:
        found = self._allows.get(need)
        return found.shapes if found else {}


def _no_claims(path: str) -> object:
    raise LookupError(path)


@dataclass(frozen=True, slots=True, eq=False)
class Role:
    """A role's rules. Those without claims in them are compiled once per backend, at load."""

    name: str
    rules: tuple[Rule, ...]
    compiled: dict[str, RuleTable] = field(default_factory=dict)

    def compile(self, backends: Mapping[str, str]) -> None:
        for backend, system in backends.items():
            table = self.compiled[backend] = RuleTable()
            for rule, grant, pattern in self._patterns(backend, system):
                if not pattern.claims:
                    shape = fill(pattern, _no_claims, widen=False)
                    assert shape is not None
                    table.add(rule, grant, shape)

    def filled(self, table: RuleTable, backend: str, system: str, claims: Callable[[str], object]) -> None:
        """Add the rules with claims in them to `table`, as these claims fill them."""
        for rule, grant, pattern in self._patterns(backend, system):
            if pattern.claims:
                shape = fill(pattern, claims, widen=rule.deny)
                if shape is not None:
                    table.add(rule, grant, shape)

    def _patterns(self, backend: str, system: str) -> Iterator[tuple[Rule, Grant, Pattern]]:
        for rule in self.rules:
            for grant in rule.on(backend, system):
                for pattern in grant.patterns:
                    yield rule, grant, pattern

    @property
    def claims(self) -> frozenset[str]:
        """Paths of the claims its patterns use."""
        patterns = (pattern for rule in self.rules for grant in rule.grants for pattern in grant.patterns)
        return frozenset(path for pattern in patterns for path in pattern.claims)


CERTIFICATE_FIELDS = ("uri", "dns", "subject", "common_name")


def certificate_values(certificate: Certificate, name: str) -> tuple[str, ...]:
    """What a certificate has in a field that policies can ask for."""
    if name == "uri":
        return certificate.uris
    if name == "dns":
        return tuple(each.lower() for each in certificate.dns_names)
    return (certificate.subject if name == "subject" else certificate.common_name,)


@dataclass(frozen=True, slots=True)
class Target:
    """Whom a binding or limit concerns. With neither issuer nor certificate: everybody authenticated."""

    issuer: str = ""
    sub: str = ""
    claims: tuple[tuple[str, str], ...] = ()
    ca: str = ""
    certificate: tuple[tuple[str, Shape], ...] = ()

    def misses(self, identity: Identity) -> Iterator[str]:
        """What of the identity does not fit, in words; nothing if it is meant."""
        principal = identity.principal
        if self.issuer:
            if principal.method != "jwt" or principal.issuer != self.issuer:
                yield f"for tokens of {self.issuer}"
            if self.sub and principal.name != self.sub:
                yield f"for the subject {self.sub}"
            for path, word in self.claims:
                if not says(identity.claims, path, word):
                    yield f"the claim {path} is not, and has not, {word!r}"
        elif self.certificate:
            if principal.method != "certificate" or identity.certificate is None:
                yield "for client certificates"
                return
            if self.ca and principal.issuer != self.ca:
                yield f"for certificates of {self.ca}"
            for name, shape in self.certificate:
                wanted: PatternMap[bool] = PatternMap()
                wanted.add(shape, True)
                if not any(wanted.first(value) for value in certificate_values(identity.certificate, name)):
                    yield f"the certificate's {name} is not {'*'.join(shape)}"

    def concerns(self, identity: Identity) -> bool:
        return next(self.misses(identity), None) is None


class TargetIndex:
    """Finds which targets (by number) an identity meets, without looking at the others."""

    def __init__(self, targets: Iterable[Target]) -> None:
        self._targets = tuple(targets)
        self._everybody: list[int] = []
        self._issuers: dict[str, list[int]] = {}
        self._subjects: dict[tuple[str, str], list[int]] = {}
        self._claims: dict[str, dict[str, dict[str, list[int]]]] = {}
        self._certificates: dict[str, PatternMap[int]] = {}
        for number, target in enumerate(self._targets):
            self._add(number, target)

    def _add(self, number: int, target: Target) -> None:
        """File a target under its one most telling condition."""
        if target.certificate:
            name, shape = target.certificate[0]
            self._certificates.setdefault(name, PatternMap()).add(shape, number)
        elif target.sub:
            self._subjects.setdefault((target.issuer, target.sub), []).append(number)
        elif target.claims:
            path, word = target.claims[0]
            self._claims.setdefault(target.issuer, {}).setdefault(path, {}).setdefault(word, []).append(number)
        elif target.issuer:
            self._issuers.setdefault(target.issuer, []).append(number)
        else:
            self._everybody.append(number)

    def find(self, identity: Identity) -> list[int]:
        """The numbers of all targets that the identity meets, ascending."""
        found = {number for number in self._filed(identity) if self._targets[number].concerns(identity)}
        return sorted(found)

    def _filed(self, identity: Identity) -> Iterator[int]:
        principal = identity.principal
        yield from self._everybody
        if principal.method == "jwt":
            yield from self._issuers.get(principal.issuer, ())
            yield from self._subjects.get((principal.issuer, principal.name), ())
            for path, by_word in self._claims.get(principal.issuer, {}).items():
                for word in words(claim_at(identity.claims, path)):
                    yield from by_word.get(word, ())
        elif identity.certificate is not None:
            for name, by_shape in self._certificates.items():
                for value in certificate_values(identity.certificate, name):
                    yield from by_shape.find(value)


def plain_address(address: Address) -> Address:
    """An IPv4 address that came mapped into IPv6 (``::ffff:10.0.0.1``) is the IPv4 address."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped if mapped is not None else address


@dataclass(frozen=True, slots=True, eq=False)
class Binding:
    """Roles for those whom `to` meets, from these networks, through these endpoints, until `ends` (epoch seconds)."""

    place: Place
    roles: tuple[Role, ...]
    to: Target
    networks: tuple[IPv4Network | IPv6Network, ...] | None
    ends: float | None
    expires: str
    owner: str
    endpoints: frozenset[str] | None = None

    def off(self, identity: Identity, wall: float) -> str:
        """Why it does not hold here and now: ``expired``, ``network`` (or the endpoint), or "" if it does."""
        if self.ends is not None and wall >= self.ends:
            return "expired"
        if self.networks is not None:
            plain = plain_address(identity.address)
            if not any(plain in network for network in self.networks):
                return "network"
        if self.endpoints is not None and identity.endpoint not in self.endpoints:
            return "network"
        return ""


@dataclass(frozen=True, slots=True)
class LimitRow:
    place: Place
    to: Target
    quota: Quota
