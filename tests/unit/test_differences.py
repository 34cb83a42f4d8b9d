"""What would change, in words: by setting, by rule, by whom it touches; and nothing where nothing would."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest

from gateway.core.policy import load_policy
from gateway.core.policy.table import LimitRow, Place, Target
from gateway.core.rights import Quota
from gateway.core.settings import Settings
from gateway.ops import config_policies, differences
from gateway.ops.differences import changes, described

SETTINGS = {
    "version": "1",
    "listeners": [
        {
            "name": name, "backend": "main", "port": port, "broker_ports": {"base": port + 1},
            "advertised": "localhost",
            "tls": {"certificate": "c", "key": "k"}, "authentication": {"issuers": ["corp"]},
        }
        for name, port in (("a", 9000), ("b", 9100))
    ],
    "backends": [{"name": "main", "bootstrap": ["h:1"]}],
    "issuers": [{"name": "corp", "issuer": "i", "audiences": ["x"], "keys": {"file": "f"}}],
    "policies": {"files": ["p.yaml"]},
}  # fmt: skip
POLICY = """\
version: 1
roles:
  app:
    - {allow: [produce], kafka: {topic: [orders]}}
    - {deny: [produce], id: no-pii, kafka: {topic: ["*.pii"]}}
  idle:
    - {allow: [consume], kafka: {topic: [logs]}}
bindings:
  - {roles: [app], to: {issuer: corp, sub: alice}}
limits:
  - {to: any, connections: 50}
end: true
"""


def side(policy: str = POLICY, **settings: object) -> dict[str, object]:
    words = config_policies.vocabulary({"main": "kafka"}, ["corp"])
    policies = load_policy([("p.yaml", policy.encode())], words)
    found = described(Settings.model_validate({**SETTINGS, **settings}), policies, "r")
    return json.loads(json.dumps(found))  # type: ignore[no-any-return]


def test_nothing_changes_nothing() -> None:
    assert list(changes(side(), side())) == []


def test_order_of_named_things_and_lines_moved_change_nothing() -> None:
    assert list(changes(side(), side(listeners=SETTINGS["listeners"][::-1]))) == []  # type: ignore[index]
    assert list(changes(side(), side("\n# moved\n" + POLICY))) == []


@pytest.mark.parametrize(("before", "after", "expected"), [
    ("[orders]", "[orders, payroll]", ["- rule app/rule 1", "+ rule app/rule 1", "touches jwt:corp:alice"]),
    ("*.pii", "*.secret", ["- rule app/no-pii", "+ rule app/no-pii: deny", "touches jwt:corp:alice"]),
    ("[logs]", "[logs2]", ["rule idle/rule 1", "touches nobody"]),
    ("sub: alice", "sub: bob", ["- binding: app to jwt:corp:alice", "+ binding: app to jwt:corp:bob"]),
    ("connections: 50", "connections: 5", ["- limit: everybody", "+ limit: everybody"]),
])  # fmt: skip
def test_policies_differ_by_rule_and_whom_it_touches(before: str, after: str, expected: list[str]) -> None:
    said = "\n".join(changes(side(), side(POLICY.replace(before, after))))
    for words in expected:
        assert words in said


def test_settings_differ_by_path() -> None:
    said = list(changes(side(), side(limits={"in_flight_max": 5}, log_level="debug")))
    assert said == ["~ limits.in_flight_max: 1000 -> 5", '~ log_level: "info" -> "debug"']


def test_a_listener_more_and_one_less() -> None:
    said = "\n".join(changes(side(), side(listeners=SETTINGS["listeners"][:1])))  # type: ignore[index]
    assert "- listeners[b].port: 9100" in said
    assert "listeners[a]" not in said


@pytest.mark.parametrize("name", [field.name for field in fields(Quota)])
def test_every_number_of_a_quota_makes_a_difference(name: str) -> None:
    quota = Quota(1.0, 2.0, 3.0, 4, 5, 6)
    row = LimitRow(Place("p.yaml", 1), Target(), quota)
    assert differences._limit(row) != differences._limit(replace(row, quota=replace(quota, **{name: 99})))
