"""Who the gateway is for the brokers: its own account for SASL."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from gateway.core.settings.values import Duration, Model


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
