"""One revision of all policies, and what one identity may do under it.

A deny beats every allow, from any role the principal was given; what no allow names is denied. Decisions are
remembered within bounds. Identities with the same bindings and the same claims in their patterns share their rights,
so that a thousand connections of one service decide a topic once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

from gateway.core.identity import Identity
from gateway.core.policy.claims import claim_at, words
from gateway.core.policy.model import DEFAULT_QUOTA, EXPIRY_WARNING_DAYS
from gateway.core.policy.pattern import CLAIM_LENGTH_MAX, as_name
from gateway.core.policy.table import Binding, LimitRow, Need, Role, Rule, RuleTable, TargetIndex
from gateway.core.rights import Decision, Quota
from gateway.core.vocabulary import Vocabulary

DECISIONS_MAX = 1000
"""Decisions remembered per rights; the oldest is forgotten first."""
REMEMBERED_NAME_MAX = 300
"""Decisions about longer names are not remembered (a topic's name has at most 249 characters)."""
RIGHTS_MAX = 500
"""Rights remembered per revision, shared between connections; the longest unused is forgotten first."""
CLAIM_WORDS_MAX = 64
"""Values of one claim that the audit keeps."""

NO_RULE = Decision(False, "", "no-rule")
NO_BINDING = Decision(False, "", "no-binding")
NETWORK = Decision(False, "", "network")
EXPIRED = Decision(False, "", "expired")

Tables = tuple[RuleTable, ...]


def denied_by(tables: Tables, need: Need, name: str) -> Rule | None:
    return next((rule for table in tables if (rule := table.deny(need, name)) is not None), None)


def allowed_by(tables: Tables, need: Need, name: str) -> Rule | None:
    return next((rule for table in tables if (rule := table.allow(need, name)) is not None), None)


class IdentityRights:
    """What one identity may do on one backend (rights.Rights).

    live: the tables of the bindings that hold. off: (why, tables) of those that concern the principal but do not hold
    here and now, the nearer reason first; they only ever explain.
    """

    __slots__ = ("_bound", "_live", "_memory", "_off", "quota", "revision", "valid_until")

    def __init__(
        self,
        revision: str,
        valid_until: float,
        quota: Quota,
        live: Tables,
        off: tuple[tuple[Decision, Tables], ...],
        bound: bool,
    ) -> None:
        self.revision = revision
        self.valid_until = valid_until
        self.quota = quota
        self._live = live
        self._off = off
        self._bound = bound
        self._memory: dict[tuple[str, str, str | None], Decision] = {}

    def decide(self, kind: str, operation: str, name: str) -> Decision:
        key = (kind, operation, name)
        known = self._memory.get(key)
        if known is not None:
            return known
        decision = self._decide((kind, operation), name)
        if len(name) <= REMEMBERED_NAME_MAX:
            self._remember(key, decision)
        return decision

    def decide_any(self, kind: str, operation: str) -> Decision:
        """Kafka's authorizeByResourceType: some allow that no single deny covers whole."""
        key = (kind, operation, None)
        known = self._memory.get(key)
        if known is None:
            known = self._decide_any((kind, operation))
            self._remember(key, known)
        return known

    def _remember(self, key: tuple[str, str, str | None], decision: Decision) -> None:
        if len(self._memory) >= DECISIONS_MAX:
            del self._memory[next(iter(self._memory))]
        self._memory[key] = decision

    def _decide(self, need: Need, name: str) -> Decision:
        deny = denied_by(self._live, need, name)
        if deny is not None:
            return deny.decision
        allow = allowed_by(self._live, need, name)
        if allow is not None:
            return allow.decision
        for why, tables in self._off:
            if denied_by(tables, need, name) is None and allowed_by(tables, need, name) is not None:
                return why
        return NO_RULE if self._bound else NO_BINDING

    def _decide_any(self, need: Need) -> Decision:
        refused = self._any_of(self._live, need)
        if refused is not None:
            return refused
        for why, tables in self._off:
            found = self._any_of(tables, need)
            if found is not None and found.allowed:
                return why
        return NO_RULE if self._bound else NO_BINDING

    @staticmethod
    def _any_of(tables: Tables, need: Need) -> Decision | None:
        """The first allow that is left by the denies; else the deny that takes the last one; None without allows."""
        deny: Rule | None = None
        for table in tables:
            for shape, rule in table.allowed_shapes(need).items():
                covering = denied_by(tables, need, as_name(shape))
                if covering is None:
                    return rule.decision
                deny = covering
        return deny.decision if deny is not None else None


class PolicySet:
    """One revision (rights.Policy). Made by load_policy.

    rules: every rule, in the order of the files. roles, bindings, limits: likewise.
    """

    def __init__(
        self,
        revision: str,
        vocabulary: Vocabulary,
        roles: Mapping[str, Role],
        bindings: Sequence[Binding],
        limits: Sequence[LimitRow],
    ) -> None:
        self.revision = revision
        self.vocabulary = vocabulary
        self.roles = roles
        self.bindings = tuple(bindings)
        self.limits = tuple(limits)
        for role in roles.values():
            role.compile(vocabulary.backends)
        self._binding_index = TargetIndex(binding.to for binding in bindings)
        self._limit_index = TargetIndex(row.to for row in limits)
        self._slots = {role.name: sorted(role.claims) for role in roles.values()}
        self._rights: dict[object, IdentityRights] = {}
        self._claim_words = self._words_compared()

    @property
    def rules(self) -> tuple[Rule, ...]:
        return tuple(rule for role in self.roles.values() for rule in role.rules)

    def bindings_of(self, identity: Identity) -> list[Binding]:
        """The bindings that concern a principal, whether they hold here and now or not."""
        return [self.bindings[number] for number in self._binding_index.find(identity)]

    def limit_of(self, identity: Identity) -> LimitRow | None:
        """The limit row that holds, None for the built-in default."""
        numbers = self._limit_index.find(identity)
        return self.limits[numbers[0]] if numbers else None

    def rights(self, identity: Identity, backend: str, wall: float) -> IdentityRights:
        """An unknown backend has no rules: everything is denied there."""
        numbers = self._binding_index.find(identity)
        state = [(number, self.bindings[number].off(identity, wall)) for number in numbers]
        row = self.limit_of(identity)
        quota = row.quota if row is not None else DEFAULT_QUOTA
        used = {path for number in numbers for role in self.bindings[number].roles for path in self._slots[role.name]}
        claims = partial(claim_at, identity.claims)
        values = tuple((path, value if isinstance(value := claims(path), str) else None) for path in sorted(used))
        key = (backend, tuple(state), values, quota)
        rights = self._rights.pop(key, None)
        if rights is None:
            rights = self._make_rights(backend, state, quota, dict(values).get)
            if len(self._rights) >= RIGHTS_MAX:
                del self._rights[next(iter(self._rights))]
        self._rights[key] = rights
        return rights

    def _make_rights(
        self, backend: str, state: list[tuple[int, str]], quota: Quota, claims: Callable[[str], object]
    ) -> IdentityRights:
        by_state: dict[str, list[Binding]] = {"": [], "network": [], "expired": []}
        for number, off in state:
            by_state[off].append(self.bindings[number])
        ends = [binding.ends for off in ("", "network") for binding in by_state[off] if binding.ends is not None]
        return IdentityRights(
            self.revision,
            min(ends, default=math.inf),
            quota,
            self._tables(by_state[""], backend, claims),
            (
                (NETWORK, self._tables(by_state["network"], backend, claims)),
                (EXPIRED, self._tables(by_state["expired"], backend, claims)),
            ),
            bool(state),
        )

    def _tables(self, bindings: Iterable[Binding], backend: str, claims: Callable[[str], object]) -> Tables:
        """The roles' compiled tables, and one more of what these claims make of the rules with claims in them."""
        system = self.vocabulary.backends.get(backend)
        if system is None:
            return ()
        own = RuleTable()
        roles = {role.name: role for binding in bindings for role in binding.roles}
        for role in roles.values():
            if self._slots[role.name]:
                role.filled(own, backend, system, claims)
        return (*(role.compiled[backend] for role in roles.values()), own)

    def claims_used(self) -> frozenset[str]:
        """Dotted paths of all claims that bindings, limits and patterns look at."""
        return frozenset(self._claim_words) | frozenset(path for paths in self._slots.values() for path in paths)

    def claims_for_audit(self, claims: Mapping[str, object]) -> dict[str, str | tuple[str, ...]]:
        """What of the claims has a part in decisions, flat by dotted path: enough to explain a decision later.

        A value that a pattern takes is kept as it is (a string, if not overlong). Of a list only the members are kept
        that a binding or limit asks for. Nothing else of the token is in it.
        """
        kept: dict[str, str | tuple[str, ...]] = {}
        for path in sorted(self.claims_used()):
            value = claim_at(claims, path)
            if isinstance(value, str):
                kept[path] = value[:CLAIM_LENGTH_MAX]
            else:
                asked = self._claim_words.get(path, frozenset())
                said = tuple(dict.fromkeys(word for word in words(value) if word in asked))
                if said:
                    kept[path] = said[:CLAIM_WORDS_MAX]
        return kept

    def _words_compared(self) -> dict[str, frozenset[str]]:
        compared: dict[str, set[str]] = {}
        targets = [binding.to for binding in self.bindings] + [row.to for row in self.limits]
        for target in targets:
            for path, word in target.claims:
                compared.setdefault(path, set()).add(word)
        return {path: frozenset(said) for path, said in compared.items()}

    def warnings(self, wall: float) -> tuple[str, ...]:
        """Bindings that have expired, or will within `EXPIRY_WARNING_DAYS`, in words."""
        found = []
        for binding in self.bindings:
            if binding.ends is None or wall < binding.ends - EXPIRY_WARNING_DAYS * 86400:
                continue
            roles = ", ".join(role.name for role in binding.roles)
            owner = f", owner {binding.owner}" if binding.owner else ""
            today = datetime.fromtimestamp(wall, UTC).date().isoformat()
            tense = "expired after" if wall >= binding.ends else "expires after"
            found.append(f"{binding.place}: the binding of {roles} {tense} {binding.expires} (today {today}{owner})")
        return tuple(found)
