"""Kafka's messages as bytes and back, for every API and version in the table (kafka.schema).

Called by the session, the engine and the control connection for everything that is not on the hot path (kafka.scan).
A body is a dict of the definitions' field names in camelCase. Decoding gives every field the version has, tagged ones
too, and keeps unknown tagged fields under ``_tags``; bytes and records are views of what was handed in. Encoding takes
a missing field as its default, and refuses a field the version does not have unless it holds its default or may be
ignored; nothing given is dropped otherwise.

Refused as Malformed, beyond what the broker itself refuses: bytes left over at the end, a tagged field whose size is
not what it holds, tagged fields out of order or twice, lengths below -1, text that is not UTF-8, varints of more than
32 bits, and more than ELEMENTS_MAX array elements. What two parsers could read in two ways is not passed on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from struct import Struct
from types import MappingProxyType
from typing import Any, NamedTuple

from gateway.core.slices import breathe, copied, let_go, paced, walking
from gateway.kafka.compile_decoder import Decode, decoder, has_bytes
from gateway.kafka.compile_encoder import Encode, Incomplete, encoder
from gateway.kafka.compile_source import FAULTS
from gateway.kafka.primitives import Malformed, varint
from gateway.kafka.schema.model import Message, table
from gateway.kafka.schema.shape import Form, Shape, fresh, places, shape

__all__ = [
    "APIS", "Api", "Body", "Malformed", "RequestHeader", "Unencodable", "decode_request", "decode_response",
    "encode_request", "encode_request_header", "encode_response", "encode_response_header", "parse_request_header",
    "parse_response_header", "response_header_size",
]  # fmt: skip

Body = dict[str, Any]

REQUEST_ELEMENTS_MAX = 50_000
"""Array elements and unknown tagged fields in one request; each may cost a hundred times its bytes as an
object, and about 30 microseconds to decide, for which everybody waits."""

RESPONSE_ELEMENTS_MAX = 10_000_000
"""The same in a response, which comes from a broker: the metadata of a large cluster has to fit."""

API_VERSIONS = 18


class Unencodable(Exception):
    """A body that cannot be written at this version: a mistake of the caller, with the reason in its text."""


@dataclass(frozen=True, slots=True)
class Api:
    """One API. `versions` is (lowest, latest stable); `known` is what the table can decode, unstable included.

    flexible_from: the first version with compact forms and tagged fields; above `known` where there is none.
    """

    name: str
    key: int
    versions: tuple[int, int]
    known: tuple[int, int]
    flexible_from: int


def _apis() -> dict[int, Api]:
    return {
        key: Api(
            message.name.removesuffix("Request"),
            key,
            (message.stable.first, message.stable.last),
            (message.versions.first, message.versions.last),
            message.flexible.first if message.flexible.first <= message.flexible.last else 0x7FFF,
        )
        for key, message in sorted(table().requests.items())
    }


APIS: Mapping[int, Api] = MappingProxyType(_apis())

_FLEXIBLE_FROM = {key: api.flexible_from for key, api in APIS.items()}


@dataclass(slots=True)
class _Codec:
    """One message at one version; made when first met, a millisecond or two of work, and kept.

    The forms for slices (core.slices) are made when a long message is first met.
    """

    label: str
    shape: Shape
    decode: Decode
    views: bool
    encode: Encode
    decode_sliced: Decode | None = None
    encode_sliced: Encode | None = None

    def decoding(self) -> Decode:
        if not walking():
            return self.decode
        if self.decode_sliced is None:
            breathe()
            self.decode_sliced = decoder(self.shape, self.label, sliced=True)
            breathe()
        return self.decode_sliced

    def encoding(self) -> Encode:
        if not walking():
            return self.encode
        if self.encode_sliced is None:
            breathe()
            self.encode_sliced = encoder(self.shape, self.label, sliced=True)
            breathe()
        return self.encode_sliced


_requests: dict[tuple[int, int], _Codec] = {}
_responses: dict[tuple[int, int], _Codec] = {}


def decode_request(api_key: int, version: int, data: bytes | bytearray | memoryview) -> Body:
    """The body of a request, without its header. Raises Malformed, also for an API or version not in the table."""
    codec = _requests.get((api_key, version)) or _codec(_requests, table().requests, api_key, version)
    return _decode(codec, data, REQUEST_ELEMENTS_MAX)


def decode_response(api_key: int, version: int, data: bytes | bytearray | memoryview) -> Body:
    """The body of a response, without its header. Raises Malformed."""
    codec = _responses.get((api_key, version)) or _codec(_responses, table().responses, api_key, version)
    return _decode(codec, data, RESPONSE_ELEMENTS_MAX)


def encode_request(api_key: int, version: int, body: Body) -> bytes:
    """The bytes of a request's body. Raises Unencodable."""
    return b"".join(encode_request_parts(api_key, version, body))


