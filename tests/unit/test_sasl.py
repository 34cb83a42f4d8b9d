"""SASL as Kafka's broker holds it: the messages taken, the two steps of an OAUTHBEARER refusal, what names nobody."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.keys import KeyRing
from gateway.core.reasons import Reason
from gateway.core.session import KeysWanted
from gateway.core.tokens import Validator
from gateway.core.tokens import reasons as token_reasons
from gateway.kafka import sasl
from gateway.kafka.sasl import INVALID_TOKEN, WRONG_PASSWORD, Challenge, Done, Failed, NeedKeys, SaslExchange, Step
from tests.corpus import tokens as corpus
from tests.corpus.tokens import NOW, TAKEN, TOKEN_BYTES_MAX

RING = corpus.ring()
VALIDATOR = Validator(corpus.issuers(), RING, TOKEN_BYTES_MAX)
TOKEN = corpus.sound()
EXPIRED = corpus.sound(claims={"exp": "@now-1", "iat": "@now-60"})


def exchange(mechanism: str = "OAUTHBEARER", validator: Validator = VALIDATOR) -> SaslExchange:
    return SaslExchange(mechanism, validator, TAKEN)


def reason_of(step: Step) -> Reason:
    match step:
        case Challenge(refused=refused):
            return refused.reason
        case Failed(reason=reason):
            return reason
    raise AssertionError(step)


def bearer(token: bytes = TOKEN, header: bytes = b"n,,", more: bytes = b"", scheme: bytes = b"Bearer ") -> bytes:
    return header + b"\x01auth=" + scheme + token + b"\x01" + more + b"\x01"


@pytest.mark.parametrize(
    "message",
    [
        bearer(),
        bearer(scheme=b"bearer "),
        bearer(scheme=b"BEARER   "),
        bearer(header=b"n,a=alice,"),
        bearer(more=b"logicalCluster=lkc-1\x01traceId=a b\tc\x01"),
        b"n,,\x01host=kafka\x01port=9092\x01auth=Bearer " + TOKEN + b"\x01\x01",
    ],
)
def test_a_bearer_token_is_taken(message: bytes) -> None:
    step = exchange().step(message, NOW)
    assert isinstance(step, Done)
    assert step.accepted.principal.name == "alice"
    assert step.data == b""


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x01",
        b"n,,",
        b"n,,\x01\x01",
        bearer()[:-1],
        bearer() + b"x",
        bearer(header=b"y,,"),
        bearer(header=b"p=tls-unique,,"),
        bearer(header=b"n,a=,"),
        bearer(header=b"n,a=a=b,"),
        bearer(header=b"n,b=alice,"),
        bearer(header="n,a=é,".encode()),
        bearer(scheme=b"Basic "),
        bearer(scheme=b"Bearer"),
        bearer(scheme=b"Bearer\t"),
        bearer(token=b""),
        bearer(token=b"a b"),
        bearer(more=b"auth=Bearer x\x01"),
        bearer(more=b"k=\x01"),
        bearer(more=b"k1=v\x01"),
        bearer(more=b"k=v\x01k=w\x01"),
        bearer(more=b"nothing\x01"),
        bearer(more=b"".join(b"%s=v\x01" % (b"a" * n) for n in range(1, 40))),
        bearer(header=b"n,a=" + b"x" * 257 + b","),
        b"\0user\0" + TOKEN,
        b"\xff\xfe",
    ],
)
def test_what_is_no_bearer_message_fails_at_once(message: bytes) -> None:
    step = exchange().step(message, NOW)
    assert isinstance(step, Failed)
    assert step.reason is sasl.SASL_MALFORMED
    assert step.message.endswith("due to invalid credentials with SASL mechanism OAUTHBEARER")


@pytest.mark.parametrize("last", [b"\x01", b"", bearer(), b"anything"])
def test_a_refusal_takes_two_steps_and_then_nothing_helps(last: bytes) -> None:
    held = exchange()
    first = held.step(bearer(EXPIRED), NOW)
    assert isinstance(first, Challenge)
    assert first.data == INVALID_TOKEN == b'{"status":"invalid_token"}'
    assert first.refused.reason is token_reasons.EXPIRED
    second = held.step(last, NOW)
    assert isinstance(second, Failed)
    assert second.reason is token_reasons.EXPIRED
    assert second.message == '{"status":"invalid_token"}'


def test_every_token_of_the_corpus_is_refused_alike() -> None:
    for case in corpus.cases():
        token = corpus.build(case.row)
        if case.expect == "accepted" or not sasl._AUTH.fullmatch("Bearer " + token.decode("latin-1")):
            continue
        held = exchange()
        step = held.step(bearer(token), NOW)
        if isinstance(step, NeedKeys):
            step = held.step(bearer(token), NOW)
        assert isinstance(step, Challenge), case.name
        assert step.data == INVALID_TOKEN
        plain = exchange("PLAIN")
        failed = plain.step(b"\0user\0" + token, NOW)
        if isinstance(failed, NeedKeys):
            failed = plain.step(b"\0user\0" + token, NOW)
        assert isinstance(failed, Failed), case.name
        assert failed.message == WRONG_PASSWORD


@pytest.mark.parametrize("name", [b"bob", b"jwt:corp:alice", b"Alice", b"alice=2C"])
def test_nobody_acts_as_another(name: bytes) -> None:
    step = exchange().step(bearer(header=b"n,a=" + name + b","), NOW)
    assert isinstance(step, Failed)
    assert step.reason is sasl.SASL_AUTHZID
    assert b"alice" not in step.message.encode()


def test_an_authzid_is_spelled_as_rfc_5801_has_it() -> None:
    token = corpus.sound(claims={"sub": "CN=a,O=b"})
    assert isinstance(exchange().step(bearer(token, header=b"n,a=CN=3Da=2CO=3Db,"), NOW), Done)


@pytest.mark.parametrize("message", [b"\0anything\0", b"alice\0user\0", b"user\0user\0", b"\0\xc3\xa9\0"])
def test_plain_takes_the_token_as_password_and_the_user_names_nobody(message: bytes) -> None:
    step = exchange("PLAIN").step(message + TOKEN, NOW)
    assert isinstance(step, Done)
    assert step.accepted.principal.name == "alice"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"", sasl.SASL_MALFORMED),
        (b"\0\0", sasl.SASL_MALFORMED),
        (b"\0user\0", sasl.SASL_MALFORMED),
        (b"\0\0" + TOKEN, sasl.SASL_MALFORMED),
        (b"user\0" + TOKEN, sasl.SASL_MALFORMED),
        (b"\0user\0" + TOKEN + b"\0", sasl.SASL_MALFORMED),
        (b"\0user\0\xff", sasl.SASL_MALFORMED),
        (b"\0" + b"u" * 257 + b"\0" + TOKEN, sasl.SASL_MALFORMED),
        (b"root\0user\0" + TOKEN, sasl.SASL_AUTHZID),
        (b"\0user\0password", token_reasons.FORM),
        (b"\0user\0" + EXPIRED, token_reasons.EXPIRED),
        ("\0user\0é".encode(), token_reasons.ENCODING),
    ],
)
def test_plain_refuses_in_one_step(message: bytes, expected: object) -> None:
    step = exchange("PLAIN").step(message, NOW)
    assert isinstance(step, Failed)
    assert step.reason is expected


@pytest.mark.parametrize("mechanism", ["OAUTHBEARER", "PLAIN"])
def test_an_unknown_key_waits_once(mechanism: str) -> None:
    message = bearer() if mechanism == "OAUTHBEARER" else b"\0user\0" + TOKEN
    ring = KeyRing()
    validator = Validator(corpus.issuers(), ring, TOKEN_BYTES_MAX)
    held = exchange(mechanism, validator)
    assert held.step(message, NOW) == NeedKeys(KeysWanted("corp", "rsa"))
    ring.replace("corp", corpus.jwks("corp"), NOW)
    assert isinstance(held.step(message, NOW), Done)

    held = exchange(mechanism, Validator(corpus.issuers(), KeyRing(), TOKEN_BYTES_MAX))
    assert isinstance(held.step(message, NOW), NeedKeys)
    assert reason_of(held.step(message, NOW)) is token_reasons.KEYS_UNAVAILABLE

    unknown = corpus.sound(header={"kid": "rotated"})
    message = bearer(unknown) if mechanism == "OAUTHBEARER" else b"\0user\0" + unknown
    held = exchange(mechanism)
    assert held.step(message, NOW) == NeedKeys(KeysWanted("corp", "rotated"))
    assert reason_of(held.step(message, NOW)) is token_reasons.KEY_UNKNOWN


def test_an_unknown_mechanism_is_a_mistake_of_ours() -> None:
    with pytest.raises(ValueError, match="GSSAPI"):
        exchange("GSSAPI")


@given(st.binary(max_size=200), st.sampled_from(["OAUTHBEARER", "PLAIN"]))
def test_garbage_never_raises_and_never_passes(data: bytes, mechanism: str) -> None:
    held = exchange(mechanism)
    assert isinstance(held.step(data, NOW), Failed | Challenge)
    assert isinstance(held.step(data, NOW), Failed)


@given(st.integers(0, len(bearer()) - 1), st.integers(0, 255))
def test_a_changed_message_gives_nobody_else(place: int, octet: int) -> None:
    message = bearer()[:place] + bytes([octet]) + bearer()[place + 1 :]
    step = exchange().step(message, NOW)
    assert not isinstance(step, Done) or step.accepted.principal.name == "alice"


def test_no_token_in_a_repr() -> None:
    shown = TOKEN.decode()
    held = exchange()
    for step in (held.step(bearer(), NOW), exchange().step(bearer(EXPIRED), NOW), exchange("PLAIN").step(TOKEN, NOW)):
        assert shown not in repr(step)
        assert EXPIRED.decode() not in repr(step)
