"""Why a token is refused. The audit tells all of these apart; the client is told one thing only."""

from __future__ import annotations

from gateway.core.reasons import Reason, reason

CLIENT_SEES = (
    "Kafka: Authentication failed (error 58, SASL_AUTHENTICATION_FAILED; Java: SaslAuthenticationException; "
    "librdkafka: _AUTHENTICATION). The same words for every reason that a token is refused."
)


def _refusal(code: str, cause: str, remedy: str) -> Reason:
    return reason(code, cause=cause, client_sees=CLIENT_SEES, remedy=remedy)


TOO_LARGE = _refusal(
    "token-too-large",
    "The token or its header is longer than this gateway reads.",
    "Have the issuer put fewer claims (groups, roles) into the token, or raise limits.token_bytes_max; a "
    "header over 4 KiB is never read.",
)
FORM = _refusal(
    "token-form",
    "The credential is not a JWT in compact form: not three parts (an encrypted token has five), or JSON "
    "serialization.",
    "Give the client the signed access token itself; an opaque or encrypted token cannot be verified here.",
)
ENCODING = _refusal(
    "token-encoding",
    "A part of the token is not canonical base64url: padding, white space, foreign characters or stray bits.",
    "Copy the token unchanged; if the issuer writes it so, report it to the issuer's maintainers.",
)
JSON = _refusal(
    "token-json",
    "The token's header or payload is not a JSON object in strict JSON (UTF-8, no NaN, nested at most 32 deep).",
    "Use a token of a standard issuer; if it is one, report it to the issuer's maintainers.",
)
DUPLICATE_MEMBER = _refusal(
    "token-duplicate-member",
    "A name stands twice in an object of the token's header or payload.",
    "Treat it as an attack unless the issuer is known to write such tokens; then have the issuer's mapper "
    "that adds the claim twice removed.",
)
ALGORITHM = _refusal(
    "token-algorithm",
    "The header's alg is not one that this issuer is configured to sign with (none and HS256 never are).",
    "If the issuer really signs so, add the algorithm to the issuer's algorithms; otherwise treat it as an attack.",
)
TYPE = _refusal(
    "token-type",
    "The header's typ is not one that this issuer's access tokens have.",
    "Send the access token, not the ID token; if the issuer marks its access tokens otherwise, set the issuer's types.",
)
CRITICAL = _refusal(
    "token-critical",
    "The header has crit: extensions that a reader must understand. This gateway understands none.",
    "Have the issuer leave crit out.",
)
B64 = _refusal(
    "token-b64",
    "The header has b64, which changes what the signature covers (RFC 7797).",
    "Have the issuer leave b64 out.",
)
KEY_REFERENCE = _refusal(
    "token-key-reference",
    "The header brings a key or says where to fetch one (jwk, jku, x5u).",
    "Treat it as an attack; keys come from the issuer's configured key set only.",
)
NESTED = _refusal(
    "token-nested",
    "The token says that its payload is encrypted, compressed or another token (enc, zip, cty).",
    "Send a signed access token that is not wrapped.",
)
ISSUER = _refusal(
    "token-issuer",
    "The token's iss is absent, no string, or not exactly that of an issuer this listener takes.",
    "Compare the token's iss with the issuers of the configuration, to the last slash; add the issuer to the "
    "listener if it should be taken.",
)
AUDIENCE = _refusal(
    "token-audience",
    "None of the audiences configured for the issuer is exactly in the token's aud, or aud is absent or malformed.",
    "Have the client request a token for this gateway's audience, or have the issuer add it.",
)
EXPIRY = _refusal(
    "token-expiry",
    "The token has no exp, or it is not a finite number.",
    "Have the issuer put an exp into its access tokens.",
)
EXPIRED = _refusal(
    "token-expired",
    "The token's exp has passed. No skew is granted at the end.",
    "The client fetches a new token; if it just did, compare the clocks of gateway and issuer.",
)
LIFETIME = _refusal(
    "token-lifetime",
    "The token lives longer than the issuer's lifetime_max.",
    "Have the issuer write shorter-lived access tokens, or raise the issuer's lifetime_max.",
)
NOT_YET_VALID = _refusal(
    "token-not-yet-valid",
    "The token's nbf lies in the future by more than the issuer's skew, or is not a finite number.",
    "Compare the clocks of gateway and issuer.",
)
ISSUED_AT = _refusal(
    "token-issued-at",
    "The token's iat lies in the future by more than the issuer's skew, or is not a finite number.",
    "Compare the clocks of gateway and issuer.",
)
PURPOSE = _refusal(
    "token-purpose",
    "The token is not an access token: its claims are those of an ID, refresh or logout token.",
    "Send the access token; if the issuer's access tokens carry such claims, have it mark them with typ "
    "at+jwt (RFC 9068).",
)
BOUND = _refusal(
    "token-bound",
    "The token is bound to a key of its holder (cnf), whose possession this listener does not check.",
    "Request a bearer token for this client; taking a bound token as a bearer token would undo the binding.",
)
PRINCIPAL = _refusal(
    "token-principal",
    "The issuer's principal_claim is absent or is not one short, printable, non-empty string.",
    "Set the issuer's principal_claim to a claim that names the client, or have the issuer add it.",
)
KEY_ID = _refusal(
    "token-key-id",
    "The header's kid is not a short printable string, or it is absent and the issuer has several keys that "
    "could be meant.",
    "Have the issuer write the kid into its tokens.",
)
KEY_ALGORITHM = _refusal(
    "token-key-algorithm",
    "The key that the token names is not one for the header's alg.",
    "Treat it as an attack unless the issuer has just changed algorithms; then compare its key set's alg with "
    "its tokens.",
)
SIGNATURE = _refusal(
    "token-signature",
    "The token's signature is not that of the issuer's key.",
    "Treat it as an attack unless two issuers share the same iss; then correct the configuration.",
)
KEY_UNKNOWN = _refusal(
    "token-key-unknown",
    "The issuer's key set has no key of the token's kid, also after it was fetched again.",
    "Compare the token's kid with the issuer's key set; a token of a key long withdrawn must be fetched anew.",
)
KEYS_UNAVAILABLE = _refusal(
    "token-keys-unavailable",
    "The key set that the token needs could not be fetched in time.",
    "See the keys events of the audit and /readyz for the issuer's last error.",
)
