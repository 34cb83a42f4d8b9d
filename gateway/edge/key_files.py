"""An issuer's JWKS document in a file: read whole and bounded in size. Nothing is parsed here; see edge.key_sources."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from gateway.core.keys import JWKS_BYTES_MAX
from gateway.edge.looks import Look, looks
from gateway.edge.watch import Fingerprint, fingerprint

FILE_POLL = 1.0
"""Seconds between two looks at a file."""


class FetchFailed(Exception):
    """The document could not be had. Says why, in words for an operator."""


def bounded(data: bytes) -> bytes:
    if len(data) > JWKS_BYTES_MAX:
        raise FetchFailed(f"more than {JWKS_BYTES_MAX} bytes")
    return data


class FileSource:
    """A JWKS file, told to have changed by what it is (folder swaps and renames included)."""

    poll = FILE_POLL

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._seen: Fingerprint | None = None
        self._regular: Look | None = None

    async def fetch(self) -> bytes:
        """The file's bytes. Raises FetchFailed."""
        return await asyncio.to_thread(self._read)

    def look_out(self, tell: Callable[[], None]) -> None:
        """`tell` once it is another file, or has another content, than the one last fetched; until `look_away`."""
        self.look_away()
        self._regular = Look(lambda: self._look() != self._seen, tell, self._path.__str__)
        looks().begin(self._regular, self.poll)

    def look_now(self) -> None:
        """Besides the regular looks, while there are any."""
        if self._regular is not None:
            looks().hasten(self._regular)

    def look_away(self) -> None:
        if self._regular is not None:
            looks().end(self._regular)
            self._regular = None

    def _look(self) -> Fingerprint:
        return fingerprint((str(self._path),))

    def _read(self) -> bytes:
        self._seen = self._look()
        try:
            with self._path.open("rb") as stream:
                data = stream.read(JWKS_BYTES_MAX + 1)
        except OSError as error:
            raise FetchFailed(f"{self._path}: {error.strerror or type(error).__name__}") from None
        return bounded(data)
