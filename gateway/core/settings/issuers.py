"""Whose tokens are believed, and where the keys that sign them come from."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from gateway.core.settings.values import Duration, Model, Name

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]


_URL = re.compile(r"https://[^/?#@\s]+")


class KeySource(Model):
    """Where an issuer's keys come from: exactly one of the two."""

    file: str | None = None
    """A JWKS file; a change is noticed by itself."""
    url: str | None = None
    """https only."""
    ca: str | None = None
    """PEM file of the CAs that the URL's certificate is checked against; left out: the system's."""
    refresh: Duration = 300.0
    """The keys are fetched, or the file is read, this often."""
    fetch_interval_min: Duration = 10.0
    """An unknown `kid` starts a fetch at most this often."""
    timeout: Duration = 5.0
    """The longest one fetch may take."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.file is None) == (self.url is None):
            raise ValueError("exactly one of file and url")
        if self.url is not None and not self.url.startswith("https://"):
            raise ValueError("a url that starts with https://; keys fetched in plain text could be anybody's")
        if self.url is not None and _URL.match(self.url) is None:
            raise ValueError("a url with a host name, as in https://issuer.example.com/jwks")
        return self


class Issuer(Model):
    """An authority whose tokens are believed."""

    name: Name
    issuer: Annotated[str, Field(min_length=1)]
    """The exact `iss`."""
    audiences: Annotated[tuple[str, ...], Field(min_length=1)]
    """A token needs one of these, exactly, in its `aud`."""
    keys: KeySource
    """Where the keys that sign its tokens come from."""
    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1)] = ("RS256", "ES256")
    """The signature algorithms that are believed; the key's own must agree."""
    types: Annotated[tuple[str, ...], Field(min_length=1)] = ("at+jwt", "application/at+jwt", "JWT", "")
    """Header `typ` values believed, compared without case; "" stands for an absent one."""
    principal_claim: Annotated[str, Field(min_length=1)] = "sub"
    """The claim whose value is the principal's name; it must be a non-empty string."""
    lifetime_max: Duration = 86400.0
    """The longest time from `iat` (or now, without one) to `exp` that is believed."""
    skew: Duration = 30.0
    """For `nbf` and `iat` only; `exp` is the end."""
