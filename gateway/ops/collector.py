"""Python's collector of circles, set for a process whose connections come and go by the thousand.

Called once everything is there and clients are about to come, by ops.run and by each worker.
"""

from __future__ import annotations

import gc

COLLECT_AFTER = 10_000
"""New objects between two looks, instead of Python's 700. Ended connections cut their own circles, so little waits."""


def spare_the_collector() -> None:
    """What is there now stays, policies above all: it need not be looked at again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, *gc.get_threshold()[1:])
