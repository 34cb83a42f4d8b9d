"""The client's side of a SASL exchange, without I/O: PLAIN, SCRAM-SHA-256/512 and OAUTHBEARER.

`first` gives the first message, `step` takes the server's message and gives the next one. Whether it ended well is for
the server to say in PLAIN and OAUTHBEARER; in SCRAM (RFC 5802, RFC 7677) the server has to prove itself too: the
exchange is `complete` only when its signature was verified. Refused there: a nonce that does not begin with ours or
adds nothing, fewer than 4096 iterations (a server that asks for few wants to guess the password) or absurdly many,
unknown mandatory extensions, an error, a wrong signature, anything not of the message's form.

Names and passwords are prepared by SASLprep (RFC 4013). Used by kafka.login; holds a secret only until it ends.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import stringprep
import unicodedata
from collections.abc import Callable
from functools import lru_cache

from gateway.core.accounts import Credential, LoginFailed
from gateway.kafka.login_reasons import ACCOUNT_REFUSED, ACCOUNT_SECRET_UNFIT, SERVER_UNPROVEN

ITERATIONS_MIN = 4096
"""RFC 7677 section 4; Kafka's own least."""
ITERATIONS_MAX = 131_072
"""Kafka's most is 16,384. The hash is computed while everybody waits."""
SERVER_NONCE_MAX = 256
"""Characters of a nonce, ours included."""
SALT_BYTES_MAX = 256
MESSAGE_BYTES_MAX = 4096
"""Of a server's message."""
SALTED_MAX = 16
"""Salted passwords that are remembered, so that a connection costs no 4096 hashes."""

_HASHES = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}
_SERVER_FIRST = re.compile(
    r"r=(?P<nonce>[\x21-\x2b\x2d-\x7e]+),s=(?P<salt>[A-Za-z0-9/+=]+),i=(?P<i>[1-9][0-9]{0,8})(?:,[A-Za-z]=[^,]*)*"
)
_SERVER_FINAL = re.compile(r"v=(?P<signature>[A-Za-z0-9/+=]+)(?:,[A-Za-z]=[^,]*)*")
_SERVER_ERROR = re.compile(r"e=(?P<error>[a-z-]{1,64})")
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")

MECHANISMS = ("PLAIN", *_HASHES, "OAUTHBEARER")


class Plain:
    """RFC 4616. Complete once the server agrees."""

    complete = True

    def __init__(self, credential: Credential) -> None:
        self._message = f"\0{_prepared(credential.username)}\0{_prepared(credential.secret)}".encode()

    def first(self) -> bytes:
        return self._message

    def step(self, data: bytes) -> bytes:
        """Raises LoginFailed: PLAIN has no second message."""
        raise LoginFailed(SERVER_UNPROVEN, "a challenge in PLAIN")


class Bearer:
    """RFC 7628. A challenge is the server's error; it is told that it was heard, and then says so by an error code."""

    complete = True

    def __init__(self, credential: Credential) -> None:
        if not _TOKEN.fullmatch(credential.secret):
            raise LoginFailed(ACCOUNT_SECRET_UNFIT, "not a bearer token")
        self._message = f"n,,\x01auth=Bearer {credential.secret}\x01\x01".encode()
        self._challenged = False

    def first(self) -> bytes:
        return self._message

    def step(self, data: bytes) -> bytes:
        """The server's error is answered by a single 0x01 (section 3.2.3), once. Raises LoginFailed."""
        if self._challenged:
            raise LoginFailed(ACCOUNT_REFUSED, "the token")
        self._challenged = True
        self.complete = False
        return b"\x01"


