"""The engine's answers beside the real broker's authorizer. See the package's text."""

from __future__ import annotations

import pytest

from gateway.kafka.table import OFFERED
from tests.equivalence.asking import compare
from tests.equivalence.cases import CASES, Case
from tests.equivalence.world import PRINCIPALS, World

pytestmark = pytest.mark.real


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.api}-{case.name}".replace(" ", "_"))
def test_the_gateway_answers_as_the_broker(world: World, case: Case) -> None:
    """Every version, every principal; an explanation of a difference that never shows is a mistake too."""
    lines, reasons = [], set()
    for version in case.at():
        for principal in PRINCIPALS:
            unexplained, meant = compare(world, case, version, principal)
            lines += unexplained
            reasons |= meant
    assert not lines, "\n" + "\n".join(lines[:60])
    assert case.by_chance or reasons == set(case.differs.values())


def test_every_offered_version_has_a_case() -> None:
    covered = {(case.key, version) for case in CASES for version in case.at()}
    assert covered == {(key, version) for key, (first, last) in OFFERED.items() for version in range(first, last + 1)}