def encode_request_parts(api_key: int, version: int, body: Body) -> Sequence[bytes]:
    """The same in parts, so that a large one is not put together. Raises Unencodable."""
    try:
        codec = _requests.get((api_key, version)) or _codec(_requests, table().requests, api_key, version)
    except Malformed as error:
        raise Unencodable(str(error)) from None
    return _encode(codec, body)


def encode_response(api_key: int, version: int, body: Body) -> bytes:
    """The bytes of a response's body. Raises Unencodable."""
    return b"".join(encode_response_parts(api_key, version, body))


def encode_response_parts(api_key: int, version: int, body: Body) -> Sequence[bytes]:
    """The same in parts. Raises Unencodable."""
    try:
        codec = _responses.get((api_key, version)) or _codec(_responses, table().responses, api_key, version)
    except Malformed as error:
        raise Unencodable(str(error)) from None
    return _encode(codec, body)


def _codec(made: dict[tuple[int, int], _Codec], messages: Mapping[int, Message], api_key: int, version: int) -> _Codec:
    message = messages.get(api_key)
    if message is None:
        raise Malformed(f"there is no API {api_key}")
    if version not in message.versions:
        raise Malformed(f"{message.name} has no version {version}")
    form = shape(message, version)
    label = f"{message.name} v{version}"
    codec = _Codec(label, form, decoder(form, label, sliced=False), has_bytes(form), encoder(form, label, sliced=False))
    made[api_key, version] = codec
    return codec


def _decode(codec: _Codec, data: bytes | bytearray | memoryview, elements_max: int) -> Body:
    # Text is sliced faster from bytes; where records or bytes are in the message the input itself is sliced.
    source = memoryview(data) if codec.views else copied(data)
    breathe()
    try:
        body, end = codec.decoding()(source, elements_max)
    except FAULTS as error:
        raise Malformed(f"{codec.label}: {_cause(error)}") from None
    except Malformed as error:
        raise Malformed(f"{codec.label}: {error}") from None
    if end != len(source):
        raise Malformed(f"{codec.label}: {len(source) - end} bytes left over")
    return body


def _cause(error: Exception) -> str:
    """Words of our own, since an exception's text can quote the bytes it stumbled over."""
    return "text that is not UTF-8" if isinstance(error, UnicodeError) else "it ends too early"


def _encode(codec: _Codec, body: Body) -> Sequence[bytes]:
    try:
        try:
            parts = codec.encoding()(body)
        except (Incomplete, KeyError):  # KeyError: as many fields as the version has, but not the same ones
            whole = _completed(codec.shape, body, codec.label)
            parts = codec.encoding()(whole)
            let_go(whole)
        return parts
    except FAULTS as error:
        raise Unencodable(f"{codec.label}: {type(error).__name__}: a value that its field cannot hold") from None


def _completed(shape: Shape, body: Body, where: str) -> Body:
    """The struct with every field of its version and no other. Raises Unencodable."""
    if not isinstance(body, dict):
        raise Unencodable(f"{where}: a struct was expected")
    made: Body = {}
    for place in places(shape):
        if place.name in body:
            made[place.name] = _completed_value(place.form, body[place.name], f"{where}.{place.name}")
        else:
            made[place.name] = fresh(place.default)
    for name in body.keys() - made.keys():
        absent = shape.absent.get(name)
        if name == "_tags" and shape.flexible:
            made[name] = body[name]
        elif name == "_tags" and not body[name]:
            pass
        elif absent is None:
            raise Unencodable(f"{where}: there is no field {name!r}")
        elif not absent.ignorable and body[name] != absent.default:
            raise Unencodable(f"{where}: this version has no {name!r}, and it may not be left out")
    return made


