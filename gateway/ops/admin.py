"""The admin port: is it alive, is it ready (and if not, what is missing), what was counted, what is going on.

``GET /healthz``: 200 as long as the loop turns. ``GET /readyz``: 200, or 503 with one line per thing that is missing;
policy files that are refused are only noted, since one mistyped file should not take every gateway out of service.
``GET /metrics``: Prometheus. ``GET /status``: what ``gateway status`` shows. On loopback these need no credential; off
loopback, where the port has TLS, everything does. What changes something (ops.admin_changes) needs one everywhere.

A browser led here by a foreign name (DNS rebinding) is turned away by its Host header; no answer carries CORS headers,
so no page of another origin reads one. The health port is a smaller application of the same kind: yes or no.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from email.utils import formatdate
from inspect import isawaitable
from typing import TypeAlias, TypeVar

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

from gateway.core.settings import AdminTls
from gateway.ops.metrics import Exposition

CONNECTIONS_MAX = 64
KEEP_ALIVE_SECONDS = 5
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
HOSTS = ["localhost", "127.0.0.1", "[::1]", "::1", "["]
"""What a Host header may say. Starlette cuts it at the first colon, which leaves ``[`` of an IPv6 address."""

T = TypeVar("T")
Told: TypeAlias = T | Awaitable[T]
"""A gateway of one process answers at once; one of several asks its workers first."""
Missing = Callable[[], Told[Sequence[str]]]
"""What keeps the gateway from serving now, one line each; empty when it is ready."""
Status = Callable[[], Told[Mapping[str, object]]]
Guard = Callable[[Request], Response | None]
"""Looks at a request's credential: None if it is good, else the refusal."""


def application(
    missing: Missing,
    notes: Missing,
    exposition: Exposition,
    *,
    status: Status | None = None,
    changes: Sequence[Route] = (),
    guard: Guard | None = None,
    hosts: Sequence[str] = (),
    count: Callable[[], Awaitable[None]] | None = None,
) -> Starlette:
    """The ASGI application of the admin port.

    notes: what is wrong, but keeps nobody from being served. changes: routes that look at the credential themselves.
    guard: for every request, where the port is not on loopback. hosts: names by which it is called besides loopback's.
    count: brings what the metrics show up to date, where that has to be asked for.
    """

    async def healthz(request: Request) -> Response:
        del request
        return PlainTextResponse("alive\n")

    async def readyz(request: Request) -> Response:
        del request
        lines = await told(missing())
        said = [*(lines or ["ready"]), *(f"note: {note}" for note in await told(notes()))]
        return PlainTextResponse("".join(f"{line}\n" for line in said), status_code=503 if lines else 200)

    async def metrics(request: Request) -> Response:
        del request
        if count is not None:
            await count()
        return Response(exposition(), media_type=MEDIA_TYPE)

    async def shown(request: Request) -> Response:
        del request
        return answer(await told(status()) if status is not None else {})

    middleware = [Middleware(TrustedHostMiddleware, allowed_hosts=[*HOSTS, *hosts], www_redirect=False)]
    if guard is not None:
        middleware.append(Middleware(Guarded, guard=guard))
    return Starlette(
        routes=[
            Route("/healthz", healthz, methods=["GET"]),
            Route("/readyz", readyz, methods=["GET"]),
            Route("/metrics", metrics, methods=["GET"]),
            *([Route("/status", shown, methods=["GET"])] if status is not None else []),
            *changes,
        ],
        middleware=middleware,
    )


def health(missing: Missing) -> Starlette:
    """The ASGI application of the health port: yes or no, since anybody may ask; why is told on the admin port."""

    async def healthz(request: Request) -> Response:
        del request
        return PlainTextResponse("alive\n")

    async def readyz(request: Request) -> Response:
        del request
        lacking = bool(await told(missing()))
        return PlainTextResponse("not ready\n" if lacking else "ready\n", status_code=503 if lacking else 200)

    return Starlette(routes=[Route("/healthz", healthz, methods=["GET"]), Route("/readyz", readyz, methods=["GET"])])


async def told(found: Told[T]) -> T:
    """What is found, waited for if it has to be."""
    return await found if isawaitable(found) else found


def answer(found: Mapping[str, object], status_code: int = 200) -> Response:
    """JSON that no cache keeps."""
    content = json.dumps(found, ensure_ascii=True) + "\n"
    return Response(content, status_code, {"cache-control": "no-store"}, "application/json")


class Guarded:
    """Looks at the credential before anything else of the application does."""

    def __init__(self, app: ASGIApp, guard: Guard) -> None:
        self._app = app
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = self._guard(Request(scope)) if scope["type"] == "http" else None
        await (refused or self._app)(scope, receive, send)


class _Dated(ServerState):
    """What each answer's head begins with, made when there is one; uvicorn would keep the time at hand for nobody."""

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        return [(b"date", formatdate(usegmt=True).encode())]

    @default_headers.setter
    def default_headers(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Given by uvicorn, with the time at which it was."""


class AdminServer(uvicorn.Server):
    """uvicorn in the gateway's own loop; the process's signals stay the gateway's.

    It sleeps until it is asked, or is to end: uvicorn by itself wakes ten times a second to look for either.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.server_state = _Dated()
        self._ended = asyncio.Event()

    def end(self) -> None:
        """Have `serve` return."""
        self.should_exit = True
        self._ended.set()

    async def main_loop(self) -> None:
        await self._ended.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def server(app: Starlette, tls: AdminTls | None = None) -> AdminServer:
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # whoever asks may not say that he is another: the audit tells addresses
        lifespan="off",
        ws="none",
        limit_concurrency=CONNECTIONS_MAX,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=1,
        ssl_certfile=tls.certificate if tls is not None else None,
        ssl_keyfile=tls.key if tls is not None else None,
    )
    return AdminServer(config)
