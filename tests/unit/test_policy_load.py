"""Every mistake in a set of policy files is told, each at its line, all at once."""

from __future__ import annotations

import pytest

from gateway.core.documents import Mistakes
from gateway.core.policy import load as load_module
from gateway.core.policy import load_policy
from gateway.core.vocabulary import Vocabulary
from tests.unit.policies import ATTIC, NOON, VOCABULARY, person, policy


def mistakes(*texts: str, vocabulary: Vocabulary = VOCABULARY) -> list[str]:
    with pytest.raises(Mistakes) as caught:
        load_policy([(f"{n}.yaml", text.encode()) for n, text in enumerate(texts)], vocabulary)
    return [str(mistake) for mistake in caught.value.mistakes]


def rule(text: str) -> str:
    return f"version: 1\nroles:\n  r:\n    - {text}\nend: true\n"


def binding(text: str) -> str:
    return f"version: 1\nroles: {{r: [{{allow: produce, attic: {{box: b}}}}]}}\nbindings:\n  - {text}\nend: true\n"


def limit(text: str) -> str:
    return f"version: 1\nlimits:\n  - {text}\nend: true\n"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("version: 1\n", 1, "end: found nothing"),
        ("version: 1\nend: yes\n", 2, "'yes'; expected 'true'"),
        ("version: 2\nend: true\n", 1, "version: found '2'"),
        ("version: 1\nrules: {}\nend: true\n", 2, "rules: found an unknown key"),
        ("version: 1\nroles: {r: []}\nend: true\n", 2, "at least one item"),
        ("version: 1\nroles: []\nend: true\n", 2, "roles: found a list"),
        ("[]", 1, "a list"),
        (rule("{allow: produce, deny: produce, attic: {box: b}}"), 4, "exactly one of allow and deny"),
        (rule("{attic: {box: b}}"), 4, "exactly one of allow and deny"),
        (rule("{allow: produce}"), 4, "a rule without resources; expected at least one of attic, cellar"),
        (rule("{allow: produce, attic: {}}"), 4, "no resources; expected one of box, room"),
        (rule("{allow: produce, attic: {box: []}}"), 4, "at least one item"),
        (rule("{allow: [], attic: {box: b}}"), 4, "at least one item"),
        (rule("{allow: eat, attic: {box: b}}"), 4, "the unknown verb 'eat'; expected one of alter, attic.OPERATION"),
        (rule("{allow: house.Eat, attic: {box: b}}"), 4, "the unknown verb 'house.Eat'"),
        (
            rule("{allow: attic.Eat, attic: {box: b}}"),
            4,
            "the unknown operation 'attic.Eat'; expected one of attic.Enter",
        ),
        (rule("{allow: [produce, cellar.Put], attic: {box: b}}"), 4, "'cellar.Put', which means nothing here"),
        (rule("{allow: [produce, create], attic: {box: b}}"), 4, "'create', which means nothing here"),
        (
            rule("{allow: produce, attic: {box: b, room: hall}}"),
            4,
            "produce on a room; expected one of consume, attic.E",
        ),
        (rule("{allow: produce, attic: {crate: b}}"), 4, "the unknown attic kind 'crate'; expected one of box, room"),
        (rule("{allow: produce, house: {box: b}}"), 4, "the unknown key 'house'"),
        (
            rule("{allow: produce, backends: b9, attic: {box: b}}"),
            4,
            "the unknown backend 'b9'; expected one of a1, a2",
        ),
        (rule("{allow: produce, backends: [c1], attic: {box: b}}"), 4, "a backend of attic in backends as well"),
        (rule("{allow: consume, attic: {room: cellar}}"), 4, "'cellar'; expected hall; nothing else is there"),
        (rule("{allow: produce, id: expired, attic: {box: b}}"), 4, "a name other than allowed, no-rule"),
        (rule('{allow: produce, id: "a b", attic: {box: b}}'), 4, "a name of letters"),
        (rule('{allow: produce, attic: {box: ""}}'), 4, "0 characters"),
        (rule(f"{{allow: produce, attic: {{box: {'x' * 1001}}}}}"), 4, "1001 characters"),
        (rule('{allow: produce, attic: {box: "a\\tb"}}'), 4, "a control character"),
        (rule('{allow: produce, attic: {box: "a**"}}'), 4, "a single *"),
        (rule('{allow: produce, attic: {box: "${claims.a"}}'), 4, "${claims.NAME}"),
        (rule('{allow: produce, attic: {box: "${team}"}}'), 4, "${claims.NAME}"),
        (rule('{allow: produce, attic: {box: "${claims.}"}}'), 4, "${claims.NAME}"),
        (rule('{allow: produce, attic: {box: "${claims.a..b}"}}'), 4, "${claims.NAME}"),
        (rule('{allow: produce, attic: {box: "${claims.a}*"}}'), 4, "'*' right after ${claims.a}; expected one of . -"),
        (rule('{allow: produce, attic: {box: "${claims.a}${claims.b}"}}'), 4, "'$' right after ${claims.a}"),
        (rule('{allow: consume, attic: {room: "${claims.a}x"}}'), 4, "expected the end of the pattern"),
        (binding("{roles: nobody, to: any}"), 4, "the unknown role 'nobody'; expected one of r"),
        (binding("{roles: [r, nobody], to: any}"), 4, "bindings[0].roles[1]: found the unknown role"),
        (binding("{roles: r}"), 4, "bindings[0].to: found nothing"),
        (binding("{roles: r, to: }"), 4, "exactly one of issuer and certificate"),
        (binding("{roles: r, to: all}"), 4, "any, or a mapping"),
        (binding("{roles: r, to: {sub: a}}"), 4, "exactly one of issuer and certificate"),
        (binding("{roles: r, to: {certificate: {uri: a, ca: clients}, sub: a}}"), 4, "issuer as well"),
        (binding("{roles: r, to: {issuer: nobody}}"), 4, "the unknown issuer 'nobody'; expected one of corp, dev"),
        (binding("{roles: r, to: {issuer: corp, sub: 'a*'}}"), 4, "no * and no ${...}"),
        (binding("{roles: r, to: {issuer: corp, claims: {a: 'b*'}}}"), 4, "no * and no ${...}"),
        (binding("{roles: r, to: {issuer: corp, claims: {a..b: c}}}"), 4, "a claim's name, or a dotted path"),
        (binding("{roles: r, to: {certificate: {ca: clients}}}"), 4, "at least one of uri, dns"),
        (binding("{roles: r, to: {certificate: {uri: a}}}"), 4, "ca as well, one of clients, partners"),
        (binding("{roles: r, to: {certificate: {uri: a, ca: other}}}"), 4, "the unknown client CA 'other'"),
        (binding("{roles: r, to: {certificate: {dns: '*.a', ca: clients}}}"), 4, "with a * at its end at most"),
        (binding('{roles: r, to: {certificate: {uri: "a\\tb", ca: clients}}}'), 4, "a control character"),
        (binding("{roles: r, to: any, from: 10.0.0.1/8}"), 4, "a network such as"),
        (binding("{roles: r, to: any, from: []}"), 4, "at least one item"),
        (binding('{roles: r, to: any, from: "::ffff:10.0.0.0/104"}'), 4, "the IPv4 network itself"),
        (binding("{roles: r, to: any, expires: 2027-02-30}"), 4, "a day such as"),
        (binding("{roles: r, to: any, expires: tomorrow}"), 4, "a day such as"),
        (limit("{to: any, produce: 0 MiB/s}"), 3, "a rate above zero"),
        (limit("{to: any, produce: 5/s}"), 3, "a rate above zero"),
        (limit("{to: any, produce: 5 MiB}"), 3, "a rate above zero"),
        (limit("{to: any, requests: 5 MiB/s}"), 3, "a rate above zero such as 2000/s"),
        (limit("{to: any, requests: 0/s}"), 3, "a rate above zero such as 2000/s"),
        (limit("{to: any, connections: 0}"), 3, "greater than 0"),
        (limit("{to: any}\n  - {to: {issuer: dev}}"), 4, "never reached"),
        (limit("{to: {issuer: dev}}\n  - {to: {issuer: dev}}"), 4, "never reached"),
    ],
)
def test_mistakes(text: str, line: int, words: str) -> None:
    found = mistakes(text)
    assert any(each.startswith(f"0.yaml:{line}:") and words in each for each in found), found


