"""Settings of Pulsar's HTTP interface: where it is, how it is reached, and what of that is refused or warned of."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from gateway.core.documents import Mistakes
from gateway.core.session import Endpoint
from gateway.core.settings import Backend, BackendTls, Listener
from gateway.ops import config, pulsar_parts
from gateway.pulsar.web.calls import binary_authority
from gateway.pulsar.web_brokers import WebBrokers
from tests.certificates import make_ca
from tests.tokens import TokenIssuer

WEB = {"addresses": ["b1.test:8443", "[2001:db8::1]:8443"], "brokers": ["*.B.test:8443"]}


def backend(**more: Any) -> Backend:
    return Backend.model_validate({"name": "p", "system": "pulsar", "bootstrap": ["b1.test:6651"], **more})


def listener(name: str, protocol: str, port: int, **more: Any) -> Listener:
    tls = {"certificate": "c.pem", "key": "k.pem"}
    told = {"name": name, "protocol": protocol, "backend": "p", "port": port, "tls": tls}
    return Listener.model_validate({**told, "authentication": {"issuers": ["corp"]}, **more})


def test_the_web_service_is_reached_as_the_backend_unless_it_says_otherwise() -> None:
    tls = {"ca": "ca.pem", "certificate": "own.pem", "key": "own-key.pem"}
    made = backend(web=WEB, tls=tls)
    assert made.of_web.tls == made.tls
    assert made.of_web.bootstrap == ("b1.test:8443", "[2001:db8::1]:8443")
    other = backend(web={**WEB, "tls": {"ca": "web.pem"}}, tls=tls)
    assert other.of_web.tls == BackendTls(ca="web.pem")
    plain = backend(web={**WEB, "insecure_plaintext": True}, tls=tls)
    assert plain.of_web.insecure_plaintext
    assert plain.of_web.tls == BackendTls()
    assert not plain.insecure_plaintext


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"web": WEB, "system": "kafka"}, "no web"),
        ({"web": {**WEB, "insecure_plaintext": True}, "account": {"oauth": {"token_file": "t"}}}, "over_plaintext"),
        ({"web": {**WEB, "insecure_plaintext": True, "tls": {"ca": "c"}}}, "not both"),
        ({"web": {"addresses": ["b1.test:8443"], "brokers": ["*:8443"]}}, "may begin with"),
        ({"web": {"addresses": ["b1.test:8443"], "brokers": ["a.*.test:8443"]}}, "may begin with"),
    ],
)
def test_what_is_refused(more: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        backend(**more)


def test_which_brokers_are_known() -> None:
    found = pulsar_parts.web_brokers(backend(web=WEB))
    assert found is not None
    assert [found.any() for _ in range(3)] == [
        Endpoint("2001:db8::1", 8443), Endpoint("b1.test", 8443), Endpoint("2001:db8::1", 8443),
    ]  # fmt: skip
    assert found.known(Endpoint("b1.test", 8443))
    assert found.known(Endpoint("x.b.test", 8443))
    for other in (("b.test", 8443), ("x.y.b.test", 8443), ("x.b.test", 8080), (".b.test", 8443), ("xb.test", 8443)):
        assert not found.known(Endpoint(*other)), other
    assert found.scheme == b"https"
    with pytest.raises(ValueError, match="no address"):
        WebBrokers([], [], plaintext=False)


def test_lookups_name_the_binary_listener_on_the_same_backend() -> None:
    web = listener("web", "pulsar-http", 8443)
    binary = listener("binary", "pulsar", 6651, advertised="gw.test", advertised_port=16651)
    elsewhere = listener("elsewhere", "pulsar", 7000, backend="other")
    assert pulsar_parts.binary_port(web, [elsewhere, web, binary]) == 16651
    assert pulsar_parts.binary_port(web, [elsewhere, web]) == 0
    assert binary_authority(b"gw.test:8443", 6651) == "gw.test:6651"
    assert binary_authority(b"gw.test", 6651) == "gw.test:6651"
    assert binary_authority(b"[::1]:8443", 6651) == "[::1]:6651"
    assert binary_authority(b"[::1]", 6651) == "[::1]:6651"
    assert binary_authority(b"gw.test", 0) == ""


def test_a_listener_needs_a_backend_with_a_web_service(tmp_path: Path) -> None:
    ca = make_ca(tmp_path)
    certificate, key = ca.server(hosts=["gw.test"])
    TokenIssuer().write_jwks(tmp_path / "jwks.json")
    (tmp_path / "policy.yaml").write_text("version: 1\nend: true\n")
    web = {
        "name": "web", "protocol": "pulsar-http", "backend": "p", "port": 8443,
        "tls": {"certificate": str(certificate), "key": str(key)}, "authentication": {"issuers": ["corp"]},
    }  # fmt: skip
    pulsar: dict[str, Any] = {
        "name": "p",
        "system": "pulsar",
        "bootstrap": ["b1.test:6651"],
        "tls": {"ca": str(ca.path)},
    }
    whole = {
        "version": "1", "listeners": [web], "backends": [pulsar], "policies": {"files": ["policy.yaml"]},
        "issuers": [{"name": "corp", "issuer": "https://i", "audiences": ["a"], "keys": {"file": "jwks.json"}}],
    }  # fmt: skip
    file = tmp_path / "gateway.yaml"
    file.write_text(yaml.safe_dump(whole))
    with pytest.raises(Mistakes, match="says nothing of `web`"):
        config.read(file, time.time())
    pulsar["web"] = {"addresses": ["b1.test:8443"], "insecure_plaintext": True}
    file.write_text(yaml.safe_dump(whole))
    found = config.read(file, time.time())
    assert any("web service of backend p is reached in plain text" in each for each in found.warnings)
