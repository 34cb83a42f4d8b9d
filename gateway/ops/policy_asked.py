"""Whom ``gateway policy explain`` asks about: named on the command line, by claims, by a token, or by the audit.

A token is read from standard input only, since a command line is seen by others on the machine, and is never shown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from gateway.core import documents
from gateway.core.documents import FILE_BYTES_MAX, Mistakes
from gateway.core.identity import Address, Certificate, Identity, Principal
from gateway.core.keys import BadKeySet, KeyRing
from gateway.core.policy.trial import SOMEWHERE
from gateway.core.settings import Settings
from gateway.core.strict_json import BadBase64, BadJson, decode_base64url, parse_object
from gateway.core.tokens import Accepted, KeyMissing, Validator

TOKEN_BYTES_MAX = 16 << 10
AUDIT_LINE_MAX = 1 << 20


class CannotAsk(Exception):
    """The command line does not say whom, or what, is asked about. In words for the operator."""


@dataclass(frozen=True, slots=True)
class Asked:
    """`notes`: what of the identity is assumed or was not verified, in words."""

    identity: Identity
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Denied:
    """A denial as the audit tells it."""

    asked: Asked
    backend: str
    kind: str
    operation: str
    resource: str
    wall: float
    revision: str


def by_name(issuer: str, sub: str, claims: Mapping[str, object], address: Address | None) -> Asked:
    notes = () if address else (f"no --from given: the client is taken to be at {SOMEWHERE}",)
    return Asked(Identity(Principal("jwt", issuer, sub), address or SOMEWHERE, dict(claims)), notes)


def by_certificate(fields: Sequence[str], ca: str, address: Address | None) -> Asked:
    """`fields`: ``uri=…``, ``dns=…``, ``subject=…``, ``common_name=…``. Raises CannotAsk."""
    given: dict[str, list[str]] = {"uri": [], "dns": [], "subject": [], "common_name": []}
    for field in fields:
        name, _, value = field.partition("=")
        if name not in given or not value:
            raise CannotAsk(f"--certificate takes FIELD=VALUE, FIELD one of {', '.join(given)}; found {field!r}")
        given[name].append(value)
    subject = "".join(given["subject"][:1])
    common_name = "".join(given["common_name"][:1])
    name = (given["uri"] or [subject or f"CN={common_name}"])[0]
    certificate = Certificate(subject, common_name, tuple(given["uri"]), tuple(given["dns"]), "", 0.0)
    return Asked(Identity(Principal("certificate", ca, name), address or SOMEWHERE, certificate=certificate))


def read_claims(file: Path) -> dict[str, Any]:
    """Claims as a JSON object or as YAML. Raises CannotAsk."""
    try:
        with file.open("rb") as stream:
            content = stream.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise CannotAsk(f"{file}: {error.strerror}") from None
    try:
        return parse_object(content) if content.lstrip()[:1] == b"{" else _mapping(documents.parse(content, str(file)))
    except (BadJson, Mistakes) as error:
        raise CannotAsk(f"{file}: {error}") from None


def _mapping(document: documents.Document) -> dict[str, Any]:
    if not isinstance(document.data, dict):
        raise CannotAsk(f"{document.file}: a mapping of claims is expected")
    return document.data


def by_token(
    token: str, settings: Settings | None, folder: Path, issuer: str | None, address: Address | None, wall: float
) -> Asked:
    """Verified where the configuration has the issuer's keys in a file, else decoded, which the notes say.

    Raises CannotAsk if it is no token, or nobody can tell whose it is.
    """
    unverified = "the token was not verified: "
    if settings is not None:
        keys, unread = _key_ring(settings, folder, wall)
        validator = Validator(settings.issuers, keys, settings.limits.token_bytes_max)
        outcome = validator.validate(token, {each.name for each in settings.issuers}, wall)
        if isinstance(outcome, Accepted):
            identity = Identity(outcome.principal, address or SOMEWHERE, outcome.claims, None, outcome.expires_at)
            return Asked(identity, ("the token was verified",))
        if isinstance(outcome, KeyMissing):
            why = unread.get(outcome.issuer, "the issuer's keys do not have the key it names")
        else:
            why = f"the gateway would refuse it ({outcome.reason.code}: {outcome.reason.cause})"
        unverified += why
    else:
        unverified += "there is no configuration with the issuer's keys"
    try:
        claims = parse_object(decode_base64url(token.encode().split(b".")[1]))
    except (IndexError, BadBase64, BadJson):
        raise CannotAsk("what came on standard input is not a JWT") from None
    issuers = settings.issuers if settings else ()
    known = next((each for each in issuers if issuer in (None, each.name) and each.issuer == claims.get("iss")), None)
    name = issuer or (known.name if known else None)
    if name is None:
        raise CannotAsk("which issuer of the policies is this token's? Give --issuer")
    sub = claims.get(known.principal_claim if known else "sub")
    asked = by_name(name, sub if isinstance(sub, str) else "", claims, address)
    return Asked(asked.identity, (unverified, *asked.notes))


def _key_ring(settings: Settings, folder: Path, wall: float) -> tuple[KeyRing, dict[str, str]]:
    """Keys of the issuers that have them in a file; for the others why not."""
    keys, unread = KeyRing(), {}
    for issuer in settings.issuers:
        if issuer.keys.file is None:
            unread[issuer.name] = "the issuer's keys are at an URL, which this command does not fetch"
            continue
        try:
            keys.replace(issuer.name, (folder / issuer.keys.file).read_bytes(), wall)
        except (OSError, BadKeySet) as error:
            unread[issuer.name] = f"the issuer's key file cannot be used ({type(error).__name__})"
    return keys, unread


def by_decision(decision: str, audit: Path) -> Denied:
    """A denial by its id, and who it was from the same connection's authentication before it. Raises CannotAsk."""
    who: dict[str, Mapping[str, Any]] = {}
    try:
        with audit.open("rb") as stream:
            while line := stream.readline(AUDIT_LINE_MAX):
                event = _line(line)
                connection = str(event.get("connection", ""))
                if event.get("event") in ("authenticated", "reauthenticated"):
                    who[connection] = event
                elif event.get("event") == "closed":
                    who.pop(connection, None)
                elif event.get("event") == "denied" and event.get("decision") == decision:
                    return _denied(event, who.get(connection))
    except OSError as error:
        raise CannotAsk(f"{audit}: {error.strerror}") from None
    raise CannotAsk(f"{audit} has no denial {decision!r}")


