"""The admin port's certificate: told beside the listeners', and kept when the new files do not fit."""

from __future__ import annotations

import ssl
import time
from pathlib import Path

import pytest

from gateway.core.settings import AdminTls
from gateway.ops.admin_certificate import AdminCertificate
from tests.certificates import Ca, make_ca


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Ca:
    return make_ca(tmp_path_factory.mktemp("ca"))


def put(ca: Ca, folder: Path, days: float = 30) -> AdminTls:
    certificate, key = ca.server(days=days)
    certificate.replace(folder / "admin.crt")
    key.replace(folder / "admin.key")
    return AdminTls(certificate=str(folder / "admin.crt"), key=str(folder / "admin.key"))


def test_it_is_shown_and_its_end_is_told_when_it_has_come(ca: Ca, tmp_path: Path) -> None:
    now = [time.time()]
    certificate = AdminCertificate(put(ca, tmp_path, days=2), lambda: now[0])
    shown = certificate.shown()
    assert shown is not None
    assert (shown[0], shown[2]) == ("the admin port", "")
    assert certificate.ended() == []
    now[0] = shown[1].not_valid_after_utc.timestamp()
    assert certificate.ended() == ["the admin port: its certificate has ended"]


def test_new_files_that_do_not_fit_are_told_of_and_the_old_ones_stay(ca: Ca, tmp_path: Path) -> None:
    certificate = AdminCertificate(put(ca, tmp_path), time.time)
    first = certificate.shown()
    assert first is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    other, _ = ca.server()
    other.replace(tmp_path / "admin.crt")
    assert certificate.renew(context) is False
    shown = certificate.shown()
    assert shown is not None
    assert shown[1] == first[1]
    assert "SSLError" in shown[2]
    assert "the old ones are in force" in certificate.notes()[0]
    put(ca, tmp_path)
    assert certificate.renew(context) is True
    shown = certificate.shown()
    assert shown is not None
    assert shown[1] != first[1]
    assert (shown[2], certificate.notes()) == ("", [])
