"""Key sets of token issuers (RFC 7517), read strictly, and the ring that holds one set per issuer.

A set that is not JSON, is too large, says a member twice or has no usable key is refused whole (`BadKeySet`), and the
ring keeps what it had. A single key that cannot be used is left out with a note and harms no other: symmetric and
private keys, keys for encryption, RSA under 2048 bits, a curve that does not fit `alg`, numbers that are no key.

What a key may verify is fixed here, by its type and its own `alg`, and never by a token's header. References to
keys elsewhere (`x5u`) are not read. edge.keys fills the ring; core.tokens asks it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    SECP384R1,
    SECP521R1,
    EllipticCurve,
    EllipticCurvePublicKey,
    EllipticCurvePublicNumbers,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers

from gateway.core.strict_json import BadBase64, BadJson, decode_base64url, parse_object

JWKS_BYTES_MAX = 512 * 1024
KEYS_MAX = 200
KID_CHARS_MAX = 256
RSA_BITS_MIN = 2048
RSA_BITS_MAX = 8192
RSA_EXPONENT_MAX = 2**32
"""Larger exponents make each verification dear and serve nobody."""

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_CURVES: Mapping[str, tuple[type[EllipticCurve], int, str]] = {
    "P-256": (SECP256R1, 32, "ES256"),
    "P-384": (SECP384R1, 48, "ES384"),
    "P-521": (SECP521R1, 66, "ES512"),
}


class BadKeySet(Exception):
    """The whole set cannot be used. Says why, in words for an operator."""


class _BadKey(Exception):
    """One key cannot be used, and why."""


@dataclass(frozen=True, slots=True)
class Key:
    """A public key, its id ("" if it has none), and the algorithms it may verify."""

    kid: str
    algorithms: frozenset[str]
    public: PublicKey


@dataclass(frozen=True, slots=True)
class KeySet:
    """The usable keys of one JWKS, by id. `notes` names the keys left out and why."""

    by_kid: Mapping[str, tuple[Key, ...]]
    notes: tuple[str, ...]
    digest: bytes

    def members(self) -> Iterable[Key]:
        for same_kid in self.by_kid.values():
            yield from same_kid


def parse_jwks(data: bytes) -> KeySet:
    """A JWKS document's usable keys. Raises BadKeySet.

    An empty set is refused like a broken one: an issuer that publishes no key has been misdeployed far more often
    than it has withdrawn them all.
    """
    if len(data) > JWKS_BYTES_MAX:
        raise BadKeySet(f"more than {JWKS_BYTES_MAX} bytes")
    try:
        document = parse_object(data)
    except BadJson as error:
        raise BadKeySet(f"not a JSON object: {error}") from None
    entries = document.get("keys")
    if not isinstance(entries, list):
        raise BadKeySet("no list named keys")
    if len(entries) > KEYS_MAX:
        raise BadKeySet(f"more than {KEYS_MAX} keys")
    notes: list[str] = []
    keys: list[Key] = []
    for index, entry in enumerate(entries):
        try:
            keys.append(_key(entry))
        except _BadKey as error:
            notes.append(f"key {index}{_named(entry)} left out: {error}")
    by_kid = _grouped(keys, notes)
    if not by_kid:
        raise BadKeySet("no usable key" + "".join(f"; {note}" for note in notes[:5]))
    return KeySet(by_kid, tuple(notes), hashlib.sha256(data).digest())


def _named(entry: object) -> str:
    kid = entry.get("kid") if isinstance(entry, dict) else None
    return f" (kid {json.dumps(kid[:40])})" if isinstance(kid, str) else ""


def _grouped(keys: list[Key], notes: list[str]) -> dict[str, tuple[Key, ...]]:
    """By kid. Two different keys of one kid that could verify the same algorithm are both left out: which of them a
    token means is not ours to guess."""
    by_kid: dict[str, list[Key]] = {}
    for key in keys:
        by_kid.setdefault(key.kid, []).append(key)
    grouped: dict[str, tuple[Key, ...]] = {}
    for kid, same_kid in by_kid.items():
        distinct: list[Key] = []
        for key in same_kid:
            if any(key.public == other.public and key.algorithms == other.algorithms for other in distinct):
                continue
            distinct.append(key)
        clash = kid and any(
            first.public != second.public and first.algorithms & second.algorithms
            for position, first in enumerate(distinct)
            for second in distinct[position + 1 :]
        )
        if clash:
            notes.append(f"kid {json.dumps(kid[:40])} left out: {len(distinct)} different keys have it")
        else:
            grouped[kid] = tuple(distinct)
    return grouped


def _key(entry: object) -> Key:
    if not isinstance(entry, dict):
        raise _BadKey("not an object")
    kid = entry.get("kid", "")
    if not isinstance(kid, str) or len(kid) > KID_CHARS_MAX or not kid.isprintable():
        raise _BadKey(f"kid is not a printable string of at most {KID_CHARS_MAX} characters")
    if entry.get("kty") == "oct" or "k" in entry:
        raise _BadKey("a symmetric key; the issuer should not publish it")
    if "d" in entry:
        raise _BadKey("a private key; the issuer should withdraw it at once")
    if entry.get("use", "sig") != "sig":
        raise _BadKey("use is not sig")
    operations = entry.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise _BadKey("key_ops does not have verify")
    try:
        possible, public = _public(entry)
    except (ValueError, UnsupportedAlgorithm, OverflowError) as error:
        raise _BadKey(f"its numbers are no key ({type(error).__name__})") from None
    return Key(kid, _fixed(possible, entry), public)


def _fixed(possible: frozenset[str], entry: Mapping[str, object]) -> frozenset[str]:
    """What the key may verify: all its type can, unless its own `alg` says which."""
    if "alg" not in entry:
        return possible
    algorithm = entry["alg"]
    if algorithm == "Ed25519":  # RFC 9864's name for what tokens still call EdDSA
        algorithm = "EdDSA"
    if not isinstance(algorithm, str) or algorithm not in possible:
        raise _BadKey("alg does not fit the key's type or curve, or is not one for signatures")
    return frozenset({algorithm})


def _public(entry: Mapping[str, object]) -> tuple[frozenset[str], PublicKey]:
    match entry.get("kty"):
        case "RSA":
            modulus, exponent = _number(entry, "n", RSA_BITS_MAX // 8), _number(entry, "e", 8)
            if modulus.bit_length() < RSA_BITS_MIN:
                raise _BadKey(f"RSA of {modulus.bit_length()} bits; {RSA_BITS_MIN} is the least")
            if not 3 <= exponent <= RSA_EXPONENT_MAX or not exponent & 1 or not modulus & 1:
                raise _BadKey("RSA numbers that nobody should use")
            return _RSA, RSAPublicNumbers(exponent, modulus).public_key()
        case "EC":
            known = _CURVES.get(str(entry.get("crv")))
            if known is None:
                raise _BadKey("an elliptic curve other than P-256, P-384 and P-521")
            curve, size, algorithm = known
            x, y = _number(entry, "x", size, size), _number(entry, "y", size, size)
            return frozenset({algorithm}), EllipticCurvePublicNumbers(x, y, curve()).public_key()
        case "OKP":
            if entry.get("crv") != "Ed25519":
                raise _BadKey("a curve other than Ed25519")
            return frozenset({"EdDSA"}), Ed25519PublicKey.from_public_bytes(_octets(entry, "x", 32, 32))
        case _:
            raise _BadKey("kty is not RSA, EC or OKP")


def _octets(entry: Mapping[str, object], name: str, longest: int, shortest: int = 1) -> bytes:
    text = entry.get(name)
    if not isinstance(text, str) or len(text) > 2 * longest + 4:
        raise _BadKey(f"{name} is missing, no string, or too long")
    try:
        octets = decode_base64url(text.encode())
    except BadBase64:
        raise _BadKey(f"{name} is not base64url") from None
    if not shortest <= len(octets) <= longest:
        raise _BadKey(f"{name} has {len(octets)} bytes")
    return octets


def _number(entry: Mapping[str, object], name: str, longest: int, shortest: int = 1) -> int:
    return int.from_bytes(_octets(entry, name, longest, shortest))


class KeyRing:
    """One key set per issuer, with when it was last confirmed. Belongs to one event loop."""

    def __init__(self) -> None:
        self._sets: dict[str, KeySet] = {}
        self._confirmed: dict[str, float] = {}

    def replace(self, issuer: str, jwks: bytes, wall: float) -> KeySet:
        """Take a newly fetched document. Raises BadKeySet and then keeps what was there.

        The same document again keeps the same `KeySet` object, so that verified tokens stay cached.
        """
        current = self._sets.get(issuer)
        if current is None or current.digest != hashlib.sha256(jwks).digest():
            current = parse_jwks(jwks)
            self._sets[issuer] = current
        self._confirmed[issuer] = wall
        return current

    def remove(self, issuer: str) -> None:
        """The issuer is not believed any more."""
        self._sets.pop(issuer, None)
        self._confirmed.pop(issuer, None)

    def get(self, issuer: str) -> KeySet | None:
        """The issuer's keys, None before the first."""
        return self._sets.get(issuer)

    def age(self, issuer: str, wall: float) -> float | None:
        """Seconds since the issuer's document was last read well, None if it never was."""
        confirmed = self._confirmed.get(issuer)
        return None if confirmed is None else max(0.0, wall - confirmed)
