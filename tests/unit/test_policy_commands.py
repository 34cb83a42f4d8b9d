"""``gateway policy explain`` and ``gateway policy test``, as an operator runs them."""

from __future__ import annotations

import argparse
import base64
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.core.audit import AuditEvent
from gateway.core.documents import Mistakes
from gateway.core.identity import Principal
from gateway.edge.audit import line
from gateway.ops.policy_commands import add_policy_commands
from tests.tokens import TokenIssuer

POLICIES = Path(__file__).parents[2] / "policies"
PAYMENTS = str(POLICIES / "payments.yaml")
CLAIMS = {"groups": ["payments-devs"], "azp": "orders-service", "team": "core"}
AT = ["--at", "2027-01-15"]
ORDERS = ["--issuer", "corp", "--sub", "svc-orders", "--from", "10.20.1.7", *AT]


def gateway(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    add_policy_commands(parser.add_subparsers())
    chosen = parser.parse_args(["policy", *arguments])
    code = chosen.command(chosen)
    assert isinstance(code, int)
    return code


@pytest.fixture
def claims(tmp_path: Path) -> list[str]:
    file = tmp_path / "claims.json"
    file.write_text(json.dumps(CLAIMS))
    return ["--claims", str(file)]


def explained(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    code = gateway("explain", "--policies", PAYMENTS, "--json", *arguments)
    return code, json.loads(capsys.readouterr().out)


def test_explain_says_rule_and_place(capsys: pytest.CaptureFixture[str], claims: list[str]) -> None:
    code, found = explained(capsys, *ORDERS, *claims, "consume", "kafka:topic:payments.orders")
    assert code == 0
    (answer,) = found["answers"]
    assert answer["why"] == "allowed"
    assert answer["rule"]["file"].endswith("payments.yaml")
    assert answer["rule"]["line"] == 5
    assert (
        gateway("explain", "--policies", PAYMENTS, *ORDERS, *claims, "consume", "kafka:topic:payments.orders.pii") == 1
    )
    shown = capsys.readouterr().out
    assert "DENIED: Read on topic 'payments.orders.pii' of kafka-prod" in shown
    assert "no-pii" in shown
    assert "a deny beats it" in shown


@pytest.mark.parametrize(
    ("question", "why", "near"),
    [
        (["--from", "192.0.2.9", "produce", "kafka:topic:payments.orders"], "network", "only from 10.20.0.0/16"),
        (["--at", "2027-04-01", "produce", "kafka:topic:payments.orders"], "expired", "expired after 2027-03-31"),
        (
            ["--sub", "x", "consume", "group:orders-x-1"],
            "no-rule",
            "none of orders-${claims.team}-* (here: ",
        ),
        (["delete", "kafka:topic:payments.orders"], "no-rule", "not Delete"),
        (["--issuer", "partner", "produce", "kafka:topic:payments.orders"], "no-binding", "for tokens of corp"),
    ],
)
def test_explain_says_what_came_nearest(
    capsys: pytest.CaptureFixture[str], claims: list[str], question: list[str], why: str, near: str
) -> None:
    code, found = explained(capsys, *ORDERS, *claims, *question)
    assert code == 1
    assert found["answers"][0]["why"] == why
    assert any(near in each["why"] for each in found["answers"][0]["nearest"]), found


def test_explain_a_certificate_and_an_operation_by_its_own_name(capsys: pytest.CaptureFixture[str]) -> None:
    shown = ["--certificate", "uri=spiffe://bank/oncall/kafka"]
    code, found = explained(capsys, *shown, "AlterConfigs", "kafka:cluster:kafka-cluster")
    assert (code, found["answers"][0]["rule"]["id"]) == (0, "broker-configs")


def test_explain_a_token_says_that_it_was_not_verified_and_never_shows_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    payload = base64.urlsafe_b64encode(json.dumps({**CLAIMS, "sub": "svc"}).encode()).rstrip(b"=").decode()
    monkeypatch.setattr("sys.stdin", io.StringIO(f"e30.{payload}.c2VjcmV0\n"))
    code, found = explained(
        capsys, "--token", "-", "--issuer", "corp", "--from", "10.20.1.7", *AT, "produce", "kafka:topic:payments.orders"
    )
    assert code == 0
    assert "not verified" in found["notes"][0]
    assert payload not in json.dumps(found)


def test_explain_a_denial_of_the_audit(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    at = datetime(2027, 1, 15, tzinfo=UTC).timestamp()
    ann, where = Principal("jwt", "corp", "svc-orders"), {"address": "10.20.1.7", "backend": "kafka-prod"}
    asked = {"operation": "Read", "kind": "topic", "resource": "payments.orders.pii", "rule": "no-pii"}
    events = [
        AuditEvent("authenticated", at, "c7", ann, {**where, "claims": CLAIMS}),
        AuditEvent("denied", at, "c7", ann, {**where, **asked, "decision": "c7-1", "revision": "old"}),
    ]
    audit = tmp_path / "audit.jsonl"
    audit.write_bytes(b'half a line"}\n' + b"".join(line(event) for event in events))
    code, found = explained(capsys, "--decision", "c7-1", "--audit", str(audit))
    assert (code, found["answers"][0]["why"]) == (1, "no-pii")
    assert "decided under revision old" in found["notes"][0]
    assert gateway("explain", "--policies", PAYMENTS, "--decision", "c7-2", "--audit", str(audit)) == 2
    assert gateway("explain", "--policies", PAYMENTS, "--decision", "c7-1") == 2


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["produce"],
        ["produce", "topic"],
        [*ORDERS, "eat", "kafka:topic:a"],
        [*ORDERS, "produce", "topic:a"],
        [*ORDERS, "produce", "kafka:crate:a"],
        ["produce", "kafka:topic:a"],
        ["--certificate", "a=b", "produce", "kafka:topic:a"],
        [*ORDERS, "--claims", "/nowhere", "produce", "kafka:topic:a"],
    ],
)
def test_questions_that_cannot_be_asked(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert gateway("explain", "--policies", PAYMENTS, *arguments) == 2
    assert capsys.readouterr().err.startswith("gateway policy explain: ")


@pytest.mark.parametrize("name", ["payments", "demo"])
def test_the_example_policies_pass_their_tests(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert gateway("test", "--policies", str(POLICIES / f"{name}.yaml"), *AT) == 0
    shown = capsys.readouterr().out
    assert "all good" in shown
    assert "untouched" not in shown


def test_a_wrong_reason_fails_and_untouched_rules_are_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(Path(PAYMENTS).read_text())
    (tmp_path / "p_test.yaml").write_text(
        "principals: {a: {issuer: corp, sub: a}}\n"
        "tests:\n  - {who: a, cannot: [produce], kafka: {topic: payments.orders}, because: no-rule}\n"
    )
    assert gateway("test", "--policies", str(tmp_path / "p.yaml"), *AT) == 1
    shown = capsys.readouterr().out
    assert "p_test.yaml:3: a, Write" in shown
    assert "wanted denied because no-rule, got denied because no-binding" in shown
    assert "untouched: no test meets the rule no-pii" in shown
    assert gateway("test", "--policies", str(tmp_path / "p.yaml"), "--json", *AT) == 1
    assert json.loads(capsys.readouterr().out)["failures"][0]["wanted"] == "denied because no-rule"


@pytest.mark.parametrize(
    "text",
    [
        "{who: b, can: produce, kafka: {topic: t}}", "{who: a, can: produce}", "{who: a, kafka: {topic: t}}",
        "{who: a, can: eat, kafka: {topic: t}}", "{who: a, can: produce, kafka: {crate: t}}",
        "{who: a, can: produce, house: {topic: t}}", "{who: a, can: produce, kafka: {topic: t}, backend: none}",
        "{who: a, can: produce, kafka: {topic: t}, at: noon}", "{who: a, can: produce, kafka: {topic: t}, from: here}",
    ],
)  # fmt: skip
def test_mistakes_in_test_files(tmp_path: Path, text: str) -> None:
    (tmp_path / "p.yaml").write_text(Path(PAYMENTS).read_text())
    (tmp_path / "p_test.yaml").write_text(f"principals: {{a: {{issuer: corp, sub: a}}}}\ntests:\n  - {text}\n")
    with pytest.raises(Mistakes, match=r"p_test.yaml:3"):
        gateway("test", "--policies", str(tmp_path / "p.yaml"))


def test_no_tests_is_no_success(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(Path(PAYMENTS).read_text())
    assert gateway("test", "--policies", str(tmp_path / "p.yaml")) == 2
    assert "no *_test.yaml" in capsys.readouterr().err


CONFIG = """version: 1
listeners:
  - name: k
    backend: kafka-prod
    port: 9094
    broker_ports: {base: 9100}
    advertised: k.example
    tls: {certificate: c.pem, key: k.pem}
    authentication: {issuers: [corp]}
backends: [{name: kafka-prod, bootstrap: ["b:9092"]}]
issuers: [{name: corp, issuer: "https://issuer.test", audiences: [kafka], keys: {file: jwks.json}, algorithms: [ES256]}]
policies: {files: [p.yaml]}
"""


def test_with_a_configuration_a_token_is_verified(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    issuer = TokenIssuer("https://issuer.test", audience="kafka", algorithm="ES256")
    issuer.write_jwks(tmp_path / "jwks.json")
    (tmp_path / "gateway.yaml").write_text(CONFIG)
    (tmp_path / "p.yaml").write_text(Path(PAYMENTS).read_text())
    forger = TokenIssuer("https://issuer.test", audience="kafka", algorithm="ES256")
    ask = ["--config", str(tmp_path / "gateway.yaml"), "--json", "--token", "-", "--from", "10.20.1.7"]
    for who, note in ((issuer, "the token was verified"), (forger, "the gateway would refuse it (")):
        monkeypatch.setattr("sys.stdin", io.StringIO(who.token("svc-orders", **CLAIMS)))
        gateway("explain", *ask, "produce", "kafka:topic:payments.orders")
        found = json.loads(capsys.readouterr().out)
        assert note in found["notes"][0]
        assert found["answers"][0]["principal"] == "jwt:corp:svc-orders"
    (tmp_path / "jwks.json").unlink()
    monkeypatch.setattr("sys.stdin", io.StringIO(issuer.token("svc-orders", **CLAIMS)))
    gateway("explain", *ask, "produce", "kafka:topic:payments.orders")
    assert "cannot be used" in json.loads(capsys.readouterr().out)["notes"][0]
    monkeypatch.setattr("sys.stdin", io.StringIO("no token"))
    assert gateway("explain", *ask, "produce", "kafka:topic:payments.orders") == 2