def _completed_value(form: Form, value: Any, where: str) -> Any:
    if value is None:
        if not form.nullable:
            raise Unencodable(f"{where}: null where it may not be")
        return None
    if form.shape is not None:
        return _completed(form.shape, value, where)
    if form.element is not None and form.element.shape is not None:
        return [_completed(form.element.shape, item, where) for item in paced(value)]
    return value


class RequestHeader(NamedTuple):
    """What stands before every request's body (versions 1 and 2). `body_offset` is where the body begins.

    tagged: there were tagged fields, none of which is known.
    """

    api_key: int
    api_version: int
    correlation_id: int
    client_id: str | None
    body_offset: int
    tagged: bool = False


_REQUEST_START = Struct(">hhih")


def parse_request_header(frame: memoryview) -> RequestHeader:
    """The header of a request frame (without its length prefix). Raises Malformed.

    A key that is not in the table has a header too; its body begins behind the client id, as far as anyone can say.
    A version above the table's is taken as flexible, as the broker does for ApiVersions (KIP-511).
    """
    try:
        key, version, correlation_id, length = _REQUEST_START.unpack_from(frame)
        offset = 10
        client_id, tagged = None, False
        if length >= 0:
            offset = 10 + length
            if offset > len(frame):
                raise Malformed("request header: the client id is longer than what is there")
            client_id = str(frame[10:offset], "utf-8")
        elif length != -1:
            raise Malformed("request header: a negative length")
        if version >= _FLEXIBLE_FROM.get(key, 0x7FFF):
            tagged = frame[offset] != 0
            offset = _skip_tags(frame, offset)
    except FAULTS as error:
        raise Malformed(f"request header: {_cause(error)}") from None
    return RequestHeader(key, version, correlation_id, client_id, offset, tagged)


def drop_unknown(body: Body) -> bool:
    """Take the tagged fields that this version's definition does not know out of a decoded message, in place.

    A newer broker may know them, and do with them what nobody decided. True if there were any.
    """
    dropped = body.pop("_tags", None) is not None
    for value in body.values():
        if isinstance(value, dict):
            dropped = drop_unknown(value) or dropped
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for member in paced(value):
                dropped = drop_unknown(member) or dropped
    return dropped


def encode_request_header(api_key: int, version: int, correlation_id: int, client_id: str | None) -> bytes:
    """A request's header, without the frame's length prefix. The client id is never in compact form (KIP-482)."""
    text = b"" if client_id is None else client_id.encode()
    made = _REQUEST_START.pack(api_key, version, correlation_id, -1 if client_id is None else len(text)) + text
    return made + b"\0" if version >= _FLEXIBLE_FROM.get(api_key, 0x7FFF) else made


def response_header_size(api_key: int, version: int) -> int:
    """Bytes of a response's header with no tagged field in it: 4, or 5 (version 1).

    That of ApiVersions is always version 0, since its reader may not know the version yet (KIP-511).
    """
    return 5 if api_key != API_VERSIONS and version >= _FLEXIBLE_FROM.get(api_key, 0x7FFF) else 4


def encode_response_header(api_key: int, version: int, correlation_id: int) -> bytes:
    """A response's header, without the frame's length prefix."""
    return correlation_id.to_bytes(4, "big", signed=True) + bytes(response_header_size(api_key, version) - 4)


def parse_response_header(api_key: int, version: int, frame: memoryview | bytes) -> tuple[int, int]:
    """(correlation id, where the body begins) of a response frame. Raises Malformed."""
    if len(frame) < 4:
        raise Malformed("response header: it ends too early")
    offset = 4
    if response_header_size(api_key, version) == 5:
        try:
            offset = _skip_tags(frame, 4)
        except IndexError:
            raise Malformed("response header: it ends too early") from None
    return int.from_bytes(frame[:4], "big", signed=True), offset


def _skip_tags(data: memoryview | bytes, offset: int) -> int:
    """Behind a header's tagged fields; none is defined, so whatever is there is nothing we know."""
    if data[offset] == 0:
        return offset + 1
    count, offset = varint(data, offset)
    last = -1
    for _ in range(count):
        tag, offset = varint(data, offset)
        size, offset = varint(data, offset)
        offset += size
        if tag <= last:
            raise Malformed("header: tagged fields out of order")
        if offset > len(data):
            raise Malformed("header: a tagged field past the end")
        last = tag
    return offset
