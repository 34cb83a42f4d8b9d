"""The gateway's configuration as types. ops.config reads the files; everything else takes these frozen values.

Every limit has a non-zero default (docs/limits.md is generated from here). Units stand last in a name. An unknown
key is a mistake.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

_SIZE = re.compile(r"(\d+)\s*(B|KiB|MiB|GiB)?")
_SIZE_UNITS = {None: 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_TIME_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def _size(value: object) -> object:
    if isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        return int(match[1]) * _SIZE_UNITS[match[2]]
    if isinstance(value, int):
        return value
    raise ValueError("a size such as 64 KiB, 256 MiB or 1000")


def _duration(value: object) -> object:
    if isinstance(value, str) and (match := _TIME.fullmatch(value.strip())):
        return float(match[1]) * _TIME_UNITS[match[2]]
    if isinstance(value, int | float):
        return float(value)
    raise ValueError("a duration such as 500 ms, 30 s, 5 m or 24 h")


def _name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", value):
        raise ValueError("a name of letters, digits, dot, dash and underscore, at most 63 long")
    return value


def _host_port(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536 or (":" in host and not host.startswith("[")):
        raise ValueError("host:port, an IPv6 address in brackets")
    return value


def _network(value: object) -> object:
    try:
        network = ip_network(str(value))
    except ValueError:
        raise ValueError("a network such as 10.20.0.0/16 or 2001:db8:20::/48, no bits set after its length") from None
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is not None:
        raise ValueError("the IPv4 network itself; mapped addresses are compared as IPv4")
    return network


Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)]
Size = Annotated[
    int,
    BeforeValidator(_size),
    Field(gt=0),
    WithJsonSchema({"type": ["string", "integer"], "pattern": _SIZE.pattern, "examples": ["64 KiB", "256 MiB"]}),
]
Duration = Annotated[
    float,
    BeforeValidator(_duration),
    Field(gt=0),
    WithJsonSchema({"type": ["string", "number"], "pattern": _TIME.pattern, "examples": ["500 ms", "30 s", "24 h"]}),
]
Name = Annotated[str, AfterValidator(_name)]
HostPort = Annotated[str, AfterValidator(_host_port)]
Port = Annotated[int, Field(ge=1, le=65535)]
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class KeySource(Model):
    """Where an issuer's keys come from: exactly one of the two."""

    file: str | None = None
    """A JWKS file; a change is noticed by itself."""
    url: str | None = None
    """https only."""
    ca: str | None = None
    """PEM file of the CAs that the URL's certificate is checked against; left out: the system's."""
    refresh: Duration = 300.0
    """The keys are fetched, or the file is read, this often."""
    fetch_interval_min: Duration = 10.0
    """An unknown `kid` starts a fetch at most this often."""
    timeout: Duration = 5.0
    """The longest one fetch may take."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.file is None) == (self.url is None):
            raise ValueError("exactly one of file and url")
        if self.url is not None and not self.url.startswith("https://"):
            raise ValueError("a url that starts with https://; keys fetched in plain text could be anybody's")
        return self


class Issuer(Model):
    """An authority whose tokens are believed."""

    name: Name
    issuer: Annotated[str, Field(min_length=1)]
    """The exact `iss`."""
    audiences: Annotated[tuple[str, ...], Field(min_length=1)]
    """A token needs one of these, exactly, in its `aud`."""
    keys: KeySource
    """Where the keys that sign its tokens come from."""
    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1)] = ("RS256", "ES256")
    """The signature algorithms that are believed; the key's own must agree."""
    types: Annotated[tuple[str, ...], Field(min_length=1)] = ("at+jwt", "application/at+jwt", "JWT", "")
    """Header `typ` values believed, compared without case; "" stands for an absent one."""
    principal_claim: Annotated[str, Field(min_length=1)] = "sub"
    """The claim whose value is the principal's name; it must be a non-empty string."""
    lifetime_max: Duration = 86400.0
    """The longest time from `iat` (or now, without one) to `exp` that is believed."""
    skew: Duration = 30.0
    """For `nbf` and `iat` only; `exp` is the end."""


class CertificatePair(Model):
    certificate: str
    """PEM file: the chain, leaf first."""
    key: str
    """PEM file, not readable by others."""


