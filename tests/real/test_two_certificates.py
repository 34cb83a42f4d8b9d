"""librdkafka clients of which some can verify RSA alone, at a listener with an ECDSA and an RSA certificate."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from tests.real.gateway import GatewayProcess
from tests.real.kafka import KafkaCluster
from tests.real.site import POLICY, until

RSA_ALONE = "RSA-PSS+SHA256:RSA+SHA256"
ECDSA_ALONE = "ECDSA+SHA256"


@pytest.mark.parametrize("renewed", [False, True], ids=["as-started", "renewed"])
def test_each_client_is_shown_what_it_can_verify(kafka_one: KafkaCluster, tmp_path: Path, renewed: bool) -> None:
    gateway = GatewayProcess(tmp_path / "gateway", {"main": kafka_one.bootstrap}, policy=POLICY)
    certificate, key = gateway.ca.server("rsa", rsa=True)
    tls = gateway.config["listeners"][0]["tls"]
    tls["certificates"] = [{"certificate": str(certificate), "key": str(key)}]
    token = gateway.issuer.token("app")
    with gateway:
        if renewed:
            for old, fresh in zip((certificate, key), gateway.ca.server("rsa", rsa=True), strict=True):
                shutil.copy(fresh, old)
            changed = 'gateway_certificate_reloads_total{listener="main-listener",result="changed"} 1.0'
            until(lambda: changed in gateway.admin("/metrics")[1], what="the renewed certificate")
        for algorithms in (RSA_ALONE, ECDSA_ALONE, f"{RSA_ALONE}:{ECDSA_ALONE}"):
            client = AdminClient(gateway.confluent(token, **{"ssl.sigalgs.list": algorithms}))
            assert client.list_topics(timeout=20).brokers
