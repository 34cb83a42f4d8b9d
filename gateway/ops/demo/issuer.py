"""A development token issuer: OIDC discovery, JWKS, and a token endpoint for client credentials, over TLS on loopback.

For demonstrations only: its signing key lives in memory and its clients are handed in. The protocol's server side is
authlib's (RFC 6749 section 4.4, client_secret_basic and client_secret_post); tokens follow RFC 9068. Used by
``gateway demo``.
"""

from __future__ import annotations

import hmac
import secrets
import socket
import threading
import time
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import jwt
import uvicorn
from authlib.oauth2.rfc6749 import AuthorizationServer, ClientMixin, OAuth2Request
from authlib.oauth2.rfc6749.grants import ClientCredentialsGrant
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.ops.demo.authority import Certificates

TOKEN_SECONDS = 3600
AUDIENCE = "streaming"
START_SECONDS_MAX = 30.0
FORM_BYTES_MAX = 16 << 10
_METHODS = ("client_secret_basic", "client_secret_post")


@dataclass(frozen=True)
class Client(ClientMixin):
    """A registered client and the claims its tokens get."""

    name: str
    claims: Mapping[str, Any] = field(default_factory=dict)
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)

    def get_client_id(self) -> str:
        return self.name

    def check_client_secret(self, client_secret: str) -> bool:
        return hmac.compare_digest(self.secret.encode(), client_secret.encode())

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return endpoint == "token" and method in _METHODS

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == "client_credentials"

    def get_allowed_scope(self, scope: Collection[str] | str) -> str:
        return ""


class SigningKey:
    """An ES256 key and the tokens it signs. A second one under the same `kid` is a forger's."""

    def __init__(self, kid: str) -> None:
        self.kid = kid
        self._key = ec.generate_private_key(ec.SECP256R1())

    def jwks(self) -> dict[str, Any]:
        public = ECAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return {"keys": [{**public, "kid": self.kid, "alg": "ES256", "use": "sig"}]}

    def token(self, issuer: str, client: Client, lifetime: float = TOKEN_SECONDS) -> str:
        """An access token; a negative `lifetime` makes one that has ended."""
        now = int(time.time())
        issued = min(now, int(now + lifetime) - 60)
        claims = {
            "iss": issuer, "aud": AUDIENCE, "sub": client.name, "client_id": client.name, "azp": client.name,
            "iat": issued, "exp": int(now + lifetime), "jti": uuid.uuid4().hex, **client.claims,
        }  # fmt: skip
        return jwt.encode(claims, self._key, algorithm="ES256", headers={"kid": self.kid, "typ": "at+jwt"})


class TokenIssuer:
    """The issuer's server, in a thread of its own between `start` and `stop`."""

    def __init__(self, certificates: Certificates, clients: tuple[Client, ...]) -> None:
        self.clients = {client.name: client for client in clients}
        self.key = SigningKey("demo-1")
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.url = f"https://localhost:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(
            _application(self), log_level="critical", access_log=False, lifespan="off",
            ssl_certfile=str(certificates.certificate), ssl_keyfile=str(certificates.key),
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)

    @property
    def jwks_url(self) -> str:
        return f"{self.url}/jwks"

    @property
    def token_url(self) -> str:
        return f"{self.url}/token"

    def token(self, name: str, lifetime: float = TOKEN_SECONDS) -> str:
        """What the token endpoint gives this client, without the way there."""
        return self.key.token(self.url, self.clients[name], lifetime)

    def start(self) -> None:
        self._thread.start()
        deadline = time.monotonic() + START_SECONDS_MAX
        while not self._server.started:
            if time.monotonic() > deadline or not self._thread.is_alive():
                raise RuntimeError("the token issuer did not start")
            time.sleep(0.01)

    def stop(self) -> None:
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(5)
        self._socket.close()


def _application(issuer: TokenIssuer) -> Starlette:
    server = _server(issuer)

    async def discovery(_: Request) -> Response:
        return JSONResponse(
            {
                "issuer": issuer.url, "jwks_uri": issuer.jwks_url, "token_endpoint": issuer.token_url,
                "grant_types_supported": ["client_credentials"], "response_types_supported": ["token"],
                "token_endpoint_auth_methods_supported": list(_METHODS), "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"],
            }
        )  # fmt: skip

    async def jwks(_: Request) -> Response:
        return JSONResponse(issuer.key.jwks())

    async def token(request: Request) -> Response:
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > FORM_BYTES_MAX:
                return JSONResponse({"error": "invalid_request"}, 413)
        form = dict(parse_qsl(body.decode("ascii", "replace")))
        made = _TokenRequest(request.method, str(request.url), dict(request.headers), form)
        answer: Response = server.create_token_response(made)  # type: ignore[assignment]  # what handle_response makes
        return answer

    return Starlette(
        routes=[
            Route("/.well-known/openid-configuration", discovery),
            Route("/jwks", jwks),
            Route("/token", token, methods=["POST"]),
        ]
    )


class _TokenRequest(OAuth2Request):
    """A token request as authlib reads it."""

    def __init__(self, method: str, uri: str, headers: dict[str, str], form: dict[str, str]) -> None:
        super().__init__(method, uri, headers={name.title(): value for name, value in headers.items()})
        self.payload = BasicOAuth2Payload(form)
        self._form = form

    @property
    def form(self) -> dict[str, str]:
        return self._form


class _Grant(ClientCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = list(_METHODS)  # noqa: RUF012 - authlib's stubs want an instance variable


class _Server(AuthorizationServer):
    """authlib's server side over our registered clients."""

    def __init__(self, clients: Mapping[str, Client]) -> None:
        super().__init__()
        self._clients = clients

    def query_client(self, client_id: str) -> Client | None:  # type: ignore[override]  # None: unknown (authlib's docs)
        return self._clients.get(client_id)

    def save_token(self, token: dict[str, Any], request: OAuth2Request) -> None:
        """Tokens stand for themselves; nothing is kept."""

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Nobody listens."""

    def create_oauth2_request(self, request: OAuth2Request) -> OAuth2Request:
        return request

    def handle_response(self, status: int, body: Any, headers: Any) -> Response:
        return JSONResponse(body, status, dict(headers))


def _server(issuer: TokenIssuer) -> _Server:
    server = _Server(issuer.clients)

    def generate(*, client: Client, **_: Any) -> dict[str, Any]:
        return {"token_type": "Bearer", "access_token": issuer.token(client.name), "expires_in": TOKEN_SECONDS}

    server.register_token_generator("default", generate)  # type: ignore[arg-type]  # called by keywords only
    server.register_grant(_Grant)
    return server
