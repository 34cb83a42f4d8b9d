"""Key sets: what is used, what is left out with a note, what is refused whole."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from gateway.core.keys import JWKS_BYTES_MAX, KEYS_MAX, BadKeySet, KeyRing, parse_jwks
from tests.corpus import tokens as corpus
from tests.corpus.tokens import jwk


def keys_of(*entries: object) -> bytes:
    return json.dumps({"keys": list(entries)}).encode()


GOOD = jwk("ec256", kid="good")


def test_type_and_alg_fix_what_a_key_verifies() -> None:
    found = parse_jwks(corpus.jwks("corp")).by_kid
    verifies = {kid: sorted(key.algorithms) for kid, (key, *_) in found.items()}
    assert verifies == {
        "rsa": ["RS256"],
        "rsa-any": ["PS256", "PS384", "PS512", "RS256", "RS384", "RS512"],
        "ec256": ["ES256"], "ec384": ["ES384"], "ec521": ["ES512"], "ed": ["EdDSA"],
    }  # fmt: skip


def test_ed25519_as_rfc_9864_names_it() -> None:
    found = parse_jwks(keys_of(jwk("ed", alg="Ed25519"))).by_kid["ed"]
    assert found[0].algorithms == {"EdDSA"}


@pytest.mark.parametrize(
    ("entry", "note"),
    [
        (jwk("rsa", use="enc"), "use is not sig"),
        (jwk("rsa", key_ops=["encrypt"]), "key_ops"),
        (jwk("rsa", key_ops="verify"), "key_ops"),
        (jwk("rsa", d="AQ"), "private"),
        ({"kty": "oct", "kid": "s", "k": "AA"}, "symmetric"),
        ({"kty": "RSA", "k": "AA"}, "symmetric"),
        (jwk("weak"), "1024 bits"),
        (jwk("rsa", alg="ES256"), "alg does not fit"),
        (jwk("rsa", alg="RSA-OAEP"), "alg does not fit"),
        (jwk("rsa", alg="HS256"), "alg does not fit"),
        (jwk("rsa", alg=None), "alg does not fit"),
        (jwk("rsa", alg=["RS256"]), "alg does not fit"),
        (jwk("ec384", alg="ES256"), "alg does not fit"),
        (jwk("ec256", crv="P-384"), "x has 32 bytes"),
        (jwk("ec256", crv="secp256k1"), "elliptic curve"),
        (jwk("ec256", x="A" * 43, y="A" * 43), "no key"),
        (jwk("ec256", x=7), "x is missing"),
        (jwk("ec256", y="A" * 5000), "too long"),
        (jwk("ec256", y="=" * 43), "not base64url"),
        (jwk("ed", crv="Ed448"), "other than Ed25519"),
        (jwk("ed", x="AAAA"), "x has 3 bytes"),
        (jwk("rsa", n=""), "n has 0 bytes"),
        (jwk("rsa", e="Ag"), "nobody should use"),
        (jwk("rsa", e="AQ"), "nobody should use"),
        (jwk("rsa", kid=7), "kid is not"),
        (jwk("rsa", kid="k" * 257), "kid is not"),
        (jwk("rsa", kid="a\nb"), "kid is not"),
        (jwk("rsa", kty="rsa"), "kty is not"),
        ({}, "kty is not"),
        ("a string", "not an object"),
        (None, "not an object"),
    ],
)
def test_one_bad_key_is_noted_and_breaks_no_other(entry: object, note: str) -> None:
    found = parse_jwks(keys_of(entry, GOOD))
    assert list(found.by_kid) == ["good"]
    assert len(found.notes) == 1
    assert note in found.notes[0]
    with pytest.raises(BadKeySet, match="no usable key"):
        parse_jwks(keys_of(entry))


def test_notes_hold_no_key_material() -> None:
    secret = rsa.generate_private_key(65537, 2048).private_numbers().d.to_bytes(256)
    entry = jwk("rsa", d=corpus.b64(secret).decode())
    assert corpus.b64(secret).decode()[:20] not in str(parse_jwks(keys_of(entry, GOOD)).notes)


def test_a_kid_of_two_keys_is_nobodys() -> None:
    found = parse_jwks(keys_of(jwk("rsa", kid="twin"), jwk("other", kid="twin"), GOOD))
    assert list(found.by_kid) == ["good"]
    assert "2 different keys" in found.notes[0]


def test_a_kid_twice_for_the_same_key_is_one_key() -> None:
    found = parse_jwks(keys_of(GOOD, GOOD))
    assert len(found.by_kid["good"]) == 1
    assert not found.notes


def test_a_kid_of_keys_for_different_algorithms_is_told_apart_by_them() -> None:
    found = parse_jwks(keys_of(jwk("rsa", kid="k", alg="RS256"), jwk("rsa", kid="k", alg="PS256"), jwk("ed", kid="k")))
    assert [sorted(key.algorithms) for key in found.by_kid["k"]] == [["RS256"], ["PS256"], ["EdDSA"]]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b"", "broken JSON"),
        (b"[]", "not an object"),
        (b"{}", "no list named keys"),
        (b'{"keys": {}}', "no list named keys"),
        (b'{"keys": []}', "no usable key"),
        (b'{"keys": [], "keys": []}', "stands twice"),
        (b'{"keys": [{"kty": "oct", "kty": "RSA"}]}', "stands twice"),
        (b'{"keys": [NaN]}', "NaN"),
        (b'{"keys": ' + b"[" * 40 + b"]" * 40 + b"}", "deep"),
        (b"<html>", "broken JSON"),
        (b'{"keys": ["\xff"]}', "UTF-8"),
        (json.dumps({"keys": [GOOD] * (KEYS_MAX + 1)}).encode(), f"more than {KEYS_MAX} keys"),
        (keys_of(GOOD) + b" " * JWKS_BYTES_MAX, "bytes"),
    ],
)
def test_a_set_that_cannot_be_trusted_is_refused_whole(document: bytes, message: str) -> None:
    with pytest.raises(BadKeySet, match=message):
        parse_jwks(document)


def test_sizes_at_the_maximum_pass() -> None:
    entries = [jwk("ec256", kid=str(number)) for number in range(KEYS_MAX)]
    document = keys_of(*entries)
    found = parse_jwks(document + b" " * (JWKS_BYTES_MAX - len(document)))
    assert len(found.by_kid) == KEYS_MAX


def test_the_ring_keeps_the_last_good_set() -> None:
    ring = KeyRing()
    assert ring.get("corp") is None
    assert ring.age("corp", 5.0) is None
    first = ring.replace("corp", keys_of(GOOD), 100.0)
    with pytest.raises(BadKeySet):
        ring.replace("corp", b"{", 150.0)
    assert ring.get("corp") is first
    assert ring.age("corp", 160.0) == 60.0
    assert ring.replace("corp", keys_of(GOOD), 170.0) is first
    assert ring.age("corp", 160.0) == 0.0
    other = jwk("ec256", kid="new")
    assert ring.replace("corp", keys_of(other), 180.0) is not first
    assert ring.get("other") is None


def test_a_point_off_the_curve_is_no_key() -> None:
    x, y = jwk("ec256")["x"], corpus.b64(bytes(31) + b"\x05").decode()
    assert isinstance(corpus.key("ec256"), ec.EllipticCurvePrivateKey)
    with pytest.raises(BadKeySet, match="no key"):
        parse_jwks(keys_of(jwk("ec256", x=x, y=y)))
