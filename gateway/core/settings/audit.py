"""Where the audit goes."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gateway.core.settings.values import Duration, Model


class AuditSettings(Model):
    output: str = "stdout"
    """``stdout``, or the path of a file that is appended to and reopened on SIGHUP."""
    queue_max: Annotated[int, Field(gt=0)] = 10_000
    """Audit lines that wait to be written; more are dropped and counted."""
    allowed_interval: Duration = 10.0
    """Allowed access is summed and written this often."""
