"""Why the edge refused or ended a connection, could not reach a broker, or would not start.

What clients show was taken from librdkafka 2.x and the Java client 4.x. librdkafka prints its guess "connecting to a
PLAINTEXT broker listener?" for every connection that ends inside a TLS handshake, also where the guess is wrong.
"""

from __future__ import annotations

from gateway.core.reasons import Reason, reason

_ENDED = "Java: 'Node -1 disconnected', librdkafka: _TRANSPORT ('Disconnected'); both try again."
_RESET = "librdkafka: _TRANSPORT ('Connection reset by peer'); Java: 'disconnected'; both try again with backoff."
_NO_HANDSHAKE = (
    "Java: SslAuthenticationException (SSL handshake failed), not retried; librdkafka: _SSL ('SSL handshake failed')."
)
_RETRIED = "The connection ends; clients try again and ask for metadata anew."
_NOT_STARTED = "Nothing: the gateway does not start; while it runs, the files it has stay in force."

# A connection that is refused before its handshake.

LISTENER_NOT_READY = reason(
    "listener-not-ready",
    cause="A client came before any broker of the listener's backend was reached.",
    client_sees=_RESET,
    remedy="See /readyz, which names what is missing, and the upstream lines of the audit.",
)
CONNECTIONS_MAX = reason(
    "connections-max",
    cause="The gateway has limits.connections_max client connections.",
    client_sees=_RESET,
    remedy="Raise limits.connections_max (and the open files that the system permits), or run one more gateway.",
)
CONNECTIONS_PER_ADDRESS_MAX = reason(
    "connections-per-address-max",
    cause="One address has limits.connections_per_address_max client connections.",
    client_sees=_RESET,
    remedy="Look for a client that leaks connections; raise the limit where many clients share an address (NAT).",
)
UNAUTHENTICATED_MAX = reason(
    "unauthenticated-max",
    cause="limits.unauthenticated_max connections have not yet said who they are.",
    client_sees=_RESET,
    remedy="A flood, or clients whose authentication hangs: look at the addresses in the refused lines of the audit.",
)
SHUTTING_DOWN = reason(
    "shutting-down",
    cause="The gateway was told to stop, and let go of its connections.",
    client_sees=_RETRIED,
    remedy="None is needed; clients reach another gateway, or this one when it is back.",
)

CLOSED_BY_OPERATOR = reason(
    "closed-by-operator",
    cause="An operator closed the principal's connections with `gateway close`; the detail says why.",
    client_sees=_RETRIED,
    remedy="To keep the principal out, take its binding away or have its issuer refuse it; closing alone does not.",
)

SHED = reason(
    "made-room",
    cause="The gateway, or the share of an address, was full, and this connection had not yet said who it is: it made "
    "room for another. The detail names the limit.",
    client_sees=_RESET,
    remedy="Under a flood nothing: who is known is never shed. Otherwise raise the limit that is named; many clients "
    "behind one address need a larger limits.unauthenticated_max to come back all at once.",
)

# A connection that came only to see whether somebody answers. Not counted as refused.

TCP_PROBE = reason(
    "tcp-probe",
    cause="A connection that was opened and ended without a byte (behind a balancer's header, where there is one).",
    client_sees="What it wanted to see: the port takes connections.",
    remedy="None: a health check of a balancer or of Kubernetes.",
)
TLS_PROBE = reason(
    "tls-probe",
    cause="A TLS handshake was completed, and the connection ended without a byte inside.",
    client_sees="What it wanted to see: the port speaks TLS, with this certificate.",
    remedy="None: a health check such as HAProxy's check-ssl.",
)

# A connection that a changed configuration ends.

NO_LONGER_BELIEVED = reason(
    "no-longer-believed",
    cause="The configuration was reloaded, and what the client had proved does not count any more: its issuer was "
    "taken out, or wants another audience, or the listener asks for no certificates now; the detail says which.",
    client_sees=_RETRIED + " Logging in again fails as long as nothing changes.",
    remedy="Give the client a token that the listener takes now, or put the issuer or audience back.",
)
LISTENER_GONE = reason(
    "listener-gone",
    cause="The configuration was reloaded, and the client's listener was taken out or leads to another backend.",
    client_sees=_RETRIED,
    remedy="Point clients of a listener that was taken out to another one; of one that was moved they come back.",
)
BACKEND_ACCOUNT_CHANGED = reason(
    "backend-account-changed",
    cause="The configuration was reloaded, and the gateway has another account for the client's backend.",
    client_sees=_RETRIED,
    remedy="None is needed: what was under way was answered, and the client comes back under the new account.",
)

