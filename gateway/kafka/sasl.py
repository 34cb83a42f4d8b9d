"""The server's side of a SASL exchange, as Kafka's broker holds it, without I/O: OAUTHBEARER and PLAIN with a JWT.

OAUTHBEARER (RFC 7628, KIP-255): the client's first message carries the token. A refused token is answered by the
error JSON as an ordinary challenge, *without* an error code, so that the client can read it; its next message, which
should be a single 0x01, then gets the failure. A message that is not OAUTHBEARER at all fails at once. As the broker
does it: the GS2 flag is `n` (no channel binding), an authzid must be the principal's name, names of extensions are
letters, and extensions carry no weight. More strictly than the broker: a key twice is refused, and after a refusal
nothing but the end follows.

PLAIN (RFC 4616): the password is the token. The user name must be there, as the broker wants it, and is free text:
it names nobody and is never looked at again. An authzid must equal the user name or the principal's name.

Messages for the client are fixed words: every refused token looks like any other. No part of a message is kept after
the step that took it, none is in a result's `repr`. kafka.session wraps this in SaslHandshake and SaslAuthenticate.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field

from gateway.core.reasons import Reason, reason
from gateway.core.session import KeysWanted
from gateway.core.tokens import Accepted, KeyMissing, Outcome, Refused, Validator
from gateway.core.tokens.reasons import CLIENT_SEES, KEY_UNKNOWN, KEYS_UNAVAILABLE

MECHANISMS = ("OAUTHBEARER", "PLAIN")
INVALID_TOKEN = b'{"status":"invalid_token"}'
"""RFC 7628 section 3.2.2; exactly what Kafka's broker sends."""
WRONG_PASSWORD = "Authentication failed: Invalid username or password"  # noqa: S105 (the broker's words)
NAME_CHARS_MAX = 256
"""Of an authzid and of PLAIN's user name (RFC 4616 asks for 255 octets)."""

SASL_MALFORMED = reason(
    "sasl-malformed",
    cause="The client's SASL message is not one of the mechanism it chose.",
    client_sees=CLIENT_SEES,
    remedy="Compare the client's sasl.mechanism with its credentials; PLAIN takes the token as password.",
)
SASL_AUTHZID = reason(
    "sasl-authzid",
    cause="The client asks to act as somebody else than its token says (authorization id).",
    client_sees=CLIENT_SEES,
    remedy="Leave the authorization id out, or set it to the name in the token's principal claim.",
)

_SASLNAME = r"(?:[\x01-\x2b\x2d-\x3c\x3e-\x7f]|=2C|=3D)+"
_FIRST_MESSAGE = re.compile(rf"n,(?:a=(?P<authzid>{_SASLNAME}))?,\x01(?P<pairs>.*\x01)?\x01", re.DOTALL)
_PAIR = re.compile(r"(?P<key>[A-Za-z]+)=(?P<value>[\x21-\x7e \t\r\n]+)")
_AUTH = re.compile(r"(?i:bearer) +(?P<token>[-_.a-zA-Z0-9]+)")
_EXTENSIONS_MAX = 32


@dataclass(frozen=True, slots=True)
class Challenge:
    """Answer with this and error code 0; the exchange goes on with the client's next message."""

    data: bytes
    refused: Refused
    """Why it will fail: for the audit, now, since the client may just go away."""


@dataclass(frozen=True, slots=True)
class Done:
    """Authenticated. `data` is the last answer's bytes (empty in both mechanisms)."""

    accepted: Accepted
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class Failed:
    """Answer SASL_AUTHENTICATION_FAILED (58) with `message`, then close."""

    reason: Reason
    detail: str
    message: str
    data: bytes = b""
    issuer: str = ""
    """The configured issuer that the credential claims to be of, "" for none."""


@dataclass(frozen=True, slots=True)
class NeedKeys:
    """Tell nobody anything yet: ask for the keys, then take the same step again, also if they could not be had."""

    wanted: KeysWanted


Step = Challenge | Done | Failed | NeedKeys


@dataclass(frozen=True, slots=True)
class _Credentials:
    token: str = field(repr=False)
    allowed_ids: frozenset[str] = frozenset()
    """Authorization ids that are fine beside the principal's own name."""
    authzid: str = ""


class _Bad(Exception):
    """The message is not one of the mechanism; says what is wrong with it, without quoting it."""


