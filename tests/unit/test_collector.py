"""The collector leaves alone what was there at the start, and looks seldom."""

from __future__ import annotations

import gc

from gateway.ops.collector import COLLECT_AFTER, spare_the_collector


def test_what_is_there_is_not_looked_at_again() -> None:
    before = gc.get_threshold()
    try:
        spare_the_collector()
        assert gc.get_freeze_count() > 10_000
        assert gc.get_threshold() == (COLLECT_AFTER, *before[1:])
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
