"""The PROXY protocol's header, versions 1 and 2: which client a balancer speaks for. Strict, and without I/O.

    header = HeaderReader()
    while (found := header.feed(receive(header.wanted))) is None: ...

`wanted` is never more than what certainly belongs to the header, so that whatever follows it stays in the socket for
TLS. Refused, as BadHeader: whatever the specification (HAProxy's proxy-protocol.txt, section 2) does not permit, other
transports than TCP, and a checksum that does not fit. Used by edge.proxied, for connections of named balancers only.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from gateway.core.identity import ENDPOINT, Address

V1_BYTES_MAX = 107
"""Of a header of version 1, its line end included."""
V2_LENGTH_MAX = 2048
"""Of addresses and TLVs in a header of version 2."""

_V1 = b"PROXY "
_V1_SHORTEST = len(b"PROXY UNKNOWN\r\n")
_V2 = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_FIXED = 16
_V2_ADDRESSES = {0x11: 12, 0x21: 36}
"""Family and transport -> octets of addresses and ports: TCP over IPv4, TCP over IPv6."""
_TLV_FIXED = 3
"""Octets of a TLV's kind and length."""
_LOCAL, _PROXY = 0x20, 0x21
_UNSPECIFIED = 0x00
_CRC32C, _GCP, _AWS, _AZURE = 0x03, 0xE0, 0xEA, 0xEE
_ENDPOINT_ID = 0x01
"""The subtype of AWS's and Azure's TLVs that is their endpoint's id."""


class BadHeader(Exception):
    """These bytes are no header that is believed. Says why, with nothing of the bytes themselves."""


@dataclass(frozen=True, slots=True)
class Header:
    """`client`: whom the balancer speaks for; None for itself (LOCAL, UNKNOWN, UNSPEC). `endpoint`: the private-link
    endpoint's id as identity.ENDPOINT has it, "" for none."""

    client: Address | None = None
    port: int = 0
    endpoint: str = ""


class HeaderReader:
    """Takes a header piece by piece."""

    __slots__ = ("_data", "wanted")

    def __init__(self) -> None:
        self._data = bytearray()
        self.wanted = _V1_SHORTEST
        """How many bytes to read next at most: so many are the header's own in any case."""

    def feed(self, data: bytes) -> Header | None:
        """Take the next bytes, `wanted` of them at most. None while some are missing. Raises BadHeader."""
        assert len(data) <= self.wanted
        self._data += data
        if _agree(self._data, _V2):
            return self._version_2()
        if _agree(self._data, _V1):
            return self._version_1()
        raise BadHeader("it is neither version 1 nor version 2")

    def _version_1(self) -> Header | None:
        have = self._data
        if have.endswith(b"\r\n"):
            return _line(bytes(have[:-2]))
        if len(have) >= V1_BYTES_MAX:
            raise BadHeader(f"version 1 without a line end within {V1_BYTES_MAX} bytes")
        if b"\n" in have or b"\r" in have[:-1]:
            raise BadHeader("version 1 with a stray line end")
        at_least = 1 if have.endswith(b"\r") else 2
        self.wanted = min(max(_V1_SHORTEST - len(have), at_least), V1_BYTES_MAX - len(have))
        return None

    def _version_2(self) -> Header | None:
        have = len(self._data)
        whole = _V2_FIXED
        if have >= _V2_FIXED:
            (length,) = struct.unpack_from(">H", self._data, 14)
            if length > V2_LENGTH_MAX:
                raise BadHeader(f"version 2 with {length} bytes, over {V2_LENGTH_MAX}")
            whole += length
        if have < whole or have < _V2_FIXED:
            self.wanted = whole - have
            return None
        return _binary(bytes(self._data))


def _agree(data: bytearray, opening: bytes) -> bool:
    shared = min(len(data), len(opening))
    return data[:shared] == opening[:shared]


