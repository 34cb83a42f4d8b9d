"""The admin port: is it alive, is it ready (and if not, what is missing), and the metrics. On loopback, for reading.

``GET /healthz``: 200 as long as the loop turns. ``GET /readyz``: 200, or 503 with one line per thing that is missing;
policy files that are refused are only noted, since one mistyped file should not take every gateway out of service.
``GET /metrics``: Prometheus. Nothing can be changed here, and a browser led here by a foreign name (DNS rebinding) is
turned away by its Host header.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator, Sequence

import uvicorn
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from gateway.core.settings import Admin
from gateway.ops.metrics import exposition

CONNECTIONS_MAX = 64
KEEP_ALIVE_SECONDS = 5
EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"
HOSTS = ["localhost", "127.0.0.1", "[::1]", "::1", "["]
"""What a Host header may say. Starlette cuts it at the first colon, which leaves ``[`` of an IPv6 address."""

Missing = Callable[[], Sequence[str]]
"""What keeps the gateway from serving now, one line each; empty when it is ready."""


def application(missing: Missing, notes: Missing, registry: CollectorRegistry) -> Starlette:
    """The ASGI application of the admin port. `notes`: what is wrong, but keeps nobody from being served."""

    async def healthz(request: Request) -> Response:
        del request
        return PlainTextResponse("alive\n")

    async def readyz(request: Request) -> Response:
        del request
        lines = missing()
        said = [*(lines or ["ready"]), *(f"note: {note}" for note in notes())]
        return PlainTextResponse("".join(f"{line}\n" for line in said), status_code=503 if lines else 200)

    async def metrics(request: Request) -> Response:
        del request
        return Response(exposition(registry), media_type=EXPOSITION)

    return Starlette(
        routes=[
            Route("/healthz", healthz, methods=["GET"]),
            Route("/readyz", readyz, methods=["GET"]),
            Route("/metrics", metrics, methods=["GET"]),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS, www_redirect=False)],
    )


class AdminServer(uvicorn.Server):
    """uvicorn in the gateway's own loop; the process's signals stay the gateway's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def server(app: Starlette) -> AdminServer:
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        limit_concurrency=CONNECTIONS_MAX,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=1,
    )
    return AdminServer(config)


def bind(settings: Admin) -> socket.socket:
    """The listening socket. Raises OSError."""
    family = socket.AF_INET6 if ":" in settings.bind else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((settings.bind, settings.port))
        made.listen(CONNECTIONS_MAX)
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    return made
