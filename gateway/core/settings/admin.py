"""The admin port and the health port."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Self

from pydantic import model_validator

from gateway.core.settings.tls import AdminTls
from gateway.core.settings.values import Listened, Model, Port


class Health(Model):
    bind: Listened = "0.0.0.0"  # noqa: S104 - it says ready or not, and nothing else
    """The address to listen on; any will do."""
    port: Port
    """GET /healthz and /readyz for balancers and orchestrators, which learn no more than yes or no."""


class Admin(Model):
    bind: str = "127.0.0.1"
    """Loopback, where reading needs no credential; any other address needs `tls` and `token_file`."""
    port: Port = 9640
    """GET /healthz, /readyz, /metrics and /status; POST for `gateway close`, `reload` and `log-level`."""
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
