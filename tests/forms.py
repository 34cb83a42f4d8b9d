"""Both forms of Kafka's hot path, for tests that drive each: the same must come of it."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.core.pieces import NotUsable
from gateway.kafka import hot

BUILD = "python setup.py build_ext --inplace (needs a C compiler)"


def _forms() -> list[Any]:
    interpreted = pytest.param(hot.INTERPRETED, id="interpreted")
    try:
        return [interpreted, pytest.param(hot.compiled(), id="compiled")]
    except (ImportError, NotUsable):
        left_out = pytest.mark.skip(reason=f"the compiled hot path is not built: {BUILD}")
        return [interpreted, pytest.param(hot.INTERPRETED, id="compiled", marks=left_out)]


FORMS = _forms()
"""For ``pytest.mark.parametrize("form", FORMS)``: each a hot.Form."""
