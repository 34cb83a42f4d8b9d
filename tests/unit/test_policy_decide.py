"""What a policy set decides, and why."""

from __future__ import annotations

import math

import pytest

from gateway.core.identity import Identity, Principal
from gateway.core.policy import DEFAULT_QUOTA, load_policy
from gateway.core.policy.decide import DECISIONS_MAX, REMEMBERED_NAME_MAX, RIGHTS_MAX
from gateway.core.rights import Decision
from tests.unit.policies import NOON, VOCABULARY, holder, person, policy

ROLE = """
roles:
  r:
    - {allow: [produce, consume], id: yes-rule, attic: {box: [plain, "pre.*", "*.mid.*", "own-${claims.team}-*"]}}
    - {deny: [consume], id: no-x, attic: {box: ["*.x"]}}
"""


def decide(text: str, who: Identity, need: str, name: str, backend: str = "a1", wall: float = NOON) -> Decision:
    return policy(text).rights(who, backend, wall).decide("box", need, name)


@pytest.mark.parametrize(
    ("need", "name", "why"),
    [
        ("Put", "plain", "allowed"),
        ("Look", "plain", "allowed"),
        ("Put", "plainer", "no-rule"),
        ("Put", "pre.", "allowed"),
        ("Put", "pre.a", "allowed"),
        ("Put", "pre", "no-rule"),
        ("Put", "a.mid.b", "allowed"),
        ("Put", "amid", "no-rule"),
        ("Put", ".mid.", "allowed"),
        ("Put", ".mid", "no-rule"),
        ("Put", "own-red-1", "allowed"),
        ("Put", "own-blue-1", "no-rule"),
        ("Take", "pre.x", "no-x"),
        ("Put", "pre.x", "allowed"),
        ("Look", "pre.x", "allowed"),
        ("Put", "", "no-rule"),
        ("Nothing", "plain", "no-rule"),
    ],
)
def test_rules(need: str, name: str, why: str) -> None:
    found = decide(ROLE + "bindings: [{roles: r, to: any}]", person(team="red"), need, name)
    assert (found.why, found.allowed) == (why, why == "allowed")
    assert found.rule == {"allowed": "yes-rule", "no-x": "no-x"}.get(why, "")


def test_unknown_kinds_and_backends_are_denied() -> None:
    policies = policy(ROLE + "bindings: [{roles: r, to: any}]")
    rights = policies.rights(person(), "a1", NOON)
    assert rights.decide("crate", "Put", "plain").why == "no-rule"
    assert policies.rights(person(), "nowhere", NOON).decide("box", "Put", "plain").why == "no-rule"
    assert policies.rights(person(), "c1", NOON).decide("box", "Put", "plain").why == "no-rule"


@pytest.mark.parametrize(
    "team", [None, "", "*", "a-b", "a*", ["red"], ["red", "blue"], {"a": 1}, 7, True, "a\nb", "r" * 1001]
)
def test_a_claim_that_does_not_fit_gives_nothing(team: object) -> None:
    claims = {} if team is None else {"team": team}
    text = ROLE + "bindings: [{roles: r, to: any}]"
    assert decide(text, person(**claims), "Put", "own-red-1").why == "no-rule"
    assert decide(text, person(**claims), "Put", "own-blue-1").why == "no-rule"


@pytest.mark.parametrize(("team", "why"), [("red", "no-rule"), ("a-b", "d"), (None, "d"), (["red"], "d"), ("", "d")])
def test_a_deny_with_a_claim_that_does_not_fit_denies_all_it_could_mean(team: object, why: str) -> None:
    text = """
roles:
  r:
    - {deny: produce, id: d, attic: {box: "own-${claims.team}-*"}}
    - {allow: produce, attic: {box: ["own-red-*", other]}}
bindings: [{roles: r, to: any}]"""
    claims = {} if team is None else {"team": team}
    assert decide(text, person(**claims), "Put", "own-red-1").why == ("d" if team == "red" else why)
    assert decide(text, person(**claims), "Put", "own-blue-1").why == why
    assert decide(text, person(**claims), "Put", "other").why == "allowed"


def test_nested_claims_and_claims_with_dots_in_their_name() -> None:
    text = """
roles: {r: [{allow: produce, attic: {box: "t-${claims.realm.team}"}}]}
bindings: [{roles: r, to: {issuer: corp, claims: {"https://x.example/groups": g, "a.b.c": "7"}}}]"""
    claims = {"https://x.example/groups": ["f", "g"], "a.b": {"c": 7}, "realm": {"team": "a-b*"}}
    assert decide(text, person(**claims), "Put", "t-a-b*").allowed
    assert not decide(text, person(**claims), "Put", "t-a-bc").allowed
    assert decide(text, person(**{**claims, "a.b": 7}), "Put", "t-a-b*").why == "no-binding"


