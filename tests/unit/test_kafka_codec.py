"""What the codec refuses, what encoding fills in, and the headers."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.kafka import codec
from gateway.kafka.codec import APIS, Malformed, Unencodable

PRODUCE, FETCH, METADATA, API_VERSIONS, CREATE_TOPICS = 0, 1, 3, 18, 19
LAST_STABLE = {22: 5}
"""InitProducerId is the only API with an unstable version in 4.4.0."""


def test_the_table_is_of_this_release() -> None:
    assert APIS[PRODUCE].versions == (3, 13)
    assert APIS[FETCH].versions == (4, 18)
    assert APIS[22].versions == (0, 5)
    assert APIS[22].known == (0, 6)
    for key, api in APIS.items():
        assert api.versions == (api.known[0], LAST_STABLE.get(key, api.known[1]))


@pytest.mark.parametrize(("key", "version"), [(4, 0), (7, 0), (95, 0), (-1, 0), (PRODUCE, 2), (PRODUCE, 14), (1, -1)])
def test_an_unknown_api_or_version_is_malformed(key: int, version: int) -> None:
    with pytest.raises(Malformed):
        codec.decode_request(key, version, b"")
    with pytest.raises(Malformed):
        codec.decode_response(key, version, b"")
    with pytest.raises(Unencodable):
        codec.encode_request(key, version, {})
    with pytest.raises(Unencodable):
        codec.encode_response(key, version, {})


@pytest.mark.parametrize(
    ("version", "data", "cause"),
    [
        (1, b"\x00\x00\x00\x01\x00\x02\xc3\x28", "UTF-8"),
        (1, b"\x00\x00\x00\x01\xff\xff", "negative"),
        (1, b"\xff\xff\xff\xfe", "negative"),
        (0, b"\xff\xff\xff\xff", "negative"),
        (1, b"\x7f\xff\xff\xff", "more elements"),
        (1, b"\x00\x00\x00\x01\x00\x05name", "longer"),
        (1, b"\x00\x00\x00\x00\x00", "left over"),
        (9, b"\x01\x01\x00\x00\x01\x05\x09", "past the end"),
        (9, b"\x01\x01\x00\x00\x02\x05\x00\x05\x00", "out of order"),
        (9, b"\x01\x01\x00\x00\x02\x06\x00\x05\x00", "out of order"),
        (9, b"\xff\xff\xff\xff\x1f", "32 bits"),
        (9, b"\x80\x80\x80\x80\x80\x01", "five bytes"),
        (9, b"\xff\xff\xff\xff\x0f", "more elements"),
        (9, b"\x02\x00\x00\x01\x00\x00\x00", "null"),
        (9, b"\x02\x81\x80\x02" + b"x" * 40_000, "too long"),
    ],
)
def test_broken_metadata_requests(version: int, data: bytes, cause: str) -> None:
    with pytest.raises(Malformed, match=cause):
        codec.decode_request(METADATA, version, data)


def test_a_known_tag_must_be_as_long_as_it_says() -> None:
    body = {"clusterId": "abc"}
    data = codec.encode_request(FETCH, 12, body)
    assert data.endswith(b"\x01\x00\x04\x04abc")
    assert codec.decode_request(FETCH, 12, data)["clusterId"] == "abc"
    for wrong in (b"\x01\x00\x03\x04abc", b"\x01\x00\x05\x04abcd"):
        with pytest.raises(Malformed, match="clusterId"):
            codec.decode_request(FETCH, 12, data[:-7] + wrong)


def test_a_malformed_message_does_not_repeat_its_bytes() -> None:
    with pytest.raises(Malformed) as caught:
        codec.decode_request(METADATA, 1, b"\x00\x00\x00\x01\x00\x08secret\xff\xfe")
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_records_are_views_of_the_input() -> None:
    body = {"topicData": [{"name": "t", "partitionData": [{"index": 0, "records": b"payload"}]}]}
    data = bytearray(codec.encode_request(PRODUCE, 9, body))
    records = codec.decode_request(PRODUCE, 9, data)["topicData"][0]["partitionData"][0]["records"]
    assert isinstance(records, memoryview)
    assert records.obj is data


def test_unknown_tagged_fields_are_kept() -> None:
    body = codec.decode_request(METADATA, 9, b"\x01\x01\x00\x00\x02\x05\x01a\xac\x02\x02bc")
    assert body["_tags"] == {5: b"a", 300: b"bc"}
    assert codec.encode_request(METADATA, 9, body) == b"\x01\x01\x00\x00\x02\x05\x01a\xac\x02\x02bc"


def test_known_tagged_fields_are_there_with_their_defaults() -> None:
    body = codec.decode_response(API_VERSIONS, 3, codec.encode_response(API_VERSIONS, 3, {}))
    assert body == {
        "errorCode": 0, "apiKeys": [], "throttleTimeMs": 0, "supportedFeatures": [], "finalizedFeaturesEpoch": -1,
        "finalizedFeatures": [], "zkMigrationReady": False,
    }  # fmt: skip


def test_defaults_are_not_shared_between_messages() -> None:
    data = codec.encode_response(API_VERSIONS, 3, {})
    codec.decode_response(API_VERSIONS, 3, data)["supportedFeatures"].append("mine")
    assert codec.decode_response(API_VERSIONS, 3, data)["supportedFeatures"] == []


def test_a_field_of_another_version_is_refused_unless_it_may_be_left_out() -> None:
    write = codec.encode_request
    assert write(CREATE_TOPICS, 2, {"timeoutMs": 5}) == b"\x00\x00\x00\x00\x00\x00\x00\x05\x00"
    # ignorable, and not at its default
    write(FETCH, 4, {"sessionId": 9})
    # at its default, and so the same without it
    write(FETCH, 4, {"forgottenTopicsData": []})
    with pytest.raises(Unencodable, match="forgottenTopicsData"):
        write(FETCH, 4, {"forgottenTopicsData": [{"topic": "t", "partitions": [1]}]})
    # the name of a topic is ignorable where its id is sent
    codec.encode_request(PRODUCE, 13, {"topicData": [{"name": "t", "topicId": bytes(16), "partitionData": []}]})


@pytest.mark.parametrize(
    "body",
    [
        {"topic": []},
        {"topics": None},
        {"topics": [{"name": None}]},
        {"topics": ["t"]},
        {"topics": [{"name": "t", "topicId": bytes(15)}]},
        {"topics": [{"name": 5}]},
        {"topics": [{"name": "x" * 40_000}]},
        {"topics": [{"name": "\ud800"}]},
        {"validateOnly": None},
        {"timeoutMs": 2**31},
        {"timeoutMs": 1.5},
        {"timeoutMs": "5"},
        {"_tags": {1: "text"}},
        {"_tags": {1: b""}, "more": 1},
    ],
)
def test_bodies_that_cannot_be_written(body: dict[str, Any]) -> None:
    for version in (4, 7):
        if version == 4 and "x" * 40_000 in str(body):
            continue
        with pytest.raises(Unencodable):
            codec.encode_request(CREATE_TOPICS, version, body)


def test_an_unknown_tag_may_not_have_a_known_ones_number() -> None:
    with pytest.raises(Unencodable):
        codec.encode_response(API_VERSIONS, 3, {"finalizedFeaturesEpoch": 4, "_tags": {1: b"\x00" * 8}})


def test_encoding_leaves_the_body_as_it_was() -> None:
    body: dict[str, Any] = {"topics": [{"name": "t"}]}
    codec.encode_request(CREATE_TOPICS, 7, body)
    assert body == {"topics": [{"name": "t"}]}


def test_no_request_builds_more_elements_than_the_bound() -> None:
    topic = {"name": "t", "partitionIndexes": []}
    at_most = {"groupId": "g", "topics": [topic] * codec.REQUEST_ELEMENTS_MAX}
    data = codec.encode_request(9, 7, at_most)
    assert len(codec.decode_request(9, 7, data)["topics"]) == codec.REQUEST_ELEMENTS_MAX
    at_most["topics"] = [topic] * (codec.REQUEST_ELEMENTS_MAX + 1)
    with pytest.raises(Malformed, match="too many elements"):
        codec.decode_request(9, 7, codec.encode_request(9, 7, at_most))


@pytest.mark.parametrize("client_id", [None, "", "größe"])
@pytest.mark.parametrize(("key", "version"), [(METADATA, 8), (METADATA, 9), (API_VERSIONS, 3), (17, 1), (500, 3)])
def test_request_headers(key: int, version: int, client_id: str | None) -> None:
    data = codec.encode_request_header(key, version, -7, client_id)
    header = codec.parse_request_header(memoryview(data + b"body"))
    assert header == (key, version, -7, client_id, len(data), False)
    for size in range(len(data)):
        with pytest.raises(Malformed):
            codec.parse_request_header(memoryview(data)[:size])


def test_a_header_may_have_tagged_fields() -> None:
    data = b"\x00\x03\x00\x09\x00\x00\x00\x01\x00\x00\x02\x01\x01a\x05\x00rest"
    header = codec.parse_request_header(memoryview(data))
    assert (header.body_offset, header.tagged) == (len(data) - 4, True)
    for wrong in (b"\x02\x05\x01a\x05\x00", b"\x01\x05\x09a"):
        with pytest.raises(Malformed):
            codec.parse_request_header(memoryview(data[:10] + wrong))


@pytest.mark.parametrize("client_id", [b"\xff\xfe", b"\x00\x02\xc3\x28", b"\x00\x09abc"])
def test_broken_client_ids(client_id: bytes) -> None:
    with pytest.raises(Malformed):
        codec.parse_request_header(memoryview(b"\x00\x03\x00\x01\x00\x00\x00\x01" + client_id))


def test_response_headers() -> None:
    # ApiVersions answers without tagged fields at every version (KIP-511)
    for key, version, size in ((METADATA, 8, 4), (METADATA, 9, 5), (API_VERSIONS, 4, 4), (17, 1, 4)):
        assert codec.response_header_size(key, version) == size
        data = codec.encode_response_header(key, version, -5)
        assert len(data) == size
        assert codec.parse_response_header(key, version, memoryview(data + b"body")) == (-5, size)
        for cut in range(size):
            with pytest.raises(Malformed):
                codec.parse_response_header(key, version, memoryview(data)[:cut])
    assert codec.parse_response_header(METADATA, 9, b"\x00\x00\x00\x01\x01\x00\x01a") == (1, 8)