# A handshake that failed.

PLAINTEXT_KAFKA = reason(
    "plaintext-kafka-on-tls-port",
    cause="The first bytes were a Kafka request without TLS.",
    client_sees="Java: 'disconnected' or a timeout waiting for a node; librdkafka: _TRANSPORT ('Disconnected').",
    remedy="Set security.protocol=SASL_SSL (or SSL) at the client.",
)
PLAINTEXT_HTTP = reason(
    "http-on-tls-port",
    cause="The first bytes were an HTTP request without TLS.",
    client_sees="The browser or health check shows an empty reply or a connection that was closed.",
    remedy="Point health checks at the admin port's /readyz, or check that the TCP port opens.",
)
PROXY_PROTOCOL = reason(
    "proxy-protocol-on-tls-port",
    cause="The first bytes were a PROXY protocol header, which this listener does not take.",
    client_sees=_NO_HANDSHAKE,
    remedy="Switch the PROXY protocol off at the load balancer for this port.",
)
PROXY_HEADER_MISSING = reason(
    "proxy-header-missing",
    cause="The listener requires a PROXY protocol header, and the balancer's connection began without one.",
    client_sees=_NO_HANDSHAKE,
    remedy="Switch the PROXY protocol on at the balancer (send-proxy-v2), or set proxy_protocol.required: false.",
)
PROXY_HEADER_BAD = reason(
    "proxy-header-bad",
    cause="A named balancer sent a PROXY protocol header that is none; the detail says what is wrong with it.",
    client_sees=_NO_HANDSHAKE,
    remedy="Look at the balancer's settings: version 1 or 2, for TCP, without a second balancer's header inside TLS.",
)
PROXY_SOURCE_UNNAMED = reason(
    "proxy-source-unnamed",
    cause="The listener requires the PROXY protocol, and the connection came from none of proxy_protocol.from.",
    client_sees=_RESET,
    remedy="Name the balancer's network in proxy_protocol.from, or keep clients from going around the balancer.",
)
SERVER_NAME_UNKNOWN = reason(
    "tls-server-name-unknown",
    cause="The client asked (by SNI) for no name, or one that is neither the listener's bootstrap nor a broker's.",
    client_sees=_NO_HANDSHAKE,
    remedy="Dial the listener by the host names of addressing.sni; a broker's node id must lie within its node_ids.",
)
NOT_TLS = reason(
    "not-tls",
    cause="The first bytes were neither TLS nor a plaintext protocol that is known.",
    client_sees="The connection ends.",
    remedy="A port scanner or a misdirected client: look at the address.",
)
HANDSHAKE_TIMEOUT = reason(
    "tls-handshake-timeout",
    cause="The TLS handshake was not complete within limits.handshake_timeout.",
    client_sees=_ENDED,
    remedy="A TCP health check that opens and waits, a slow network, or an attack: look at the address.",
)
CLIENT_GAVE_UP = reason(
    "tls-client-gave-up",
    cause="The client ended the connection within the TLS handshake, without an alert.",
    client_sees="Whatever made it give up; often its own timeout.",
    remedy="Read the client's log.",
)
NO_SHARED_CIPHER = reason(
    "tls-no-shared-cipher",
    cause="The client offers no cipher suite (or key exchange, or signature) that this listener takes.",
    client_sees=_NO_HANDSHAKE,
    remedy="Allow an AEAD suite with ECDHE at the client, e.g. TLS_AES_128_GCM_SHA256; update its TLS library.",
)
TLS_VERSION = reason(
    "tls-version-unsupported",
    cause="The client offers no TLS version that this listener takes.",
    client_sees=_NO_HANDSHAKE,
    remedy="Use TLS 1.2 or 1.3 at the client, as the listener's tls.versions says.",
)
CLIENT_CERTIFICATE_MISSING = reason(
    "client-certificate-missing",
    cause="The listener requires a client certificate, and the client sent none.",
    client_sees=_NO_HANDSHAKE,
    remedy="Set ssl.keystore.* (Java) or ssl.certificate.location and ssl.key.location (librdkafka) at the client.",
)
CLIENT_CERTIFICATE_REFUSED = reason(
    "client-certificate-refused",
    cause="The client's certificate could not be verified against the listener's client_ca; the detail says why.",
    client_sees=_NO_HANDSHAKE,
    remedy="Renew the certificate, or issue it from a CA in tls.client_ca; intermediates come from the client.",
)
CLIENT_DISTRUSTS = reason(
    "tls-client-distrusts-certificate",
    cause="The client sent an alert: it does not believe the listener's certificate.",
    client_sees="Java: 'PKIX path building failed' or 'No name matching'; librdkafka: 'certificate verify failed'.",
    remedy="Give the client the CA (ssl.truststore.location, ssl.ca.location); certify the name it dials.",
)
HANDSHAKE_FAILED = reason(
    "tls-handshake-failed",
    cause="The TLS handshake failed otherwise; the detail holds the alert and the TLS library's words.",
    client_sees=_NO_HANDSHAKE,
    remedy="Compare the client's TLS settings with the detail.",
)