def test_bindings_by_issuer_subject_claims() -> None:
    text = """
roles: {r: [{allow: produce, attic: {box: "*"}}]}
bindings: [{roles: r, to: {issuer: corp, sub: ann, claims: {groups: [a, b], admin: "true"}}}]"""
    ok = {"groups": ["a", "b"], "admin": True}
    assert decide(text, person(**ok), "Put", "x").allowed
    for who in (
        person("bob", **ok),
        person(issuer="dev", **ok),
        person(**{**ok, "groups": ["a"]}),
        person(**{**ok, "admin": False}),
        person(**{**ok, "groups": [["a", "b"]]}),
        holder(uri="ann"),
    ):
        assert decide(text, who, "Put", "x").why == "no-binding"


@pytest.mark.parametrize(
    ("to", "who", "meant"),
    [
        ('{ca: clients, uri: "spiffe://a/*"}', holder(uri="spiffe://a/b"), True),
        ('{ca: clients, uri: "spiffe://a/*"}', holder(uri="spiffe://ab"), False),
        ('{ca: clients, uri: "spiffe://a/*"}', holder(uri="spiffe://a/b", ca="partners"), False),
        ("{ca: clients, dns: A.example}", holder(dns="a.EXAMPLE"), True),
        ("{ca: clients, subject: CN=a}", holder(subject="CN=a"), True),
        ("{ca: clients, subject: CN=a}", holder(subject="CN=ab"), False),
        ("{ca: clients, common_name: a, dns: b}", holder(common_name="a", dns="b"), True),
        ("{ca: clients, common_name: a, dns: b}", holder(common_name="c", dns="b"), False),
        ("{ca: clients, common_name: ann}", person("ann"), False),
    ],
)
def test_bindings_by_certificate(to: str, who: Identity, meant: bool) -> None:
    text = f"roles: {{r: [{{allow: produce, attic: {{box: b}}}}]}}\nbindings: [{{roles: r, to: {{certificate: {to}}}}}]"
    assert decide(text, who, "Put", "b").why == ("allowed" if meant else "no-binding")


def test_a_token_beside_a_certificate_is_the_tokens_principal() -> None:
    to = "{certificate: {ca: clients, uri: u}}"
    text = f"roles: {{r: [{{allow: produce, attic: {{box: b}}}}]}}\nbindings: [{{roles: r, to: {to}}}]"
    who = Identity(Principal("jwt", "corp", "u"), person().address, {}, holder(uri="u").certificate)
    assert decide(text, who, "Put", "b").why == "no-binding"


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("10.1.2.3", "allowed"),
        ("::ffff:10.1.2.3", "allowed"),
        ("11.0.0.1", "network"),
        ("2001:db8::1", "allowed"),
        ("2001:db9::1", "network"),
    ],
)
def test_networks(address: str, why: str) -> None:
    text = ROLE + 'bindings: [{roles: r, to: any, from: [10.0.0.0/8, "2001:db8::/32"]}]'
    assert decide(text, person(address=address), "Put", "plain").why == why
    assert decide(text, person(address=address), "Put", "else").why == "no-rule"


def test_expiry_is_midnight_after_the_day() -> None:
    policies = policy(ROLE + "bindings: [{roles: r, to: any, expires: 2027-01-15}]")
    midnight = 1_800_057_600.0
    rights = policies.rights(person(), "a1", NOON)
    assert rights.valid_until == midnight
    assert policies.rights(person(), "a1", midnight - 0.001).decide("box", "Put", "plain").allowed
    over = policies.rights(person(), "a1", midnight)
    assert over.decide("box", "Put", "plain") == Decision(False, "", "expired")
    assert over.decide("box", "Put", "else").why == "no-rule"
    assert over.decide_any("box", "Put").why == "expired"
    assert over.valid_until == math.inf


def test_the_nearer_reason_is_told() -> None:
    text = ROLE + "bindings: [{roles: r, to: any, expires: 2026-01-01}, {roles: r, to: any, from: 1.0.0.0/8}]"
    assert decide(text, person(), "Put", "plain").why == "network"
    assert decide(text, person(team="x"), "Take", "pre.x").why == "no-rule", "its own deny would deny it anyway"


def test_backends() -> None:
    text = "roles: {r: [{allow: produce, backends: a2, attic: {box: b}}]}\nbindings: [{roles: r, to: any}]"
    assert decide(text, person(), "Put", "b", backend="a2").allowed
    assert decide(text, person(), "Put", "b", backend="a1").why == "no-rule"


@pytest.mark.parametrize(
    ("allow", "deny", "allowed"),
    [
        ("a", "b", True),
        ("a", "a", False),
        ("a", "*", False),
        ("pre.*", "pre.x", True),
        ("pre.*", "pre.*", False),
        ("pre.*", "p*", False),
        ("pre.*", "pre.a.*", True),
        ("a", "a*", False),
        ("*.x", "*", False),
        ("*.x", "*.x", False),
        ("*.x", "*x", False),
        ("*.x", "a*.x", True),
        ("a*b*c", "a*c", False),
        ("a*c", "a*b*c", True),
        ("a", "*.x", True),
        ("b.x", "*.x", False),
    ],
)
def test_decide_any_is_denied_only_where_a_deny_covers_the_allow(allow: str, deny: str, allowed: bool) -> None:
    text = f"""
roles: {{r: [{{allow: produce, attic: {{box: "{allow}"}}}}, {{deny: produce, id: d, attic: {{box: "{deny}"}}}}]}}
bindings: [{{roles: r, to: any}}]"""
    rights = policy(text).rights(person(), "a1", NOON)
    assert rights.decide_any("box", "Put").why == ("allowed" if allowed else "d")
    assert rights.decide_any("box", "Take").why == "no-rule"


