"""The process's own log, to standard error. Nothing secret is ever handed to it; the audit is apart from it."""

from __future__ import annotations

import logging
import sys

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
SEVERAL_FORMAT = "%(asctime)s %(levelname)s {name} %(name)s: %(message)s"
"""Where several processes of one gateway write to the same place."""


def set_up_log(level: str, name: str = "") -> None:
    """`name`: which process this is, if there are several."""
    shown = SEVERAL_FORMAT.format(name=name) if name else LOG_FORMAT
    logging.basicConfig(stream=sys.stderr, level=level.upper(), format=shown, force=True)
    for chatty in ("httpx", "httpcore", "uvicorn"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def log_level() -> str:
    """How much the log tells now."""
    return logging.getLevelName(logging.getLogger().getEffectiveLevel()).lower()


def set_log_level(level: str) -> None:
    logging.getLogger().setLevel(level.upper())