# A connection that ended after its session began.

CLIENT_DISCONNECTED = reason(
    "client-disconnected",
    cause="The client ended the connection.",
    client_sees="Nothing unusual.",
    remedy="None is needed.",
)
CLIENT_LOST = reason(
    "client-lost",
    cause="The connection to the client broke: a reset, a network error, or damaged TLS records.",
    client_sees="Whatever broke it; clients try again.",
    remedy="Look at the client's end and at the network between, if it happens often.",
)
NO_CONTENT = reason(
    "tls-records-without-content",
    cause="The client sent TLS records without content (key updates), one after the other.",
    client_sees=_ENDED,
    remedy="No client library does so: an attack, or a fuzzer. Look at the address.",
)
FRAME_TIMEOUT = reason(
    "frame-timeout",
    cause="A request was not complete within limits.frame_timeout of its first byte.",
    client_sees=_ENDED,
    remedy="A very slow network for requests of this size, or an attack: lower max.request.size, or raise the limit.",
)
BUFFER_TIMEOUT = reason(
    "buffer-budget-timeout",
    cause="No memory for a frame could be reserved from limits.buffered_bytes_max within limits.frame_timeout.",
    client_sees=_ENDED,
    remedy="Find who sends many large frames at once; raise limits.buffered_bytes_max if the machine has the memory.",
)
IDLE_TIMEOUT = reason(
    "idle-timeout",
    cause="Nothing was sent in either direction for limits.idle_timeout.",
    client_sees="Nothing unusual: clients open a connection again when they need one.",
    remedy="None is needed; keep the limit above the clients' connections.max.idle.ms to let them end it first.",
)
CLIENT_NOT_READING = reason(
    "client-not-reading",
    cause="The client took nothing of what waited for it for too long.",
    client_sees=_ENDED,
    remedy="A client that hangs or is stopped; look at its own log.",
)
SESSION_FAILED = reason(
    "session-failed",
    cause="An error of the gateway's own ended this connection; others go on. The log has where.",
    client_sees=_RETRIED,
    remedy="Report it with the log's lines, which hold no payload.",
)

# What happened and could not be written down.

AUDIT_DROPPED = reason(
    "audit-dropped",
    cause="Audit lines were lost: more came than the queue holds, or the disk refused them. The line says how many.",
    client_sees="Nothing: the gateway goes on serving.",
    remedy="Look at the disk, or at whoever reads standard output; raise audit.queue_max for short bursts.",
)

# A broker that could not be reached, or was lost.

