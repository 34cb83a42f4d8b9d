"""The clusters behind the gateway, and how they are reached."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from gateway.core.settings.own_accounts import OwnAccount
from gateway.core.settings.tls import BackendTls
from gateway.core.settings.values import BrokerPattern, Duration, HostPort, Model, Name


class Web(Model):
    """The HTTP interface of Pulsar's brokers, for listeners of `protocol: pulsar-http`."""

    addresses: Annotated[tuple[HostPort, ...], Field(min_length=1)]
    """host:port of one or more brokers' web service."""
    brokers: Annotated[tuple[BrokerPattern, ...], Field(max_length=100)] = ()
    """More of them, to which a broker may send a request on (HTTP 307): host:port, where the host may begin with `*.`
    for any one label. Redirects to anywhere else are not followed."""
    tls: BackendTls | None = None
    """Left out: that of the backend."""
    insecure_plaintext: bool = False
    """True: no TLS to the web service."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.insecure_plaintext and self.tls is not None:
            raise ValueError("either tls, or insecure_plaintext: true; not both")
        return self


class Backend(Model):
    name: Name
    system: Literal["kafka", "pulsar", "kinesis"] = "kafka"
    bootstrap: Annotated[tuple[HostPort, ...], Field(min_length=1)]
    """host:port of one or more brokers; the others are learnt from them."""
    tls: BackendTls = BackendTls()
    web: Web | None = None
    """Pulsar's HTTP interface; left out: no listener offers it."""
    account: OwnAccount | None = None
    """The gateway's own account for SASL; left out: the brokers ask for none (or for a certificate alone). Pulsar's
    brokers must have its name among their proxyRoles; superuser roles belong in its `also_known_as`."""
    clients_as: Literal["original-principal", "own-token"] = "original-principal"
    """Whom Pulsar's brokers see: the client named by the gateway's account, or the client's own token passed on. The
    latter needs brokers that believe the same issuer; `account` is then for the gateway's own questions alone."""
    insecure_plaintext: bool = False
    """True: no TLS to this backend. Warned of at every start."""
    metadata_refresh: Duration = 30.0
    """The gateway's control connection asks the brokers for changes this often."""
    dial_timeout: Duration = 5.0
    """For a TCP connection and its TLS handshake, on the way to a broker."""
    request_timeout: Duration = 10.0
    """For one question of the gateway's own to a broker."""

    @field_validator("tls", mode="before")
    @classmethod
    def _not_one_word(cls, found: object) -> object:
        """`tls: false` is what many guess, and the answer lies in a key that they would have to know."""
        if isinstance(found, str | bool):
            raise ValueError("a mapping, as in `tls: {ca: FILE}`; for no TLS at all: insecure_plaintext: true")
        return found

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.system == "pulsar" and self.account is not None and self.account.oauth is None:
            raise ValueError(
                "account: {oauth: ...}; these brokers are shown a token, or a certificate of the gateway's"
            )
        if self.system != "pulsar" and self.clients_as != "original-principal":
            raise ValueError("no clients_as; brokers of this system are told nothing of clients")
        if self.web is not None and self.system != "pulsar":
            raise ValueError(f"no web; the gateway knows no HTTP interface of {self.system}")
        web_plaintext = self.web is not None and self.web.insecure_plaintext
        if not self.insecure_plaintext and not web_plaintext:
            return self
        if self.insecure_plaintext and self.tls != BackendTls():
            raise ValueError("either tls, or insecure_plaintext: true; not both")
        account = self.account
        if account is not None and account.scram is None and not account.over_plaintext:
            raise ValueError(
                "TLS for an account whose password or token would be readable on the way; use scram, or say "
                "account.over_plaintext: true"
            )
        return self

    @property
    def of_web(self) -> Backend:
        """This backend as its web service is reached."""
        assert self.web is not None
        tls = BackendTls() if self.web.insecure_plaintext else self.web.tls or self.tls
        told = {"bootstrap": self.web.addresses, "tls": tls, "insecure_plaintext": self.web.insecure_plaintext}
        return self.model_copy(update=told)
