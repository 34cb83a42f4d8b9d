"""What the ``gateway`` command ends with."""

from __future__ import annotations

OK = 0
CHECK_FAILED = 1
"""A check, an explanation or a test of policies says no."""
WRONG_USE = 2
"""The command line or the configuration is wrong."""
INTERRUPTED = 130
"""Ended by SIGINT, as shells say it."""