class ListenerTls(Model):
    certificate: str
    """PEM file: the chain, leaf first."""
    key: str
    """PEM file, not readable by others."""
    certificates: Annotated[tuple[CertificatePair, ...], Field(max_length=100)] = ()
    """More pairs: a client gets the first one that covers the name it asks for (SNI), else the one above."""
    client_certificate: Literal["none", "optional", "required"] = "none"
    """Whether clients are asked for a certificate, and must have one."""
    client_ca: str | None = None
    """PEM file: the CAs whose client certificates are believed."""
    client_crl: str | None = None
    """PEM file: the current revocation list of every CA of a client's chain; without one of them it is refused."""
    client_ca_name: Name = "clients"
    """The issuer part of a certificate's principal."""
    versions: Annotated[tuple[Literal["1.2", "1.3"], ...], Field(min_length=1)] = ("1.2", "1.3")
    """TLS versions that clients may use."""

    @model_validator(mode="after")
    def _ca(self) -> Self:
        if self.client_certificate != "none" and self.client_ca is None:
            raise ValueError("client_ca as well, since client certificates are asked for")
        if self.client_crl is not None and self.client_certificate == "none":
            raise ValueError("client_certificate: optional or required, since a client_crl is given")
        return self

    @property
    def pairs(self) -> tuple[CertificatePair, ...]:
        """Every certificate with its key, the one for clients that ask for no known name first."""
        return (CertificatePair(certificate=self.certificate, key=self.key), *self.certificates)

    @property
    def files(self) -> tuple[str, ...]:
        """All files that this is made of."""
        pairs = [path for pair in self.pairs for path in (pair.certificate, pair.key)]
        return (*pairs, *(path for path in (self.client_ca, self.client_crl) if path is not None))


class Authentication(Model):
    """How clients of a listener prove who they are."""

    issuers: tuple[Name, ...] = ()
    """Names of issuers whose tokens this listener takes; empty needs client_certificate: required."""
    mechanisms: Annotated[tuple[Literal["OAUTHBEARER", "PLAIN"], ...], Field(min_length=1)] = ("OAUTHBEARER", "PLAIN")
    """SASL mechanisms offered; PLAIN takes a token as the password."""
    session_max: Duration = 3600.0
    """A connection re-authenticates at least this often (KIP-368), and at the end of its token."""


def _node_ids(value: object) -> object:
    if isinstance(value, str) and not re.fullmatch(r"\d{1,5}-\d{1,5}", value):
        raise ValueError("the lowest and the highest node id, as in 0-9")
    return value


NodeIdRange = Annotated[str, Field(pattern=r"^\d{1,5}-\d{1,5}$"), BeforeValidator(_node_ids)]


class NodeIds(Model):
    """The brokers that a listener has a place for."""

    node_ids: NodeIdRange = "0-9"
    """The lowest and the highest node id; brokers outside are refused by name."""

    @property
    def first(self) -> int:
        return int(self.node_ids.split("-")[0])

    @property
    def last(self) -> int:
        return int(self.node_ids.split("-")[1])

    def holds(self, node_id: int) -> bool:
        return self.first <= node_id <= self.last

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.last < self.first:
            raise ValueError("node_ids from the lower to the higher")
        if self.last - self.first >= 1000:
            raise ValueError("at most 1000 broker ports in a range")
        return self


class BrokerPorts(NodeIds):
    """One port per broker: base + node id, the whole range bound at start."""

    base: Port
    """A broker's port is this plus its node id."""

    def port(self, node_id: int) -> int | None:
        """The port of a broker, None outside the range."""
        return self.base + node_id if self.holds(node_id) else None

    @model_validator(mode="after")
    def _range(self) -> Self:
        if self.base + self.last > 65535:
            raise ValueError("base + the highest node id of at most 65535")
        return self


_HOST = re.compile(r"(?=.{1,253}$)(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))*")
_NODE = "{node_id}"


def _host(value: str) -> str:
    if not _HOST.fullmatch(value.lower()):
        raise ValueError("a host name such as example.com")
    return value.lower()


def _pattern(value: str) -> str:
    if value.count(_NODE) != 1 or not _HOST.fullmatch(value.lower().replace(_NODE, "0")):
        raise ValueError(f"a host name with {_NODE} in it once, such as b{_NODE}.example.com")
    return value.lower()


class SniNames(NodeIds):
    """One host name per broker on one port; clients say by SNI (RFC 6066) which one they mean."""

    pattern: Annotated[str, AfterValidator(_pattern)]
    """A broker's host name, with `{node_id}` where its node id stands."""
    bootstrap: Annotated[str, AfterValidator(_host)]
    """The host name that clients write into bootstrap.servers."""
    node_ids: NodeIdRange = "0-99"
    """The lowest and the highest node id; the certificates must cover the names of all of them."""

    def host(self, node_id: int) -> str | None:
        """The host name of a broker, None outside the range."""
        return self.pattern.replace(_NODE, str(node_id)) if self.holds(node_id) else None

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if self.bootstrap in self.hosts():
            raise ValueError("a bootstrap name that is not a broker's as well")
        return self

    def hosts(self) -> dict[str, int]:
        """Every broker's host name."""
        return {self.pattern.replace(_NODE, str(node_id)): node_id for node_id in range(self.first, self.last + 1)}