UPSTREAM_UNRESOLVED = reason(
    "upstream-name-unresolved",
    cause="The broker's host name has no address.",
    client_sees=_RETRIED,
    remedy="Check the backend's bootstrap and the brokers' advertised.listeners against the gateway's DNS.",
)
UPSTREAM_UNREACHABLE = reason(
    "upstream-unreachable",
    cause="The broker refused the connection, or the network did.",
    client_sees=_RETRIED,
    remedy="Check that the broker runs and that no firewall stands between.",
)
UPSTREAM_DIAL_TIMEOUT = reason(
    "upstream-dial-timeout",
    cause="The connection to the broker, its TLS handshake included, was not there within the backend's dial_timeout.",
    client_sees=_RETRIED,
    remedy="Check the broker and the network; a TLS port dialled as plaintext (or the reverse) looks like this too.",
)
UPSTREAM_UNTRUSTED = reason(
    "upstream-certificate-untrusted",
    cause="The broker's certificate could not be verified; nothing was sent.",
    client_sees=_RETRIED,
    remedy="Set the backend's tls.ca to the CA that issued the brokers' certificates.",
)
UPSTREAM_WRONG_NAME = reason(
    "upstream-certificate-wrong-name",
    cause="The broker's certificate is for another host name; nothing was sent.",
    client_sees=_RETRIED,
    remedy="Issue it for the name that is dialled, or set the backend's tls.server_name.",
)
UPSTREAM_TLS_FAILED = reason(
    "upstream-tls-failed",
    cause="The TLS handshake with the broker failed otherwise; the detail says how.",
    client_sees=_RETRIED,
    remedy="A broker port without TLS needs insecure_plaintext: true, or rather a TLS listener of its own.",
)
UPSTREAM_CLOSED = reason(
    "upstream-closed",
    cause="The broker ended the connection.",
    client_sees=_RETRIED,
    remedy="A restart, its idle limit, or a request it refused: look at the broker's log.",
)
UPSTREAM_RESET = reason(
    "upstream-reset",
    cause="The connection to the broker broke.",
    client_sees=_RETRIED,
    remedy="Look at the broker and the network between.",
)
UPSTREAM_UNKNOWN_ENDPOINT = reason(
    "upstream-endpoint-unknown",
    cause="There was something to send, but the broker that this port stands for is not known now.",
    client_sees=_RETRIED,
    remedy="None if that broker is down or was removed; otherwise compare the node ids with broker_ports.node_ids.",
)
UPSTREAM_STALLED = reason(
    "upstream-stalled",
    cause="The broker took nothing of what waited for it, or did not complete an answer, within limits.frame_timeout.",
    client_sees=_RETRIED,
    remedy="Look at the broker: its disks, its request queue, its network.",
)
UPSTREAM_ANSWER_TIMEOUT = reason(
    "upstream-answer-timeout",
    cause="The broker did not answer the gateway's own request within the backend's request_timeout.",
    client_sees="Nothing at once; what waits for the fact is refused.",
    remedy="Look at the broker's load.",
)

# A gateway that would not start.

