"""Tokens verified before, so that the clients of one service account do not pay for the same signature again.

Keyed by the SHA-256 of the token and never by the token. An entry ends at the token's `exp` and when its issuer's key
set is replaced, so a withdrawn key does not live on here. Looking a digest up tells no secret by its timing: whoever
knows the digest's token can present it.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict

from gateway.core.keys import KeyRing, KeySet
from gateway.core.tokens.outcome import Accepted

ENTRIES_MAX = 4096


class VerifiedTokens:
    def __init__(self, keys: KeyRing, entries_max: int = ENTRIES_MAX) -> None:
        self._keys = keys
        self._entries_max = entries_max
        self._entries: OrderedDict[bytes, tuple[Accepted, KeySet]] = OrderedDict()

    def get(self, token: bytes, wall: float) -> Accepted | None:
        digest = hashlib.sha256(token).digest()
        entry = self._entries.get(digest)
        if entry is None:
            return None
        accepted, key_set = entry
        if wall >= accepted.expires_at or self._keys.get(accepted.principal.issuer) is not key_set:
            del self._entries[digest]
            return None
        self._entries.move_to_end(digest)
        return accepted

    def put(self, token: bytes, accepted: Accepted, key_set: KeySet) -> None:
        """Remember it; the entry unused for longest goes when there is no room."""
        while len(self._entries) >= self._entries_max:
            self._entries.popitem(last=False)
        self._entries[hashlib.sha256(token).digest()] = (accepted, key_set)

    def __len__(self) -> int:
        return len(self._entries)
