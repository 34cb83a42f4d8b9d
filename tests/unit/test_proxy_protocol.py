"""The PROXY protocol's header: every form, in any pieces, and nothing past its end."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.proxy_protocol import V1_BYTES_MAX, V2_LENGTH_MAX, BadHeader, Header, HeaderReader, crc32c

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
IPV4 = ip_address("203.0.113.7").packed + ip_address("10.0.0.1").packed + struct.pack(">HH", 40000, 9094)
IPV6 = ip_address("2001:db8::7").packed + ip_address("::1").packed + struct.pack(">HH", 40000, 9094)


def v2(rest: bytes, family: int = 0x11, command: int = 0x21) -> bytes:
    return SIGNATURE + bytes([command, family]) + struct.pack(">H", len(rest)) + rest


def tlv(kind: int, value: bytes) -> bytes:
    return bytes([kind]) + struct.pack(">H", len(value)) + value


def with_crc(rest: bytes) -> bytes:
    bare = v2(rest + tlv(0x03, bytes(4)))
    return bare[:-4] + struct.pack(">I", crc32c(bare))


def read(data: bytes, step: int = 10_000) -> tuple[Header | None, int]:
    """The header and how many bytes were taken; the reader may take less than it is offered, never more."""
    reader, taken = HeaderReader(), 0
    while taken < len(data):
        piece = data[taken : taken + min(reader.wanted, step)]
        taken += len(piece)
        found = reader.feed(piece)
        if found is not None:
            return found, taken
    return None, taken


GOOD = [
    (b"PROXY TCP4 203.0.113.7 10.0.0.1 40000 9094\r\n", Header(IPv4Address("203.0.113.7"), 40000)),
    (b"PROXY TCP4 1.1.1.1 2.2.2.2 0 0\r\n", Header(IPv4Address("1.1.1.1"), 0)),
    (b"PROXY TCP6 2001:db8::7 ::1 40000 9094\r\n", Header(IPv6Address("2001:db8::7"), 40000)),
    (b"PROXY TCP6 ::ffff:203.0.113.7 ::1 5 6\r\n", Header(IPv4Address("203.0.113.7"), 5)),
    (b"PROXY UNKNOWN\r\n", Header()),
    (b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", Header()),
    (v2(IPV4), Header(IPv4Address("203.0.113.7"), 40000)),
    (v2(IPV6, 0x21), Header(IPv6Address("2001:db8::7"), 40000)),
    (v2(b"", 0, 0x20), Header()),
    (v2(IPV4, 0x11, 0x20), Header()),
    (v2(b"", 0), Header()),
    (v2(IPV4 + tlv(0x04, bytes(20))), Header(IPv4Address("203.0.113.7"), 40000)),
    (v2(IPV4 + tlv(0xEA, b"\x01vpce-08d2bf15fac5001c9")),
     Header(IPv4Address("203.0.113.7"), 40000, "vpce-08d2bf15fac5001c9")),
    (v2(IPV4 + tlv(0xEA, b"\x02else")), Header(IPv4Address("203.0.113.7"), 40000)),
    (v2(IPV4 + tlv(0xEE, b"\x01\x04\x03\x02\x01")), Header(IPv4Address("203.0.113.7"), 40000, "azure-16909060")),
    (v2(IPV4 + tlv(0xE0, struct.pack(">Q", 2**63))), Header(IPv4Address("203.0.113.7"), 40000, f"gcp-{2**63}")),
    (with_crc(IPV4 + tlv(0xEA, b"\x01vpce-1")), Header(IPv4Address("203.0.113.7"), 40000, "vpce-1")),
]  # fmt: skip


@pytest.mark.parametrize(("data", "wanted"), GOOD)
@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_a_header_is_read_to_its_last_byte_and_no_further(data: bytes, wanted: Header, step: int) -> None:
    assert read(data + b"\x16\x03\x01 what TLS begins with", step) == (wanted, len(data))


@pytest.mark.parametrize(("data", "wanted"), GOOD)
def test_a_header_cut_short_is_waited_for(data: bytes, wanted: Header) -> None:
    del wanted
    for end in range(len(data)):
        assert read(data[:end])[0] is None


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03aaaa",
        b"PROXY TCP4 203.0.113.7 10.0.0.1 40000\r\n",
        b"PROXY TCP4 203.0.113.7 10.0.0.1 40000 9094 1\r\n",
        b"PROXY TCP4 203.0.113.7  10.0.0.1 40000 9094\r\n",
        b"PROXY TCP4 203.0.113.07 10.0.0.1 40000 9094\r\n",
        b"PROXY TCP4 2001:db8::7 10.0.0.1 40000 9094\r\n",
        b"PROXY TCP6 203.0.113.7 10.0.0.1 40000 9094\r\n",
        b"PROXY TCP6 fe80::1%eth0 ::1 40000 9094\r\n",
        b"PROXY TCP4 203.0.113.7 10.0.0.1 040 9094\r\n",
        b"PROXY TCP4 203.0.113.7 10.0.0.1 65536 9094\r\n",
        b"PROXY TCP4 203.0.113.7 10.0.0.1 -1 9094\r\n",
        b"PROXY UDP4 203.0.113.7 10.0.0.1 40000 9094\r\n",
        b"PROXY TCP4 203.0.113.7 10.0.0.1 40000 9094\n more\r\n",
        b"PROXY TCP4 203.0.113.7 10.0.0.1 40000\r9094\r\n",
        "PROXY TCP4 203.0.113.7 10.0.0.1 ٤ 9094\r\n".encode(),
        b"PROXY UNKNOWN " + b"x" * V1_BYTES_MAX,
        v2(IPV4, 0x11, 0x22),
        v2(IPV4, 0x11, 0x11),
        v2(IPV4, 0x12),
        v2(bytes(216), 0x31),
        v2(IPV4[:-1]),
        v2(IPV4, 0x21),
        v2(IPV4 + bytes(V2_LENGTH_MAX - 11)),
        v2(IPV4 + b"\x04"),
        v2(IPV4 + b"\x04\x00\x05abcd"),
        v2(IPV4 + tlv(0xEA, b"\x01")),
        v2(IPV4 + tlv(0xEA, b"\x01vpce-1\xff")),
        v2(IPV4 + tlv(0xEA, b"\x01azure-1")[:0] + tlv(0xEA, b"\x01eni-1")),
        v2(IPV4 + tlv(0xEE, b"\x01\x04\x03\x02")),
        v2(IPV4 + tlv(0xE0, bytes(7))),
        v2(IPV4 + tlv(0xEA, b"\x01vpce-1") + tlv(0xEA, b"\x01vpce-2")),
        v2(IPV4 + tlv(0xEA, b"\x01vpce-1") + tlv(0xE0, bytes(8))),
        v2(IPV4 + tlv(0x03, bytes(4))),
        v2(IPV4 + tlv(0x03, bytes(3))),
    ],
)  # fmt: skip
def test_what_is_no_header_is_refused(data: bytes) -> None:
    for step in (1, 10_000):
        with pytest.raises(BadHeader):
            read(data, step)


def test_the_longest_headers() -> None:
    longest = b"PROXY UNKNOWN " + b"f" * (V1_BYTES_MAX - 16) + b"\r\n"
    assert len(longest) == V1_BYTES_MAX
    assert read(longest) == (Header(), V1_BYTES_MAX)
    padded = v2(IPV4 + tlv(0x04, bytes(V2_LENGTH_MAX - 15)))
    assert read(padded) == (Header(IPv4Address("203.0.113.7"), 40000), len(padded))


def test_the_checksum_is_castagnolis() -> None:
    assert crc32c(b"123456789") == 0xE3069283


@given(st.binary(max_size=300), st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11"]))
def test_garbage_is_a_header_waited_for_or_refused(garbage: bytes, opening: bytes) -> None:
    outcomes = []
    for step in (1, 10_000):
        try:
            outcomes.append(read(opening + garbage, step)[0])
        except BadHeader:
            outcomes.append("refused")
    assert outcomes[0] == outcomes[1] or None in outcomes
