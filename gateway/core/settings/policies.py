"""Where the policy files are."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gateway.core.settings.values import Duration, Model


class Policies(Model):
    files: Annotated[tuple[str, ...], Field(min_length=1)]
    """Paths, relative to this file; a ``*`` in the last part matches names."""
    poll: Duration = 1.0
    """How often the files are looked at for a change; SIGHUP does so at once."""
