"""What must hold of a token's header and claims, one function per check, in the order of `CLAIM_CHECKS`.

All of it runs before a key is looked up, so that a token that cannot be accepted costs no signature and no fetch.
Nothing decided here on unverified claims is more than a refusal.

A check is given the issuer's settings, the parts and the wall time, and gives None or a refusal. Values are compared
by Python's `==` on strings: all of them are public, so there is no secret whose comparison time could tell anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from gateway.core.keys import KID_CHARS_MAX
from gateway.core.settings import Issuer
from gateway.core.tokens import reasons
from gateway.core.tokens.outcome import Refused
from gateway.core.tokens.parts import Parts

PRINCIPAL_CHARS_MAX = 256
AUDIENCES_MAX = 64

Check = Callable[[Issuer, Parts, float], Refused | None]


def _algorithm(issuer: Issuer, parts: Parts, wall: float) -> Refused | None:
    """RFC 8725 section 3.1. The list is the issuer's; none and HS* are not in the language of the configuration."""
    algorithm = parts.header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in issuer.algorithms:
        return Refused(reasons.ALGORITHM, "alg")
    return None


def _type(issuer: Issuer, parts: Parts, wall: float) -> Refused | None:
    """RFC 8725 section 3.11; "" among the issuer's types stands for an absent typ."""
    kind = parts.header.get("typ", "")
    if not isinstance(kind, str) or kind.lower() not in {name.lower() for name in issuer.types}:
        return Refused(reasons.TYPE, "typ")
    if kind == "" and "typ" in parts.header:
        return Refused(reasons.TYPE, "typ is empty")
    return None


def _critical(issuer: Issuer, parts: Parts, wall: float) -> Refused | None:
    """RFC 7515 section 4.1.11: an extension not understood must be refused, and none is."""
    return Refused(reasons.CRITICAL, "crit") if "crit" in parts.header else None


def _b64(issuer: Issuer, parts: Parts, wall: float) -> Refused | None:
    """RFC 7797; refused with any value, also without crit."""
    return Refused(reasons.B64, "b64") if "b64" in parts.header else None


def _key_reference(issuer: Issuer, parts: Parts, wall: float) -> Refused | None:
    """RFC 8725 sections 3.9 and 3.10. An x5c beside a kid is common and harmless: it is ignored, never read."""
    for member in ("jwk", "jku", "x5u"):
        if member in parts.header:
            return Refused(reasons.KEY_REFERENCE, member)
    return None


def _nested(issuer: Issuer, parts: Parts, wall: float) -> Refused | None:
    """RFC 7519 section 5.2, RFC 7516: a payload that is something else than claims."""
    for member in ("enc", "zip", "cty"):
        if member in parts.header:
            return Refused(reasons.NESTED, member)
    return None


def _key_id(issuer: Issuer, parts: Parts, wall: float) -> Refused | None:
    """A present kid is a short printable string. It is a name looked up in a table, never a path or a query."""
    if "kid" not in parts.header:
        return None
    kid = parts.header["kid"]
    if not isinstance(kid, str) or not 0 < len(kid) <= KID_CHARS_MAX or not kid.isprintable():
        return Refused(reasons.KEY_ID, "kid is not a short printable string")
    return None


def _audience(issuer: Issuer, parts: Parts, wall: float) -> Refused | None:
    """RFC 7519 section 4.1.3: a string, or a list of strings; exact membership, no prefix, no case folding."""
    audience = parts.payload.get("aud")
    audiences = [audience] if isinstance(audience, str) else audience
    if not isinstance(audiences, list) or len(audiences) > AUDIENCES_MAX:
        return Refused(reasons.AUDIENCE, "aud is absent, too long, or neither a string nor a list")
    if not all(isinstance(each, str) for each in audiences):
        return Refused(reasons.AUDIENCE, "aud holds what is no string")
    if not set(audiences) & set(issuer.audiences):
        return Refused(reasons.AUDIENCE, "aud has none of the issuer's audiences")
    return None


def seconds(claims: Mapping[str, object], name: str) -> float | None:
    """A NumericDate (RFC 7519 section 2: a JSON number, fractions allowed) as a finite float, else None.

    True is a number to Python and not to JSON; 1e999 is a number to JSON and infinite to Python. Both give None.
    """
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _expiry(issuer: Issuer, parts: Parts, wall: float) -> Refused | None:
    """`exp` is there, and is a finite number; a fraction is one, as RFC 7519 has it."""
    return Refused(reasons.EXPIRY, "exp") if seconds(parts.payload, "exp") is None else None