PORT_IN_USE = reason(
    "port-in-use",
    cause="A port of a listener, or of its broker range, is taken or not permitted.",
    client_sees=_NOT_STARTED,
    remedy="Free the port or choose another; ports below 1024 need the right to bind them.",
)
BIND_ADDRESS = reason(
    "bind-address-unknown",
    cause="A listener's bind address is not one of this machine.",
    client_sees=_NOT_STARTED,
    remedy="Use an address of this machine, 0.0.0.0, or '::' for all.",
)
TLS_FILE_UNREADABLE = reason(
    "tls-file-unreadable",
    cause="A certificate, key or CA file is missing, unreadable, or holds none.",
    client_sees=_NOT_STARTED,
    remedy="Correct the path or the file; PEM is expected, without a passphrase, the leaf first.",
)
TLS_KEY_EXPOSED = reason(
    "tls-key-exposed",
    cause="A private key can be read by every user of the machine, or changed by its group.",
    client_sees=_NOT_STARTED,
    remedy="chmod 0600 the file, or 0440 with a group that only the gateway is in. In Kubernetes: `defaultMode: 0440` "
    "at the secret's volume, and the gateway's group as `fsGroup` in the pod's securityContext.",
)
TLS_KEY_MISMATCH = reason(
    "tls-key-mismatch",
    cause="The private key does not belong to the certificate.",
    client_sees=_NOT_STARTED,
    remedy="Deploy certificate and key together; the certificate file begins with the leaf.",
)
TLS_KEY_WEAK = reason(
    "tls-key-weak",
    cause="The certificate's key or signature is weaker than the TLS library takes.",
    client_sees=_NOT_STARTED,
    remedy="Use EC P-256 or RSA with at least 2048 bits, and SHA-256.",
)
TLS_NAME_NOT_COVERED = reason(
    "tls-name-not-covered",
    cause="No certificate of the listener is valid for a name that clients dial; every one of them would refuse it.",
    client_sees=_NOT_STARTED,
    remedy="Issue one with that name (or *.its-domain) among its subject alternative names, or correct `advertised`, "
    "or addressing.sni and its node_ids.",
)
TLS_CRL_STALE = reason(
    "tls-crl-stale",
    cause="A revocation list in the listener's client_crl is past its time; no client could be believed by it.",
    client_sees=_NOT_STARTED,
    remedy="Fetch the CA's current list into the file, more often than its lists are valid.",
)
TLS_CERTIFICATE_EXPIRED = reason(
    "tls-certificate-expired",
    cause="The listener's certificate is not valid at this time.",
    client_sees=_NOT_STARTED,
    remedy="Renew it, or correct the machine's clock.",
)
ADMIN_TOKEN_UNUSABLE = reason(
    "admin-token-unusable",
    cause="The file that admin.token_file names is missing, unreadable, exposed to others, or holds no token.",
    client_sees=_NOT_STARTED,
    remedy="Write one with `openssl rand -hex 32`, mode 0600, or 0440 for a group of the gateway's own.",
)
BUFFER_BUDGET_TOO_SMALL = reason(
    "buffer-budget-too-small",
    cause="A frame of limits.frame_bytes_max can never be reserved from limits.buffered_bytes_max.",
    client_sees=_NOT_STARTED,
    remedy="Make limits.buffered_bytes_max at least four thirds of limits.frame_bytes_max.",
)
OPEN_FILES_FEW = reason(
    "open-files-too-few",
    cause="The system permits the process too few open files for limits.connections_max: two for each connection, and "
    "some for everything else. Where a useful number fits, that is the limit, and this is a warning.",
    client_sees="Nothing at first; with every place taken, resets (connections-max), earlier than configured.",
    remedy="Raise the hard limit (LimitNOFILE= in the systemd unit, ulimit -Hn, the container runtime's nofile), or "
    "lower limits.connections_max.",
)


class StartRefused(Exception):
    """The gateway cannot start safely: the reason and what exactly."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason.code}: {detail}. {reason.cause} {reason.remedy}")
        self.reason = reason
        self.detail = detail


# The gateway's own account and certificate towards brokers.

SECRET_UNREADABLE = reason(
    "secret-unreadable",
    cause="A file or environment variable with a secret of the gateway's own is not there, empty, or too long.",
    client_sees=_NOT_STARTED,
    remedy="Put the secret, and nothing else, where backends[].account says; the user who runs the gateway reads it.",
)
SECRET_EXPOSED = reason(
    "secret-exposed",
    cause="A file with a secret of the gateway's own, or its key towards brokers, can be read by everybody.",
    client_sees=_NOT_STARTED,
    remedy="chmod 0600 it. In Kubernetes: defaultMode: 0440 on the secret's volume, and fsGroup.",
)
UPSTREAM_CERTIFICATE_UNUSABLE = reason(
    "upstream-certificate-unusable",
    cause="The gateway's own certificate towards brokers cannot be read, or its key is that of another.",
    client_sees=_NOT_STARTED,
    remedy="See backends[].tls: certificate and key, in PEM, without a passphrase. A good pair in use stays in use.",
)
ACCOUNT_HELD_BACK = reason(
    "account-held-back",
    cause="Brokers refused the gateway's own account a moment ago; it is not shown again before a growing pause.",
    client_sees=_RETRIED,
    remedy="See the upstream lines of the audit and /readyz for why it was refused.",
)
ACCOUNT_UNANSWERED = reason(
    "account-unanswered",
    cause="The broker ended the connection, or was silent, while the gateway logged in with its own account.",
    client_sees=_RETRIED,
    remedy="Check that the backend's port is one with SASL, and the broker's log; a port without SASL just hangs up.",
)
NOT_COMPILED = reason(
    "not-compiled",
    cause="A piece of the hot path would run interpreted, and `require_compiled: true` is set.",
    client_sees=_NOT_STARTED,
    remedy="Install with a C compiler, or a wheel; with an unknown TLS library, the gateway's newest release. Or set "
    "`require_compiled: false`: everything works, at two to four times the CPU.",
)
