"""A listener's settings for the open: addressing, PROXY protocol, several certificates."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gateway.core.settings import Listener, ListenerTls

TLS = {"certificate": "c.pem", "key": "k.pem"}
PORTS: dict[str, Any] = {"broker_ports": {"base": 9100, "node_ids": "0-2"}, "advertised": "k.test"}
SNI: dict[str, Any] = {
    "addressing": {"sni": {"pattern": "B{node_id}.K.test", "bootstrap": "k.test", "node_ids": "1-3"}}
}


def listener(**more: Any) -> Listener:
    base = {"name": "l", "backend": "b", "port": 9094, "tls": TLS, "authentication": {"issuers": ["corp"]}}
    return Listener.model_validate({**base, **more})


def test_by_port() -> None:
    made = listener(**PORTS, advertised_broker_base=19100)
    assert list(made.ports()) == [(None, 9094), (0, 9100), (1, 9101), (2, 9102)]
    assert made.broker_address(2) == ("k.test", 19102)
    assert made.broker_address(3) is None
    assert made.host_names() == ("k.test",)
    assert listener(**PORTS, addressing="ports").sni is None


def test_by_name() -> None:
    made = listener(**SNI, advertised_port=443)
    assert list(made.ports()) == [(None, 9094)]
    assert made.broker_address(3) == ("b3.k.test", 443)
    assert made.broker_address(4) is None
    assert made.host_names() == ("k.test", "b1.k.test", "b2.k.test", "b3.k.test")
    assert listener(**SNI).broker_address(1) == ("b1.k.test", 9094)


def sni(**more: str) -> dict[str, Any]:
    return {"addressing": {"sni": {**SNI["addressing"]["sni"], **more}}}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, "broker_ports and advertised, or addressing"),
        ({**PORTS, **SNI}, "no broker_ports, advertised"),
        ({**PORTS, "addressing": "sni"}, "ports, or a mapping with sni"),
        ({**PORTS, "addressing": ""}, "ports, or a mapping with sni"),
        ({"addressing": {}}, "Field required"),
        (sni(pattern="b.k.test"), "in it once"),
        (sni(pattern="b{node_id}{node_id}.k.test"), "in it once"),
        (sni(pattern="b{node_id}_.k.test"), "in it once"),
        (sni(bootstrap="-k.test"), "a host name such as"),
        (sni(bootstrap="b2.k.test"), "not a broker's as well"),
        (sni(node_ids="0-1000"), "at most 1000"),
        ({**PORTS, "proxy_protocol": {}}, "Field required"),
        ({**PORTS, "proxy_protocol": {"from": []}}, "at least 1 item"),
        ({**PORTS, "proxy_protocol": {"from": ["10.0.0.1/8"]}}, "no bits set after its length"),
        ({**PORTS, "proxy_protocol": {"from": ["::ffff:10.0.0.0/104"]}}, "the IPv4 network itself"),
    ],
)
def test_what_does_not_fit_together_is_a_mistake(more: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        listener(**more)


def test_revocation_lists_need_clients_with_certificates() -> None:
    with pytest.raises(ValidationError, match="client_certificate: optional or required"):
        ListenerTls.model_validate({**TLS, "client_crl": "crl.pem"})
    made = ListenerTls.model_validate(
        {**TLS, "certificates": [{"certificate": "d.pem", "key": "e.pem"}], "client_ca": "ca.pem",
         "client_certificate": "optional", "client_crl": "crl.pem"}
    )  # fmt: skip
    assert made.files == ("c.pem", "k.pem", "d.pem", "e.pem", "ca.pem", "crl.pem")
