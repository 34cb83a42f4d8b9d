"""The policy file as types: what can be checked of one file by itself. load checks the rest, over all files.

Scalars come as strings (core.documents). Every list may be written as one value. The sections named after systems
inside a rule are the rule's extra keys, since core knows no system.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator

from gateway.core.identity import ENDPOINT
from gateway.core.policy.claims import CLAIM_PATH_PARTS_MAX
from gateway.core.rights import Quota
from gateway.core.settings import Model, Name, Network

DEFAULT_QUOTA = Quota(produce_bytes=10 << 20, consume_bytes=50 << 20, requests=1000, connections=100)
"""What a principal may use where no limit row, or no word in its row, says otherwise."""

EXPIRY_WARNING_DAYS = 14
OUTCOMES = ("allowed", "no-rule", "no-binding", "network", "expired")
"""Words that `Decision.why` may hold besides the id of a deny; no rule may take one as its id."""

_RATE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)\s*(B|KiB|MiB|GiB)?\s*/\s*s")
_UNITS = {None: 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def _bytes_rate(value: object) -> object:
    match = _RATE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or match[2] is None or float(match[1]) == 0:
        raise ValueError("a rate above zero such as 500 KiB/s or 50 MiB/s")
    return float(match[1]) * _UNITS[match[2]]


def _count_rate(value: object) -> object:
    match = _RATE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or match[2] is not None or float(match[1]) == 0:
        raise ValueError("a rate above zero such as 2000/s")
    return float(match[1])


def _day(value: object) -> object:
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    raise ValueError("a day such as 2027-03-31")


def _several(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _plain(value: str) -> str:
    if not value or "*" in value or "${" in value:
        raise ValueError("the value written out; no * and no ${...} here")
    return value


def _claim_path(value: str) -> str:
    parts = value.split(".")
    if not all(parts) or len(parts) > CLAIM_PATH_PARTS_MAX:
        raise ValueError("a claim's name, or a dotted path to it such as realm_access.roles")
    return value


def _trailing_star(value: str) -> str:
    if not value or "*" in value[:-1] or "${" in value:
        raise ValueError("the value written out, with a * at its end at most")
    return value


def _endpoint(value: str) -> str:
    if not ENDPOINT.fullmatch(value):
        raise ValueError("an endpoint's id, whole: vpce-..., azure-NUMBER or gcp-NUMBER")
    return value


def _rule_id(value: str) -> str:
    if value in OUTCOMES:
        raise ValueError(f"a name other than {', '.join(OUTCOMES)}")
    return value


Plain = Annotated[str, AfterValidator(_plain)]
ClaimPath = Annotated[str, AfterValidator(_claim_path)]
TrailingStar = Annotated[str, AfterValidator(_trailing_star)]
Endpoint = Annotated[str, AfterValidator(_endpoint)]
Words = Annotated[tuple[str, ...], BeforeValidator(_several), Field(min_length=1)]
Names = Annotated[tuple[Name, ...], BeforeValidator(_several), Field(min_length=1)]
PlainWords = Annotated[tuple[Plain, ...], BeforeValidator(_several), Field(min_length=1)]
Day = Annotated[date, BeforeValidator(_day)]
BytesRate = Annotated[float, BeforeValidator(_bytes_rate)]
CountRate = Annotated[float, BeforeValidator(_count_rate)]


class Rule(Model):
    """Allow or deny verbs on resources."""

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, dict[str, Words]]

    allow: Words | None = None
    deny: Words | None = None
    id: Annotated[Name, AfterValidator(_rule_id)] | None = None
    backends: Names | None = None

    @property
    def systems(self) -> dict[str, dict[str, Words]]:
        """System -> kind -> patterns, as written."""
        return self.__pydantic_extra__

    @property
    def verbs(self) -> Words:
        verbs = self.allow if self.allow is not None else self.deny
        assert verbs is not None
        return verbs

    @model_validator(mode="after")
    def _one_effect(self) -> Self:
        if (self.allow is None) == (self.deny is None):
            raise ValueError("exactly one of allow and deny")
        return self


class CertificateTo(Model):
    """A client certificate; everything given must hold. `ca` is a listener's `client_ca_name`."""

    ca: Name | None = None
    uri: TrailingStar | None = None
    dns: TrailingStar | None = None
    subject: TrailingStar | None = None
    common_name: TrailingStar | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not any((self.uri, self.dns, self.subject, self.common_name)):
            raise ValueError("at least one of uri, dns, subject, common_name")
        return self


class To(Model):
    """Whom a binding or limit concerns: token holders of an issuer, or holders of a certificate."""

    issuer: Name | None = None
    sub: Plain | None = None
    """The principal's name: the token's `sub`, or what the issuer's `principal_claim` names."""
    claims: dict[ClaimPath, PlainWords] = Field(default_factory=dict)
    certificate: CertificateTo | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.issuer is None) == (self.certificate is None):
            raise ValueError("exactly one of issuer and certificate")
        if self.issuer is None and (self.sub is not None or self.claims):
            raise ValueError("issuer as well; sub and claims mean nothing without it")
        return self


def _any_to(value: object) -> object:
    if isinstance(value, str) and value != "any":
        raise ValueError("any, or a mapping with issuer or certificate")
    return None if value == "any" else value if value is not None else {}


Whom = Annotated[To | None, BeforeValidator(_any_to)]
"""None is ``any``: everybody who has been authenticated."""


class Binding(Model):
    """Gives roles to principals."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    roles: Names
    to: Whom
    networks: Annotated[tuple[Network, ...], BeforeValidator(_several), Field(min_length=1)] | None = Field(
        default=None, alias="from"
    )
    endpoints: Annotated[tuple[Endpoint, ...], BeforeValidator(_several), Field(min_length=1)] | None = Field(
        default=None, alias="endpoint"
    )
    """Private-link endpoints that the client must come through, as a balancer's PROXY protocol header names them."""
    expires: Day | None = None
    """The last day (UTC) on which the binding holds."""
    owner: Annotated[str, Field(min_length=1)] | None = None

    @property
    def ends(self) -> float | None:
        """The midnight after `expires`, seconds since the epoch."""
        if self.expires is None:
            return None
        return datetime(self.expires.year, self.expires.month, self.expires.day, tzinfo=UTC).timestamp() + 86400


class Limit(Model):
    """What one principal may use, over all its connections. A word left out is the built-in default's."""

    to: Whom
    produce: BytesRate = DEFAULT_QUOTA.produce_bytes
    consume: BytesRate = DEFAULT_QUOTA.consume_bytes
    requests: CountRate = DEFAULT_QUOTA.requests
    connections: Annotated[int, Field(gt=0, le=1_000_000)] = DEFAULT_QUOTA.connections
    producers: Annotated[int, Field(gt=0, le=1_000_000)] = DEFAULT_QUOTA.producers
    consumers: Annotated[int, Field(gt=0, le=1_000_000)] = DEFAULT_QUOTA.consumers

    @property
    def quota(self) -> Quota:
        return Quota(self.produce, self.consume, self.requests, self.connections, self.producers, self.consumers)


class PolicyFile(Model):
    """One file of a policy set."""

    version: Literal["1"]
    roles: dict[Name, Annotated[tuple[Rule, ...], Field(min_length=1)]] = Field(default_factory=dict)
    bindings: tuple[Binding, ...] = ()
    limits: tuple[Limit, ...] = ()
    end: Literal["true"]
    """A file cut short is not a policy."""
