"""Kafka requests as bytes, for clients that send the same one again and again.

Only what the load needs: ApiVersions, the SASL pair, Produce v10, Fetch v12 and Metadata v12. A frame is made once; for
each sending its correlation id (octets 8 to 12) is written anew.
"""

from __future__ import annotations

import struct

PRODUCE, FETCH, METADATA, SASL_HANDSHAKE, API_VERSIONS, SASL_AUTHENTICATE = 0, 1, 3, 17, 18, 36
CORRELATION = 8
"""Where the correlation id stands in a frame, and in its answer four octets earlier."""

_CLIENT = b"loadtest"
_POLYNOMIAL = 0x82F63B78


def stamp(frame: bytearray, correlation: int) -> None:
    """Write the correlation id."""
    struct.pack_into(">i", frame, CORRELATION, correlation)


def api_versions() -> bytearray:
    return _frame(API_VERSIONS, 0, b"", flexible=False)


def sasl_handshake() -> bytearray:
    return _frame(SASL_HANDSHAKE, 1, struct.pack(">h", 11) + b"OAUTHBEARER", flexible=False)


def sasl_authenticate(token: str) -> bytearray:
    """OAUTHBEARER's first message (RFC 7628)."""
    said = f"n,,\x01auth=Bearer {token}\x01\x01".encode()
    return _frame(SASL_AUTHENTICATE, 1, struct.pack(">i", len(said)) + said, flexible=False)


def metadata(topics: list[str] | None = None) -> bytearray:
    """None: every topic that the client may see."""
    asked = b"\0" if topics is None else _count(topics) + b"".join(b"\0" * 16 + _text(name) + b"\0" for name in topics)
    return _frame(METADATA, 12, asked + b"\0\0\0")


def produce(topic: str, partitions: list[int], records: int, size: int, *, summed: bool = True) -> bytearray:
    """One batch of `records` values of `size` octets for each partition, acks=1."""
    batch = record_batch(records, size, summed=summed)
    sent = _varint(len(batch) + 1) + batch + b"\0"
    each = b"".join(struct.pack(">i", partition) + sent for partition in partitions)
    return _frame(
        PRODUCE, 10, b"\0" + struct.pack(">hi", 1, 30_000) + b"\2" + _text(topic) + _count(partitions) + each + b"\0\0"
    )


def fetch(topic: str, partitions: list[int], size: int) -> bytearray:
    """From the beginning of each partition, at most `size` octets in all; no session."""
    head = struct.pack(">iiiibii", -1, 500, 1, size, 0, 0, -1)
    each = b"".join(struct.pack(">iiqiqi", one, -1, 0, -1, -1, size) + b"\0" for one in partitions)
    return _frame(FETCH, 12, head + b"\2" + _text(topic) + _count(partitions) + each + b"\0" + b"\1" + b"\1" + b"\0")


def produce_error(topic: str, answer: bytes) -> int:
    """The first partition's error code in an answer to `produce`, its length already taken off."""
    at = 4 + 1 + 1 + 1 + len(topic) + 1 + 4
    return int(struct.unpack_from(">h", answer, at)[0])


def record_batch(records: int, size: int, *, summed: bool = True) -> bytes:
    """A batch of format v2 (KIP-98) without keys, headers or compression; a sum of 0 if nobody will look at it."""
    value = (bytes(range(256)) * (size // 256 + 1))[:size]
    body = b""
    for index in range(records):
        one = b"\0" + _zigzag(0) + _zigzag(index) + _zigzag(-1) + _zigzag(size) + value + _zigzag(0)
        body += _zigzag(len(one)) + one
    counted = struct.pack(">hiqqqhii", 0, records - 1, 1_700_000_000_000, 1_700_000_000_000, -1, -1, -1, records) + body
    rest = struct.pack(">ibI", -1, 2, crc32c(counted) if summed else 0) + counted
    return struct.pack(">qi", 0, len(rest)) + rest


def crc32c(data: bytes) -> int:
    """Castagnoli's sum (RFC 3720, appendix B.4), which batches bear."""
    value = 0xFFFFFFFF
    for octet in data:
        value = _TABLE[(value ^ octet) & 0xFF] ^ value >> 8
    return value ^ 0xFFFFFFFF


def _table_entry(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
    return value


_TABLE = [_table_entry(value) for value in range(256)]


def _frame(key: int, version: int, body: bytes, *, flexible: bool = True) -> bytearray:
    head = struct.pack(">hhih", key, version, 0, len(_CLIENT)) + _CLIENT + (b"\0" if flexible else b"")
    return bytearray(struct.pack(">i", len(head) + len(body)) + head + body)


def _text(text: str) -> bytes:
    return _varint(len(text) + 1) + text.encode()


def _count(items: list[str] | list[int]) -> bytes:
    return _varint(len(items) + 1)


def _zigzag(value: int) -> bytes:
    return _varint(value << 1 ^ value >> 63)


def _varint(value: int) -> bytes:
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)
