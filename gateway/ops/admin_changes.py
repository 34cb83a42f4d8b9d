"""What the admin port can change, and what it shows to holders of the credential alone.

``POST /connections/close`` ends a principal's connections, ``POST /log-level`` says how much the process's own log
tells, ``POST /reload`` has configuration, policies and certificates looked at now, ``GET /running`` is what holds,
for ``gateway check --against running``. Each needs ``Authorization: Bearer`` with the admin token (ops.admin_token),
compared in constant time, and leaves an audit line with what was asked, from which address, and whom the caller named.
A browser cannot send that header from another site's page without asking first (a preflight, which gets 405). Bodies
are JSON of at most `BODY_BYTES_MAX`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar, get_args

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from gateway.core.clock import Clock
from gateway.core.identity import Method, Principal
from gateway.core.meters import Meter, Meters
from gateway.core.settings import Model
from gateway.ops import admin_token
from gateway.ops.admin import Told, answer, told
from gateway.ops.own_log import log_level, set_log_level

BODY_BYTES_MAX = 4096
WORDS_CHARS_MAX = 200
"""Of a reason, and of the name a caller gives for himself."""
REFUSED_INTERVAL = 10.0
"""Seconds between two audit lines about requests without a good credential; all are counted."""
LEVELS = ("debug", "info", "warning", "error")

REFUSED = Meter("gateway_admin_refused_total", "Requests to the admin port without a good credential.")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")

Announce = Callable[[Mapping[str, str | int]], None]
"""Writes one ``admin`` line of the audit."""
CloseOf = Callable[[Principal, str], Told[int]]
Running = Callable[[], Told[Mapping[str, object]]]
Reload = Callable[[], Awaitable[Mapping[str, object]]]
"""Looks at everything now; what came of it, in plain values, with a word in ``result``."""
Level = Callable[[str], None]


class CloseAsked(Model):
    principal: str
    reason: str = ""
    by: str = ""


class LevelAsked(Model):
    level: str
    by: str = ""


class ReloadAsked(Model):
    by: str = ""


Asked = TypeVar("Asked", bound=Model)


class Changes:
    """The routes. `token`: None where there is none, and then nothing can be changed."""

    def __init__(
        self,
        token: str | None,
        announce: Announce,
        close: CloseOf,
        running: Running,
        reload: Reload,
        clock: Clock,
        meters: Meters,
        level: Level = set_log_level,
    ) -> None:
        self._token = token
        self._announce = announce
        self._close_of = close
        self._running = running
        self._reload = reload
        self._clock = clock
        self._refused = meters.cell(REFUSED)
        self._set_level = level
        self._written = -REFUSED_INTERVAL

    def routes(self) -> list[Route]:
        return [
            Route("/connections/close", self._close, methods=["POST"]),
            Route("/log-level", self._level, methods=["POST"]),
            Route("/reload", self._look, methods=["POST"]),
            Route("/running", self._show, methods=["GET"]),
        ]

    def guard(self, request: Request) -> Response | None:
        """None if the request carries the credential, else its refusal."""
        if self._token is None:
            return PlainTextResponse("this gateway has no admin token; its log says why\n", status_code=403)
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and admin_token.same(given, self._token):
            return None
        self._refused.value += 1
        now = self._clock.monotonic()
        if now - self._written >= REFUSED_INTERVAL:
            self._written = now
            self._announce({"action": "refused", "path": _plain(request.url.path), "from": _address(request)})
        words = "the admin token is needed: Authorization: Bearer ...\n"
        return PlainTextResponse(words, status_code=401, headers={"www-authenticate": "Bearer"})

    async def _close(self, request: Request) -> Response:
        asked = self.guard(request) or await _body(request, CloseAsked)
        if isinstance(asked, Response):
            return asked
        principal = parse_principal(asked.principal)
        if principal is None:
            return PlainTextResponse(f"{PRINCIPAL_EXPECTED}\n", status_code=422)
        why, by = _plain(asked.reason), _plain(asked.by)
        closed = await told(self._close_of(principal, why))
        done: dict[str, str | int] = {"principal": str(principal), "connections": closed}
        words: dict[str, str | int] = {"of": str(principal), "connections": closed}
        self._announce({"action": "close", **words, "detail": why, "by": by, "from": _address(request)})
        return answer(done)

    async def _level(self, request: Request) -> Response:
        asked = self.guard(request) or await _body(request, LevelAsked)
        if isinstance(asked, Response):
            return asked
        if asked.level not in LEVELS:
            return PlainTextResponse(f"a level among {', '.join(LEVELS)}\n", status_code=422)
        before = log_level()
        self._set_level(asked.level)
        done: dict[str, str | int] = {"level": asked.level, "before": before}
        self._announce({"action": "log-level", **done, "by": _plain(asked.by), "from": _address(request)})
        return answer(done)

    async def _look(self, request: Request) -> Response:
        asked = self.guard(request) or await _body(request, ReloadAsked)
        if isinstance(asked, Response):
            return asked
        done = await self._reload()
        told = {"result": str(done.get("result", "")), "by": _plain(asked.by), "from": _address(request)}
        self._announce({"action": "reload", **told})
        return answer(done)

    async def _show(self, request: Request) -> Response:
        return self.guard(request) or answer(await told(self._running()))


PRINCIPAL_EXPECTED = "a principal as the audit writes it, e.g. jwt:corp:alice or certificate:clients:spiffe://x/y"


def parse_principal(text: str) -> Principal | None:
    """``jwt:corp:alice`` as a principal; the name may hold colons. None if it is none."""
    method, _, rest = text.partition(":")
    issuer, colon, name = rest.partition(":")
    for known in get_args(Method):
        if method == known and issuer and colon and name:
            return Principal(known, issuer, name)
    return None


async def _body(request: Request, model: type[Asked]) -> Asked | Response:
    """The request's body as what was asked for, or its refusal. Nothing past the bound is read."""
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > BODY_BYTES_MAX:
            return PlainTextResponse(f"at most {BODY_BYTES_MAX} bytes\n", status_code=413)
    try:
        return model.model_validate(json.loads(bytes(content)))
    except ValidationError as error:
        first = error.errors()[0]
        return PlainTextResponse(f"{'.'.join(map(str, first['loc']))}: {first['msg']}\n", status_code=422)
    except (ValueError, RecursionError):
        return PlainTextResponse("a JSON object\n", status_code=400)


def _plain(text: str) -> str:
    return _UNPRINTABLE.sub("?", text)[:WORDS_CHARS_MAX]


def _address(request: Request) -> str:
    return request.client.host if request.client is not None else ""
