"""The edge runs on uvloop, and so do its tests; those of the relay run on asyncio's own loop too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    both = item.path.name == "test_relay.py"
    return {"uvloop": uvloop.new_event_loop, **({"asyncio": asyncio.SelectorEventLoop} if both else {})}
