"""What a client may not cause: topics that come to be by being asked for. And every way to speak SASL."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest
from confluent_kafka import KafkaError

from tests.real.gateway import GatewayProcess
from tests.real.kafka import KafkaCluster
from tests.real.site import DIRECT, PLENTY, Site, unique, until
from tests.real.test_confluent import consume, produce
from tests.real.wire import METADATA, SASL_AUTHENTICATE, SASL_HANDSHAKE, RawClient, frame, request, string

pytestmark = pytest.mark.skipif(DIRECT, reason="REAL_DOOR=direct: there is no gateway that decides (unset it)")

POLICY = (
    """\
version: 1
roles:
  app:
    - allow: [produce, consume]
      kafka: {topic: ["app.*", "made.*"], group: ["app-*"]}
    - allow: [create]
      kafka: {topic: ["made.*"]}
bindings:
  - {roles: [app], to: {issuer: test, claims: {groups: app}}}
"""
    + PLENTY
)


@pytest.fixture(scope="module")
def creating(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A broker that makes topics when they are asked for."""
    folder = tmp_path_factory.mktemp("creating")
    with (
        KafkaCluster(folder / "kafka", properties={"auto.create.topics.enable": "true"}) as cluster,
        GatewayProcess(folder / "gateway", {"main": cluster.bootstrap}, policy=POLICY) as gateway,
    ):
        yield Site(cluster, gateway)


def topics(site: Site) -> set[str]:
    return set(site.admin.list_topics(timeout=60).topics)


def test_a_topic_is_made_by_asking_only_where_create_is_allowed(creating: Site) -> None:
    mine, other, closed = unique("made.new"), unique("app.new"), unique("closed.new")
    settings = creating.app().confluent(**{"enable.idempotence": False})
    assert set(produce(settings, mine, count=3)[mine]) == {None}
    until(lambda: mine in topics(creating), what="the new topic")
    refused = produce({**settings, "topic.metadata.propagation.max.ms": 2000}, other, closed, count=1)
    assert refused[other][0] in (KafkaError._UNKNOWN_TOPIC, KafkaError.TOPIC_AUTHORIZATION_FAILED)
    assert refused[closed] == [KafkaError.TOPIC_AUTHORIZATION_FAILED]
    assert not {other, closed} & topics(creating)
    assert len(consume(creating.app().confluent(**{"group.id": unique("app-g")}), [mine], 3)) == 3


@pytest.mark.parametrize("version", [0, 1, 3, 4, 8, 12])
def test_no_version_of_metadata_makes_a_topic(creating: Site, version: int) -> None:
    """Versions 0 to 3 cannot even say that nothing is to be made."""
    from gateway.kafka import codec

    assert creating.gateway is not None
    names = [unique("app.asked"), unique("closed.asked")]
    body = {"topics": [{"name": name} for name in names]}
    if version >= 4:
        body["allowAutoTopicCreation"] = True  # type: ignore[assignment]
    with RawClient(creating.gateway.port(), creating.gateway.ca_file) as raw:
        assert raw.authenticate(creating.gateway.issuer.token("svc", groups=["app"]))[0] == 0
        raw.send(
            frame(
                codec.encode_request_header(METADATA, version, 1, "raw") + codec.encode_request(METADATA, version, body)
            )
        )
        answer = memoryview(raw.receive())[codec.response_header_size(METADATA, version) :]
    told = {each["name"]: each["errorCode"] for each in codec.decode_response(METADATA, version, answer)["topics"]}
    assert told[names[1]] == 29
    assert told[names[0]] in (3, 29)
    assert not set(names) & topics(creating)


# --- every way to speak SASL


def bearer(token: str) -> bytes:
    return f"n,,\x01auth=Bearer {token}\x01\x01".encode()


def plain(token: str) -> bytes:
    return f"\0token\0{token}".encode()


def compact(data: bytes) -> bytes:
    """COMPACT_BYTES: the length plus one as an unsigned varint."""
    length, made = len(data) + 1, b""
    while length > 0x7F:
        made += bytes([length & 0x7F | 0x80])
        length >>= 7
    return made + bytes([length]) + data


@pytest.mark.parametrize(("mechanism", "message"), [("OAUTHBEARER", bearer), ("PLAIN", plain)])
@pytest.mark.parametrize("version", ["bare", 0, 1, 2])
def test_every_version_of_the_handshake(creating: Site, mechanism: str, message: object, version: object) -> None:
    """SaslHandshake v0 is followed by bare tokens, v1 by SaslAuthenticate v0 to v2, of which v1 on tell a lifetime."""
    assert creating.gateway is not None
    assert callable(message)
    data: bytes = message(creating.gateway.issuer.token("svc", lifetime=60, groups=["app"]))
    with RawClient(creating.gateway.port(), creating.gateway.ca_file) as raw:
        raw.send(request(SASL_HANDSHAKE, 0 if version == "bare" else 1, string(mechanism)))
        assert struct.unpack_from(">h", raw.receive(), 4) == (0,)
        if version == "bare":
            raw.send(frame(data))
            raw.receive()
        elif version == 2:
            raw.send(frame(struct.pack(">hhih", SASL_AUTHENTICATE, 2, 9, -1) + b"\x00" + compact(data) + b"\x00"))
            answer = raw.receive()
            assert struct.unpack_from(">h", answer, 5) == (0,)
            assert 0 < struct.unpack_from(">q", answer, len(answer) - 9)[0] <= 60_000
        else:
            raw.send(request(SASL_AUTHENTICATE, int(str(version)), struct.pack(">i", len(data)) + data))
            answer = raw.receive()
            assert struct.unpack_from(">h", answer, 4) == (0,)
            if version == 1:
                assert 0 < struct.unpack_from(">q", answer, len(answer) - 8)[0] <= 60_000
        raw.send(request(METADATA, 1, struct.pack(">i", 0)))
        assert b"localhost" in raw.receive()
