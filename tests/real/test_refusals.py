"""What a refused client sees, and what the audit says: the corpus of tokens through a running gateway."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.kafka.sasl import INVALID_TOKEN
from tests.corpus import tokens as corpus
from tests.real.gateway import GatewayProcess
from tests.real.kafka import KafkaCluster
from tests.real.site import DIRECT, POLICY, Site
from tests.real.test_confluent import produce
from tests.real.wire import SASL_AUTHENTICATE, SASL_HANDSHAKE, RawClient, request, string

pytestmark = pytest.mark.skipif(DIRECT, reason="REAL_DOOR=direct: there is no gateway that refuses (unset it)")

UNSENDABLE = {"an empty token", "a newline after it"}
"""RFC 7628's own form keeps these out of OAUTHBEARER; the corpus tests them at the validator."""


@pytest.fixture(scope="module")
def gateway(kafka_one: KafkaCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway that believes the corpus's issuers."""
    folder = tmp_path_factory.mktemp("refusals")
    soon = {"failed_login_delay_max": "1 ms"}  # many fail here, one after the other
    made = GatewayProcess(folder, {"main": kafka_one.bootstrap}, policy=POLICY, limits=soon)
    for issuer in corpus.issuers()[:2]:
        file = folder / f"{issuer.name}.json"
        file.write_bytes(corpus.jwks(issuer.name))
        made.config["issuers"].append(
            {
                "name": issuer.name, "issuer": issuer.issuer, "audiences": list(issuer.audiences),
                "algorithms": list(issuer.algorithms), "keys": {"file": str(file)},
            }
        )  # fmt: skip
        made.config["listeners"][0]["authentication"]["issuers"].append(issuer.name)
    with made:
        yield made


def test_every_refused_token_is_refused_alike(gateway: GatewayProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers are equal to the octet, whatever was wrong; the audit names each reason."""
    answers: dict[bytes, list[str]] = {}
    reasons: dict[str, tuple[str, str]] = {}
    seen: set[str] = set()
    for case in corpus.cases():
        monkeypatch.setattr(corpus, "NOW", corpus.now_for(case, time.time()))
        token = corpus.build(case.row)
        large = len(token) > 16 << 10
        if case.expect in ("accepted", "key-missing") or large or not token.strip() or b"\n" in token:
            continue
        at = len(gateway.audit())
        message = b"n,,\x01auth=Bearer " + token + b"\x01\x01"
        with RawClient(gateway.port(), gateway.ca_file) as raw:
            raw.send(request(SASL_HANDSHAKE, 1, string("OAUTHBEARER")))
            raw.receive()
            raw.send(request(SASL_AUTHENTICATE, 1, struct.pack(">i", len(message)) + message))
            first = raw.receive()
            code = struct.unpack_from(">h", first, 4)[0]
            answer = first
            if code == 0:
                assert INVALID_TOKEN in first, case.name
                raw.send(request(SASL_AUTHENTICATE, 1, struct.pack(">i", 1) + b"\x01"))
                answer += raw.receive()
            assert raw.ended(), case.name
        answers.setdefault(answer, []).append(case.name)
        line = gateway.wait_audit(event="refused", after=at)
        reasons[case.name] = (case.expect, str(line["reason"]))
        seen.add(str(line["reason"]))
    differing = {name: pair for name, pair in reasons.items() if pair[0] != pair[1] and pair[1] != "sasl-malformed"}
    assert not differing
    malformed = {name for name, pair in reasons.items() if pair[1] == "sasl-malformed"}
    shown = sorted(answers.values(), key=len)
    assert len(reasons) >= 60
    assert len(seen) >= 12, seen
    usual = shown.pop()
    assert {name for names in shown for name in names} <= malformed, shown
    assert not malformed & set(usual)


def test_accepted_tokens_of_the_corpus_are_accepted(gateway: GatewayProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "NOW", float(int(time.time())))
    count = 0
    for case in corpus.cases():
        if case.expect != "accepted":
            continue
        with RawClient(gateway.port(), gateway.ca_file) as raw:
            code, lifetime = raw.authenticate(corpus.build(case.row).decode())
            assert (code, lifetime > 0) == (0, True), case.name
        count += 1
    assert count >= 10


def explain(gateway: GatewayProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway", "policy", "explain", "--config", str(gateway.folder / "gateway.yaml"),
         *arguments],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_a_real_denial_is_explained_by_its_number(gateway: GatewayProcess, kafka_one: KafkaCluster) -> None:
    """The audit's decision id is enough to be told the rule and why."""
    site = Site(kafka_one, gateway)
    topic, at = site.topic("app.people.pii"), site.audited()
    produce(site.app().confluent(**{"enable.idempotence": False}), topic, count=1)
    line = site.denied(at, resource=topic, operation="Write")
    assert line["decision"]
    assert line["revision"]
    assert line["rule"] == "no-pii"
    audit = gateway.config["audit"]["output"]
    done = explain(gateway, "--decision", line["decision"], "--audit", audit)
    said = done.stdout + done.stderr
    assert "no-pii" in said, said
    assert topic in said, said
    assert f"{Path(gateway.policy_path).name}:" in said, said
    missing = explain(gateway, "--decision", "none-1-1", "--audit", audit)
    assert missing.returncode != 0
    assert "Traceback" not in missing.stderr


def test_every_audit_line_has_what_it_promises(gateway: GatewayProcess, kafka_one: KafkaCluster) -> None:
    site = Site(kafka_one, gateway)
    site_topic = site.topic("closed.pay")
    at = site.audited()
    produce(site.app().confluent(**{"enable.idempotence": False}), site_topic, count=1)
    site.denied(at, resource=site_topic)
    lines = gateway.audit()
    assert {"started", "config-revision", "policy-revision", "connected", "authenticated", "denied", "closed"} <= {
        line["event"] for line in lines
    }
    for line in lines:
        assert line["time"].endswith("Z")
        if line["event"] == "denied":
            assert {"decision", "reason", "revision", "operation", "kind", "resource", "why"} <= set(line), line
        if line["event"] == "closed":
            assert line["reason"]
        assert json.dumps(line)
