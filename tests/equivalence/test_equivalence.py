"""The engine's answers beside the real broker's authorizer. See the package's text."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.kafka.table import OFFERED
from tests.equivalence.asking import compare
from tests.equivalence.cases import CASES, Case
from tests.equivalence.world import PRINCIPALS, World

pytestmark = pytest.mark.real


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with World(tmp_path_factory.mktemp("judge")) as made:
        yield made


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.api}-{case.name}".replace(" ", "_"))
def test_the_gateway_answers_as_the_broker(world: World, case: Case) -> None:
    lines = [
        f"v{version} {principal}: {line}"
        for version in case.at()
        for principal in PRINCIPALS
        for line in compare(world, case, version, principal)
    ]
    assert not lines, "\n" + "\n".join(lines[:60])


def test_every_offered_version_has_a_case() -> None:
    covered = {(case.key, version) for case in CASES for version in case.at()}
    assert covered == {(key, version) for key, (first, last) in OFFERED.items() for version in range(first, last + 1)}
