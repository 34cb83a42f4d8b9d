"""The judge: one real broker for all of these tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.equivalence.world import World


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with World(tmp_path_factory.mktemp("judge")) as made:
        yield made
