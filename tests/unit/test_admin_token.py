"""The admin port's credential: made for one user, refused when others could read it, never weak."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from gateway.core.settings import Admin, AdminTls, Health
from gateway.ops import admin_token

GOOD = "a" * 40


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(admin_token, "SERVICE_FOLDER", tmp_path / "service" / "admin")
    return tmp_path / "streaming-gateway"


def test_a_start_makes_one_that_is_new_each_time_and_closed_to_others(runtime: Path) -> None:
    first = admin_token.at_start(Admin())
    file = runtime / "admin-9640.token"
    assert admin_token.found(Admin()) == file
    assert admin_token.read(file) == first
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    second = admin_token.at_start(Admin())
    assert second != first
    admin_token.remove(Admin(), first)  # a run that ended late leaves its successor's alone
    assert admin_token.read(file) == second
    admin_token.remove(Admin(), second)
    assert not file.exists()


def test_a_folder_that_others_can_change_is_not_used(runtime: Path) -> None:
    runtime.mkdir()
    runtime.chmod(0o777)
    with pytest.raises(admin_token.Unusable):
        admin_token.at_start(Admin())


def test_a_folder_that_is_a_link_is_not_used(runtime: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    runtime.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(admin_token.Unusable):
        admin_token.at_start(Admin())


def test_the_service_managers_folder_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "service"))
    (tmp_path / "service").mkdir(mode=0o777)
    token = admin_token.at_start(Admin(port=1234))
    monkeypatch.delenv("RUNTIME_DIRECTORY")
    assert admin_token.read(admin_token.found(Admin(port=1234))) == token


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o620, 0o666])
def test_a_file_that_others_may_read_is_refused_with_the_fix(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "token"
    file.write_text(GOOD)
    file.chmod(mode)
    with pytest.raises(admin_token.Unusable, match=f"{mode:04o}.*defaultMode: 0440.*fsGroup"):
        admin_token.read(file)


@pytest.mark.parametrize("content", ["", "short", "a" * 31, "a" * 2000, GOOD + " " + GOOD, "ä" * 40, GOOD + "\x00"])
def test_what_is_no_token_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "token"
    file.write_text(content)
    file.chmod(0o600)
    with pytest.raises(admin_token.Unusable) as caught:
        admin_token.read(file)
    assert content == "" or content not in str(caught.value)


@pytest.mark.parametrize("bind", ["0.0.0.0", "::", "10.0.0.1", "2001:db8::1"])
def test_off_loopback_only_with_tls_and_a_credential(bind: str) -> None:
    tls = AdminTls(certificate="c", key="k")
    for more in ({}, {"tls": tls}, {"token_file": "t"}):
        with pytest.raises(ValueError, match=r"admin\.tls and admin\.token_file as well"):
            Admin(bind=bind, **more)  # type: ignore[arg-type]
    assert not Admin(bind=bind, tls=tls, token_file="t").on_loopback
    assert Admin(health=Health(bind=bind, port=8080)).on_loopback


@pytest.mark.parametrize("bind", ["127.0.0.1", "::1", "127.8.9.1"])
def test_loopback_needs_neither(bind: str) -> None:
    assert Admin(bind=bind).on_loopback


def test_a_name_is_no_address_to_bind() -> None:
    with pytest.raises(ValueError, match="an IP address"):
        Admin(bind="localhost")
