"""Both forms of the hot paths, for tests that drive each: the same must come of it."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.core.pieces import NotUsable
from gateway.kafka import hot
from gateway.pulsar import hot as pulsar_hot

BUILD = "python setup.py build_ext --inplace (needs a C compiler)"


def _forms(room: Any) -> list[Any]:
    """Of kafka.hot or pulsar.hot."""
    interpreted = pytest.param(room.INTERPRETED, id="interpreted")
    try:
        return [interpreted, pytest.param(room.compiled(), id="compiled")]
    except (ImportError, NotUsable):
        left_out = pytest.mark.skip(reason=f"the compiled hot path is not built: {BUILD}")
        return [interpreted, pytest.param(room.INTERPRETED, id="compiled", marks=left_out)]


FORMS = _forms(hot)
"""For ``pytest.mark.parametrize("form", FORMS)``: each a kafka.hot.Form."""
PULSAR_FORMS = _forms(pulsar_hot)
"""Likewise, each a pulsar.hot.Form."""
