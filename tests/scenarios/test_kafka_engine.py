"""The engine's scenarios, each at each of its versions. See tests.scenarios.kafka_engine."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.kafka import codec
from gateway.kafka.authorize import plan
from gateway.kafka.plan import Answer, Body, Forward, Plan, Refuse, TopicsToCreate, Wait
from gateway.kafka.table import TABLE
from tests.equivalence.acls import AclView
from tests.scenarios.kafka_engine import Scenario, scenarios, topic_id

FIELDS = {
    "name", "api", "versions", "rights", "topics", "auto_create", "request", "wait", "forwarded", "at", "broker",
    "answer",
}  # fmt: skip


@pytest.mark.parametrize("scenario", scenarios(), ids=lambda scenario: scenario.id)
def test_scenario(scenario: Scenario) -> None:
    assert set(scenario.told) <= FIELDS
    view = scenario.view()
    request = scenario.request()
    made = _after_waiting(scenario, request, view)
    if isinstance(made, Refuse):
        assert (scenario.told["forwarded"], scenario.told["answer"]) == ("nothing", "closed")
    elif isinstance(made, Answer):
        assert scenario.told["forwarded"] == "nothing"
        assert _crossed(scenario, made.body) == scenario.body_of("answer", scenario.version, request=False)
    else:
        assert isinstance(made, Forward)
        _check_forwarded(scenario, request, made)


def _after_waiting(scenario: Scenario, request: Body, view: AclView) -> Plan:
    made = plan(scenario.key, scenario.version, request, view)
    wait: dict[str, Any] | None = scenario.told.get("wait")
    if wait is None:
        assert not isinstance(made, Wait)
        return made
    assert isinstance(made, Wait)
    if isinstance(made.ask, TopicsToCreate):
        assert made.ask.names == set(wait["create"])
    else:
        assert made.ask.ids == {topic_id(name) for name in wait["ids"]}
        view.missing_ids = {each for each in made.ask.ids if each not in map(topic_id, wait["told"])}
    view.topics.ids |= {name: topic_id(name) for name in wait["told"]}
    view.missing_names = made.ask.names - set(wait["told"])
    return plan(scenario.key, scenario.version, request, view)


def _check_forwarded(scenario: Scenario, request: Body, made: Forward) -> None:
    asked_at = scenario.told.get("at", scenario.version)
    assert (scenario.version if made.version is None else made.version) == asked_at
    if scenario.told["forwarded"] == "as sent":
        assert made.body is None
    else:
        assert made.body is not None
        sent = codec.decode_request(scenario.key, asked_at, codec.encode_request(scenario.key, asked_at, made.body))
        assert sent == scenario.body_of("forwarded", asked_at, request=True)
    if "broker" not in scenario.told:
        assert request.get("acks") == 0
        return
    answer = scenario.body_of("broker", asked_at, request=False)
    finished = answer if made.finish is None else made.finish(answer)
    expected = "broker" if scenario.told["answer"] == "as answered" else "answer"
    assert _crossed(scenario, finished) == scenario.body_of(expected, scenario.version, request=False)


def _crossed(scenario: Scenario, body: Body) -> Body:
    encoded = codec.encode_response(scenario.key, scenario.version, body)
    return codec.decode_response(scenario.key, scenario.version, encoded)


def test_every_row_has_scenarios() -> None:
    assert {scenario.key for scenario in scenarios()} == set(TABLE)


def test_every_shape_has_scenarios() -> None:
    told = {(each.key, TABLE[each.key].shape(each.version).first) for each in scenarios()}
    assert told == {(key, shape.first) for key, row in TABLE.items() for shape in row.shapes}
