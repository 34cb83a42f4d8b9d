"""The corpus of tokens: each with its reason, and each check shown to be what keeps its tokens out."""

from __future__ import annotations

import json
import math

import pytest

from gateway.core.keys import KeyRing
from gateway.core.reasons import all_reasons
from gateway.core.tokens import CHECKS, Accepted, KeyMissing, Outcome, Refused, Validator, reasons
from gateway.core.tokens.cache import VerifiedTokens
from tests.corpus import tokens as corpus
from tests.corpus.tokens import NOW, TAKEN, TOKEN_BYTES_MAX, Case

CASES = corpus.cases()
REFUSED = [case for case in CASES if case.expect != "accepted"]
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def validator(*skip: str, ring: KeyRing | None = None) -> Validator:
    return Validator(corpus.issuers(), ring or corpus.ring(), TOKEN_BYTES_MAX, frozenset(skip))


def said(outcome: Outcome) -> str:
    match outcome:
        case Accepted():
            return "accepted"
        case KeyMissing():
            return "key-missing"
        case Refused(reason, detail):
            assert "ey" not in detail or "key" in detail  # nothing of a token is in a detail
            return reason.code


@each_case
def test_each_token_meets_its_reason(case: Case) -> None:
    assert said(validator().validate(corpus.build(case.row), TAKEN, NOW)) == case.expect


@pytest.mark.parametrize("case", [case for case in REFUSED if case.off], ids=lambda case: case.name)
def test_with_its_checks_off_a_token_is_let_through(case: Case) -> None:
    assert said(validator(*case.off).validate(corpus.build(case.row), TAKEN, NOW)) == "accepted"


@pytest.mark.parametrize("case", [case for case in REFUSED if len(case.off) > 1], ids=lambda case: case.name)
def test_of_several_checks_each_is_needed(case: Case) -> None:
    for check in case.off:
        assert said(validator(*(case.off - {check})).validate(corpus.build(case.row), TAKEN, NOW)) != "accepted"


@pytest.mark.parametrize("case", [case for case in REFUSED if not case.off], ids=lambda case: case.name)
def test_what_no_check_could_let_through_says_why(case: Case) -> None:
    assert case.remains
    everything_but_keys = set(CHECKS) - {"signature", "key-choice", "key-id"}
    assert said(validator(*everything_but_keys).validate(corpus.build(case.row), TAKEN, NOW)) != "accepted"


def test_every_check_has_a_token_that_it_alone_keeps_out() -> None:
    assert {check for case in REFUSED if len(case.off) == 1 for check in case.off} == set(CHECKS)


def test_the_corpus_is_large_and_names_are_told_apart() -> None:
    assert len(REFUSED) >= 60
    assert len({case.name for case in CASES}) == len(CASES)
    known = {reason.code for reason in all_reasons()} | {"accepted", "key-missing"}
    assert {case.expect for case in CASES} <= known


def test_every_reason_for_a_token_looks_the_same_to_the_client() -> None:
    seen = {reason.client_sees for reason in all_reasons() if reason.code.startswith("token-")}
    assert seen == {reasons.CLIENT_SEES}


def test_an_accepted_token_tells_who_and_until_when() -> None:
    outcome = validator().validate(corpus.sound(), TAKEN, NOW)
    assert isinstance(outcome, Accepted)
    assert str(outcome.principal) == "jwt:corp:alice"
    assert outcome.expires_at == NOW + 300
    assert outcome.token_id == "token-1"
    assert outcome.claims["aud"] == "kafka-gateway"
    with pytest.raises(TypeError):
        outcome.claims["sub"] = "root"  # type: ignore[index]


def test_text_and_bytes_are_alike() -> None:
    token = corpus.sound()
    assert validator().validate(token.decode(), TAKEN, NOW) == validator().validate(token, TAKEN, NOW)
    assert said(validator().validate("é" * 3, TAKEN, NOW)) == "token-encoding"


@pytest.mark.parametrize("jti", [7, "", "x" * 200, "a\nb"])
def test_a_strange_jti_is_left_out_of_the_audit(jti: object) -> None:
    outcome = validator().validate(corpus.sound(claims={"jti": jti}), TAKEN, NOW)
    assert isinstance(outcome, Accepted)
    assert outcome.token_id == ""


def test_the_token_of_one_issuer_is_not_of_another() -> None:
    token = corpus.sound(claims={"iss": corpus.ISS["partner"], "aud": corpus.AUD["partner"]}, header={"alg": "ES256"})
    assert said(validator().validate(token, TAKEN, NOW)) == "key-missing"


