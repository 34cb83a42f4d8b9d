"""Certificates, keys and CAs: towards clients, towards brokers, and of the admin port."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from gateway.core.settings.values import Host, Model, Name


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
    """More pairs: a client gets the first one that covers the name it asks for (SNI), else the one above. With a second
    pair for the same names, whose key is of another kind, clients that can verify ECDSA get that one, others RSA's."""
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
    records: Literal["adapted", "full"] = "adapted"
    """How large the records towards clients are: after a second without a large answer the first 53 KiB go in records
    that fit one segment each, the rest in full ones; or all are as large as what is at hand."""

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


class BackendTls(Model):
    ca: str | None = None
    """PEM file; left out: the system's CAs."""
    server_name: Host | None = None
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


class AdminTls(Model):
    certificate: str
    """PEM file: the chain, leaf first."""
    key: str
    """PEM file, not readable by others."""
