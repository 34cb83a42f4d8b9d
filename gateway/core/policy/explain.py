"""Why a decision is as it is: the rule and its place, and what came nearest to allowing and did not.

For people (``gateway policy explain``) and for test runs; it looks at every rule and binding one after the other, in
the plainest way, and is on no connection's path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from gateway.core.identity import Identity
from gateway.core.policy.claims import claim_at
from gateway.core.policy.decide import PolicySet
from gateway.core.policy.pattern import Pattern, covers, fill
from gateway.core.policy.table import Binding, Place, Rule, plain_address
from gateway.core.rights import Decision

NEAREST_MAX = 8

Claims = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Question:
    identity: Identity
    backend: str
    kind: str
    operation: str
    name: str
    wall: float


@dataclass(frozen=True, slots=True)
class Near:
    """A rule or binding that would have allowed, and what kept it from that."""

    place: Place
    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """`rule` decided (None: nothing did), `bindings` gave its role, `matched` is every rule that met the question."""

    decision: Decision
    revision: str
    rule: Rule | None
    bindings: tuple[Binding, ...]
    matched: tuple[Rule, ...]
    nearest: tuple[Near, ...]


def explain(policies: PolicySet, question: Question) -> Explanation:
    rights = policies.rights(question.identity, question.backend, question.wall)
    decision = rights.decide(question.kind, question.operation, question.name)
    bound = policies.bindings_of(question.identity)
    live = [binding for binding in bound if not binding.off(question.identity, question.wall)]
    rules = {rule: binding for binding in live for role in binding.roles for rule in role.rules}
    matched = tuple(rule for rule in rules if not _misses(policies, rule, question))
    rule = next((each for each in matched if each.id == decision.rule), None)
    givers = tuple(binding for binding in live if rule and any(rule in role.rules for role in binding.roles))
    nearest = [] if decision.allowed else list(_nearest(policies, question, bound, live, matched))
    return Explanation(decision, policies.revision, rule, givers, matched, tuple(nearest[:NEAREST_MAX]))


def _nearest(
    policies: PolicySet, question: Question, bound: list[Binding], live: list[Binding], matched: tuple[Rule, ...]
) -> Iterator[Near]:
    for rule in matched:
        if not rule.deny:
            yield Near(rule.place, _allow(rule), "a deny beats it")
    for binding in bound:
        if binding not in live and _would_allow(policies, binding, question):
            yield Near(binding.place, _gives(binding), _off(binding, question))
    misses = []
    for rule in {rule: None for binding in live for role in binding.roles for rule in role.rules}:
        miss = "" if rule.deny else _misses(policies, rule, question)
        if miss:
            misses.append((miss[0], Near(rule.place, _allow(rule), miss[1:])))
    yield from (near for _, near in sorted(misses, key=lambda pair: pair[0]))
    for binding in policies.bindings:
        if binding not in bound and _would_allow(policies, binding, question):
            yield Near(binding.place, _gives(binding), "; ".join(binding.to.misses(question.identity)))


def _allow(rule: Rule) -> str:
    return f"allow {rule.id} of role {rule.role}" if rule.id != str(rule.place) else f"allow of role {rule.role}"


def _gives(binding: Binding) -> str:
    return f"binding of {', '.join(role.name for role in binding.roles)}"


def _off(binding: Binding, question: Question) -> str:
    if binding.off(question.identity, question.wall) == "expired":
        return f"expired after {binding.expires}" + (f" (owner {binding.owner})" if binding.owner else "")
    plain = plain_address(question.identity.address)
    if binding.networks is not None and not any(plain in network for network in binding.networks):
        return f"only from {', '.join(str(network) for network in binding.networks)}; the client is at {plain}"
    through = question.identity.endpoint or "none"
    return f"only through endpoint {', '.join(sorted(binding.endpoints or ()))}; the client came through {through}"


def _would_allow(policies: PolicySet, binding: Binding, question: Question) -> bool:
    """Whether it would if it held, and if the identity had the claims that its patterns take."""
    rules = [rule for role in binding.roles for rule in role.rules]
    meets = [rule for rule in rules if not _misses(policies, rule, question, hopeful=not rule.deny)]
    return bool(meets) and not any(rule.deny for rule in meets)


def _misses(policies: PolicySet, rule: Rule, question: Question, hopeful: bool = False) -> str:
    """ "" if the rule meets the question; else one digit (smaller is nearer) and what does not fit, in words."""
    system = policies.vocabulary.backends.get(question.backend, "")
    claims = partial(claim_at, question.identity.claims)
    grants = [grant for grant in rule.grants if grant.system == system and grant.kind == question.kind]
    if not grants:
        return f"4it says nothing of a {system} {question.kind}"
    patterns = [pattern for grant in grants for pattern in grant.patterns]
    if rule.backends is not None and question.backend not in rule.backends:
        return f"3only on {', '.join(sorted(rule.backends))}"
    named = any(_matches(pattern, question.name, claims, widen=rule.deny or hopeful) for pattern in patterns)
    operations = {operation for grant in grants for operation in grant.operations}
    if question.operation not in operations:
        return f"{'1' if named else '4'}it gives {', '.join(sorted(operations))}, not {question.operation}"
    if named:
        return ""
    for pattern in patterns:
        if pattern.claims and fill(pattern, claims, widen=False) is None:
            return f"0{pattern.text} cannot be filled: {_unfit(pattern, claims)}"
    return f"2the name is none of {', '.join(_shown(pattern, claims) for pattern in patterns)}"


def _matches(pattern: Pattern, name: str, claims: Claims, *, widen: bool) -> bool:
    shape = fill(pattern, claims, widen=widen)
    return shape is not None and covers(shape, name)


def _unfit(pattern: Pattern, claims: Claims) -> str:
    def said(path: str) -> str:
        value = claims(path)
        if value is None:
            return f"there is no claim {path}"
        shown = repr(value) if isinstance(value, str) else f"a {type(value).__name__}"
        return f"the claim {path} is {shown:.80}"

    return ", ".join(said(path) for path in sorted(pattern.claims))


def _shown(pattern: Pattern, claims: Claims) -> str:
    if not pattern.claims:
        return pattern.text
    filled = "*".join(fill(pattern, claims, widen=True) or ())
    return f"{pattern.text} (here: {filled})"
