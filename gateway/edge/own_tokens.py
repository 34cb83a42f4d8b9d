"""Fetches the gateway's own tokens: client credentials (RFC 6749 section 4.4) at an https token endpoint.

The endpoint's certificate is verified; no proxy or credential of the environment is used, no redirect followed: the
client's secret goes to the configured address alone. The answer is bounded in size and time. A token is fetched anew
well before it ends; while that fails, the last good one is used as long as it lasts. Nothing of a token, a secret or
an endpoint's error text is ever logged. Used by edge.accounts.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import random
import ssl
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx

from gateway.core.clock import Clock
from gateway.core.settings import OauthAccount

ANSWER_BYTES_MAX = 64 * 1024
LIFETIME_UNTOLD = 300.0
"""Seconds that a token is taken to last if the endpoint does not say."""
LIFETIME_MAX = 86400.0
RENEWED_AFTER = 0.7
"""Of a token's lifetime."""
RETRY_SECONDS_MIN = 1.0
RETRY_SECONDS_MAX = 60.0

log = logging.getLogger(__name__)


class TokenFailed(Exception):
    """No token was had. Says why, without repeating anything that was sent."""


@dataclass(frozen=True, slots=True)
class OwnToken:
    text: str = field(repr=False)
    lifetime: float


class TokenEndpoint:
    """One endpoint. `secret` gives the client's secret as it is now."""

    def __init__(self, settings: OauthAccount, secret: Callable[[], str]) -> None:
        self._settings = settings
        self._secret = secret

    async def fetch(self) -> OwnToken:
        """Raises TokenFailed."""
        timeout = self._settings.timeout
        try:
            async with asyncio.timeout(timeout):
                context = await asyncio.to_thread(ssl.create_default_context, cafile=self._settings.ca)
                client = httpx.AsyncClient(verify=context, trust_env=False, follow_redirects=False, timeout=timeout)
                async with client:
                    return await self._ask(client)
        except TimeoutError:
            raise TokenFailed(f"no whole answer within {timeout:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise TokenFailed(type(error).__name__) from None

    async def _ask(self, client: httpx.AsyncClient) -> OwnToken:
        settings = self._settings
        form = {"grant_type": "client_credentials"}
        if settings.scope is not None:
            form["scope"] = settings.scope
        # RFC 6749 section 2.3.1: both are form-encoded before they become HTTP Basic's.
        name, secret = (urllib.parse.quote_plus(each) for each in (settings.client_id or "", self._secret()))
        basic = base64.b64encode(f"{name}:{secret}".encode()).decode()
        headers = {"authorization": f"Basic {basic}", "accept": "application/json", "accept-encoding": "identity"}
        data = bytearray()
        async with client.stream("POST", str(settings.token_url), data=form, headers=headers) as response:
            if response.status_code != httpx.codes.OK:
                raise TokenFailed(f"HTTP status {response.status_code}")
            async for chunk in response.aiter_raw():
                data += chunk
                if len(data) > ANSWER_BYTES_MAX:
                    raise TokenFailed(f"more than {ANSWER_BYTES_MAX} bytes")
        return _token(bytes(data))


def _token(data: bytes) -> OwnToken:
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError):
        raise TokenFailed("an answer that is not JSON") from None
    if not isinstance(answer, dict) or not isinstance(answer.get("access_token"), str) or not answer["access_token"]:
        raise TokenFailed("an answer without an access_token")
    if str(answer.get("token_type", "Bearer")).lower() != "bearer":
        raise TokenFailed("a token that is no bearer token")
    told = answer.get("expires_in", LIFETIME_UNTOLD)
    try:
        lifetime = float(told)
    except (TypeError, ValueError, OverflowError):
        raise TokenFailed("expires_in is no number") from None
    if not lifetime > 0:
        raise TokenFailed("a token that has ended")
    return OwnToken(answer["access_token"], min(lifetime, LIFETIME_MAX))


class TokenKeeper:
    """Keeps one token fresh. `told` is called with "" after a good fetch, with the words of one that failed."""

    def __init__(self, endpoint: TokenEndpoint, clock: Clock, told: Callable[[str], None]) -> None:
        self._endpoint = endpoint
        self._clock = clock
        self._told = told
        self._token: OwnToken | None = None
        self._ends_at = 0.0
        self._anew = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def current(self) -> str | None:
        """None before the first one, and after the end of the last one."""
        if self._token is None or self._clock.monotonic() >= self._ends_at:
            return None
        return self._token.text

    async def start(self) -> None:
        """The first fetch is awaited, whatever comes of it."""
        pause = await self._fetch(0)
        self._task = asyncio.create_task(self._keep(pause), name="own token")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def fetch_soon(self) -> None:
        """The secret has changed."""
        self._anew.set()

    async def _keep(self, pause: float) -> None:
        failures = 0
        while True:
            try:
                async with asyncio.timeout(pause):
                    await self._anew.wait()
            except TimeoutError:
                pass
            self._anew.clear()
            before = self._ends_at
            pause = await self._fetch(failures)
            failures = 0 if self._ends_at != before else failures + 1

    async def _fetch(self, failures: int) -> float:
        """One try; the seconds until the next."""
        try:
            token = await self._endpoint.fetch()
        except Exception as error:
            if not isinstance(error, TokenFailed):
                log.error("fetching the gateway's own token failed by an error of ours: %s", type(error).__name__)
            self._told(str(error) if isinstance(error, TokenFailed) else type(error).__name__)
            longest = min(RETRY_SECONDS_MAX, RETRY_SECONDS_MIN * 2.0 ** min(failures, 10))
            return longest * (0.5 + random.random() / 2)  # noqa: S311  (jitter, no secret)
        self._token = token
        self._ends_at = self._clock.monotonic() + token.lifetime
        self._told("")
        return max(RETRY_SECONDS_MIN, token.lifetime * RENEWED_AFTER)