def test_a_listener_takes_its_own_issuers_alone() -> None:
    assert said(validator().validate(corpus.sound(), ("partner",), NOW)) == "token-issuer"


def test_size_at_the_maximum_and_one_past_it() -> None:
    token = corpus.sound()
    exact = Validator(corpus.issuers(), corpus.ring(), len(token))
    assert said(exact.validate(token, TAKEN, NOW)) == "accepted"
    short = Validator(corpus.issuers(), corpus.ring(), len(token) - 1)
    assert said(short.validate(token, TAKEN, NOW)) == "token-too-large"


def test_without_keys_the_issuer_is_named() -> None:
    assert validator(ring=KeyRing()).validate(corpus.sound(), TAKEN, NOW) == KeyMissing("corp", "rsa", no_keys=True)


def test_an_unknown_check_and_twin_issuers_are_mistakes_of_ours() -> None:
    with pytest.raises(ValueError, match="no such check"):
        validator("everything")
    with pytest.raises(ValueError, match="same name"):
        Validator([*corpus.issuers(), *corpus.issuers()], KeyRing(), TOKEN_BYTES_MAX)


def test_issuers_of_one_iss_are_told_apart_by_the_listener() -> None:
    corp, *_ = corpus.issuers()
    strict = corp.model_copy(update={"name": "strict", "lifetime_max": 60.0})
    ring = corpus.ring()
    ring.replace("strict", corpus.jwks("corp"), NOW)
    checked = Validator([corp, strict], ring, TOKEN_BYTES_MAX)
    token = corpus.sound()
    assert said(checked.validate(token, ("corp",), NOW)) == "accepted"
    assert said(checked.validate(token, ("strict",), NOW)) == "token-lifetime"
    assert said(checked.validate(corpus.sound(claims={"jti": "2"}), ("corp", "strict"), NOW)) == "token-issuer"


def test_without_a_kid_a_key_for_the_algorithm_must_be_there() -> None:
    ring = corpus.ring()
    ring.replace("corp", json.dumps({"keys": [corpus.jwk("ed")]}).encode(), NOW)
    token = corpus.sound(header={"kid": "@absent"})
    assert said(validator(ring=ring).validate(token, TAKEN, NOW)) == "token-key-algorithm"


def test_a_token_seen_before_is_known_until_it_ends() -> None:
    checked, token = validator(), corpus.sound()
    first = checked.validate(token, TAKEN, NOW)
    assert checked.validate(token, TAKEN, NOW + 1) is first
    assert said(checked.validate(token, TAKEN, NOW + 300)) == "token-expired"
    assert said(checked.validate(token, ("partner",), NOW + 1)) == "token-issuer"


def test_a_withdrawn_key_ends_what_was_known_by_it() -> None:
    ring = corpus.ring()
    checked, token = validator(ring=ring), corpus.sound()
    first = checked.validate(token, TAKEN, NOW)
    ring.replace("corp", corpus.jwks("corp"), NOW)
    assert checked.validate(token, TAKEN, NOW) is first  # the same document again
    ring.replace("corp", json.dumps({"keys": [corpus.jwk("ec256")]}).encode(), NOW)
    assert checked.validate(token, TAKEN, NOW) == KeyMissing("corp", "rsa")


def test_known_tokens_are_bounded_and_the_oldest_goes() -> None:
    ring = corpus.ring()
    known = VerifiedTokens(ring, entries_max=3)
    accepted = validator().validate(corpus.sound(), TAKEN, NOW)
    key_set = ring.get("corp")
    assert isinstance(accepted, Accepted)
    assert key_set is not None
    for token in (b"a", b"b", b"c"):
        known.put(token, accepted, key_set)
    assert known.get(b"a", NOW) is accepted  # used: b is now the oldest
    known.put(b"d", accepted, key_set)
    assert len(known) == 3
    assert known.get(b"b", NOW) is None
    assert known.get(b"a", NOW) is accepted
    assert known.get(b"a", math.inf) is None
    assert len(known) == 2

    known = VerifiedTokens(ring, token_bytes_max=10)
    for token in (b"12345", b"67890", b"67890"):
        known.put(token, accepted, key_set)
    assert len(known) == 2
    known.put(b"x", accepted, key_set)
    assert known.get(b"12345", NOW) is None
    assert known.get(b"67890", NOW) is accepted
    assert known.get(b"x", NOW) is accepted
