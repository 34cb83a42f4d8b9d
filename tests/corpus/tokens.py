"""Builds the tokens that tokens.yaml describes, with keys made for this run."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jwt
import yaml
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from gateway.core.keys import KeyRing
from gateway.core.settings import ALGORITHMS, Issuer, KeySource

NOW = 1_800_000_000.0
OF_THE_FUTURE = frozenset({"token-not-yet-valid", "token-issued-at"})
SHOWN_WITHIN = 60
"""Seconds after it was built within which a token of the future is shown to a gateway that has a clock of its own."""
ISS = {"corp": "https://issuer.example/realms/corp", "partner": "https://partner.example"}
AUD = {"corp": "kafka-gateway", "partner": "partner-gateway"}
TOKEN_BYTES_MAX = 16 << 10


@dataclass(frozen=True)
class Case:
    """One row of the corpus."""

    name: str
    expect: str
    off: frozenset[str]
    remains: str
    row: dict[str, Any]


def cases() -> list[Case]:
    rows = yaml.safe_load((Path(__file__).parent / "tokens.yaml").read_text())["tokens"]
    return [
        Case(row["name"], row["expect"], frozenset(row.get("without", ())), row.get("remains", ""), row) for row in rows
    ]


def now_for(case: Case, clock: float) -> float:
    """What NOW has to be where a gateway's own clock judges: a token of the future must not come late there."""
    return float(int(clock) + SHOWN_WITHIN * (case.expect in OF_THE_FUTURE))


@cache
def key(name: str) -> Any:
    """The private key of a name; made once a run."""
    if name in ("ec256", "partner-ec", "other-ec"):
        return ec.generate_private_key(ec.SECP256R1())
    if name == "ec384":
        return ec.generate_private_key(ec.SECP384R1())
    if name == "ec521":
        return ec.generate_private_key(ec.SECP521R1())
    if name == "ed":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(65537, 1024 if name == "weak" else 2048)


def jwk(name: str, **more: Any) -> dict[str, Any]:
    """The public key as a JWK."""
    public = key(name).public_key()
    if isinstance(public, rsa.RSAPublicKey):
        made = jwt.algorithms.RSAAlgorithm.to_jwk(public, as_dict=True)
    elif isinstance(public, ec.EllipticCurvePublicKey):
        made = jwt.algorithms.ECAlgorithm.to_jwk(public, as_dict=True)
    else:
        made = jwt.algorithms.OKPAlgorithm.to_jwk(public, as_dict=True)
    made.pop("key_ops", None)
    return {**made, "kid": name, **more}


OCT_SECRET = b"a symmetric key that was published by mistake"


def jwks(issuer: str) -> bytes:
    if issuer == "partner":
        return json.dumps({"keys": [jwk("partner-ec"), jwk("partner-rsa", alg="RS256")]}).encode()
    keys = [
        jwk("rsa", alg="RS256", use="sig"), jwk("rsa-any"), jwk("ec256"), jwk("ec384"), jwk("ec521"), jwk("ed"),
        jwk("twin"), {**jwk("other"), "kid": "twin"}, jwk("enc", use="enc"), jwk("weak"),
        {"kty": "oct", "kid": "oct", "k": base64.urlsafe_b64encode(OCT_SECRET).decode().rstrip("=")},
        {"kty": "RSA", "kid": "broken", "n": "!!", "e": 3}, 7,
    ]  # fmt: skip
    return json.dumps({"keys": keys}).encode()


def issuers() -> list[Issuer]:
    source = KeySource(file="unused")
    return [
        Issuer(name="corp", issuer=ISS["corp"], audiences=(AUD["corp"],), keys=source, algorithms=ALGORITHMS),
        Issuer(name="partner", issuer=ISS["partner"], audiences=(AUD["partner"],), keys=source, algorithms=("ES256",)),
        Issuer(name="untaken", issuer="https://untaken.example", audiences=(AUD["corp"],), keys=source),
    ]


TAKEN = ("corp", "partner")


def ring() -> KeyRing:
    made = KeyRing()
    for issuer in TAKEN:
        made.replace(issuer, jwks(issuer), NOW)
    return made


def _value(value: Any) -> Any:
    if isinstance(value, list):
        return [_value(each) for each in value]
    if not isinstance(value, str) or not value.startswith("@"):
        return value
    if value.startswith("@now"):
        shift = value[4:]
        return int(NOW) + int(shift) if "." not in shift else NOW + float(shift)
    if value == "@other-jwk":
        return jwk("other")
    if "*" in value:
        text, count = value[1:].split("*")
        return text * int(count)
    return value


