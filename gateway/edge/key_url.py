"""An issuer's JWKS document at an https URL. One read, bounded in size and time.

It is fetched with its certificate verified, without proxies or credentials of the environment, without content
encodings, and follows redirects within its own origin only (CVE-2025-27817 is what happens otherwise). Apart from
edge.key_sources, so that a process that fetches nothing does not load an HTTP client.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

import httpx

from gateway.core.keys import JWKS_BYTES_MAX
from gateway.edge.key_files import FetchFailed, bounded
from gateway.edge.watch import fingerprint

REDIRECTS_MAX = 3


class UrlSource:
    """A JWKS URL."""

    def __init__(self, url: str, ca: str | None, timeout: float) -> None:
        self._url = httpx.URL(url)
        self._ca = ca
        self._timeout = timeout
        self._context: ssl.SSLContext | None = None
        self._ca_seen: object = None

    async def fetch(self) -> bytes:
        """The document, all of it within the time-out. Raises FetchFailed."""
        try:
            async with asyncio.timeout(self._timeout):
                context = await asyncio.to_thread(self._trust)
                client = httpx.AsyncClient(
                    verify=context, trust_env=False, follow_redirects=False, timeout=self._timeout
                )
                async with client:
                    return await self._follow(client)
        except TimeoutError:
            raise FetchFailed(f"no whole answer within {self._timeout:g} s") from None
        except httpx.HTTPError as error:
            raise FetchFailed(f"{type(error).__name__}: {str(error)[:200]}") from None
        except (OSError, httpx.InvalidURL) as error:
            raise FetchFailed(f"{type(error).__name__}: {str(error)[:200]}") from None

    def _trust(self) -> ssl.SSLContext:
        """The CAs as they are now. Those of the system are read once, since they are many."""
        seen = fingerprint([self._ca]) if self._ca is not None else None
        if self._context is None or seen != self._ca_seen:
            self._context, self._ca_seen = ssl.create_default_context(cafile=self._ca), seen
        return self._context

    def look_out(self, tell: Callable[[], None]) -> None:
        """Whether it has changed is not to be known without fetching."""

    def look_now(self) -> None:
        """See `look_out`."""

    def look_away(self) -> None:
        """See `look_out`."""

    async def _follow(self, client: httpx.AsyncClient) -> bytes:
        url = self._url
        for _ in range(REDIRECTS_MAX + 1):
            async with client.stream("GET", url, headers=_HEADERS) as response:
                if response.has_redirect_location:
                    url = self._redirected(url, response.headers["location"])
                    continue
                return await _body(response)
        raise FetchFailed(f"more than {REDIRECTS_MAX} redirects")

    def _redirected(self, url: httpx.URL, location: str) -> httpx.URL:
        target = url.join(location)
        if (target.scheme, target.host, target.port) != (self._url.scheme, self._url.host, self._url.port):
            raise FetchFailed(f"redirected to another origin, {target.scheme}://{target.netloc.decode()[:100]}")
        return target


_HEADERS = {"accept": "application/jwk-set+json, application/json", "accept-encoding": "identity"}


async def _body(response: httpx.Response) -> bytes:
    if response.status_code != httpx.codes.OK:
        raise FetchFailed(f"HTTP status {response.status_code}")
    if response.headers.get("content-encoding", "identity") != "identity":
        raise FetchFailed("a content encoding that was not asked for")
    data = bytearray()
    async for chunk in response.aiter_raw():
        data += chunk
        if len(data) > JWKS_BYTES_MAX:
            break
    return bounded(bytes(data))
