"""Certificates, keys and CAs at start: each thing wrong is refused by its own reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from gateway.core.reasons import Reason
from gateway.core.settings import ListenerTls
from gateway.edge import reasons
from gateway.edge.reasons import StartRefused
from gateway.edge.tls import server_context
from tests.certificates import make_ca


def refused(reason: Reason, certificate: Path, key: Path, advertised: str = "localhost", **more: Any) -> str:
    with pytest.raises(StartRefused) as caught:
        server_context(ListenerTls(certificate=str(certificate), key=str(key), **more), advertised)
    assert caught.value.reason is reason
    return caught.value.detail


def accepted(certificate: Path, key: Path, advertised: str = "localhost", **more: Any) -> None:
    server_context(ListenerTls(certificate=str(certificate), key=str(key), **more), advertised)


def test_a_sound_pair_is_taken(tmp_path: Path) -> None:
    ca = make_ca(tmp_path)
    for rsa in (False, True):
        accepted(*ca.server(rsa=rsa))


def test_missing_and_broken_files(tmp_path: Path) -> None:
    certificate, key = make_ca(tmp_path).server()
    assert "absent" in refused(reasons.TLS_FILE_UNREADABLE, tmp_path / "absent", key)
    assert "absent" in refused(reasons.TLS_FILE_UNREADABLE, certificate, tmp_path / "absent")
    broken = tmp_path / "broken"
    broken.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    refused(reasons.TLS_FILE_UNREADABLE, broken, key)
    broken.write_text("")
    refused(reasons.TLS_FILE_UNREADABLE, broken, key)
    broken.chmod(0o600)
    refused(reasons.TLS_FILE_UNREADABLE, certificate, broken)
    refused(reasons.TLS_FILE_UNREADABLE, certificate, key, client_certificate="required", client_ca=str(broken))
    broken.write_bytes(b"#" * ((1 << 20) + 1))
    refused(reasons.TLS_FILE_UNREADABLE, broken, key)


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o601, 0o620, 0o660])
def test_a_key_that_others_can_read_or_change(tmp_path: Path, mode: int) -> None:
    certificate, key = make_ca(tmp_path).server()
    key.chmod(mode)
    assert f"chmod 0600 {key}" in refused(reasons.TLS_KEY_EXPOSED, certificate, key)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o440, 0o640])
def test_a_key_that_its_owner_and_group_can_read(tmp_path: Path, mode: int) -> None:
    certificate, key = make_ca(tmp_path).server()
    key.chmod(mode)
    accepted(certificate, key)


def test_the_key_of_another_certificate(tmp_path: Path) -> None:
    ca = make_ca(tmp_path)
    certificate, _ = ca.server()
    _, key = ca.server()
    refused(reasons.TLS_KEY_MISMATCH, certificate, key)
    _, key = ca.server(rsa=True)
    refused(reasons.TLS_KEY_MISMATCH, certificate, key)


def test_a_key_behind_a_passphrase(tmp_path: Path) -> None:
    certificate, key = make_ca(tmp_path).server()
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    locked = serialization.BestAvailableEncryption(b"word")
    key.write_bytes(private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked))
    refused(reasons.TLS_FILE_UNREADABLE, certificate, key)


def test_an_expired_certificate(tmp_path: Path) -> None:
    refused(reasons.TLS_CERTIFICATE_EXPIRED, *make_ca(tmp_path).server(days=-1))


@pytest.mark.parametrize(
    ("hosts", "advertised", "covered"),
    [
        (["kafka.example.com"], "kafka.example.com", True),
        (["kafka.example.com"], "KAFKA.example.com", True),
        (["kafka.example.com"], "other.example.com", False),
        (["*.example.com"], "kafka.example.com", True),
        (["*.example.com"], "a.b.example.com", False),
        (["*.example.com"], "example.com", False),
        (["*.com"], "example.com", False),
        (["127.0.0.1"], "127.0.0.1", True),
        (["127.0.0.1"], "127.0.0.2", False),
        (["::1"], "::1", True),
        (["localhost"], "127.0.0.1", False),
    ],
)
def test_the_advertised_name_must_be_in_the_certificate(
    tmp_path: Path, hosts: list[str], advertised: str, covered: bool
) -> None:
    pair = make_ca(tmp_path).server(hosts=hosts)
    if covered:
        accepted(*pair, advertised=advertised)
    else:
        assert advertised in refused(reasons.TLS_NAME_NOT_COVERED, *pair, advertised=advertised)
