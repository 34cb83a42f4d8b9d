"""What this machine lacks, said once: what is left out, and how to get it."""

from __future__ import annotations


class Missing(Exception):
    """Something a suite needs is not here. `what` names it, `how` is the remedy; conftest.py makes a table of them."""

    def __init__(self, what: str, how: str) -> None:
        super().__init__(f"{what} ({how})")
        self.what = what
        self.how = how