class Scram:
    """RFC 5802 without channel binding, for one hash."""

    def __init__(self, credential: Credential, nonce: Callable[[], str]) -> None:
        self._hash = _HASHES[credential.mechanism]
        self._password = _prepared(credential.secret)
        self._nonce = nonce()
        name = _prepared(credential.username).replace("=", "=3D").replace(",", "=2C")
        self._bare = f"n={name},r={self._nonce}"
        self._signature: bytes | None = None
        self.complete = False

    def first(self) -> bytes:
        return ("n,," + self._bare).encode()

    def step(self, data: bytes) -> bytes | None:
        """The proof, for the server's challenge; None, once it has proven itself. Raises LoginFailed."""
        text = _text(data)
        if self.complete:
            raise LoginFailed(SERVER_UNPROVEN, "a message after the last")
        if self._signature is None:
            return self._prove(text)
        self._verify(text)
        return None

    def _prove(self, text: str) -> bytes:
        message = _SERVER_FIRST.fullmatch(text)
        if message is None:
            raise _unproven(text, "the first message is none of SCRAM's")
        nonce, iterations = message["nonce"], int(message["i"])
        if not nonce.startswith(self._nonce) or len(nonce) == len(self._nonce) or len(nonce) > SERVER_NONCE_MAX:
            raise LoginFailed(SERVER_UNPROVEN, "the nonce is not ours with the server's behind it")
        if not ITERATIONS_MIN <= iterations <= ITERATIONS_MAX:
            raise LoginFailed(SERVER_UNPROVEN, f"{iterations} iterations, of {ITERATIONS_MIN} to {ITERATIONS_MAX}")
        salt = _decoded(message["salt"])
        if not 0 < len(salt) <= SALT_BYTES_MAX:
            raise LoginFailed(SERVER_UNPROVEN, "the salt's length")
        salted = _salted(self._hash, self._password, salt, iterations)
        self._password = ""
        without_proof = f"c=biws,r={nonce}"
        signed = f"{self._bare},{text},{without_proof}".encode()
        client_key = self._mac(salted, b"Client Key")
        client_signature = self._mac(hashlib.new(self._hash, client_key).digest(), signed)
        self._signature = self._mac(self._mac(salted, b"Server Key"), signed)
        proof = bytes(ours ^ theirs for ours, theirs in zip(client_key, client_signature, strict=True))
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()

    def _verify(self, text: str) -> None:
        assert self._signature is not None
        message = _SERVER_FINAL.fullmatch(text)
        if message is None:
            raise _unproven(text, "the last message is none of SCRAM's")
        if not hmac.compare_digest(_decoded(message["signature"]), self._signature):
            raise LoginFailed(SERVER_UNPROVEN, "the server's signature: it does not know the password")
        self.complete = True

    def _mac(self, key: bytes, data: bytes) -> bytes:
        return hmac.digest(key, data, self._hash)


Exchange = Plain | Bearer | Scram


def new_nonce() -> str:
    """192 random bits in printable characters without a comma."""
    return secrets.token_urlsafe(24)


def exchange(credential: Credential, nonce: Callable[[], str] = new_nonce) -> Exchange:
    """The exchange of a credential's mechanism, one of MECHANISMS. Raises LoginFailed where it cannot be sent."""
    if credential.mechanism == "PLAIN":
        return Plain(credential)
    if credential.mechanism == "OAUTHBEARER":
        return Bearer(credential)
    return Scram(credential, nonce)


@lru_cache(SALTED_MAX)
def _salted(name: str, password: str, salt: bytes, iterations: int) -> bytes:
    return hashlib.pbkdf2_hmac(name, password.encode(), salt, iterations)


def _text(data: bytes) -> str:
    if len(data) > MESSAGE_BYTES_MAX:
        raise LoginFailed(SERVER_UNPROVEN, "a message too long")
    try:
        return data.decode("ascii")
    except UnicodeDecodeError:
        raise LoginFailed(SERVER_UNPROVEN, "a message that is no text") from None


def _unproven(text: str, words: str) -> LoginFailed:
    error = _SERVER_ERROR.fullmatch(text)
    return LoginFailed(ACCOUNT_REFUSED, error["error"]) if error else LoginFailed(SERVER_UNPROVEN, words)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise LoginFailed(SERVER_UNPROVEN, "broken base64") from None


_PROHIBITED = (
    stringprep.in_table_c12, stringprep.in_table_c21_c22, stringprep.in_table_c3, stringprep.in_table_c4,
    stringprep.in_table_c5, stringprep.in_table_c6, stringprep.in_table_c7, stringprep.in_table_c8,
    stringprep.in_table_c9, stringprep.in_table_a1,
)  # fmt: skip


def _prepared(text: str) -> str:
    """SASLprep (RFC 4013) of a name or password. Raises LoginFailed."""
    if text.isascii() and text.isprintable() and text:
        return text
    mapped = "".join(
        " " if stringprep.in_table_c12(each) else each for each in text if not stringprep.in_table_b1(each)
    )
    made = unicodedata.normalize("NFKC", mapped)
    if not made or any(prohibited(each) for each in made for prohibited in _PROHIBITED):
        raise LoginFailed(ACCOUNT_SECRET_UNFIT, "a character that SASLprep (RFC 4013) forbids, or nothing at all")
    right_to_left = [stringprep.in_table_d1(each) for each in made]
    if any(right_to_left):
        mixed = any(stringprep.in_table_d2(each) for each in made)
        if mixed or not (right_to_left[0] and right_to_left[-1]):
            raise LoginFailed(ACCOUNT_SECRET_UNFIT, "a mixture of writing directions that SASLprep forbids")
    return made