def _laid(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = {**base, **{name: _value(value) for name, value in over.items()}}
    return {name: value for name, value in merged.items() if value != "@absent"}


_WHOLE = {
    "all-list": b'["iss"]',
    "all-string": b'"iss"',
    "all-latin": '{"iss": "é"}'.encode("latin-1"),
    "all-deep": b'{"a":' + b"[" * 2000 + b"]" * 2000 + b"}",
    "all-digits": b'{"exp":' + b"9" * 9000 + b"}",
    "all-bom": b'\xef\xbb\xbf{"iss":1}',
    "all-nested": b"eyJhbGciOiJub25lIn0.e30.",
}


def _json(value: dict[str, Any], edit: Any) -> bytes:
    if isinstance(edit, str):
        return _WHOLE[edit]
    text = json.dumps(value)
    if edit:
        old, new = edit
        if "@9*400" in new:
            new = new.replace("@9*400", "9" * 400)
        assert old in text, (old, text)
        text = text.replace(old, new, 1)
    return text.encode()


def b64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def _written(data: bytes, how: str | None) -> bytes:
    if how == "stray-bits":
        text = b64(data)
        assert len(text) % 4, "has no stray bits to set"
        return text[:-1] + _LETTERS[_LETTERS.index(text[-1]) + 1 :][:1]
    text = b64(data)
    if how == "padded":
        return text + b"=" * (-len(text) % 4 or 4)
    if how == "newline":
        return text[:10] + b"\n" + text[10:]
    if how == "standard":
        changed = text.replace(b"-", b"+").replace(b"_", b"/")
        assert changed != text, "uses no letter that differs"
        return changed
    return text


def _with_room(value: dict[str, Any], how: str | None, edit: Any) -> bytes:
    """The JSON, spaced so that its base64 has room for stray bits or padding."""
    data = _json(value, edit)
    while how in ("stray-bits", "padded") and len(data) % 3 != 1:
        data = data[:-1] + b" }"
    return data


def sign(signed: bytes, how: dict[str, Any]) -> bytes:
    if how.get("none"):
        return b""
    if "hmac" in how:
        public = key("rsa").public_key()
        pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        secrets = {
            "pem": pem, "pem-spaced": b" " + pem, "der": der, "empty": b"", "oct": OCT_SECRET,
            "jwk": json.dumps(jwk("rsa", alg="RS256", use="sig")).encode(),
        }  # fmt: skip
        return hmac.new(secrets[how["hmac"]], signed, hashlib.sha256).digest()
    if how.get("der"):
        der_signature: bytes = key(how["key"]).sign(signed, ec.ECDSA(hashes.SHA256()))
        return der_signature
    return jwt.get_algorithm_by_name(how["alg"]).sign(signed, key(how["key"]))


def build(row: dict[str, Any]) -> bytes:
    """The token of a row of the corpus."""
    issuer = row.get("issuer", "corp")
    how = {**({"key": "rsa", "alg": "RS256"} if issuer == "corp" else {"key": "partner-ec", "alg": "ES256"})}
    how.update(row.get("sign", {}))
    header = _laid({"alg": how["alg"], "typ": "at+jwt", "kid": how.get("by", how["key"])}, row.get("header", {}))
    claims = _laid(
        {
            "iss": ISS[issuer], "aud": AUD[issuer], "sub": "alice", "jti": "token-1",
            "iat": int(NOW), "exp": int(NOW) + 300,
        },
        row.get("claims", {}),
    )  # fmt: skip
    edit, write = row.get("edit", {}), row.get("write", {})
    first = _written(_with_room(header, write.get("header"), edit.get("header")), write.get("header"))
    second = _written(_with_room(claims, write.get("payload"), edit.get("payload")), write.get("payload"))
    signed = first + b"." + second
    third = _written(sign(signed, how), write.get("signature"))
    return _after(row.get("after"), first, second, third, claims)


def _after(what: str | None, first: bytes, second: bytes, third: bytes, claims: dict[str, Any]) -> bytes:
    token = b".".join((first, second, third))
    other = b64(json.dumps({**claims, "sub": "root"}).encode())
    parts = {"payload": second.decode(), "protected": first.decode(), "signature": third.decode()}
    general = {"payload": parts["payload"], "signatures": [{"protected": first.decode(), "signature": third.decode()}]}
    done = {
        None: token,
        "fourth-part": token + b".e30",
        "jwe": b".".join(
            (b64(b'{"alg":"RSA-OAEP","enc":"A256GCM"}'), b64(b"k" * 256), b64(b"i" * 12), b64(b"c"), b"dA")
        ),
        "json-flattened": json.dumps(parts).encode(),
        "json-general": json.dumps(general).encode(),
        "two-parts": first + b"." + second,
        "empty": b"",
        "dots": b"..",
        "broken-base64": first[:-3] + b"*." + second + b"." + third,
        "newline": token + b"\n",
        "other-sub": b".".join((first, other, third)),
        "short-signature": b".".join((first, second, b64(base64.urlsafe_b64decode(third + b"==")[:-1]))),
        "zero-signature": b".".join((first, second, b64(bytes(64)))),
    }
    return done[what]


def sound(**row: Any) -> bytes:
    """A sound token of corp, with the same words as a row of the corpus."""
    return build(row)
