"""The systems' words; and that core has none of them."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

import gateway.core
from gateway.core.policy import load_policy
from gateway.core.vocabulary import COMMON_VERBS, Kind, System, Vocabulary
from gateway.kafka.vocabulary import CLUSTER_NAME
from gateway.kafka.vocabulary import SYSTEM as KAFKA
from gateway.kinesis.vocabulary import SYSTEM as KINESIS
from gateway.ops import policy_docs
from gateway.pulsar.vocabulary import SYSTEM as PULSAR
from tests.unit.policies import NOON, person

CORE = Path(gateway.core.__file__).parent
DOCS = CORE.parent.parent / "docs"
WORDS = re.compile(r"kafka|pulsar|kinesis", re.IGNORECASE)
SETTING = re.compile(r"(kafka|pulsar|kinesis)(-http)?")
"""What a setting may be given: a system, or a protocol of one."""
KINDS = [(system, kind) for system in (KAFKA, PULSAR, KINESIS) for kind in system.kinds.values()]


@pytest.mark.parametrize(("system", "kind"), KINDS, ids=lambda each: each.name)
def test_a_vocabulary_is_sound(system: System, kind: Kind) -> None:
    assert system.kinds[kind.name] is kind
    assert set(kind.verbs) <= set(COMMON_VERBS)
    for verb, operations in kind.verbs.items():
        assert operations, verb
        assert operations <= kind.operations, verb
    for operation, more in kind.implied.items():
        assert {operation, *more} <= kind.operations
        for each in more:
            assert kind.implied.get(each, frozenset()) <= more, (
                f"{operation} implies {each}, so all that {each} implies"
            )


def test_kafka_verbs_and_implications() -> None:
    topic, cluster = KAFKA.kinds["topic"], KAFKA.kinds["cluster"]
    assert topic.verbs["produce"] == {"Write"}
    assert topic.verbs["consume"] == {"Read"}
    for operation in ("Read", "Write", "Delete", "Alter"):
        assert topic.implied[operation] == {"Describe"}
    assert topic.implied["AlterConfigs"] == {"DescribeConfigs"}
    assert KAFKA.kinds["transactional-id"].verbs["produce"] == {"Write"}
    assert cluster.verbs == {"produce": {"IdempotentWrite"}, "describe": {"Describe", "DescribeConfigs"}}
    assert not any("ClusterAction" in kind.operations for kind in KAFKA.kinds.values())


def test_no_common_verb_reaches_past_a_kafka_deny_or_changes_brokers() -> None:
    """Trap 10, and Create and Delete of the cluster, which would go round a deny on a topic."""
    granted = {operation for operations in KAFKA.kinds["cluster"].verbs.values() for operation in operations}
    assert granted.isdisjoint({"Create", "Delete", "Alter", "AlterConfigs"})
    vocabulary = Vocabulary({"kafka": KAFKA}, {"k": "kafka"}, frozenset())
    verbs = "[produce, consume, create, delete, describe, alter]"

    def decide(rule: str, operation: str) -> bool:
        text = f"version: 1\nroles: {{r: [{rule}]}}\nbindings: [{{roles: r, to: any}}]\nend: true\n"
        rights = load_policy([("p", text.encode())], vocabulary).rights(person(), "k", NOON)
        return rights.decide("cluster", operation, CLUSTER_NAME).allowed

    everything = f'{{allow: {verbs}, kafka: {{topic: "*", group: "*", cluster: "*"}}}}'
    assert not decide(everything, "AlterConfigs")
    assert decide(everything, "DescribeConfigs")
    assert decide("{allow: kafka.AlterConfigs, kafka: {cluster: kafka-cluster}}", "AlterConfigs")


def test_core_names_no_protocol() -> None:
    """In code: names and strings. Docstrings and comments may give examples, settings list what can be configured, and
    reasons tell operators what the client library of each system shows.
    """
    found = []
    for file in sorted(set(CORE.rglob("*.py")) - set(CORE.rglob("reasons.py"))):
        text = file.read_text()
        documented = {
            line
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
            for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
        }
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            string = token.type == tokenize.STRING
            if (
                (string or token.type == tokenize.NAME)
                and token.start[0] not in documented
                and WORDS.search(token.string)
            ):
                setting = file.parent.name == "settings" and string and SETTING.fullmatch(token.string.strip("\"'"))
                found += [] if setting else [f"{file.relative_to(CORE)}:{token.start[0]}: {token.string}"]
    assert found == []


def test_a_made_up_system_works() -> None:
    tube = Kind("tube", frozenset({"Blow", "Suck"}), {"produce": frozenset({"Blow"})}, {}, separators="~")
    vocabulary = Vocabulary(
        {"pneumatic": System("pneumatic", {"tube": tube})}, {"office": "pneumatic"}, frozenset({"i"})
    )
    text = b"""version: 1
roles:
  clerk: [{allow: [produce, pneumatic.Suck], backends: office, pneumatic: {tube: "${claims.floor}~*"}}]
bindings: [{roles: clerk, to: {issuer: i}}]
end: true
"""
    rights = load_policy([("p.yaml", text)], vocabulary).rights(person(issuer="i", floor="7"), "office", NOON)
    assert rights.decide("tube", "Blow", "7~in").allowed
    assert rights.decide("tube", "Suck", "7~in").allowed
    assert not rights.decide("tube", "Blow", "8~in").allowed


def test_the_documented_tables_are_current() -> None:
    text = (DOCS / "policy.md").read_text()
    assert policy_docs.with_tables(text) == text, "run: python -m gateway.ops.policy_docs"
