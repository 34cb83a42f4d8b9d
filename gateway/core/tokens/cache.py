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
TOKEN_BYTES_MAX = 8 << 20
"""Of all tokens remembered: their claims take memory in proportion, though they themselves are not kept."""


class VerifiedTokens:
    """One validator's."""

    def __init__(self, keys: KeyRing, entries_max: int = ENTRIES_MAX, token_bytes_max: int = TOKEN_BYTES_MAX) -> None:
        self._keys = keys
        self._entries_max = entries_max
        self._token_bytes_max = token_bytes_max
        self._token_bytes = 0
        self._entries: OrderedDict[bytes, tuple[Accepted, KeySet, int]] = OrderedDict()

    def get(self, token: bytes, wall: float) -> Accepted | None:
        digest = hashlib.sha256(token).digest()
        entry = self._entries.get(digest)
        if entry is None:
            return None
        accepted, key_set, _ = entry
        if wall >= accepted.expires_at or self._keys.get(accepted.principal.issuer) is not key_set:
            self._forget(digest)
            return None
        self._entries.move_to_end(digest)
        return accepted

    def put(self, token: bytes, accepted: Accepted, key_set: KeySet) -> None:
        """Remember it; the entries unused for longest go when there is no room."""
        digest = hashlib.sha256(token).digest()
        self._forget(digest)
        while self._entries and (
            len(self._entries) >= self._entries_max or self._token_bytes + len(token) > self._token_bytes_max
        ):
            self._forget(next(iter(self._entries)))
        self._entries[digest] = (accepted, key_set, len(token))
        self._token_bytes += len(token)

    def _forget(self, digest: bytes) -> None:
        entry = self._entries.pop(digest, None)
        if entry is not None:
            self._token_bytes -= entry[2]

    def __len__(self) -> int:
        return len(self._entries)
