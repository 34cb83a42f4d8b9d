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
from gateway.pulsar.rest import door
from gateway.pulsar.web_brokers import WebBrokers
from tests.certificates import make_ca
from tests.scenarios.kafka_world import HandClock
from tests.tokens import TokenIssuer

ONE_WEB = {"addresses": ["b1.test:8443"]}
BROKER = Endpoint("b1.internal", 6650)
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


def test_lookups_lead_to_the_binary_listener_on_the_same_backend() -> None:
    web = listener("web", "pulsar-http", 8443)
    binary = listener("binary", "pulsar", 6651, advertised="gw.test", advertised_port=16651)
    named = listener("named", "pulsar", 6652, broker_names="*.b.gw.test")
    elsewhere = listener("elsewhere", "pulsar", 7000, backend="other")
    assert pulsar_parts.binary(web, [elsewhere, web, binary]) is binary
    assert pulsar_parts.binary(web, [binary, named]) is named
    assert pulsar_parts.binary(web, [elsewhere, web]) is None


def test_where_a_lookup_leads_in_a_cluster_of_one() -> None:
    binary = listener("binary", "pulsar", 6651, advertised_port=16651)
    cluster = pulsar_parts.state(backend(web=ONE_WEB), HandClock())
    asked = {b"gw.test:8443": "gw.test:16651", b"gw.test": "gw.test:16651"}
    asked |= {b"[::1]:8443": "[::1]:16651", b"[::1]": "[::1]:16651"}
    for called, leads in asked.items():
        found = door(binary, cluster, called)
        assert found is not None
        assert (found.web, found.binary(BROKER)) == (called.decode(), leads)
    assert door(None, cluster, b"gw.test") is None


@pytest.mark.parametrize(
    "more",
    [
        {"bootstrap": ("b1.test:6651", "b2.test:6651"), "web": ONE_WEB},
        {"web": {"addresses": ["b1.test:8443", "b2.test:8443"]}},
        {"web": {"addresses": ["b1.test:8443"], "brokers": ["*.b.test:8443"]}},
    ],
)
def test_where_a_lookup_leads_in_a_cluster_of_several(more: dict[str, Any]) -> None:
    """To a name for each broker where the listener has any, else nowhere."""
    cluster = pulsar_parts.state(backend(**more), HandClock())
    assert door(listener("binary", "pulsar", 6651), cluster, b"gw.test:8443") is None
    found = door(listener("named", "pulsar", 6651, broker_names="*.b.gw.test"), cluster, b"gw.test:8443")
    assert found is not None
    told = found.binary(BROKER)
    assert told is not None
    label, _, rest = told.partition(".")
    assert rest == "b.gw.test:6651"
    assert cluster.names.of_label(label) == BROKER
    assert found.binary(Endpoint("x" * 27, 6650)) is None


def test_the_label_of_a_name_that_a_client_dials() -> None:
    named = listener("named", "pulsar", 6651, broker_names="*.b.gw.test")
    asked = {"x.b.gw.test": "x", "X.B.GW.test.": "x", "y.x.b.gw.test": "", "b.gw.test": "", "gw.test": "", "": ""}
    for dialled, label in asked.items():
        assert named.broker_label(dialled) == label, dialled
        assert listener("binary", "pulsar", 6651).broker_label(dialled) == ""
    assert named.host_names() == ("*.b.gw.test",)


@pytest.mark.parametrize("broker_names", ["b.gw.test", "*", "*.test", "x.*.gw.test", "*.b.gw.test:6651", "*.-.test"])
def test_names_for_brokers_are_a_wildcard(broker_names: str) -> None:
    with pytest.raises(ValidationError, match="wildcard"):
        listener("named", "pulsar", 6651, broker_names=broker_names)
    with pytest.raises(ValidationError, match="no broker_names with this protocol"):
        listener("web", "pulsar-http", 6651, broker_names="*.b.gw.test")


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