def _expired(issuer: Issuer, parts: Parts, wall: float) -> Refused | None:
    """On or after `exp` the token is over: no skew, since the connection ends then, too."""
    expires_at = seconds(parts.payload, "exp")
    return Refused(reasons.EXPIRED, "exp") if expires_at is not None and wall >= expires_at else None


def _lifetime(issuer: Issuer, parts: Parts, wall: float) -> Refused | None:
    """From iat if there is one, and from now in any case: an issuer cannot lengthen it by leaving iat out."""
    expires_at, issued_at = seconds(parts.payload, "exp"), seconds(parts.payload, "iat")
    if expires_at is None:
        return None
    if expires_at - wall > issuer.lifetime_max + (issuer.skew if issued_at is not None else 0.0):
        return Refused(reasons.LIFETIME, "exp is too far away")
    if issued_at is not None and expires_at - issued_at > issuer.lifetime_max:
        return Refused(reasons.LIFETIME, "exp is too long after iat")
    return None


def _not_before(issuer: Issuer, parts: Parts, wall: float) -> Refused | None:
    return _not_in_the_future(issuer, parts, wall, "nbf")


def _issued_at(issuer: Issuer, parts: Parts, wall: float) -> Refused | None:
    return _not_in_the_future(issuer, parts, wall, "iat")


def _not_in_the_future(issuer: Issuer, parts: Parts, wall: float, name: str) -> Refused | None:
    if name not in parts.payload:
        return None
    reason = reasons.NOT_YET_VALID if name == "nbf" else reasons.ISSUED_AT
    since = seconds(parts.payload, name)
    if since is None:
        return Refused(reason, f"{name} is not a finite number")
    return Refused(reason, name) if since > wall + issuer.skew else None


_ACCESS_TYPES = frozenset({"at+jwt", "application/at+jwt"})
_ID_TOKEN_CLAIMS = ("nonce", "at_hash", "c_hash", "s_hash")
_ACCESS_WORDS = {"typ": frozenset({"bearer", "at+jwt", "jwt"}), "token_use": frozenset({"access"})}


def _purpose(issuer: Issuer, parts: Parts, wall: float) -> Refused | None:
    """An access token and nothing else.

    A header typ of at+jwt says so (RFC 9068). A plain JWT must not look like a logout token (`events`, OpenID Connect
    Back-Channel Logout 2.4), an ID token (`nonce`, `at_hash` and its like) or what Keycloak's `typ` and Cognito's
    `token_use` call ID, Refresh or Offline: those two, where present, must be words for access tokens.
    """
    claims = parts.payload
    if "events" in claims:
        return Refused(reasons.PURPOSE, "events")
    for name, words in _ACCESS_WORDS.items():
        if name in claims and str(claims[name]).lower() not in words:
            return Refused(reasons.PURPOSE, name)
    if str(parts.header.get("typ", "")).lower() not in _ACCESS_TYPES:
        for name in _ID_TOKEN_CLAIMS:
            if name in claims:
                return Refused(reasons.PURPOSE, name)
    return None


def _bound(issuer: Issuer, parts: Parts, wall: float) -> Refused | None:
    """RFC 7800, 8705, 9449: whoever presents a bound token must prove its key; nothing here asks for that proof."""
    return Refused(reasons.BOUND, "cnf") if "cnf" in parts.payload else None


def _principal(issuer: Issuer, parts: Parts, wall: float) -> Refused | None:
    """One string that can be a name in a policy and in a log: not empty, not long, nothing invisible, not blank at
    either end."""
    name = parts.payload.get(issuer.principal_claim)
    if not isinstance(name, str) or not 0 < len(name) <= PRINCIPAL_CHARS_MAX:
        return Refused(reasons.PRINCIPAL, "absent, no string, empty, or too long")
    if not name.isprintable() or name != name.strip():
        return Refused(reasons.PRINCIPAL, "not printable")
    return None


CLAIM_CHECKS: tuple[tuple[str, Check], ...] = (
    ("algorithm", _algorithm),
    ("type", _type),
    ("critical", _critical),
    ("b64", _b64),
    ("key-reference", _key_reference),
    ("nested", _nested),
    ("key-id", _key_id),
    ("audience", _audience),
    ("expiry", _expiry),
    ("expired", _expired),
    ("lifetime", _lifetime),
    ("not-before", _not_before),
    ("issued-at", _issued_at),
    ("purpose", _purpose),
    ("bound", _bound),
    ("principal", _principal),
)