class SaslExchange:
    """One exchange; a re-authentication (KIP-368) makes a new one.

    issuers: names of the issuers that the listener takes. Raises ValueError for a mechanism not in `MECHANISMS`.
    """

    def __init__(self, mechanism: str, validator: Validator, issuers: Collection[str]) -> None:
        if mechanism not in MECHANISMS:
            raise ValueError(f"no such mechanism: {mechanism}")
        self.mechanism = mechanism
        self._validator = validator
        self._issuers = issuers
        self._asked = False
        self._refused: Refused | None = None

    def step(self, data: bytes, wall: float) -> Step:
        """Take the client's message. After `NeedKeys`, call again with the same message once the keys are told; a
        key that is missing still is then unknown, so that one token waits for one fetch at most."""
        if self._refused is not None:
            # RFC 7628 section 3.2.3: the client answers the error with 0x01. Whatever it is, this is the end.
            return self._failed(self._refused)
        try:
            credentials = _bearer(data) if self.mechanism == "OAUTHBEARER" else _plain(data)
        except _Bad as error:
            return self._failed(Refused(SASL_MALFORMED, str(error)))
        outcome = self._validator.validate(credentials.token, self._issuers, wall)
        if isinstance(outcome, KeyMissing) and not self._asked:
            self._asked = True
            return NeedKeys(KeysWanted(outcome.issuer, outcome.kid))
        return self._concluded(outcome, credentials)

    def _concluded(self, outcome: Outcome, credentials: _Credentials) -> Step:
        match outcome:
            case Accepted(principal=principal):
                if credentials.authzid not in {"", principal.name, *credentials.allowed_ids}:
                    return self._failed(Refused(SASL_AUTHZID, "authzid", principal.issuer))
                return Done(outcome)
            case KeyMissing(issuer=issuer, no_keys=no_keys):
                return self._refuse(Refused(KEYS_UNAVAILABLE if no_keys else KEY_UNKNOWN, issuer, issuer))
            case Refused():
                return self._refuse(outcome)

    def _refuse(self, refused: Refused) -> Step:
        """A token refused: OAUTHBEARER tells it in two steps, PLAIN in one."""
        self._refused = refused
        if self.mechanism == "OAUTHBEARER":
            return Challenge(INVALID_TOKEN, refused)
        return self._failed(refused)

    def _failed(self, refused: Refused) -> Failed:
        self._refused = refused
        if refused.reason is SASL_MALFORMED:
            message = (
                "Authentication failed during authentication due to invalid credentials with SASL mechanism "
                + self.mechanism
            )
        elif refused.reason is SASL_AUTHZID:
            message = "Authentication failed: Client requested an authorization id that is different from its name"
        else:
            message = INVALID_TOKEN.decode() if self.mechanism == "OAUTHBEARER" else WRONG_PASSWORD
        return Failed(refused.reason, refused.detail, message, issuer=refused.issuer)


def _bearer(data: bytes) -> _Credentials:
    """RFC 7628 section 3.1: gs2-header kvsep *kvpair kvsep."""
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        raise _Bad("not ASCII") from None
    message = _FIRST_MESSAGE.fullmatch(text)
    if message is None:
        raise _Bad("not an OAUTHBEARER first message")
    pairs = (message["pairs"] or "").split("\x01")[:-1]
    if len(pairs) > _EXTENSIONS_MAX:
        raise _Bad(f"more than {_EXTENSIONS_MAX} keys")
    values: dict[str, str] = {}
    for pair in pairs:
        found = _PAIR.fullmatch(pair)
        if found is None or found["key"] in values:
            raise _Bad("a key or value that is none, or a key twice")
        values[found["key"]] = found["value"]
    auth = _AUTH.fullmatch(values.get("auth", ""))
    if auth is None:
        raise _Bad("auth is not Bearer and a token")
    # RFC 5801 section 4 spells a comma =2C and an equals sign =3D in a saslname.
    authzid = (message["authzid"] or "").replace("=2C", ",").replace("=3D", "=")
    if len(authzid) > NAME_CHARS_MAX:
        raise _Bad("an authzid too long")
    return _Credentials(auth["token"], authzid=authzid)


def _plain(data: bytes) -> _Credentials:
    """RFC 4616 section 2: [authzid] NUL authcid NUL passwd."""
    try:
        fields = data.decode("utf-8").split("\0", 3)
    except UnicodeDecodeError:
        raise _Bad("not UTF-8") from None
    if len(fields) != 3:
        raise _Bad("not three fields")
    authzid, user, password = fields
    if not user or not password:
        raise _Bad("user name or password is empty")
    if len(user) > NAME_CHARS_MAX or len(authzid) > NAME_CHARS_MAX:
        raise _Bad("a name too long")
    return _Credentials(password, frozenset({user}), authzid)
