"""A token issuer for tests: keys, the JWKS file that a gateway reads, and tokens, good ones and forged ones.

issuer = TokenIssuer("https://issuer.test", audience="kafka")
issuer.write_jwks(path)
token = issuer.token("svc-orders", groups=["payments-devs"], lifetime=60)
forged = issuer.token("svc-orders", key=another_issuer.key)
"""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class TokenIssuer:
    """One signing key (`algorithm` RS256 or ES256) under one `kid`, and what its tokens say by default."""

    def __init__(
        self,
        url: str = "https://issuer.test",
        *,
        name: str = "test",
        audience: str = "kafka",
        algorithm: str = "ES256",
    ) -> None:
        self.url = url
        self.name = name
        """The issuer's name in the gateway's configuration."""
        self.audience = audience
        self.algorithm = algorithm
        self.kid = f"{name}-1"
        self.key = _new_key(algorithm)

    def jwks(self) -> dict[str, Any]:
        """The public half, as a JWKS document."""
        public = self.key.public_key()
        if isinstance(public, rsa.RSAPublicKey):
            made = RSAAlgorithm.to_jwk(public, as_dict=True)
        else:
            made = ECAlgorithm.to_jwk(public, as_dict=True)
        made.pop("key_ops", None)
        return {"keys": [{**made, "kid": self.kid, "alg": self.algorithm, "use": "sig"}]}

    def write_jwks(self, path: Path) -> Path:
        path.write_text(json.dumps(self.jwks()))
        return path

    def rotate(self) -> None:
        """A new key under a new `kid`."""
        serial = int(self.kid.rpartition("-")[2]) + 1
        self.kid = f"{self.name}-{serial}"
        self.key = _new_key(self.algorithm)

    def token(
        self,
        subject: str,
        *,
        lifetime: float = 600.0,
        key: Key | None = None,
        headers: dict[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        """A signed access token. `claims` override or add; a claim given as None is left out; `key` signs instead."""
        now = time.time()
        body = {
            "iss": self.url, "aud": self.audience, "sub": subject, "iat": int(now), "exp": int(now + lifetime),
            "jti": uuid.uuid4().hex,
        } | claims  # fmt: skip
        return jwt.encode(
            {name: value for name, value in body.items() if value is not None},
            key or self.key,
            algorithm=self.algorithm,
            headers={"kid": self.kid, "typ": "at+jwt", **(headers or {})},
        )


def _new_key(algorithm: str) -> Key:
    if algorithm.startswith("RS"):
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return ec.generate_private_key(ec.SECP256R1())