def _line(line: bytes) -> Mapping[str, Any]:
    """One audit line, {} if it is none (a line cut by rotation, or by a crash). Lines may hold text before the JSON."""
    start = line.find(b"{")
    try:
        found = json.loads(line[start:]) if start >= 0 else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _denied(event: Mapping[str, Any], authenticated: Mapping[str, Any] | None) -> Denied:
    notes = []
    claims = authenticated.get("claims") if authenticated else None
    if not isinstance(claims, Mapping):
        claims = {}
        notes.append("the audit has no authentication of this connection: nothing is known of the claims")
    principal = _principal(event.get("who", event.get("principal")))
    try:
        address = ip_address(str((authenticated or event).get("address")))
    except ValueError:
        address = SOMEWHERE
        notes.append(f"the audit does not say from where: taken to be {SOMEWHERE}")
    endpoint = str((authenticated or event).get("endpoint", ""))
    certificate = None
    if principal.method == "certificate":
        uris = (principal.name,) if "://" in principal.name else ()
        certificate = Certificate("" if uris else principal.name, "", uris, (), "", 0.0)
        notes.append("of the certificate only what names the principal is in the audit")
    return Denied(
        Asked(Identity(principal, address, claims, certificate, endpoint=endpoint), tuple(notes)),
        backend=str(event.get("backend", "")),
        kind=str(event.get("kind", "")),
        operation=str(event.get("operation", "")),
        resource=str(event.get("resource", "")),
        wall=_seconds(event.get("at", event.get("time"))),
        revision=str(event.get("revision", "")),
    )


def _seconds(at: object) -> float:
    """Seconds since the epoch, or an ISO time."""
    try:
        return datetime.fromisoformat(at).timestamp() if isinstance(at, str) else float(str(at))
    except ValueError:
        raise CannotAsk(f"the audit line's time {at!r} is neither seconds nor an ISO time") from None


def _principal(value: object) -> Principal:
    if isinstance(value, Mapping):
        parts = [str(value.get(field, "")) for field in ("method", "issuer", "name")]
    else:
        parts = str(value).split(":", 2)
    if len(parts) != 3 or parts[0] not in ("jwt", "certificate"):
        raise CannotAsk(f"the audit line's principal {value!r} is not method:issuer:name")
    return Principal("certificate" if parts[0] == "certificate" else "jwt", parts[1], parts[2])