def test_decide_any_without_a_binding() -> None:
    policies = policy(ROLE + "bindings: [{roles: r, to: {issuer: dev}}]")
    assert policies.rights(person(), "a1", NOON).decide_any("box", "Put").why == "no-binding"


def test_memory_is_bounded_at_its_maximum_and_one_past_it() -> None:
    rights = policy(ROLE + "bindings: [{roles: r, to: any}]").rights(person(), "a1", NOON)
    for number in range(DECISIONS_MAX):
        rights.decide("box", "Put", f"n{number}")
    assert len(rights._memory) == DECISIONS_MAX
    rights.decide("box", "Put", "one more")
    assert len(rights._memory) == DECISIONS_MAX
    assert ("box", "Put", "n0") not in rights._memory
    rights.decide("box", "Put", "x" * (REMEMBERED_NAME_MAX + 1))
    assert not any(len(name or "") > REMEMBERED_NAME_MAX for _, _, name in rights._memory)


def test_rights_are_shared_by_like_identities_and_bounded() -> None:
    policies = policy(ROLE + "bindings: [{roles: r, to: any}]")
    first = policies.rights(person("ann", team="t"), "a1", NOON)
    assert policies.rights(person("bob", team="t", more=1), "a1", NOON) is first
    assert policies.rights(person("ann", team="u"), "a1", NOON) is not first
    for number in range(RIGHTS_MAX + 1):
        policies.rights(person(team=f"t{number}"), "a1", NOON)
    assert len(policies._rights) == RIGHTS_MAX


def test_a_principal_pays_nothing_for_the_bindings_and_rules_of_others() -> None:
    """With hundreds of other bindings and roles, none of them is looked at."""
    roles = "\n".join(f"  r{n}: [{{allow: produce, attic: {{box: b{n}}}}}]" for n in range(800))
    lines = "\n".join(f"  - {{roles: r{n}, to: {{issuer: corp, claims: {{g: g{n}}}}}}}" for n in range(800))
    policies = policy(f"roles:\n{roles}\nbindings:\n{lines}")
    filed = list(policies._binding_index._filed(person(g=["g7", "none"])))
    assert filed == [7]
    assert len(policies.rights(person(g=["g7"]), "a1", NOON)._live) == 2


def test_the_first_limit_that_matches_holds() -> None:
    text = """
limits:
  - {to: {issuer: corp, claims: {g: batch}}, produce: 1.5 KiB/s, connections: 3}
  - {to: {issuer: corp}, requests: 7/s}"""
    policies = policy(text)
    batch = policies.rights(person(g="batch"), "a1", NOON).quota
    assert (batch.produce_bytes, batch.connections, batch.requests) == (1536.0, 3, DEFAULT_QUOTA.requests)
    assert policies.rights(person(), "a1", NOON).quota.requests == 7
    assert policies.rights(person(issuer="dev"), "a1", NOON).quota == DEFAULT_QUOTA
    assert min(DEFAULT_QUOTA.produce_bytes, DEFAULT_QUOTA.consume_bytes, DEFAULT_QUOTA.requests) > 0


def test_claims_for_the_audit_are_only_those_that_decide() -> None:
    text = ROLE + "bindings: [{roles: r, to: {issuer: corp, claims: {g: a, n.m: b, k: '1'}}}]"
    policies = policy(text)
    assert policies.claims_used() == {"team", "g", "n.m", "k"}
    claims = {"g": ["z", "a", "y"], "n": {"m": ["q"]}, "team": "t", "secret": "s", "k": 1}
    assert policies.claims_for_audit(claims) == {"g": ("a",), "team": "t", "k": ("1",)}


def test_warnings_before_and_after_a_binding_ends() -> None:
    policies = policy(ROLE + "bindings: [{roles: r, to: any, expires: 2027-01-29, owner: me}, {roles: r, to: any}]")
    day = 86400.0
    assert policies.warnings(NOON - 2 * day) == ()
    (soon,) = policies.warnings(NOON + 10 * day)
    assert "expires after 2027-01-29" in soon
    assert "owner me" in soon
    (late,) = policies.warnings(NOON + 20 * day)
    assert "expired after 2027-01-29" in late


def test_the_revision_names_content_and_order_not_the_folder() -> None:
    one, two = ("a.yaml", b"version: 1\nend: true"), ("b.yaml", b"version: 1\nend: true\n")

    def revision(*files: tuple[str, bytes]) -> str:
        return load_policy(files, VOCABULARY).revision

    assert revision(one, two) == revision(("/x/a.yaml", one[1]), ("y/b.yaml", two[1]))
    assert len({revision(one), revision(one, two), revision(two, one), revision(("a.yaml", two[1]))}) == 4
