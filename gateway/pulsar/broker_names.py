"""What clients are told in place of a broker's address, and what of it is believed when they come back with it.

The answer to a lookup names a broker; the client then asks the gateway for that broker (proxy_to_broker_url). A name
made here carries the address with a MAC under a key that all workers of this gateway share, so that the broker a client
asks for is one that a broker had named, to whichever worker, and clients learn no address (CVE-2022-24280). A name is
good for a day or two; clients look up again whenever they reconnect. The gateway never resolves one.

Clients that look up by HTTP dial what they are told, and say no more: for them the same, shorter, is one label under a
wildcard that the operator has set up (Listener.broker_names), which they then ask for in TLS (SNI, RFC 6066).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import struct
from collections.abc import Iterable

from gateway.core.clock import Clock
from gateway.core.session import Endpoint
from gateway.core.settings.values import is_address

MAC_BYTES = 16
DAY_SECONDS = 86_400
LABEL_CHARS_MAX = 60
"""Of one part of a name between dots; a host name's own limit is 63."""
HOST_CHARS_MAX = 253
"""Of a broker's host name."""
NAME_CHARS_MAX = 600
"""Of a whole name; longer ones are not looked at."""
SUFFIX = ".broker"
"""Java takes a host for one only if its last part begins with a letter."""
PORT = 6650
"""Of every name; the broker's own is inside."""
LABEL_MAC_BYTES = 10
LABEL_BYTES_MAX = 39
"""Of what one label of 63 characters holds in base32 (RFC 4648); it leaves 26 for the broker's host."""
ENDINGS_MAX = 255
_OF_LABEL = struct.Struct(">HB")
"""The broker's port, and which known ending its host has."""
_LABEL = re.compile(r"[a-z2-7]{23,63}")


def may_be_label(text: str) -> bool:
    """Whether it has the form of a broker's; the gateway's own names do not."""
    return _LABEL.fullmatch(text) is not None


def endings(hosts: Iterable[str]) -> tuple[str, ...]:
    """What brokers' host names may end with, the longest first, where these are some of theirs: each of these, and
    each without its first label."""
    found: set[str] = set()
    for host in hosts:
        if is_address(host):
            continue
        bare = host.removeprefix("*.")
        found.add(f".{bare}")
        parent = bare.partition(".")[2]
        if parent:
            found.add(f".{parent}")
    return tuple(sorted(found, key=lambda each: (-len(each), each))[:ENDINGS_MAX])


class BrokerNames:
    """One backend's names."""

    def __init__(self, key: bytes, backend: str, clock: Clock) -> None:
        self._key = key
        self._backend = backend.encode()
        self._clock = clock
        self.endings: tuple[str, ...] = ()
        """With which brokers' hosts end, so that a label need not hold them; as `endings` has them."""

    def name(self, broker: Endpoint) -> str | None:
        """``host:port`` as clients are told; None for a broker whose own name is too long to be one."""
        if len(broker.host) > HOST_CHARS_MAX:
            return None
        told = _told(broker)
        text = base64.b32encode(self._mac(told, self._day()) + told).decode().rstrip("=").lower()
        labels = [text[at : at + LABEL_CHARS_MAX] for at in range(0, len(text), LABEL_CHARS_MAX)]
        return f"{'.'.join(labels)}{SUFFIX}:{PORT}"

    def broker(self, name: str) -> Endpoint | None:
        """The broker of a name that this gateway told somebody; None for any other."""
        text = name.removesuffix(f":{PORT}").removesuffix(SUFFIX)
        if len(name) > NAME_CHARS_MAX or len(text) + len(SUFFIX) + len(f":{PORT}") != len(name):
            return None
        text = text.replace(".", "").upper()
        try:
            octets = base64.b32decode(text + "=" * (-len(text) % 8))
        except (binascii.Error, ValueError):
            return None
        mac, told = octets[:MAC_BYTES], octets[MAC_BYTES:]
        if len(mac) < MAC_BYTES or not self._signed(mac, told):
            return None
        port, _, host = told.decode().partition("|")
        return Endpoint(host, int(port))

    def label(self, broker: Endpoint) -> str | None:
        """One label of a host name; None for a broker whose own name is too long, and has no known ending."""
        known = ((number, each) for number, each in enumerate(self.endings) if broker.host.endswith(each))
        number, ending = next(known, (ENDINGS_MAX, ""))
        host = broker.host.removesuffix(ending).encode()
        octets = self._mac(_told(broker), self._day())[:LABEL_MAC_BYTES] + _OF_LABEL.pack(broker.port, number) + host
        return base64.b32encode(octets).decode().rstrip("=").lower() if len(octets) <= LABEL_BYTES_MAX else None

    def of_label(self, label: str) -> Endpoint | None:
        """The broker of a label that this gateway told somebody; None for any other."""
        try:
            octets = base64.b32decode(label.upper() + "=" * (-len(label) % 8))
            port, number = _OF_LABEL.unpack_from(octets, LABEL_MAC_BYTES)
            host = octets[LABEL_MAC_BYTES + _OF_LABEL.size :].decode()
        except (binascii.Error, ValueError, struct.error):
            return None
        broker = Endpoint(host + "".join(self.endings[number : number + 1]), port)
        return broker if self._signed(octets[:LABEL_MAC_BYTES], _told(broker)) else None

    def _signed(self, mac: bytes, told: bytes) -> bool:
        """Today or yesterday."""
        today = self._day()
        macs = [self._mac(told, day)[: len(mac)] for day in (today, today - 1)]
        return any(hmac.compare_digest(mac, each) for each in macs)

    def _day(self) -> int:
        return int(self._clock.wall() // DAY_SECONDS)

    def _mac(self, told: bytes, day: int) -> bytes:
        signed = b"%d|%d|%s|%s" % (day, len(self._backend), self._backend, told)
        return hmac.new(self._key, signed, hashlib.sha256).digest()[:MAC_BYTES]


def _told(broker: Endpoint) -> bytes:
    return f"{broker.port}|{broker.host}".encode()
