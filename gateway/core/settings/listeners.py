"""Where clients of one backend connect, and how they prove who they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from gateway.core.settings.addressing import Addressing, BrokerPorts, SniNames, Wildcard
from gateway.core.settings.tls import ListenerTls
from gateway.core.settings.values import Duration, Host, Listened, Model, Name, Network, Port


class Authentication(Model):
    """How clients of a listener prove who they are."""

    issuers: tuple[Name, ...] = ()
    """Names of issuers whose tokens this listener takes; empty needs client_certificate: required."""
    mechanisms: Annotated[tuple[Literal["OAUTHBEARER", "PLAIN"], ...], Field(min_length=1)] = ("OAUTHBEARER", "PLAIN")
    """SASL mechanisms offered; PLAIN takes a token as the password."""
    session_max: Duration = 3600.0
    """A connection re-authenticates at least this often (KIP-368), and at the end of its token."""


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
    protocol: Literal["kafka", "pulsar", "pulsar-http"] = "kafka"
    """The protocol its clients speak, which is its backend's too; `pulsar-http` is Pulsar's lookup and admin REST."""
    backend: Name
    """The name of the backend that its clients reach."""
    bind: Listened = "127.0.0.1"
    """The address to listen on; 0.0.0.0 or :: for every one."""
    port: Port
    """The bootstrap port; with `addressing: {sni: ...}` the only one."""
    addressing: Annotated[Addressing | None, BeforeValidator(_ports_or_mapping)] = None
    """`ports`, each broker a port of its own; or `sni`, each broker a host name of its own on one port."""
    broker_ports: BrokerPorts | None = None
    """Where `addressing` is `ports`: which ports."""
    advertised: Host = ""
    """The host name that clients are told; it must be in the certificate. With `sni` its own names take its place.
    Pulsar's clients are told none: they stay with the service URL they have."""
    advertised_port: Port | None = None
    """The bootstrap port as clients see it, where a balancer maps it; with `sni` the brokers' too. Left out: `port`."""
    advertised_broker_base: Port | None = None
    """The broker ports' base as clients see it. Left out: `broker_ports.base`."""
    broker_names: Wildcard | None = None
    """Of Pulsar's binary listener: `*.brokers.example.com`, names that all lead here and that the certificate covers.
    Clients that look up by HTTP are told one of them for each broker. Left out: HTTP lookup is for a single broker."""
    proxy_protocol: ProxyProtocol | None = None
    """Left out: no PROXY protocol; whoever connects is the client."""
    tls: ListenerTls
    authentication: Authentication = Authentication()

    @property
    def system(self) -> str:
        """What its backend has to be."""
        return self.protocol.removesuffix("-http")

    @property
    def alpn(self) -> tuple[str, ...]:
        """What is agreed upon in the handshake, the best first."""
        return ("h2", "http/1.1") if self.protocol == "pulsar-http" else ()

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
        if self.sni is not None:
            return (self.sni.bootstrap, *self.sni.hosts())
        return tuple(each for each in (self.advertised, self.broker_names) if each)

    def broker_label(self, server_name: str) -> str:
        """What stands for the wildcard of `broker_names` in a name that a client dials; "" for any other name."""
        label, _, rest = server_name.lower().rstrip(".").partition(".")
        return label if self.broker_names is not None and f"*.{rest}" == self.broker_names else ""

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
        if self.broker_names is not None and self.protocol != "pulsar":
            raise ValueError("no broker_names with this protocol")
        if self.system == "pulsar":
            if self.broker_ports is not None or self.sni is not None or self.advertised_broker_base is not None:
                raise ValueError("no broker_ports, addressing or advertised_broker_base: `port` is every broker's")
            return self
        if self.sni is not None:
            if self.broker_ports is not None or self.advertised or self.advertised_broker_base is not None:
                raise ValueError("no broker_ports, advertised or advertised_broker_base beside addressing.sni")
            return self
        if self.broker_ports is None or not self.advertised:
            raise ValueError("broker_ports and advertised, or addressing: {sni: {pattern: ..., bootstrap: ...}}")
        if (self.advertised_broker_base or 0) + self.broker_ports.last > 65535:
            raise ValueError("advertised_broker_base + the highest node id of at most 65535")
        if self.broker_ports.holds(self.port - self.broker_ports.base):
            raise ValueError("a bootstrap port outside the range of the broker ports")
        return self