def test_all_mistakes_of_all_files_at_once() -> None:
    found = mistakes(
        "version: 1\nroles:\n  r:\n    - {allow: eat, attic: {box: b}}\n    - {allow: produce, attic: {crate: b}}\n",
        "version: 1\nbindings:\n  - {roles: r, to: {issuer: nobody}}\n  - {roles: x, to: any}\nlimits: 7\nend: true\n",
        "version: [\n",
    )
    for words in (
        "0.yaml:1: end",
        "0.yaml:4: roles.r[0].allow: found the unknown verb",
        "0.yaml:5: ",
        "1.yaml:3: ",
        "1.yaml:5: limits",
        "2.yaml:",
    ):
        assert any(words in each for each in found), (words, found)
    assert not any("'x'" in each for each in found), "it may be in the file that could not be parsed"


def test_roles_bindings_and_limits_may_be_spread_over_files_but_nothing_given_twice() -> None:
    one = "version: 1\nroles: {r: [{allow: produce, attic: {box: b}}]}\nend: true\n"
    two = "version: 1\nbindings: [{roles: r, to: any}]\nend: true\n"
    policies = load_policy([("2.yaml", two.encode()), ("1.yaml", one.encode())], VOCABULARY)
    decision = policies.rights(person(), "a1", NOON).decide("box", "Put", "b")
    assert decision.rule == "1.yaml:2"
    (found,) = mistakes(one, one)
    assert "1.yaml:2: roles.r: found the role 'r' again; expected each role in one place; it is at 0.yaml:2" in found
    (found,) = mistakes(
        "version: 1\nroles:\n  r: [{allow: produce, id: i, attic: {box: b}}, {deny: consume, id: i, attic: {box: c}}]\n"
        "end: true"
    )
    assert "the rule id 'i' again; expected ids of their own; 0.yaml:3 has it too" in found


@pytest.mark.parametrize("number", [0, load_module.FILES_MAX + 1])
def test_how_many_files(number: int) -> None:
    file = ("p.yaml", b"version: 1\nend: true")
    with pytest.raises(Mistakes, match="policy files"):
        load_policy([file] * number, VOCABULARY)
    assert load_policy([file] * load_module.FILES_MAX, VOCABULARY).revision


def test_a_vocabulary_without_issuers_or_with_unknown_cas() -> None:
    bare = Vocabulary({"attic": ATTIC}, {"a1": "attic"}, frozenset())
    assert "no issuer at all" in mistakes(binding("{roles: r, to: {issuer: corp}}"), vocabulary=bare)[0]
    text = "roles: {r: [{allow: produce, attic: {box: b}}]}\nbindings: [{roles: r, to: {certificate: {uri: u}}}]"
    assert policy(text, bare).bindings


def test_a_claim_in_a_kind_with_fixed_names_is_taken() -> None:
    assert policy('roles: {r: [{allow: consume, attic: {room: ["${claims.a}", "h*"]}}]}').rules
