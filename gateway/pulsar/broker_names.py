"""What clients are told in place of a broker's address, and what of it is believed when they come back with it.

The answer to a lookup names a broker; the client then asks the gateway for that broker (proxy_to_broker_url). A name
made here carries the address with a MAC under a key that all workers of this gateway share, so that the broker a client
asks for is one that a broker had named, to whichever worker, and clients learn no address (CVE-2022-24280). A name is
good for a day or two; clients look up again whenever they reconnect. No name is ever resolved.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from gateway.core.clock import Clock
from gateway.core.session import Endpoint

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


class BrokerNames:
    """One backend's names."""

    def __init__(self, key: bytes, backend: str, clock: Clock) -> None:
        self._key = key
        self._backend = backend.encode()
        self._clock = clock

    def name(self, broker: Endpoint) -> str | None:
        """``host:port`` as clients are told; None for a broker whose own name is too long to be one."""
        if len(broker.host) > HOST_CHARS_MAX:
            return None
        told = f"{broker.port}|{broker.host}".encode()
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
        today = self._day()
        if not any(hmac.compare_digest(mac, self._mac(told, day)) for day in (today, today - 1)):
            return None
        port, _, host = told.decode().partition("|")
        return Endpoint(host, int(port))

    def _day(self) -> int:
        return int(self._clock.wall() // DAY_SECONDS)

    def _mac(self, told: bytes, day: int) -> bytes:
        signed = b"%d|%d|%s|%s" % (day, len(self._backend), self._backend, told)
        return hmac.new(self._key, signed, hashlib.sha256).digest()[:MAC_BYTES]