class Addressing(Model):
    """How clients tell the brokers apart, where it is not by port."""

    sni: SniNames
    """By the host name that a client dials, on one port."""


def _ports_or_mapping(value: object) -> object:
    if isinstance(value, str) and value != "ports":
        raise ValueError("ports, or a mapping with sni")
    return None if value == "ports" else value if value is not None else {}


class ProxyProtocol(Model):
    """PROXY protocol v1 or v2 before TLS, from the balancers named here and from nobody else."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, use_attribute_docstrings=True)

    networks: Annotated[tuple[Network, ...], Field(min_length=1, alias="from")]
    """Where the balancers are; a header from anywhere else is not believed."""
    required: bool = True
    """True: connections without a header, or from anywhere else, are refused. False: they count as themselves."""


class Listener(Model):
    name: Name
    protocol: Literal["kafka"] = "kafka"
    backend: Name
    """The name of the backend that its clients reach."""
    bind: str = "127.0.0.1"
    """The address to listen on; 0.0.0.0 or :: for every one."""
    port: Port
    """The bootstrap port; with `addressing: {sni: ...}` the only one."""
    addressing: Annotated[Addressing | None, BeforeValidator(_ports_or_mapping)] = None
    """`ports`, each broker a port of its own; or `sni`, each broker a host name of its own on one port."""
    broker_ports: BrokerPorts | None = None
    """Where `addressing` is `ports`: which ports."""
    advertised: str = ""
    """The host name that clients are told; it must be in the certificate. With `sni` its own names take its place."""
    advertised_port: Port | None = None
    """The bootstrap port as clients see it, where a balancer maps it; with `sni` the brokers' too. Left out: `port`."""
    advertised_broker_base: Port | None = None
    """The broker ports' base as clients see it. Left out: `broker_ports.base`."""
    proxy_protocol: ProxyProtocol | None = None
    """Left out: no PROXY protocol; whoever connects is the client."""
    tls: ListenerTls
    authentication: Authentication = Authentication()

    @property
    def sni(self) -> SniNames | None:
        return self.addressing.sni if self.addressing is not None else None

    def ports(self) -> Iterator[tuple[int | None, int]]:
        """Every port to bind with the node id it stands for; None: the bootstrap port, or names tell (SNI)."""
        yield None, self.port
        if self.broker_ports is not None:
            for node_id in range(self.broker_ports.first, self.broker_ports.last + 1):
                yield node_id, self.broker_ports.base + node_id

    def host_names(self) -> tuple[str, ...]:
        """Every name that clients dial; certificates must cover them."""
        return (self.sni.bootstrap, *self.sni.hosts()) if self.sni is not None else (self.advertised,)

    def broker_address(self, node_id: int) -> tuple[str, int] | None:
        """Host name and port under which clients reach a broker; None: this listener has no place for it."""
        if self.sni is not None:
            host = self.sni.host(node_id)
            return (host, self.advertised_port or self.port) if host is not None else None
        assert self.broker_ports is not None
        if not self.broker_ports.holds(node_id):
            return None
        base = self.advertised_broker_base
        return self.advertised, (self.broker_ports.base if base is None else base) + node_id

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if not self.authentication.issuers and self.tls.client_certificate != "required":
            raise ValueError(
                "authentication.issuers, or tls.client_certificate: required; this listener would know nobody"
            )
        if self.sni is not None:
            if self.broker_ports is not None or self.advertised or self.advertised_broker_base is not None:
                raise ValueError("no broker_ports, advertised or advertised_broker_base beside addressing.sni")
            return self
        if self.broker_ports is None or not self.advertised:
            raise ValueError("broker_ports and advertised, or addressing: {sni: {pattern: ..., bootstrap: ...}}")
        if self.broker_ports.holds(self.port - self.broker_ports.base):
            raise ValueError("a bootstrap port outside the range of the broker ports")
        return self


class BackendTls(Model):
    ca: str | None = None
    """PEM file; left out: the system's CAs."""
    server_name: str | None = None
    """Checked instead of the dialled host name."""
    certificate: str | None = None
    """PEM file: the gateway's own client certificate, chain behind it; for brokers that ask for one."""
    key: str | None = None
    """PEM file: its key, not readable by others. Both are read anew when they change."""

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key together, or neither")
        return self


