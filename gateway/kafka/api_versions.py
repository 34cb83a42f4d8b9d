"""ApiVersions, answered by the gateway alone: what all brokers can do, within what the gateway decides.

Never more than the gateway's table knows is offered. An unknown version of ApiVersions is answered in version 0 with
error 35 and ApiVersions' own range (KIP-511); a software name outside Kafka's pattern gets error 42; a client of
version 5 that believes in another cluster or node gets 129, so that it bootstraps anew (KIP-1242). Called by the
session before and after authentication; no broker is asked.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from gateway.kafka import codec
from gateway.kafka.backend import BackendState, VersionRanges
from gateway.kafka.plan import Body

API_VERSIONS = 18
PRODUCE = 0
SASL_HANDSHAKE = 17
SASL_AUTHENTICATE = 36

OWN_RANGES: VersionRanges = {SASL_HANDSHAKE: (0, 1), API_VERSIONS: (0, 5), SASL_AUTHENTICATE: (0, 2)}
"""What the gateway answers by itself, whatever the brokers can do."""

UNSUPPORTED_VERSION = 35
INVALID_REQUEST = 42
REBOOTSTRAP_REQUIRED = 129

_SOFTWARE = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?")
SOFTWARE_CHARS_MAX = 100
"""Of a client's software name and version, as the audit keeps them."""


@dataclass(frozen=True, slots=True)
class VersionsReply:
    """The answer (length prefix included), whether it was a good one, and the client's software if it said so."""

    answer: bytes
    good: bool
    software: str = ""


def framed(api_key: int, version: int, correlation_id: int, body: Body) -> bytes:
    """An answer of the gateway's own, with header and length prefix."""
    return b"".join(framed_parts(api_key, version, correlation_id, body))


def framed_parts(api_key: int, version: int, correlation_id: int, body: Body) -> tuple[bytes, ...]:
    """The same in parts, of which the first is length prefix and header."""
    header = codec.encode_response_header(api_key, version, correlation_id)
    parts = codec.encode_response_parts(api_key, version, body)
    return (struct.pack(">i", len(header) + sum(map(len, parts))) + header, *parts)


def respond(frame: memoryview, state: BackendState, node_id: int | None) -> VersionsReply:
    """Answer one ApiVersions request. `frame` is without its length prefix. Raises codec.Malformed."""
    version, correlation_id = struct.unpack_from(">hi", frame, 2)
    low, high = OWN_RANGES[API_VERSIONS]
    if not low <= version <= high:
        own = [{"apiKey": API_VERSIONS, "minVersion": low, "maxVersion": high}]
        body: Body = {"errorCode": UNSUPPORTED_VERSION, "apiKeys": own}
        return VersionsReply(framed(API_VERSIONS, 0, correlation_id, body), False)
    header = codec.parse_request_header(frame)
    request = codec.decode_request(API_VERSIONS, version, frame[header.body_offset :])
    error = _error(version, request, state, node_id)
    if error:
        answer = framed(API_VERSIONS, version, correlation_id, {"errorCode": error, "apiKeys": []})
        return VersionsReply(answer, False)
    software = ""
    if version >= 3:
        software = f"{request['clientSoftwareName']}/{request['clientSoftwareVersion']}"[:SOFTWARE_CHARS_MAX]
    return VersionsReply(framed(API_VERSIONS, version, correlation_id, _body(version, state)), True, software)


def _error(version: int, request: Body, state: BackendState, node_id: int | None) -> int:
    if version >= 5 and (request["clusterId"] is None) != (request["nodeId"] == -1):
        return INVALID_REQUEST
    if version >= 3 and not (
        _SOFTWARE.fullmatch(request["clientSoftwareName"]) and _SOFTWARE.fullmatch(request["clientSoftwareVersion"])
    ):
        return INVALID_REQUEST
    if version >= 5 and request["clusterId"] is not None:
        here = -1 if node_id is None else node_id  # nobody is the node of the bootstrap port
        if request["clusterId"] != state.cluster_id or request["nodeId"] != here:
            return REBOOTSTRAP_REQUIRED
    return 0


def _body(version: int, state: BackendState) -> Body:
    ranges = dict(state.offered)
    ranges.update(OWN_RANGES)
    if PRODUCE in ranges:  # KAFKA-18659: older librdkafka needs v0-2 listed, though v3 is the real minimum
        ranges[PRODUCE] = (0, ranges[PRODUCE][1])
    return {
        "errorCode": 0,
        "apiKeys": [
            {"apiKey": key, "minVersion": low, "maxVersion": high} for key, (low, high) in sorted(ranges.items())
        ],
        "throttleTimeMs": 0,
        "supportedFeatures": [
            {"name": name, "minVersion": low, "maxVersion": high}
            for name, (low, high) in sorted(state.supported_features.items())
            if version >= 4 or low > 0  # KAFKA-17011
        ],
        "finalizedFeaturesEpoch": state.finalized_epoch,
        "finalizedFeatures": [
            {"name": name, "minVersionLevel": low, "maxVersionLevel": high}
            for name, (low, high) in sorted(state.finalized_features.items())
        ],
    }
