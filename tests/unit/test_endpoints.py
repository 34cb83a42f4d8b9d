"""Bindings by private-link endpoint: decided, explained and tested."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.core.documents import Mistakes
from gateway.core.policy.explain import Question, explain
from gateway.core.policy.trial import run
from gateway.ops.config_policies import vocabulary
from tests.unit.policies import person
from tests.unit.test_policy_commands import gateway

POLICY = """\
version: 1
roles:
  app: [{allow: [produce], kafka: {topic: [orders]}}]
bindings:
  - {roles: [app], to: {issuer: corp}, from: [10.0.0.0/8], endpoint: [vpce-1, azure-7]}
end: true
"""
TESTS = """\
version: 1
principals:
  inside: {issuer: corp, sub: u, from: 10.1.1.1, endpoint: vpce-1}
  outside: {issuer: corp, sub: u, from: 10.1.1.1}
tests:
  - {who: inside, can: produce, kafka: {topic: orders}}
  - {who: inside, endpoint: vpce-2, cannot: produce, because: network, kafka: {topic: orders}}
  - {who: outside, cannot: produce, because: network, kafka: {topic: orders}}
  - {who: outside, endpoint: azure-7, can: produce, kafka: {topic: orders}}
"""


def policies(text: str = POLICY):  # type: ignore[no-untyped-def]
    from gateway.core.policy.load import load_policy

    return load_policy([("p.yaml", text.encode())], vocabulary({"main": "kafka"}, ["corp"]))


@pytest.mark.parametrize(
    ("address", "endpoint", "why"),
    [
        ("10.1.1.1", "vpce-1", "allowed"),
        ("10.1.1.1", "azure-7", "allowed"),
        ("10.1.1.1", "", "network"),
        ("10.1.1.1", "vpce-11", "network"),
        ("192.0.2.1", "vpce-1", "network"),
    ],
)
def test_network_and_endpoint_must_both_hold(address: str, endpoint: str, why: str) -> None:
    who = replace(person(address=address), endpoint=endpoint)
    assert policies().rights(who, "main", 0.0).decide("topic", "Write", "orders").why == why


def test_the_nearest_binding_says_which_endpoint_it_wants() -> None:
    who = replace(person(address="10.1.1.1"), endpoint="vpce-2")
    found = explain(policies(), Question(who, "main", "topic", "Write", "orders", 0.0))
    assert "only through endpoint azure-7, vpce-1; the client came through vpce-2" in found.nearest[0].why


def test_policy_tests_speak_of_endpoints() -> None:
    outcome = run(policies(), [("p_test.yaml", TESTS.encode())], 0.0)
    assert (outcome.tests, outcome.failures, outcome.untouched) == (4, (), ())


@pytest.mark.parametrize("endpoint", ['"vpce-*"', "7", "eni-1", '""'])
def test_what_is_no_endpoint_is_a_mistake(endpoint: str) -> None:
    with pytest.raises(Mistakes, match="an endpoint's id, whole"):
        policies(POLICY.replace("[vpce-1, azure-7]", endpoint))


def test_explain_takes_an_endpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(POLICY)
    ask = ["explain", "--policies", str(file), "--issuer", "corp", "--sub", "u", "--from", "10.1.1.1"]
    what = ["produce", "kafka:topic:orders"]
    assert gateway(*ask, *what) == 1
    capsys.readouterr()
    assert gateway(*ask, "--endpoint", "vpce-1", "--json", *what) == 0
    assert json.loads(capsys.readouterr().out)["allowed"]
    gateway(*ask, "--endpoint", "vpce-1", *what)
    assert "at 10.1.1.1 through vpce-1" in capsys.readouterr().out
