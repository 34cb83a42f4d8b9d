"""The whole of gateway.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gateway.core.settings.admin import Admin
from gateway.core.settings.audit import AuditSettings
from gateway.core.settings.backends import Backend
from gateway.core.settings.issuers import Issuer
from gateway.core.settings.limits import Limits
from gateway.core.settings.listeners import Listener
from gateway.core.settings.policies import Policies
from gateway.core.settings.values import Model

WORKERS_MAX = 64
"""Worker processes of one gateway."""


class Settings(Model):
    version: Literal["1"] = "1"
    workers: Annotated[int, Field(ge=1, le=WORKERS_MAX)] | Literal["auto"] = 1
    """Processes that serve clients: 1, the process itself; more (Linux only), with a supervisor over them that mends
    them; `auto`, one for each core that the process may use."""
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
    require_compiled: bool = False
    """Refuse to start where a piece of the hot path would run interpreted, at two to four times the CPU (`gateway
    version` says which do)."""