class PasswordAccount(Model):
    username: Annotated[str, Field(min_length=1, max_length=256)]
    """The account's name; brokers call it User:<username>."""
    password_file: str | None = None
    """A file with the password, not readable by others; read anew when it changes. A line's end is not part of it."""
    password_env: Annotated[str, Field(min_length=1)] | None = None
    """The name of an environment variable with the password, read at the start."""

    @model_validator(mode="after")
    def _one_password(self) -> Self:
        if (self.password_file is None) == (self.password_env is None):
            raise ValueError("exactly one of password_file and password_env")
        return self


class ScramAccount(PasswordAccount):
    mechanism: Literal["SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    """The hash; the broker must have a credential of the account for it."""


class OauthAccount(Model):
    """SASL/OAUTHBEARER: a token of the gateway's own, fetched by client credentials or put into a file by others."""

    token_url: str | None = None
    """The issuer's token endpoint, https only."""
    client_id: Annotated[str, Field(min_length=1)] | None = None
    """The gateway's id at the token endpoint."""
    client_secret_file: str | None = None
    """A file with its secret, not readable by others; read anew when it changes."""
    client_secret_env: Annotated[str, Field(min_length=1)] | None = None
    """The name of an environment variable with its secret, read at the start."""
    scope: str | None = None
    """What is asked for at the token endpoint; left out: what the issuer gives."""
    ca: str | None = None
    """PEM file of the CAs that the endpoint's certificate is checked against; left out: the system's."""
    token_file: str | None = None
    """A file with a token, not readable by others, that somebody else keeps fresh; read anew when it changes."""
    timeout: Duration = 5.0
    """The longest one fetch may take."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        endpoint = (self.client_id, self.client_secret_file, self.client_secret_env, self.scope, self.ca)
        if (self.token_url is None) == (self.token_file is None):
            raise ValueError("exactly one of token_url and token_file")
        if self.token_file is not None:
            if any(each is not None for each in endpoint):
                raise ValueError("token_file alone; a client id, secret, scope and ca belong to token_url")
            return self
        if not str(self.token_url).startswith("https://"):
            raise ValueError("an https:// URL; the client's secret would travel in plain text")
        if self.client_id is None or (self.client_secret_file is None) == (self.client_secret_env is None):
            raise ValueError("client_id, and exactly one of client_secret_file and client_secret_env, with token_url")
        return self


class OwnAccount(Model):
    """Who the gateway is for the brokers: exactly one of plain, scram and oauth."""

    plain: PasswordAccount | None = None
    """SASL/PLAIN."""
    scram: ScramAccount | None = None
    """SASL/SCRAM: the password stays here, and the broker has to prove that it knows it too."""
    oauth: OauthAccount | None = None
    """SASL/OAUTHBEARER."""
    also_known_as: tuple[str, ...] = ()
    """Other names that brokers may have for the account (a mapped claim, ssl.principal.mapping.rules): no client may
    bear one of them."""
    over_plaintext: bool = False
    """True: even where the backend is insecure_plaintext a password or token is sent, for anybody on the way to read.
    SCRAM needs no such permission."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if [self.plain, self.scram, self.oauth].count(None) != 2:
            raise ValueError("exactly one of plain, scram and oauth")
        return self


class Backend(Model):
    name: Name
    system: Literal["kafka", "pulsar", "kinesis"] = "kafka"
    bootstrap: Annotated[tuple[HostPort, ...], Field(min_length=1)]
    """host:port of one or more brokers; the others are learnt from them."""
    tls: BackendTls = BackendTls()
    account: OwnAccount | None = None
    """The gateway's own account for SASL; left out: the brokers ask for none (or for a certificate alone)."""
    insecure_plaintext: bool = False
    """True: no TLS to this backend. Warned of at every start."""
    metadata_refresh: Duration = 30.0
    """The gateway's control connection asks the brokers for changes this often."""
    dial_timeout: Duration = 5.0
    """For a TCP connection and its TLS handshake, on the way to a broker."""
    request_timeout: Duration = 10.0
    """For one question of the gateway's own to a broker."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if not self.insecure_plaintext:
            return self
        if self.tls != BackendTls():
            raise ValueError("either tls, or insecure_plaintext: true; not both")
        account = self.account
        if account is not None and account.scram is None and not account.over_plaintext:
            raise ValueError(
                "TLS for an account whose password or token would be readable on the way; use scram, or say "
                "account.over_plaintext: true"
            )
        return self


class Limits(Model):
    """Of the process and its connections. What one principal may use is in the policy files."""

    connections_max: Annotated[int, Field(gt=0)] = 4000
    """Client connections at one time, over all listeners."""
    connections_per_address_max: Annotated[int, Field(gt=0)] = 400
    """Client connections at one time from one address."""
    unauthenticated_max: Annotated[int, Field(gt=0)] = 1000
    """Client connections at one time that have not yet said who they are."""
    handshake_timeout: Duration = 10.0
    """From the accepted connection to the end of the TLS handshake."""
    authentication_timeout: Duration = 20.0
    """From the end of the TLS handshake to a successful authentication."""
    frame_timeout: Duration = 30.0
    """From a frame's first byte to its last."""
    idle_timeout: Duration = 600.0
    """A client that neither sends nor is sent anything for so long is disconnected."""
    frame_bytes_before_authentication_max: Size = 64 << 10
    """The largest frame of a client that has not yet said who it is."""
    frame_bytes_max: Size = 100 << 20
    """The largest frame of an authenticated client, and of a broker's answer."""
    buffered_bytes_max: Size = 256 << 20
    """Of all frames in the process that are being received or wait to be sent."""
    buffered_bytes_free_per_connection: Size = 64 << 10
    """What each connection may hold without a reservation."""
    in_flight_max: Annotated[int, Field(gt=0)] = 1000
    """Requests of one connection that wait for an answer."""
    token_bytes_max: Size = 16 << 10
    """The longest token that is looked at."""
    throttle_max: Duration = 2.0
    """The longest a connection is muted at once, so that no group membership is lost by it."""
    shutdown_timeout: Duration = 10.0
    """After SIGTERM, how long connections may finish what they are doing; their closes are spread over half of it."""


class AuditSettings(Model):
    output: str = "stdout"
    """``stdout``, or the path of a file that is appended to and reopened on SIGHUP."""
    queue_max: Annotated[int, Field(gt=0)] = 10_000
    """Audit lines that wait to be written; more are dropped and counted."""
    allowed_interval: Duration = 10.0
    """Allowed access is summed and written this often."""


class AdminTls(Model):
    certificate: str
    """PEM file: the chain, leaf first."""
    key: str
    """PEM file, not readable by others."""


class Health(Model):
    bind: str = "0.0.0.0"  # noqa: S104 - it says ready or not, and nothing else
    """The address to listen on; any will do."""
    port: Port
    """GET /healthz and /readyz for balancers and orchestrators, which learn no more than yes or no."""


class Admin(Model):
    bind: str = "127.0.0.1"
    """Loopback, where reading needs no credential; any other address needs `tls` and `token_file`."""
    port: Port = 9640
    """GET /healthz, /readyz, /metrics and /status; POST for `gateway close` and `gateway log-level`."""
    tls: AdminTls | None = None
    """Needed off loopback; on loopback as you like."""
    token_file: str | None = None
    """The credential for every change. Left out: the gateway makes one at each start, for its own user to read."""
    hosts: tuple[str, ...] = ()
    """Host names by which the port is called besides its address, when it is not on loopback."""
    health: Health | None = None
    """A second port that tells health alone; it may be reached from anywhere."""

    @property
    def on_loopback(self) -> bool:
        return ip_address(self.bind).is_loopback

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        try:
            loopback = self.on_loopback
        except ValueError:
            raise ValueError("an IP address in bind, such as 127.0.0.1") from None
        if not loopback and (self.tls is None or self.token_file is None):
            raise ValueError(
                "admin.tls and admin.token_file as well, since bind is not loopback; for health checks alone use "
                "admin.health, which may be reached from anywhere"
            )
        return self


class Policies(Model):
    files: Annotated[tuple[str, ...], Field(min_length=1)]
    """Paths, relative to this file; a ``*`` in the last part matches names."""
    poll: Duration = 1.0
    """How often the files are looked at for a change; SIGHUP does so at once."""


class Settings(Model):
    version: Literal["1"] = "1"
    listeners: Annotated[tuple[Listener, ...], Field(min_length=1)]
    backends: Annotated[tuple[Backend, ...], Field(min_length=1)]
    issuers: tuple[Issuer, ...] = ()
    """Authorities whose tokens are believed."""
    policies: Policies
    limits: Limits = Limits()
    audit: AuditSettings = AuditSettings()
    admin: Admin = Admin()
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Of the process's own log on standard error; the audit is apart from it."""