def _line(line: bytes) -> Header:
    """Section 2.1."""
    try:
        words = line.decode("ascii").split(" ")
    except UnicodeDecodeError:
        raise BadHeader("version 1 with bytes that are not ASCII") from None
    if words[1] == "UNKNOWN":
        return Header()
    if words[1] not in ("TCP4", "TCP6") or len(words) != 6:
        raise BadHeader("version 1 that is not PROXY, TCP4 or TCP6, two addresses, two ports")
    address = IPv4Address if words[1] == "TCP4" else IPv6Address
    try:
        client, _ = (_plain(address(word)) for word in words[2:4] if "%" not in word)
    except ValueError:
        raise BadHeader(f"version 1 with something else than two {words[1]} addresses") from None
    ports = [_port(word) for word in words[4:]]
    return Header(client, ports[0])


def _port(word: str) -> int:
    if word.isdecimal() and len(word) <= 5 and (word == "0" or word[0] != "0") and int(word) <= 0xFFFF:
        return int(word)
    raise BadHeader("version 1 with a port that is none")


def _plain(address: Address) -> Address:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped if mapped is not None else address


def _binary(data: bytes) -> Header:
    """Section 2.2, the whole header."""
    command, family = data[12], data[13]
    if command not in (_LOCAL, _PROXY):
        raise BadHeader("version 2 with an unknown version or command")
    if command == _LOCAL or family == _UNSPECIFIED:
        if command == _PROXY:
            _extras(data, _V2_FIXED)
        return Header()
    octets = _V2_ADDRESSES.get(family)
    if octets is None:
        raise BadHeader("version 2 for something else than TCP over IPv4 or IPv6")
    if len(data) < _V2_FIXED + octets:
        raise BadHeader("version 2 that is too short for its addresses")
    width = (octets - 4) // 2
    packed = data[_V2_FIXED : _V2_FIXED + width]
    client: Address = IPv4Address(packed) if width == 4 else IPv6Address(packed)
    (port,) = struct.unpack_from(">H", data, _V2_FIXED + 2 * width)
    return Header(_plain(client), port, _extras(data, _V2_FIXED + octets))


def _extras(data: bytes, offset: int) -> str:
    """Walk the TLVs (section 2.2.1). Gives the endpoint's id, "" for none."""
    found: list[str] = []
    while offset < len(data):
        at = offset + _TLV_FIXED
        length = int.from_bytes(data[offset + 1 : at], "big")
        if at + length > len(data):
            raise BadHeader("version 2 with a TLV that is cut short")
        kind, value = data[offset], data[at : at + length]
        offset = at + length
        if kind == _CRC32C:
            _check(data, at, value)
        else:
            found += _endpoint(kind, value)
    if len(found) > 1:
        raise BadHeader("version 2 with several private-link endpoints")
    return found[0] if found else ""


def _endpoint(kind: int, value: bytes) -> list[str]:
    """The endpoint's id of a TLV, if it is one that has it: by the three clouds' documentation."""
    if kind == _AWS and value[:1] == bytes([_ENDPOINT_ID]):
        name = value[1:].decode("ascii", "replace")
    elif kind == _AZURE and value[:1] == bytes([_ENDPOINT_ID]):
        name = f"azure-{int.from_bytes(value[1:], 'little')}" if len(value) == 5 else ""
    elif kind == _GCP:
        name = f"gcp-{int.from_bytes(value, 'big')}" if len(value) == 8 else ""
    else:
        return []
    if not ENDPOINT.fullmatch(name):
        raise BadHeader("version 2 with a private-link endpoint that is none")
    return [name]


def _check(data: bytes, at: int, value: bytes) -> None:
    """The checksum is over the whole header with itself as zeros."""
    if len(value) != 4:
        raise BadHeader("version 2 with a checksum that is none")
    if crc32c(data[:at] + bytes(4) + data[at + 4 :]) != int.from_bytes(value, "big"):
        raise BadHeader("version 2 whose checksum does not fit")


def _table() -> tuple[int, ...]:
    made = []
    for octet in range(256):
        value = octet
        for _ in range(8):
            value = value >> 1 ^ 0x82F63B78 * (value & 1)
        made.append(value)
    return tuple(made)


_CRC_TABLE = _table()


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli; RFC 9260, appendix A)."""
    value = 0xFFFFFFFF
    for octet in data:
        value = _CRC_TABLE[(value ^ octet) & 0xFF] ^ value >> 8
    return value ^ 0xFFFFFFFF
