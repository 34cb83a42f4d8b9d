"""The engine's answers beside the real broker's authorizer. See the package's text."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.kafka import authorize
from gateway.kafka.rows import Check, Row
from gateway.kafka.table import OFFERED, TABLE
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


def _wrong(key: int, **shape: object) -> Row:
    row = TABLE[key]
    return replace(row, shapes=tuple(replace(each, **shape) for each in row.shapes))


WRONG = (
    _wrong(8, checks=(Check("group", "Describe", 30, "groupId"),)),
    _wrong(0, checks=()),
    _wrong(1, items=replace(TABLE[1].shapes[0].items, operation="Describe"), finish=()),
    _wrong(2, items=replace(TABLE[2].shapes[0].items, error=3)),
    _wrong(3, answer=()),
    _wrong(16, answer=()),
    _wrong(69, finish=()),
    _wrong(24, items=replace(TABLE[24].shapes[0].items, together=None)),
)


@pytest.mark.parametrize("row", WRONG, ids=lambda row: row.name)
def test_a_wrong_row_is_noticed(world: World, row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison is worth something: each of these rows is wrong in one way, and the broker says so."""
    monkeypatch.setattr(authorize, "TABLE", {**TABLE, row.key: row})
    noticed = [
        line
        for case in CASES
        if case.key == row.key
        for version in list(case.at())[-1:]
        for principal in PRINCIPALS
        for line in compare(world, case, version, principal)[0]
    ]
    assert noticed
