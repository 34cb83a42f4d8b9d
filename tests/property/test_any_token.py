"""Whatever bytes come as a token: an outcome and never an exception, and never another token's rights."""

from __future__ import annotations

import contextlib
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.keys import BadKeySet, parse_jwks
from gateway.core.strict_json import BadBase64, BadJson, decode_base64url, parse_object
from gateway.core.tokens import Accepted, KeyMissing, Refused, Validator
from tests.corpus import tokens as corpus
from tests.corpus.tokens import NOW, TAKEN, TOKEN_BYTES_MAX

VALIDATOR = Validator(corpus.issuers(), corpus.ring(), TOKEN_BYTES_MAX)
SOUND = [corpus.build(case.row) for case in corpus.cases() if case.expect == "accepted"]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
members = st.sampled_from(
    ["alg", "typ", "kid", "crit", "b64", "jwk", "enc", "iss", "aud", "sub", "exp", "iat", "nbf", "events", "typ"]
)


def plain(value: object) -> object:
    """Without the corpus's own @ words."""
    return value.lstrip("@") if isinstance(value, str) else value


@given(st.binary(max_size=400) | st.text(max_size=400))
def test_garbage_is_refused(data: bytes | str) -> None:
    assert isinstance(VALIDATOR.validate(data, TAKEN, NOW), Refused)


@given(st.sampled_from(SOUND), st.data())
@settings(max_examples=400)
def test_a_changed_token_is_never_accepted(token: bytes, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(token) - 1))
    kind = data.draw(st.sampled_from(["replace", "delete", "insert", "cut"]))
    octet = bytes([data.draw(st.sampled_from(b"ABCxyz019-_.=+/ \n\x00\xff") | st.integers(0, 255))])
    changed = {
        "replace": token[:place] + octet + token[place + 1 :],
        "delete": token[:place] + token[place + 1 :],
        "insert": token[:place] + octet + token[place:],
        "cut": token[:place],
    }[kind]
    outcome = VALIDATOR.validate(changed, TAKEN, NOW)
    assert changed == token or isinstance(outcome, Refused | KeyMissing)


@given(st.dictionaries(members, json_values, max_size=4), st.dictionaries(members, json_values, max_size=4))
@settings(max_examples=300, deadline=None)
def test_strange_values_never_raise(header: dict[str, object], claims: dict[str, object]) -> None:
    """Properly signed tokens whose members are anything at all: accepted only where what was changed may so be."""
    row = {
        "header": {name: plain(value) for name, value in header.items()},
        "claims": {name: plain(value) for name, value in claims.items()},
    }
    outcome = VALIDATOR.validate(corpus.build(row), TAKEN, NOW)
    if isinstance(outcome, Accepted):
        assert isinstance(outcome.principal.name, str)
        assert outcome.principal.name.isprintable()
        assert NOW < outcome.expires_at <= NOW + 86_430
        assert {"crit", "b64", "jwk", "enc"}.isdisjoint(header)


@given(st.lists(st.dictionaries(
    st.sampled_from(["kty", "kid", "alg", "use", "key_ops", "n", "e", "crv", "x", "y", "d", "k"]),
    json_values | st.sampled_from(["RSA", "EC", "OKP", "P-256", "Ed25519", "sig", "AQAB", "AA", "A" * 43, "A" * 400]),
), max_size=4))  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_strange_keys_break_no_other(entries: list[dict[str, object]]) -> None:
    good = corpus.jwk("ec256", kid="the good one")
    found = parse_jwks(json.dumps({"keys": [*entries, good]}).encode())
    assert len(found.by_kid["the good one"]) == 1


@given(st.binary(max_size=300))
def test_a_key_set_of_garbage_has_one_error(data: bytes) -> None:
    with contextlib.suppress(BadKeySet):
        parse_jwks(data)


@given(st.binary(max_size=300))
def test_json_of_garbage_has_one_error(data: bytes) -> None:
    with contextlib.suppress(BadJson):
        parse_object(data)


@given(st.binary(max_size=100))
def test_one_text_for_one_value_in_base64url(data: bytes) -> None:
    text = corpus.b64(data)
    assert decode_base64url(text) == data
    for other in (text + b"=", text + b"\n", b" " + text):
        try:
            decode_base64url(other)
        except BadBase64:
            continue
        raise AssertionError(other)
