"""A real broker that asks everybody for an account: PLAIN, SCRAM, OAUTHBEARER and client certificates, over TLS.

Listener GUARDED (SASL_SSL) wants a login again every few seconds (connections.max.reauth.ms, KIP-368); MUTUAL (SSL)
wants a client certificate. The gateway's account there is User:gw. The plaintext listener is for the tests themselves.
"""

from __future__ import annotations

import http.server
import json
import ssl
import threading
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka.admin import (
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from tests.certificates import Ca, make_ca
from tests.real.kafka import KafkaCluster
from tests.tokens import TokenIssuer

REAUTHENTICATION_MS = 5000
PLAIN_PASSWORD = "open-sesame-plain-4711"
SCRAM_PASSWORD = "open-sesame-scram-4711"
CLIENT_SECRET = "open-sesame-client-4711"
_MODULES = "org.apache.kafka.common.security"


@dataclass
class GuardedKafka:
    cluster: KafkaCluster
    ca: Ca
    issuer: TokenIssuer

    @property
    def bootstrap(self) -> str:
        return self._named("GUARDED")

    @property
    def mutual(self) -> str:
        return self._named("MUTUAL")

    def _named(self, listener: str) -> str:
        return ",".join(f"localhost:{self.cluster.port(node, listener)}" for node in self.cluster.nodes)

    def set_password(self, password: str, user: str = "gw") -> None:
        """SCRAM credentials of both hashes."""
        admin = AdminClient({"bootstrap.servers": self.cluster.bootstrap})
        for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
            wish = UserScramCredentialUpsertion(user, ScramCredentialInfo(mechanism, 4096), password.encode())
            for done in admin.alter_user_scram_credentials([wish]).values():
                done.result(60)


@contextmanager
def guarded_kafka(
    folder: Path,
    nodes: int = 1,
    *,
    reauthentication_ms: int = REAUTHENTICATION_MS,
    properties: Mapping[str, str] | None = None,
    **cluster_settings: Any,
) -> Iterator[GuardedKafka]:
    """`properties` and what KafkaCluster takes besides come on top."""
    folder.mkdir(parents=True, exist_ok=True)
    ca = make_ca(folder / "certificates")
    certificate, key = ca.server("broker", hosts=["localhost", "127.0.0.1"])
    store = folder / "broker.pem"
    store.touch(mode=0o600)
    store.write_bytes(key.read_bytes() + certificate.read_bytes())
    issuer = TokenIssuer("https://own.test", name="own", audience="brokers", algorithm="RS256")
    jwks = issuer.write_jwks(folder / "own-jwks.json").as_uri()
    made = {
        "listener.security.protocol.map": "PLAIN:PLAINTEXT,GUARDED:SASL_SSL,MUTUAL:SSL,CONTROLLER:PLAINTEXT",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(store),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(ca.path),
        "listener.name.mutual.ssl.client.auth": "required",
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
        "connections.max.reauth.ms": str(reauthentication_ms),
        "listener.name.guarded.plain.sasl.jaas.config": (
            f'{_MODULES}.plain.PlainLoginModule required user_gw="{PLAIN_PASSWORD}";'
        ),
        "listener.name.guarded.scram-sha-256.sasl.jaas.config": f"{_MODULES}.scram.ScramLoginModule required;",
        "listener.name.guarded.scram-sha-512.sasl.jaas.config": f"{_MODULES}.scram.ScramLoginModule required;",
        "listener.name.guarded.oauthbearer.sasl.jaas.config": (
            f"{_MODULES}.oauthbearer.OAuthBearerLoginModule required;"
        ),
        "listener.name.guarded.oauthbearer.sasl.server.callback.handler.class": (
            f"{_MODULES}.oauthbearer.OAuthBearerValidatorCallbackHandler"
        ),
        "listener.name.guarded.oauthbearer.sasl.oauthbearer.jwks.endpoint.url": jwks,
        "listener.name.guarded.oauthbearer.sasl.oauthbearer.expected.audience": issuer.audience,
        "listener.name.guarded.oauthbearer.sasl.oauthbearer.expected.issuer": issuer.url,
    }
    names = {name: dict[int, int]() for name in ("GUARDED", "MUTUAL")}
    flags = [f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={jwks}"]
    made |= properties or {}
    with KafkaCluster(
        folder / "kafka", nodes=nodes, extra=names, properties=made, flags=flags, **cluster_settings
    ) as cluster:
        guarded = GuardedKafka(cluster, ca, issuer)
        guarded.set_password(SCRAM_PASSWORD)
        yield guarded


def guarded_backend(backend: dict[str, Any], kafka: GuardedKafka, account: dict[str, Any] | None) -> None:
    """A backend of the gateway's configuration, over TLS and with this account."""
    del backend["insecure_plaintext"]
    backend["tls"] = {"ca": str(kafka.ca.path)}
    if account is not None:
        backend["account"] = account


def private(path: Path, text: str) -> str:
    """A file that its owner alone can read; returns its name."""
    path.touch(mode=0o600)
    path.write_text(text)
    return str(path)


class TokenServer:
    """A token endpoint over https: client credentials by HTTP Basic, tokens of an issuer. `asked` counts."""

    def __init__(self, ca: Ca, issuer: TokenIssuer, lifetime: float = 600.0, subject: str = "gw") -> None:
        self.asked = 0
        self.tokens: list[str] = []
        self.broken = False
        self.lifetime = lifetime
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.asked += 1
                form = urllib.parse.parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
                import base64

                given = base64.b64decode(self.headers["authorization"].removeprefix("Basic ")).decode()
                good = given == f"gw-client:{CLIENT_SECRET}" and form["grant_type"] == ["client_credentials"]
                body: dict[str, Any] = {"error": "invalid_client"}
                if good and not outer.broken:
                    token = issuer.token(subject, lifetime=outer.lifetime)
                    outer.tokens.append(token)
                    body = {"access_token": token, "token_type": "Bearer", "expires_in": outer.lifetime}
                data = json.dumps(body).encode()
                self.send_response(200 if "access_token" in body else 401)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        certificate, key = ca.server("tokens", hosts=["localhost"])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://localhost:{self._server.server_address[1]}/token"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
