"""A TLS scanner has nothing to object to: testssl.sh against a running gateway.

Protocols, cipher categories, forward secrecy, what the server offers by default, and every vulnerability it knows
(Heartbleed, CCS, ROBOT, renegotiation, CRIME, FREAK, DROWN, LOGJAM, LUCKY13, ...). Some of what it sends is broken on
purpose, and the gateway has to stand that too.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.real.gateway import GatewayProcess
from tests.real.kafka import KafkaCluster
from tests.real.missing import Missing
from tests.real.site import POLICY

pytestmark = [pytest.mark.real, pytest.mark.timeout(2000)]

OF_THE_KEY = ("--protocols", "--fs", "--server-defaults")
EVERYTHING = (*OF_THE_KEY, "--std", "--vulnerable")
"""Cipher categories and vulnerabilities are asked of the gateway that has an RSA key: more of either are about RSA than
about ECDSA, and none is about ECDSA alone. What both show, TLS itself, is the same in both."""
FINE = frozenset({"OK", "INFO", "DEBUG"})
NOT_THE_GATEWAYS = {
    "engine_problem": "the scanner's own OpenSSL has no GOST",
    "cert_revocation": "the certificate is the test's, whose CA publishes no revocation list",
}
SEEN_OF_THE_KEY = {"TLS1_2", "TLS1_3", "cert_keySize", "cert_chain_of_trust"}
SEEN = SEEN_OF_THE_KEY | {
    "heartbleed",
    "CCS",
    "ROBOT",
    "secure_client_renego",
    "CRIME_TLS",
    "LUCKY13",
}
"""Some of what has to be in a report that is whole."""
UNANSWERED = ("sessionresumption_ticket", "WARN", "check failed because of connect problem")
"""The scanner's own race: its client ends at the end of its input, on a busy machine before TLS 1.3's ticket has come,
and cannot begin the next connection from a ticket it has not got. That says nothing yet; it is asked again."""
SCANS_MAX = 3


@pytest.mark.parametrize("rsa", [False, True], ids=["ecdsa", "rsa"])
def test_a_scanner_has_nothing_to_object_to(kafka_one: KafkaCluster, tmp_path: Path, rsa: bool) -> None:
    scanner = shutil.which("testssl") or shutil.which("testssl.sh")
    if scanner is None:
        raise Missing("testssl.sh", "on Debian: apt-get install testssl.sh")
    door = GatewayProcess(tmp_path, {"main": kafka_one.bootstrap}, policy=POLICY)
    certificate, key = door.ca.server("gateway", hosts=["localhost", "127.0.0.1"], rsa=rsa, days=200)
    door.config["listeners"][0]["tls"] |= {"certificate": str(certificate), "key": str(key)}
    with door:
        for number in range(SCANS_MAX):
            checks = EVERYTHING if rsa else OF_THE_KEY
            lines = _scanned(scanner, door, tmp_path / f"report-{number}.json", checks)
            if UNANSWERED not in {(line["id"], line["severity"], line["finding"]) for line in lines}:
                break
        assert door.admin("/readyz")[0] == 200
        assert "Traceback" not in door.log()
    assert {line["id"] for line in lines} >= (SEEN if rsa else SEEN_OF_THE_KEY)
    found = [line for line in lines if line["severity"] not in FINE and line["id"] not in NOT_THE_GATEWAYS]
    assert found == []


def _scanned(scanner: str, door: GatewayProcess, report: Path, checks: Sequence[str]) -> list[dict[str, str]]:
    subprocess.run(
        [
            scanner, "--warnings", "batch", "--color", "0", "--nodns", "none", "--ip", "127.0.0.1",
            "--connect-timeout", "20", "--openssl-timeout", "20", "--add-ca", door.ca_file,
            "--jsonfile", str(report), *checks, f"localhost:{door.port()}",
        ],
        stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=900, cwd=report.parent,
    )  # fmt: skip
    lines: list[dict[str, str]] = json.loads(report.read_text())
    return lines
