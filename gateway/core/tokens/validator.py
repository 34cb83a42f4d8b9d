"""The validator: parts, issuer, claims, key, signature, in this order, each step by name (`CHECKS`).

PyJWT does the signature's arithmetic (RSA, PSS, ECDSA's raw form, EdDSA); what is accepted at all is decided here,
where every check can be seen and switched off alone by a test. The algorithm that verifies is one that the key may
verify and the issuer is configured for; a header's word for it only has to agree. Outwardly all refusals look alike;
`Refused` is for the audit. Called by the SASL exchange of kafka and, later, by HTTP front ends.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import jwt
from cryptography.exceptions import InvalidSignature

from gateway.core.identity import Principal
from gateway.core.keys import Key, KeyRing, KeySet
from gateway.core.settings import ALGORITHMS, Issuer
from gateway.core.tokens import reasons
from gateway.core.tokens.cache import VerifiedTokens
from gateway.core.tokens.checks import CLAIM_CHECKS, PRINCIPAL_CHARS_MAX, seconds
from gateway.core.tokens.outcome import Accepted, KeyMissing, Outcome, Refused
from gateway.core.tokens.parts import Parts, take_apart

CHECKS: tuple[str, ...] = (
    *("size", "form", "encoding", "json", "duplicate-member"),
    "issuer",
    *(name for name, _ in CLAIM_CHECKS),
    *("key-choice", "key-algorithm", "signature"),
)
"""Every check, in order. `Validator(skip=...)` takes these names, for tests alone."""

TOKEN_ID_CHARS_MAX = 128

_VERIFIERS = {name: jwt.get_algorithm_by_name(name) for name in ALGORITHMS}
"""Public-key algorithms alone: neither none nor an HMAC can be reached, whatever a header says."""


class Validator:
    """Validates tokens of the configured issuers against the ring's keys.

    skip: names of checks left out, so that tests can show what each one keeps out. Production code passes none.
    Two issuers may share an `iss` as long as no listener takes both: a token that could be either's is refused.
    Raises ValueError for an unknown name, or two issuers of the same name.
    """

    def __init__(
        self,
        issuers: Sequence[Issuer],
        keys: KeyRing,
        token_bytes_max: int,
        skip: frozenset[str] = frozenset(),
    ) -> None:
        if unknown := skip - set(CHECKS):
            raise ValueError(f"no such check: {', '.join(sorted(unknown))}")
        if len({issuer.name for issuer in issuers}) != len(issuers):
            raise ValueError("two issuers have the same name")
        self._issuers = tuple(issuers)
        self._keys = keys
        self._token_bytes_max = token_bytes_max
        self._skip = skip
        self._claim_checks = tuple(check for name, check in CLAIM_CHECKS if name not in skip)
        self._verified = VerifiedTokens(keys)

    def use(self, issuers: Sequence[Issuer], token_bytes_max: int) -> None:
        """Believe these issuers from now on, as they are now; nothing verified before counts any more."""
        if tuple(issuers) != self._issuers or token_bytes_max != self._token_bytes_max:
            self._issuers = tuple(issuers)
            self._token_bytes_max = token_bytes_max
            self._verified = VerifiedTokens(self._keys)

    def validate(self, token: str | bytes, issuers: Collection[str], wall: float) -> Outcome:
        """Who the token's bearer is, why it is refused, or which key is missing.

        issuers: names of the issuers this listener takes. wall: seconds since the epoch. Never raises, whatever the
        token is.
        """
        if isinstance(token, str):
            if not token.isascii():
                return Refused(reasons.ENCODING, "not ASCII")
            token = token.encode("ascii")
        if len(token) <= self._token_bytes_max:
            known = self._verified.get(token, wall)
            if known is not None and known.principal.issuer in issuers:
                return known
        parts = take_apart(token, self._token_bytes_max, self._skip)
        if isinstance(parts, Refused):
            return parts
        issuer = self._issuer(parts, issuers)
        if isinstance(issuer, Refused):
            return issuer
        for check in self._claim_checks:
            refused = check(issuer, parts, wall)
            if refused is not None:
                return replace(refused, issuer=issuer.name)
        outcome = self._verify(issuer, parts, token)
        return replace(outcome, issuer=issuer.name) if isinstance(outcome, Refused) else outcome

    def _issuer(self, parts: Parts, issuers: Collection[str]) -> Issuer | Refused:
        """RFC 8725 section 3.8, exact to the last character; a list or a prefix is no issuer."""
        value = parts.payload.get("iss")
        taken = [issuer for issuer in self._issuers if issuer.name in issuers]
        named = taken if "issuer" in self._skip else [issuer for issuer in taken if issuer.issuer == value]
        if not named or (len(named) > 1 and "issuer" not in self._skip):
            return Refused(reasons.ISSUER, "iss of several issuers" if named else "iss")
        return named[0]

    def _verify(self, issuer: Issuer, parts: Parts, token: bytes) -> Outcome:
        key_set = self._keys.get(issuer.name)
        keys = self._candidates(issuer, parts, key_set)
        if isinstance(keys, KeyMissing | Refused):
            return keys
        assert key_set is not None
        if "signature" not in self._skip and not any(self._signed_by(key, parts) for key in keys):
            return Refused(reasons.SIGNATURE, "signature")
        accepted = _accepted(issuer, parts)
        self._verified.put(token, accepted, key_set)
        return accepted

    def _candidates(self, issuer: Issuer, parts: Parts, key_set: KeySet | None) -> Sequence[Key] | KeyMissing | Refused:
        """The one key the token means; several only where a check is switched off."""
        kid = parts.header.get("kid", "")
        algorithm = str(parts.header.get("alg"))
        if key_set is None:
            return KeyMissing(issuer.name, kid if isinstance(kid, str) else "", no_keys=True)
        if not isinstance(kid, str) or "kid" not in parts.header:
            # Without a kid only a choice of one is no guess (RFC 7515 section 4.1.4 leaves kid optional).
            keys = [key for key in key_set.members() if algorithm in key.algorithms or "key-algorithm" in self._skip]
            if not keys:
                return Refused(reasons.KEY_ALGORITHM, "no key for alg")
            if len(keys) > 1 and "key-choice" not in self._skip:
                return Refused(reasons.KEY_ID, "kid is absent and several keys could be meant")
            return keys
        named = key_set.by_kid.get(kid) if kid else None
        if named is None:
            return KeyMissing(issuer.name, kid)
        fitting = [key for key in named if algorithm in key.algorithms]
        if not fitting and "key-algorithm" not in self._skip and "algorithm" not in self._skip:
            return Refused(reasons.KEY_ALGORITHM, "alg")
        return fitting or named

    def _signed_by(self, key: Key, parts: Parts) -> bool:
        """Is the signature this key's? Public-key verification handles no secret, so its timing may differ."""
        for name in _algorithms(key, parts.header.get("alg")):
            try:
                if _VERIFIERS[name].verify(parts.signed, key.public, parts.signature):
                    return True
            except (ValueError, TypeError, InvalidSignature, jwt.PyJWTError):
                continue
        return False


def _algorithms(key: Key, wanted: object) -> Iterable[str]:
    """The header's algorithm where the key may verify it. With "key-algorithm" or "algorithm" switched off a token
    gets here whose alg is another one: then any of the key's type, so that the test sees no second net below."""
    if isinstance(wanted, str) and wanted in key.algorithms:
        return (wanted,)
    family = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
    mine = {family[name[:2]] for name in key.algorithms}
    return [name for name in ALGORITHMS if family[name[:2]] in mine]


def _accepted(issuer: Issuer, parts: Parts) -> Accepted:
    name: Any = parts.payload.get(issuer.principal_claim)
    token_id = parts.payload.get("jti")
    shown = isinstance(token_id, str) and len(token_id) <= TOKEN_ID_CHARS_MAX and token_id.isprintable()
    expires_at = seconds(parts.payload, "exp")
    return Accepted(
        Principal("jwt", issuer.name, str(name)[:PRINCIPAL_CHARS_MAX]),
        MappingProxyType(dict(parts.payload)),
        expires_at if expires_at is not None else 0.0,
        str(token_id) if shown else "",
    )
