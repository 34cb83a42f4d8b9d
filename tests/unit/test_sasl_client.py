"""The client's side of SASL, against the examples of the RFCs and against servers that lie."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from gateway.core.accounts import Credential, LoginFailed
from gateway.kafka import login_reasons as reasons
from gateway.kafka import sasl_client
from gateway.kafka.sasl_client import exchange, new_nonce

NONCE = "rOprNGfwEbeRWgbNEkqO"


def scram(
    mechanism: str = "SCRAM-SHA-256", username: str = "user", secret: str = "pencil", nonce: str = NONCE
) -> sasl_client.Scram:
    made = exchange(Credential(mechanism, username, secret), lambda: nonce)
    assert isinstance(made, sasl_client.Scram)
    return made


class Server:
    """A SCRAM server that knows the password; what it says can be altered."""

    def __init__(self, mechanism: str = "SCRAM-SHA-256", password: str = "pencil", iterations: int = 4096) -> None:
        self.name = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}[mechanism]
        self.salt = b"a salt of its own"
        self.iterations = iterations
        self.salted = hashlib.pbkdf2_hmac(self.name, password.encode(), self.salt, iterations)

    def challenge(self, first: bytes, nonce: str | None = None) -> bytes:
        self.bare = first.decode().removeprefix("n,,")
        ours = self.bare.partition(",r=")[2]
        made = nonce if nonce is not None else ours + "theirs"
        self.first = f"r={made},s={base64.b64encode(self.salt).decode()},i={self.iterations}"
        return self.first.encode()

    def verdict(self, final: bytes) -> bytes:
        without, _, proof = final.decode().partition(",p=")
        signed = f"{self.bare},{self.first},{without}".encode()
        stored = hashlib.new(self.name, hmac.digest(self.salted, b"Client Key", self.name)).digest()
        signature = hmac.digest(stored, signed, self.name)
        key = bytes(a ^ b for a, b in zip(base64.b64decode(proof), signature, strict=True))
        if hashlib.new(self.name, key).digest() != stored:
            return b"e=invalid-proof"
        made = hmac.digest(hmac.digest(self.salted, b"Server Key", self.name), signed, self.name)
        return b"v=" + base64.b64encode(made)


def refused(made: sasl_client.Exchange, message: bytes) -> LoginFailed:
    with pytest.raises(LoginFailed) as caught:
        made.step(message)
    return caught.value


def test_the_example_of_rfc_7677() -> None:
    made = scram()
    assert made.first() == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    final = made.step(b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")
    assert final == (
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    assert not made.complete
    assert made.step(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=") is None
    assert made.complete


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_a_server_that_knows_the_password_is_believed(mechanism: str) -> None:
    made, server = scram(mechanism), Server(mechanism)
    final = made.step(server.challenge(made.first()))
    assert final is not None
    assert made.step(server.verdict(final)) is None
    assert made.complete


@pytest.mark.parametrize("nonce", ["", NONCE, "x" + NONCE, NONCE[:-1] + "Xtheirs", "theirs", NONCE + "x" * 300])
def test_an_altered_nonce_is_refused(nonce: str) -> None:
    """The mirror of CVE-2024-56128: whoever cannot echo our nonce replays an old exchange."""
    made, server = scram(), Server()
    assert refused(made, server.challenge(made.first(), nonce)).reason is reasons.SERVER_UNPROVEN
    assert not made.complete


@pytest.mark.parametrize("iterations", [1, 4095, 131_073, 999_999_999])
def test_too_few_or_too_many_iterations_are_refused_before_any_hash(iterations: int) -> None:
    made, server = scram(), Server()
    server.iterations = iterations
    failed = refused(made, server.challenge(made.first()))
    assert failed.reason is reasons.SERVER_UNPROVEN
    assert str(iterations) in failed.detail


def test_a_server_that_does_not_know_the_password_is_refused() -> None:
    made, server = scram(), Server(password="pen")
    final = made.step(server.challenge(made.first()))
    assert final is not None
    liar = b"v=" + base64.b64encode(bytes(32))
    assert refused(made, liar).reason is reasons.SERVER_UNPROVEN
    assert not made.complete


def test_every_altered_signature_is_refused() -> None:
    made, server = scram(), Server()
    final = made.step(server.challenge(made.first()))
    assert final is not None
    good = base64.b64decode(server.verdict(final)[2:])
    for altered in (good[:-1], good + b"\0", bytes([good[0] ^ 1]) + good[1:], good[:-1] + bytes([good[-1] ^ 0x80])):
        assert refused(made, b"v=" + base64.b64encode(altered)).reason is reasons.SERVER_UNPROVEN
        assert not made.complete


@pytest.mark.parametrize(
    "message",
    [
        b"", b"v=", b"r=x", b"\xff\xfe", b"r=,s=,i=", b"x" * 5000,
        b"m=must,r=" + NONCE.encode() + b"abc,s=QUJD,i=4096",
        b"r=" + NONCE.encode() + b"abc,s=QUJD,i=04096",
        b"r=" + NONCE.encode() + b"abc,s=QUJD,i=4096.0",
        b"r=" + NONCE.encode() + b"abc,s=Q,i=4096",
        b"r=" + NONCE.encode() + b"abc,s=====,i=4096",
        b"r=" + NONCE.encode() + b"abc,i=4096,s=QUJD",
    ],
)  # fmt: skip
def test_what_is_no_first_message_is_refused(message: bytes) -> None:
    made = scram()
    made.first()
    assert refused(made, message).reason is reasons.SERVER_UNPROVEN


@pytest.mark.parametrize("message", [b"", b"v", b"v=!", b"e=Other Error", b"r=x,s=QUJD,i=4096"])
def test_what_is_no_last_message_is_refused(message: bytes) -> None:
    made, server = scram(), Server()
    made.step(server.challenge(made.first()))
    assert refused(made, message).reason is reasons.SERVER_UNPROVEN


def test_a_server_that_says_no_is_another_thing() -> None:
    made, server = scram(), Server()
    made.step(server.challenge(made.first()))
    failed = refused(made, b"e=invalid-proof")
    assert failed.reason is reasons.ACCOUNT_REFUSED
    assert failed.detail == "invalid-proof"


def test_nothing_follows_the_last_message() -> None:
    made, server = scram(), Server()
    final = made.step(server.challenge(made.first()))
    assert final is not None
    last = server.verdict(final)
    made.step(last)
    assert refused(made, last).reason is reasons.SERVER_UNPROVEN


def test_names_are_escaped_and_prepared() -> None:
    assert scram(username="a=b,c").first() == b"n,,n=a=3Db=2Cc,r=" + NONCE.encode()
    assert scram(username="I\u00adX").first() == b"n,,n=IX,r=" + NONCE.encode()
    assert scram(username="\u2168").first() == b"n,,n=IX,r=" + NONCE.encode()
    assert scram(username="a\u00a0b").first() == b"n,,n=a b,r=" + NONCE.encode()


@pytest.mark.parametrize("text", ["\u0007", "\u0627\u0031", "\u00ad", "a\nb", "\u0221", "\x00"])
def test_what_saslprep_forbids(text: str) -> None:
    with pytest.raises(LoginFailed) as caught:
        scram(secret=text)
    assert caught.value.reason is reasons.ACCOUNT_SECRET_UNFIT
    assert text not in str(caught.value)


def test_nonces_differ_and_are_long() -> None:
    found = {new_nonce() for _ in range(100)}
    assert len(found) == 100
    assert all(len(each) >= 32 and "," not in each for each in found)


def test_plain() -> None:
    made = exchange(Credential("PLAIN", "gw", "pass"))
    assert made.first() == b"\0gw\0pass"
    assert made.complete
    assert refused(made, b"more").reason is reasons.SERVER_UNPROVEN


def test_oauthbearer_and_its_error() -> None:
    made = exchange(Credential("OAUTHBEARER", "", "aaa.bbb.ccc"))
    assert made.first() == b"n,,\x01auth=Bearer aaa.bbb.ccc\x01\x01"
    assert made.step(b'{"status":"invalid_token"}') == b"\x01"
    assert not made.complete
    assert refused(made, b"again").reason is reasons.ACCOUNT_REFUSED


@pytest.mark.parametrize("token", ["a b", "a\x01b", "a\n", "\u00e4"])
def test_what_is_no_token_is_not_sent(token: str) -> None:
    with pytest.raises(LoginFailed) as caught:
        exchange(Credential("OAUTHBEARER", "", token))
    assert caught.value.reason is reasons.ACCOUNT_SECRET_UNFIT


def test_a_secret_is_in_no_representation() -> None:
    assert "pencil" not in repr(Credential("PLAIN", "gw", "pencil"))
