"""Any policy at all: the compiled tables decide as a plain reading of the rules does, and denies never widen."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.identity import Identity
from gateway.core.policy import PolicySet
from gateway.core.policy.explain import Question, explain
from tests.unit.policies import NOON, holder, person, policy

LETTERS = "ab.-"
OPERATIONS = {"produce": ("Put",), "consume": ("Take",), "describe": ("Look",)}
IMPLIED = {"Put": ("Look",), "Take": ("Look",)}

names = st.text(LETTERS + "*", max_size=6)
pieces = st.sampled_from(["a", "b", ".", "-", "*", "ab", "${claims.t}.", "${claims.u}-", "${claims.t}"])


def _good(text: str) -> bool:
    return bool(text) and "**" not in text and re.search(r"\}[^.-]", text) is None


patterns = st.lists(pieces, min_size=1, max_size=4).map("".join).filter(_good)
rules = st.fixed_dictionaries(
    {
        "deny": st.booleans(),
        "verbs": st.sets(st.sampled_from(sorted(OPERATIONS)), min_size=1, max_size=2).map(sorted),
        "patterns": st.lists(patterns, min_size=1, max_size=3),
        "backends": st.sampled_from([None, ["a1"], ["a2"], ["a1", "a2"]]),
    }
)
targets = st.sampled_from(
    [
        "any", "{issuer: corp}", "{issuer: dev}", "{issuer: corp, sub: ann}", "{issuer: corp, claims: {g: x}}",
        "{issuer: corp, claims: {g: [x, y]}}", "{certificate: {ca: clients, uri: 'u/*'}}",
    ]
)  # fmt: skip
bindings = st.fixed_dictionaries(
    {
        "role": st.integers(0, 2),
        "to": targets,
        "from": st.sampled_from([None, "10.0.0.0/8", "192.168.0.0/16"]),
        "expires": st.sampled_from([None, "2026-12-31", "2027-01-15", "2028-01-01"]),
    }
)
sets = st.fixed_dictionaries(
    {
        "roles": st.lists(st.lists(rules, min_size=1, max_size=4), min_size=3, max_size=3),
        "bindings": st.lists(bindings, min_size=1, max_size=4),
    }
)
claim = st.one_of(st.none(), st.text(LETTERS + "*", max_size=3), st.just(["a"]), st.just(3))
people = st.builds(
    lambda name, issuer, address, claims: person(name, issuer, address, **claims),
    st.sampled_from(["ann", "bob"]),
    st.sampled_from(["corp", "dev"]),
    st.sampled_from(["10.0.0.1", "192.168.0.1", "::ffff:10.0.0.9"]),
    st.fixed_dictionaries({"t": claim, "u": claim, "g": st.sampled_from(["x", ["x", "y"], ["y"], None])}),
)
everybody = st.one_of(people, st.sampled_from([holder(uri="u/1"), holder(uri="v/1"), holder(uri="u/1", ca="partners")]))


def written(made: dict[str, Any], backwards: bool = False) -> PolicySet:
    """The set as the loader takes it, its lists turned around if `backwards`."""
    lines = ["roles:"]
    turn = (lambda items: list(items)[::-1]) if backwards else list
    for number in turn(range(len(made["roles"]))):
        lines.append(f"  r{number}:")
        for index, rule in turn(enumerate(made["roles"][number])):
            side = "deny" if rule["deny"] else "allow"
            backends = f", backends: {rule['backends']}" if rule["backends"] else ""
            texts = ", ".join(f'"{text}"' for text in turn(rule["patterns"]))
            lines.append(
                f"    - {{{side}: {rule['verbs']}, id: i{number}-{index}{backends}, attic: {{box: [{texts}]}}}}"
            )
    lines.append("bindings:")
    for each in turn(made["bindings"]):
        extra = "".join(f", {key}: {each[key]}" for key in ("from", "expires") if each[key])
        lines.append(f"  - {{roles: r{each['role']}, to: {each['to']}{extra}}}")
    return policy("\n".join(lines))


def plainly(made: dict[str, Any], who: Identity, backend: str, operation: str, name: str) -> bool:
    """The language as docs/policy.md tells it, in the slowest and shortest way."""
    verdicts = []
    for each in made["bindings"]:
        if not _meant(each["to"], who) or each["expires"] == "2026-12-31":
            continue
        if (
            each["from"] is not None
            and str(getattr(who.address, "ipv4_mapped", None) or who.address)[:3] != each["from"][:3]
        ):
            continue
        for rule in made["roles"][each["role"]]:
            operations = {op for verb in rule["verbs"] for op in OPERATIONS[verb]}
            if not rule["deny"]:
                operations |= {more for op in list(operations) for more in IMPLIED.get(op, ())}
            on_backend = rule["backends"] is None or backend in rule["backends"]
            if on_backend and operation in operations:
                verdicts += [rule["deny"] for text in rule["patterns"] if _expression(text, who, rule["deny"], name)]
    return bool(verdicts) and not any(verdicts)


def _meant(to: str, who: Identity) -> bool:
    if to == "any":
        return True
    if "certificate" in to:
        return who.principal == holder(uri="u/1").principal
    if who.principal.method != "jwt" or who.principal.issuer not in to:
        return False
    groups = who.claims.get("g")
    held = groups if isinstance(groups, list) else [groups]
    wanted = ["x", "y"] if "[x, y]" in to else ["x"] if "g: x" in to else []
    return all(word in held for word in wanted) and ("sub" not in to or who.principal.name == "ann")


def _expression(text: str, who: Identity, deny: bool, name: str) -> bool:
    def one(match: re.Match[str]) -> str:
        if match[0] == "*":
            return ".*"
        if not match[0].startswith("$"):
            return re.escape(match[0])
        value, until = who.claims.get(match[1]), text[match.end() : match.end() + 1]
        if isinstance(value, str) and value and not (until and until in value):
            return re.escape(value)
        return ".*" if deny else "(?!)"

    return re.fullmatch(re.sub(r"\$\{claims\.(\w)\}|.", one, text), name, re.DOTALL) is not None


@settings(max_examples=100, deadline=None)
@given(sets, everybody, st.sampled_from(["a1", "a2"]), st.lists(names, min_size=1, max_size=6))
def test_decides_as_a_plain_reading_does(made: dict[str, Any], who: Identity, backend: str, asked: list[str]) -> None:
    policies = written(made)
    rights = policies.rights(who, backend, NOON)
    for name in asked:
        for operation in ("Put", "Take", "Look"):
            decision = rights.decide("box", operation, name)
            assert decision.allowed == plainly(made, who, backend, operation, name)
            assert decision.allowed == (decision.why == "allowed")
            assert rights.decide("box", operation, name) is decision
            found = explain(policies, Question(who, backend, "box", operation, name, NOON))
            assert found.decision == decision
            assert (found.rule.id if found.rule else "") == decision.rule
            if decision.allowed:
                assert rights.decide_any("box", operation).allowed


@settings(max_examples=50, deadline=None)
@given(sets, rules, everybody, st.lists(names, min_size=1, max_size=8))
def test_a_deny_never_widens(made: dict[str, Any], rule: dict[str, Any], who: Identity, asked: list[str]) -> None:
    more = {**made, "roles": [[*rules_of, {**rule, "deny": True}] for rules_of in made["roles"]]}
    before, after = written(made).rights(who, "a1", NOON), written(more).rights(who, "a1", NOON)
    for name in asked:
        for operation in ("Put", "Take", "Look"):
            if after.decide("box", operation, name).allowed:
                assert before.decide("box", operation, name).allowed


@settings(max_examples=50, deadline=None)
@given(sets, everybody, st.lists(names, min_size=1, max_size=8))
def test_the_order_of_rules_and_bindings_does_not_matter(made: dict[str, Any], who: Identity, asked: list[str]) -> None:
    one, other = written(made).rights(who, "a1", NOON), written(made, backwards=True).rights(who, "a1", NOON)
    assert one.valid_until == other.valid_until
    for name in asked:
        for operation in ("Put", "Take", "Look"):
            first, second = one.decide("box", operation, name), other.decide("box", operation, name)
            assert first.allowed == second.allowed
            if first.why.startswith(("no-", "network", "expired")):
                assert first.why == second.why


@settings(max_examples=60, deadline=None)
@given(st.text(LETTERS + "*${}", min_size=1, max_size=5), names)
def test_a_claim_is_never_a_pattern(value: str, name: str) -> None:
    policies = policy('roles: {r: [{allow: produce, attic: {box: "x.${claims.t}"}}]}\nbindings: [{roles: r, to: any}]')
    rights = policies.rights(person(t=value), "a1", NOON)
    assert rights.decide("box", "Put", f"x.{value}").allowed
    assert rights.decide("box", "Put", f"x.{name}").allowed == (name == value)
