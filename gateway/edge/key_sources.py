"""Where an issuer's JWKS document is read: a file, or an https URL. Nothing is parsed here. Called by edge.keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.settings import KeySource
from gateway.edge.key_files import FetchFailed, FileSource

if TYPE_CHECKING:
    from gateway.edge.key_url import UrlSource

__all__ = ["FetchFailed", "FileSource", "source"]


def source(settings: KeySource) -> FileSource | UrlSource:
    """The source that an issuer's settings name."""
    if settings.file is not None:
        return FileSource(settings.file)
    from gateway.edge.key_url import UrlSource  # noqa: PLC0415 - an HTTP client, where needed

    assert settings.url is not None
    return UrlSource(settings.url, settings.ca, settings.timeout)
