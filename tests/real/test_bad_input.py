"""What is not a good client: the connection ends with a named cause in the audit, and the others go on."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest
from confluent_kafka import Producer

from tests.real.gateway import GatewayProcess
from tests.real.site import Site, unique
from tests.real.wire import API_VERSIONS, METADATA, RawClient, frame, request, string


@pytest.fixture
def gateway(site_one: Site) -> Iterator[GatewayProcess]:
    """The gateway, with a good client beside every test that must not notice anything."""
    if site_one.gateway is None:
        pytest.skip("REAL_DOOR=direct: there is no gateway to send bad input to (unset it)")
    gateway, topic = site_one.gateway, site_one.topic()
    subject, outcome = unique("svc-good"), list[object]()
    producer = Producer(site_one.app(subject).confluent(**{"linger.ms": 0, "enable.idempotence": False}))

    def send() -> None:
        producer.produce(topic, b"x", on_delivery=lambda error, _: outcome.append(error))
        assert producer.flush(60) == 0

    send()
    at = len(gateway.audit())
    yield gateway
    send()
    assert outcome == [None, None]
    ended = [line for line in gateway.audit()[at:] if line["event"] == "closed"]
    assert not [line for line in ended if subject in line.get("principal", "")], "the good client lost its way"


def closed(gateway: GatewayProcess, at: int, reason: str) -> None:
    """The line that names the cause; ``refused`` for those that never became a session."""
    gateway.wait_audit(lambda line: line["event"] in ("closed", "refused") and line.get("reason") == reason, after=at)


def raw(gateway: GatewayProcess) -> RawClient:
    return RawClient(gateway.port(), gateway.ca_file)


@pytest.fixture
def in_session(gateway: GatewayProcess) -> Iterator[RawClient]:
    """A connection that is authenticated already."""
    with raw(gateway) as client:
        code, lifetime = client.authenticate(gateway.issuer.token("svc-raw", groups=["app"]))
        assert code == 0
        assert lifetime > 0
        yield client


# --- on the TLS port without TLS


@pytest.mark.parametrize(
    ("opening", "reason"),
    [
        (request(API_VERSIONS, 0), "plaintext-kafka-on-tls-port"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "http-on-tls-port"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "http-on-tls-port"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not-tls"),
    ],
    ids=["kafka", "http", "http2", "ssh"],
)
def test_another_protocol_on_the_tls_port(gateway: GatewayProcess, opening: bytes, reason: str) -> None:
    at = len(gateway.audit())
    with socket.create_connection(("127.0.0.1", gateway.port()), timeout=60) as connection:
        connection.sendall(opening)
        ended(connection)
    closed(gateway, at, reason)


def ended(connection: socket.socket) -> None:
    try:
        while connection.recv(4096):
            continue
    except ConnectionError:
        return


def test_http_inside_tls(gateway: GatewayProcess) -> None:
    at = len(gateway.audit())
    with raw(gateway) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.ended()
    closed(gateway, at, "not-kafka-http")


# --- before authentication


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (struct.pack(">i", -1), "frame-length-invalid"),
        (struct.pack(">i", 0), "frame-length-invalid"),
        (struct.pack(">i", 2**31 - 1), "frame-too-large-unauthenticated"),
        (struct.pack(">i", (64 << 10) + 1), "frame-too-large-unauthenticated"),
        (request(METADATA, 1, struct.pack(">i", 0)), "not-authenticated"),
        (request(0, 9), "not-authenticated"),
        (request(17, 1, b"\x00\x20OAUTH"), "request-malformed"),
        (request(36, 1, b"\x00"), "not-authenticated"),
        (request(9999, 0), "not-authenticated"),
    ],
    ids=[
        "negative",
        "empty",
        "huge",
        "over-the-limit",
        "metadata",
        "produce",
        "truncated",
        "no-handshake",
        "unknown-api",
    ],
)
def test_before_authentication(gateway: GatewayProcess, sent: bytes, reason: str) -> None:
    at = len(gateway.audit())
    with raw(gateway) as client:
        client.send(sent)
        assert client.ended()
    closed(gateway, at, reason)


def test_an_unknown_version_of_api_versions_gets_version_0(gateway: GatewayProcess) -> None:
    """KIP-511: the answer is v0 with error 35, so that the client can find a common version."""
    with raw(gateway) as client:
        client.send(request(API_VERSIONS, 99))
        correlation, code, count = struct.unpack_from(">ihi", client.receive())
        assert (correlation, code) == (7, 35)
        assert count > 0


def test_a_token_for_another_audience(gateway: GatewayProcess) -> None:
    at = len(gateway.audit())
    with raw(gateway) as client:
        code, _ = client.authenticate(gateway.issuer.token("svc-raw", aud="something-else"))
        assert code == 58 or code == 0  # OAUTHBEARER's first answer may be the RFC 7628 error, with code 0
    gateway.wait_audit(lambda line: "audience" in line["reason"], event="refused", after=at)


# --- in a session


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (struct.pack(">i", -5), "frame-length-invalid"),
        (struct.pack(">i", (100 << 20) + 1), "frame-too-large"),
        (frame(b"\x00\x03"), "frame-length-invalid"),
        (request(METADATA, 1, struct.pack(">i", 1000)), "request-malformed"),
        (request(METADATA, 1, struct.pack(">i", 1) + string("app.x")[:-2]), "request-malformed"),
        (request(METADATA, 1, struct.pack(">i", 0) + b"more"), "request-malformed"),
        (request(9999, 0), "api-unknown"),
        (request(METADATA, 99), "version-not-offered"),
        (request(1, 4, b"\xff" * 64), "request-malformed"),
        (request(0, 3, b"\xff" * 64), "request-malformed"),
    ],
    ids=[
        "negative-length", "too-large", "short-header", "count-outside", "truncated", "trailing", "unknown-api",
        "unknown-version", "fetch-garbage", "produce-garbage",
    ],
)  # fmt: skip
def test_in_a_session(gateway: GatewayProcess, in_session: RawClient, sent: bytes, reason: str) -> None:
    at = len(gateway.audit())
    in_session.send(sent)
    assert in_session.ended()
    closed(gateway, at, reason)


def test_half_a_frame_is_cut_off(kafka_one, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """A gateway with a short deadline for a frame: half a frame does not hold a connection for ever."""
    from tests.real.site import POLICY

    with GatewayProcess(
        tmp_path, {"main": kafka_one.bootstrap}, policy=POLICY, limits={"frame_timeout": "1 s"}
    ) as gateway, raw(gateway) as client:  # fmt: skip
        client.authenticate(gateway.issuer.token("svc-raw", groups=["app"]))
        client.send(struct.pack(">i", 1000) + b"half")
        assert client.ended()
        closed(gateway, 0, "frame-timeout")


def test_a_client_that_never_authenticates_is_cut_off(kafka_one, tmp_path) -> None:  # type: ignore[no-untyped-def]
    from tests.real.site import POLICY

    with GatewayProcess(
        tmp_path, {"main": kafka_one.bootstrap}, policy=POLICY, limits={"authentication_timeout": "1 s"}
    ) as gateway, raw(gateway) as client:  # fmt: skip
        client.send(request(API_VERSIONS, 0))
        client.receive()
        assert client.ended()
        closed(gateway, 0, "authentication-timeout")
