"""The gateway's own login to a broker: SaslHandshake v1, then SaslAuthenticate v2 (KIP-152, KIP-368), without I/O.

`begin` gives the first request, `answered` takes each answer and gives the next request or that it is done. The same
for a new connection (`login`, over core.exchange, called by the edge before anything else is sent) and for one whose
lifetime ends (kafka.renewal). ApiVersions is not asked before: every broker since 2.5 knows these versions.
"""

from __future__ import annotations

from gateway.core.accounts import Credential, LoginFailed, Proven
from gateway.core.exchange import Exchange
from gateway.core.session import NEVER
from gateway.kafka import codec, sasl_client
from gateway.kafka.login_reasons import ACCOUNT_MECHANISM, ACCOUNT_PROTOCOL, ACCOUNT_REFUSED, SERVER_UNPROVEN
from gateway.kafka.plan import Body

SASL_HANDSHAKE, HANDSHAKE_VERSION = 17, 1
SASL_AUTHENTICATE, AUTHENTICATE_VERSION = 36, 2
UNSUPPORTED_SASL_MECHANISM, ILLEGAL_SASL_STATE, SASL_AUTHENTICATION_FAILED = 33, 34, 58
CORRELATION_ID = 0x5A51
CLIENT_ID = "gateway-login"
MECHANISMS_TOLD_MAX = 10
"""Of a broker's mechanisms, in a detail."""
ROUNDS_MAX = 4
"""Messages of one exchange."""


class Login:
    """One login. `api_key` and `version`: of the request that waits for an answer."""

    __slots__ = ("_credential", "_exchange", "_rounds", "api_key", "version")

    def __init__(self, credential: Credential) -> None:
        """Raises LoginFailed where the credential cannot be sent."""
        self._credential = credential
        self._exchange = sasl_client.exchange(credential)
        self._rounds = 0
        self.api_key = SASL_HANDSHAKE
        self.version = HANDSHAKE_VERSION

    def begin(self) -> bytes:
        """The first request, without its length."""
        return self._request({"mechanism": self._credential.mechanism})

    def answered(self, frame: bytes | memoryview) -> bytes | Proven:
        """The next request, or the end. `frame` is without its length. Raises LoginFailed."""
        try:
            correlation_id, offset = codec.parse_response_header(self.api_key, self.version, memoryview(frame))
            body = codec.decode_response(self.api_key, self.version, memoryview(frame)[offset:])
        except codec.Malformed as error:
            raise LoginFailed(ACCOUNT_PROTOCOL, str(error)) from None
        if correlation_id != CORRELATION_ID:
            raise LoginFailed(ACCOUNT_PROTOCOL, "an answer to another request")
        if self.api_key == SASL_HANDSHAKE:
            self._offered(body)
            self.api_key, self.version = SASL_AUTHENTICATE, AUTHENTICATE_VERSION
            return self._request({"authBytes": self._exchange.first()})
        return self._authenticated(body)

    def _offered(self, body: Body) -> None:
        if body["errorCode"] == 0:
            return
        offered = ", ".join(name[:32] for name in body["mechanisms"][:MECHANISMS_TOLD_MAX]) or "none"
        if body["errorCode"] in (UNSUPPORTED_SASL_MECHANISM, ILLEGAL_SASL_STATE):
            raise LoginFailed(ACCOUNT_MECHANISM, f"{self._credential.mechanism}; the broker offers {offered}")
        raise LoginFailed(ACCOUNT_PROTOCOL, f"SaslHandshake was answered with error {body['errorCode']}")

    def _authenticated(self, body: Body) -> bytes | Proven:
        if body["errorCode"]:
            # The broker's words are not repeated: they are its own, and some servers quote what they were sent.
            refused = body["errorCode"] == SASL_AUTHENTICATION_FAILED
            raise LoginFailed(
                ACCOUNT_REFUSED if refused else ACCOUNT_PROTOCOL,
                f"{self._credential.mechanism}, error {body['errorCode']}",
            )
        data = bytes(body["authBytes"])
        if data or not self._exchange.complete:
            self._rounds += 1
            if self._rounds > ROUNDS_MAX:
                raise LoginFailed(ACCOUNT_PROTOCOL, f"more than {ROUNDS_MAX} messages")
            answer = self._exchange.step(data)
            if answer is not None:
                return self._request({"authBytes": answer})
        if not self._exchange.complete:
            raise LoginFailed(SERVER_UNPROVEN, "the exchange ended early")
        lifetime_ms = body["sessionLifetimeMs"]
        return Proven(lifetime_ms / 1000 if lifetime_ms > 0 else NEVER)

    def _request(self, body: Body) -> bytes:
        header = codec.encode_request_header(self.api_key, self.version, CORRELATION_ID, CLIENT_ID)
        return header + codec.encode_request(self.api_key, self.version, body)


async def login(exchange: Exchange, credential: Credential) -> Proven:
    """Prove the account on a new connection. Raises LoginFailed, ExchangeFailed."""
    steps = Login(credential)
    step: bytes | Proven = steps.begin()
    while isinstance(step, bytes):
        step = steps.answered(await exchange.call(step))
    return step
