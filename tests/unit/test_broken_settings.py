"""Every setting, broken: what `gateway check` says of it leads to the fix by itself.

Driven by the schema: a setting without an example of how it can be wrong fails here, so that whoever adds one also sees
what an operator is told. Each message has to name the setting and its line, what was found, and what to write instead.
"""

from __future__ import annotations

import copy
import errno
import functools
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.core import documents
from gateway.core.documents import Mistake, Mistakes
from gateway.core.settings import Limits, Settings
from gateway.ops import config
from gateway.ops.schema import config_schema
from tests.certificates import make_ca
from tests.integration.test_certificate_reload import write_crl
from tests.tokens import TokenIssuer

WHOLE = """
version: 1
workers: 2
listeners:
  - name: ports
    protocol: kafka
    backend: scram
    bind: 127.0.0.1
    port: 9094
    addressing: ports
    broker_ports: {base: 9100, node_ids: 0-9}
    advertised: localhost
    advertised_port: 19094
    advertised_broker_base: 19100
    proxy_protocol: {from: [10.0.0.0/8], required: false}
    tls:
      certificate: server.pem
      key: server-key.pem
      certificates: [{certificate: more.pem, key: more-key.pem}]
      client_certificate: optional
      client_ca: ca.pem
      client_crl: crl.pem
      client_ca_name: partners
      versions: ["1.3"]
    authentication: {issuers: [corp, partner], mechanisms: [OAUTHBEARER], session_max: 1 h}
  - name: names
    backend: plain
    port: 9095
    addressing: {sni: {pattern: "b{node_id}.k.test", bootstrap: k.test, node_ids: 0-1}}
    tls: {certificate: names.pem, key: names-key.pem}
    authentication: {issuers: [corp]}
backends:
  - name: scram
    system: kafka
    bootstrap: ["broker.test:9093"]
    tls: {ca: ca.pem, server_name: broker.test, certificate: own.pem, key: own-key.pem}
    account:
      scram: {mechanism: SCRAM-SHA-512, username: gateway, password_file: password}
      also_known_as: [CN=gateway]
    metadata_refresh: 30 s
    dial_timeout: 5 s
    request_timeout: 10 s
  - name: plain
    bootstrap: ["broker.test:9093"]
    account: {plain: {username: gateway, password_env: GATEWAY_TEST_PASSWORD}}
  - name: oauth
    bootstrap: ["broker.test:9093"]
    account:
      oauth:
        token_url: https://issuer.test/token
        client_id: gateway
        client_secret_file: password
        scope: kafka
        ca: ca.pem
        timeout: 5 s
  - name: token
    bootstrap: ["broker.test:9093"]
    account: {oauth: {token_file: password}}
  - name: open
    bootstrap: ["broker.test:9092"]
    insecure_plaintext: true
    account: {plain: {username: gateway, password_file: password}, over_plaintext: true}
  - name: pulsar
    system: pulsar
    bootstrap: ["broker.test:6651"]
    web:
      addresses: ["broker.test:8443"]
      brokers: ["*.test:8443"]
      tls: {ca: ca.pem}
      insecure_plaintext: false
issuers:
  - name: corp
    issuer: https://corp.test
    audiences: [kafka]
    keys: {file: jwks.json, refresh: 5 m, fetch_interval_min: 10 s, timeout: 5 s}
    algorithms: [ES256]
    types: [JWT]
    principal_claim: sub
    lifetime_max: 1 d
    skew: 30 s
  - name: partner
    issuer: https://partner.test
    audiences: [kafka]
    keys: {url: https://partner.test/jwks, ca: ca.pem}
policies: {files: [policy.yaml], poll: 1 s}
limits:
LIMITS
audit: {output: audit.jsonl, queue_max: 1000, allowed_interval: 10 s}
admin:
  bind: 127.0.0.1
  port: 9640
  tls: {certificate: server.pem, key: server-key.pem}
  token_file: token
  hosts: [gateway.internal]
  health: {bind: 0.0.0.0, port: 9641}
log_level: info
require_compiled: false
"""
POLICY = """
version: 1
roles:
  app: [{allow: [produce], kafka: {topic: [orders]}}]
bindings:
  - {roles: [app], to: {issuer: corp, sub: app}}
end: true
"""
Place = tuple[str | int, ...]
PLACES: dict[str, Place] = {
    "Settings": (),
    "Listener": ("listeners", 0),
    "BrokerPorts": ("listeners", 0, "broker_ports"),
    "ProxyProtocol": ("listeners", 0, "proxy_protocol"),
    "ListenerTls": ("listeners", 0, "tls"),
    "CertificatePair": ("listeners", 0, "tls", "certificates", 0),
    "Authentication": ("listeners", 0, "authentication"),
    "Addressing": ("listeners", 1, "addressing"),
    "SniNames": ("listeners", 1, "addressing", "sni"),
    "Backend": ("backends", 0),
    "Web": ("backends", 5, "web"),
    "BackendTls": ("backends", 0, "tls"),
    "OwnAccount": ("backends", 0, "account"),
    "ScramAccount": ("backends", 0, "account", "scram"),
    "PasswordAccount": ("backends", 1, "account", "plain"),
    "OauthAccount": ("backends", 2, "account", "oauth"),
    "Issuer": ("issuers", 0),
    "KeySource": ("issuers", 0, "keys"),
    "Policies": ("policies",),
    "Limits": ("limits",),
    "AuditSettings": ("audit",),
    "Admin": ("admin",),
    "AdminTls": ("admin", "tls"),
    "Health": ("admin", "health"),
}
"""Where WHOLE has one of each type."""

Files = Callable[[Path], object]


@dataclass(frozen=True)
class Broken:
    """One way to break a setting: another value, or other files; words that have to be found in what is said of it."""

    value: object = None
    found: str = ""
    expected: str = ""
    files: Files | None = None
    at: Place | None = None
    """Where to break it, if not where its type is in PLACES."""
    said_at: Place | None = None
    """Where it is said, if not there: what two settings come to together is said of what holds both."""


def missing(found: str = "absent.pem: No such file or directory") -> Broken:
    return Broken("absent.pem", found, "a readable file")


def no_certificate() -> Broken:
    return Broken("jwks.json", "jwks.json: no certificates", "certificates in PEM")


def mode(file: str, bits: int) -> Broken:
    return Broken(None, f"with mode {bits:04o}", "chmod 0600", lambda folder: (folder / file).chmod(bits))


def keys(file: str) -> list[Broken]:
    """What is wrong with private keys."""
    return [
        missing(),
        Broken("ca.pem", "no private key", "a private key in PEM"),
        Broken("password-key.pem", "under a passphrase", "a key without one"),
        Broken("other-key.pem", "the key of another certificate", "the key of"),
        mode(file, 0o644),
        mode(file, 0o660),
        Broken(None, "0644", "defaultMode: 0440", lambda folder: (folder / file).chmod(0o644)),
    ]


def secrets(what: str = "") -> list[Broken]:
    """What is wrong with files that hold a secret."""
    return [
        Broken("absent", "absent: No such file", what),
        Broken("exposed", "exposed has mode 0644", "defaultMode: 0440"),
        Broken("empty", "holds nothing", what),
    ]


def duration() -> Broken:
    return Broken("5", "'5'", "a duration such as 500 ms, 30 s")


def size() -> Broken:
    return Broken("1 MB", "'1 MB'", "a size such as 64 KiB")


def count() -> Broken:
    return Broken("0", "'0'", "a value greater than 0")


def name() -> Broken:
    return Broken("two words", "'two words'", "a name of letters, digits")


def port() -> Broken:
    return Broken("70000", "'70000'", "a value less than or equal to 65535")


BROKEN: dict[str, list[Broken]] = {
    "Settings.version": [Broken("2", "'2'", "'1'")],
    "Settings.workers": [Broken("many", "'many'", "auto"), Broken("0", "'0'", "greater than or equal to 1")],
    "Settings.listeners": [Broken([], "an empty list", "at least one item")],
    "Settings.backends": [Broken([], "an empty list", "at least one item")],
    "Settings.issuers": [Broken("corp", "'corp'", "a list")],
    "Settings.policies": [Broken("policy.yaml", "'policy.yaml'", "a mapping")],
    "Settings.limits": [Broken("none", "'none'", "a mapping")],
    "Settings.audit": [Broken("stdout", "'stdout'", "a mapping")],
    "Settings.admin": [Broken("9640", "'9640'", "a mapping")],
    "Settings.log_level": [Broken("loud", "'loud'", "'debug', 'info', 'warning' or 'error'")],
    "Settings.require_compiled": [Broken("perhaps", "'perhaps'", "true or false")],
    "Listener.name": [
        name(),
        Broken("names", "'names' a second time", "a name of its own", said_at=("listeners", 1, "name")),
    ],
    "Listener.protocol": [Broken("mqtt", "'mqtt'", "'kafka'")],
    "Listener.backend": [Broken("scrm", "'scrm'", "the name of a configured backend: scram, plain")],
    "Listener.bind": [Broken("not an address", "'not an address'", "an address to listen on")],
    "Listener.port": [
        port(),
        Broken("9640", "port 9640", "ports that nothing else here listens on", said_at=("admin", "port")),
        Broken("9105", "a mapping", "outside the range of the broker ports", said_at=("listeners", 0)),
    ],
    "Listener.broker_names": [
        Broken("brokers.example.com", "'brokers.example.com'", "*."),
        Broken("*.brokers.example.com", "a mapping", "no broker_names with this protocol", said_at=("listeners", 0)),
    ],
    "Listener.addressing": [Broken("names", "'names'", "ports, or a mapping with sni")],
    "Listener.broker_ports": [Broken(None, "a mapping", "broker_ports and advertised", said_at=("listeners", 0))],
    "Listener.advertised": [
        Broken("", "a mapping", "broker_ports and advertised", said_at=("listeners", 0)),
        Broken("other.test", "a certificate for", "one for other.test", said_at=("listeners", 0, "tls", "certificate")),
        Broken("https://k", "'https://k'", "a host name such as example.com"),
    ],
    "Listener.advertised_port": [port()],
    "Listener.advertised_broker_base": [
        port(),
        Broken("65530", "a mapping", "at most 65535", said_at=("listeners", 0)),
    ],
    "Listener.proxy_protocol": [Broken("true", "'true'", "a mapping")],
    "Listener.tls": [Broken("none", "'none'", "a mapping")],
    "Listener.authentication": [
        Broken({"issuers": []}, "a mapping", "this listener would know nobody", said_at=("listeners", 0))
    ],
    "BrokerPorts.base": [
        port(),
        Broken("65530", "a mapping", "at most 65535", said_at=("listeners", 0, "broker_ports")),
    ],
    "BrokerPorts.node_ids": [
        Broken("ten", "'ten'", "as in 0-9"),
        Broken("9-0", "a mapping", "from the lower to the higher", said_at=("listeners", 0, "broker_ports")),
    ],
    "ProxyProtocol.from": [
        Broken(
            ["10.0.0.1/8"],
            "'10.0.0.1/8'",
            "a network such as 10.20.0.0/16",
            said_at=("listeners", 0, "proxy_protocol", "from", 0),
        ),
        Broken([], "an empty list", "at least one item"),
    ],
    "ProxyProtocol.required": [Broken("sometimes", "'sometimes'", "true or false")],
    "ListenerTls.certificate": [
        missing(),
        no_certificate(),
        Broken("ended.pem", "a certificate that ended on", "one that is valid"),
        Broken("early.pem", "a certificate that begins on", "one that is valid"),
    ],
    "ListenerTls.key": keys("server-key.pem"),
    "ListenerTls.certificates": [Broken("more.pem", "'more.pem'", "a list")],
    "ListenerTls.client_certificate": [
        Broken("yes", "'yes'", "'none', 'optional' or 'required'"),
        Broken("none", "a mapping", "since a client_crl is given", said_at=("listeners", 0, "tls")),
    ],
    "ListenerTls.client_ca": [
        missing(),
        no_certificate(),
        Broken(None, "a mapping", "client_ca as well", said_at=("listeners", 0, "tls")),
    ],
    "ListenerTls.client_crl": [
        Broken("absent.pem", "No such file", ""),
        Broken("ca.pem", "no readable revocation list", ""),
        Broken("stale.pem", "was to be renewed by", ""),
    ],
    "ListenerTls.client_ca_name": [name()],
    "ListenerTls.records": [Broken("small", "'small'", "'adapted' or 'full'")],
    "ListenerTls.versions": [
        Broken(["1.1"], "'1.1'", "'1.2' or '1.3'", said_at=("listeners", 0, "tls", "versions", 0))
    ],
    "CertificatePair.certificate": [
        missing(),
        no_certificate(),
        Broken("ended.pem", "a certificate that ended", "valid"),
    ],
    "CertificatePair.key": keys("more-key.pem"),
    "Authentication.issuers": [
        Broken(
            ["cop"],
            "'cop'",
            "the name of a configured issuer: corp",
            said_at=("listeners", 0, "authentication", "issuers", 0),
        )
    ],
    "Authentication.mechanisms": [
        Broken(
            ["GSSAPI"],
            "'GSSAPI'",
            "'OAUTHBEARER' or 'PLAIN'",
            said_at=("listeners", 0, "authentication", "mechanisms", 0),
        )
    ],
    "Authentication.session_max": [duration()],
    "Addressing.sni": [Broken("k.test", "'k.test'", "a mapping")],
    "SniNames.pattern": [
        Broken("broker.k.test", "'broker.k.test'", "{node_id}"),
        Broken(
            "b{node_id}.other.test",
            "a certificate for",
            "one for b0.other.test",
            said_at=("listeners", 1, "tls", "certificate"),
        ),
    ],
    "SniNames.bootstrap": [
        Broken("k_test", "'k_test'", "a host name such as example.com"),
        Broken(
            "b1.k.test",
            "a mapping",
            "a bootstrap name that is not a broker's",
            said_at=("listeners", 1, "addressing", "sni"),
        ),
    ],
    "SniNames.node_ids": [
        Broken("0-1000", "a mapping", "at most 1000", said_at=("listeners", 1, "addressing", "sni")),
        Broken("x", "'x'", "as in 0-9"),
    ],
    "Backend.name": [name()],
    "Backend.system": [
        Broken("kafak", "'kafak'", "'kafka', 'pulsar' or 'kinesis'"),
    ],
    "Backend.bootstrap": [
        Broken(["broker.test"], "'broker.test'", "host:port", said_at=("backends", 0, "bootstrap", 0)),
        Broken([], "an empty list", "at least one item"),
    ],
    "Backend.tls": [Broken("on", "'on'", "a mapping")],
    "Backend.web": [
        Broken("broker.test:8443", "'broker.test:8443'", "a mapping"),
        Broken(
            {"addresses": ["b.test:8443"]},
            "a mapping",
            "no web; the gateway knows no HTTP interface of kafka",
            said_at=("backends", 0),
        ),
    ],
    "Web.addresses": [
        Broken(["broker.test"], "'broker.test'", "host:port", said_at=("backends", 5, "web", "addresses", 0)),
        Broken([], "an empty list", "at least one item"),
    ],
    "Web.brokers": [
        Broken(["b*.test:8443"], "'b*.test:8443'", "may begin with *.", said_at=("backends", 5, "web", "brokers", 0)),
    ],
    "Web.tls": [Broken("on", "'on'", "a mapping")],
    "Web.insecure_plaintext": [
        Broken("true", "a mapping", "either tls, or insecure_plaintext: true", said_at=("backends", 5, "web")),
    ],
    "Backend.account": [Broken("gateway", "'gateway'", "a mapping")],
    "Backend.insecure_plaintext": [
        Broken("true", "a mapping", "either tls, or insecure_plaintext: true; not both", said_at=("backends", 0)),
        Broken(
            "true", "a mapping", "TLS for an account", at=("backends", 1, "insecure_plaintext"), said_at=("backends", 1)
        ),
    ],
    "Backend.clients_as": [Broken("themselves", "'themselves'", "'original-principal' or 'own-token'")],
    "Backend.metadata_refresh": [duration()],
    "Backend.dial_timeout": [duration()],
    "Backend.request_timeout": [duration()],
    "BackendTls.ca": [missing(), no_certificate()],
    "BackendTls.server_name": [Broken("https://b", "'https://b'", "a host name such as example.com")],
    "BackendTls.certificate": [
        missing(),
        no_certificate(),
        Broken("ended.pem", "a certificate that ended", "one that is valid"),
        Broken(None, "a mapping", "certificate and key together", said_at=("backends", 0, "tls")),
    ],
    "BackendTls.key": keys("own-key.pem"),
    "OwnAccount.plain": [
        Broken(
            {"username": "gateway", "password_file": "password"},
            "a mapping",
            "exactly one of plain, scram and oauth",
            said_at=("backends", 0, "account"),
        ),
    ],
    "OwnAccount.scram": [Broken("gateway", "'gateway'", "a mapping")],
    "OwnAccount.oauth": [Broken("gateway", "'gateway'", "a mapping", at=("backends", 2, "account", "oauth"))],
    "OwnAccount.also_known_as": [Broken("gateway", "'gateway'", "a list")],
    "OwnAccount.over_plaintext": [Broken("if need be", "'if need be'", "true or false")],
    "ScramAccount.mechanism": [Broken("SCRAM-SHA-1", "'SCRAM-SHA-1'", "'SCRAM-SHA-256' or 'SCRAM-SHA-512'")],
    "ScramAccount.username": [Broken("", "''", "at least 1 character")],
    "ScramAccount.password_file": secrets(),
    "ScramAccount.password_env": [
        Broken(
            "ABSENT",
            "a mapping",
            "exactly one of password_file and password_env",
            said_at=("backends", 0, "account", "scram"),
        ),
    ],
    "PasswordAccount.username": [Broken("", "''", "at least 1 character")],
    "PasswordAccount.password_file": [
        Broken(
            "password",
            "a mapping",
            "exactly one of password_file and password_env",
            said_at=("backends", 1, "account", "plain"),
        ),
    ],
    "PasswordAccount.password_env": [Broken("ABSENT", "the environment variable ABSENT is not there, or empty", "")],
    "OauthAccount.token_url": [
        Broken("http://issuer.test/token", "a mapping", "https://", said_at=("backends", 2, "account", "oauth")),
        Broken(
            None, "a mapping", "exactly one of token_url and token_file", said_at=("backends", 2, "account", "oauth")
        ),
    ],
    "OauthAccount.client_id": [
        Broken(None, "a mapping", "client_id, and", said_at=("backends", 2, "account", "oauth"))
    ],
    "OauthAccount.client_secret_file": secrets(),
    "OauthAccount.client_secret_env": [
        Broken("ABSENT", "a mapping", "exactly one of client_secret_file", said_at=("backends", 2, "account", "oauth")),
    ],
    "OauthAccount.scope": [
        Broken(
            "kafka",
            "a mapping",
            "token_file alone",
            at=("backends", 3, "account", "oauth", "scope"),
            said_at=("backends", 3, "account", "oauth"),
        ),
    ],
    "OauthAccount.ca": [missing(), no_certificate()],
    "OauthAccount.token_file": [
        Broken("absent", "absent: No such file", "", at=("backends", 3, "account", "oauth", "token_file")),
    ],
    "OauthAccount.timeout": [duration()],
    "Issuer.name": [
        name(),
        Broken("partner", "'partner' a second time", "a name of its own", said_at=("issuers", 1, "name")),
    ],
    "Issuer.issuer": [
        Broken("", "''", "at least 1 character"),
        Broken(
            "https://partner.test",
            "whose iss is that of",
            "issuers of different iss",
            said_at=("listeners", 0, "authentication", "issuers", 1),
        ),
    ],
    "Issuer.audiences": [Broken([], "an empty list", "at least one item"), Broken("kafka", "'kafka'", "a list")],
    "Issuer.keys": [Broken({}, "a mapping", "exactly one of file and url")],
    "Issuer.algorithms": [Broken(["HS256"], "'HS256'", "'RS256'", said_at=("issuers", 0, "algorithms", 0))],
    "Issuer.types": [Broken([], "an empty list", "at least one item")],
    "Issuer.principal_claim": [Broken("", "''", "at least 1 character")],
    "Issuer.lifetime_max": [duration()],
    "Issuer.skew": [duration()],
    "KeySource.file": [
        Broken("absent.json", "absent.json: No such file", "a readable file"),
        Broken("ca.pem", "ca.pem: not a JSON object", "a JSON Web Key Set"),
    ],
    "KeySource.url": [
        Broken(
            "http://issuer.test",
            "a mapping",
            "https://",
            at=("issuers", 1, "keys", "url"),
            said_at=("issuers", 1, "keys"),
        ),
        Broken(
            "https://", "a mapping", "a host name", at=("issuers", 1, "keys", "url"), said_at=("issuers", 1, "keys")
        ),
    ],
    "KeySource.ca": [
        Broken("absent.pem", "absent.pem: No such file", "a readable file", at=("issuers", 1, "keys", "ca")),
    ],
    "KeySource.refresh": [duration()],
    "KeySource.fetch_interval_min": [duration()],
    "KeySource.timeout": [duration()],
    "Policies.files": [
        Broken(["absent.yaml"], "absent.yaml: No such file", "a readable policy file", said_at=("policies", "files")),
        Broken(["none/*.yaml"], "no file for 'none/*.yaml'", "at least one policy file", said_at=("policies", "files")),
        Broken([], "an empty list", "at least one item"),
    ],
    "Policies.poll": [duration()],
    "Limits.connections_max": [count()],
    "Limits.connections_per_address_max": [count()],
    "Limits.unauthenticated_max": [count()],
    "Limits.handshake_timeout": [duration()],
    "Limits.authentication_timeout": [duration()],
    "Limits.frame_timeout": [duration()],
    "Limits.idle_timeout": [duration()],
    "Limits.frame_bytes_before_authentication_max": [size(), Broken("200 MiB", "more than frame_bytes_max", "less")],
    "Limits.frame_bytes_max": [size(), Broken("200 MiB", "209715200 bytes, with buffered_bytes_max", "three quarters")],
    "Limits.buffered_bytes_max": [size(), Broken("1 MiB", "", "three quarters", said_at=("limits", "frame_bytes_max"))],
    "Limits.buffered_bytes_free_per_connection": [size()],
    "Limits.upload_bytes_max": [size()],
    "Limits.in_flight_max": [count()],
    "Limits.token_bytes_max": [size()],
    "Limits.throttle_max": [duration()],
    "Limits.failed_login_delay_max": [duration()],
    "Limits.shutdown_timeout": [duration()],
    "AuditSettings.output": [
        Broken("absent/audit.jsonl", "its folder cannot be written to", "a folder to write in, or stdout"),
        Broken(".", "a folder", "a file, or stdout"),
    ],
    "AuditSettings.queue_max": [count()],
    "AuditSettings.allowed_interval": [duration()],
    "Admin.bind": [Broken("localhost", "a mapping", "an IP address in bind", said_at=("admin",))],
    "Admin.port": [port(), Broken("9095", "port 9095", "ports that nothing else here listens on")],
    "Admin.tls": [
        Broken("on", "'on'", "a mapping"),
    ],
    "Admin.token_file": [
        Broken("absent", "absent: No such file", "a readable file"),
        Broken("password", "characters that are no token", "openssl rand -hex 32"),
        mode("token", 0o644),
    ],
    "Admin.hosts": [Broken("gateway.internal", "'gateway.internal'", "a list")],
    "Admin.health": [Broken("9641", "'9641'", "a mapping")],
    "AdminTls.certificate": [missing(), no_certificate(), Broken("ended.pem", "a certificate that ended", "valid")],
    "AdminTls.key": keys("server-key.pem"),
    "Health.bind": [Broken("any where", "'any where'", "an address to listen on")],
    "Health.port": [port(), Broken("9640", "port 9640", "ports that nothing else here listens on")],
}
JARGON = ("input should", "a valid ", "pydantic", "validation", "literal", "str_type", "traceback")


SCHEMA = config_schema()


def settings() -> Iterator[str]:
    for model, found in [("Settings", SCHEMA), *SCHEMA["$defs"].items()]:
        for each in found.get("properties", {}):
            yield f"{model}.{each}"


def test_every_setting_has_an_example_of_how_it_can_be_wrong() -> None:
    lacking = [each for each in settings() if not BROKEN.get(each)]
    assert lacking == [], "add to BROKEN how these can be wrong, and read what is said of it"
    known = set(settings())
    assert [each for each in BROKEN if each not in known] == []


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every file that WHOLE names, and wrong ones."""
    folder = tmp_path_factory.mktemp("broken")
    ca = make_ca(folder / "ca")

    def pair(stem: str, made: tuple[Path, Path]) -> None:
        shutil.copy(made[0], folder / f"{stem}.pem")
        shutil.copy(made[1], folder / f"{stem}-key.pem")
        (folder / f"{stem}-key.pem").chmod(0o600)

    pair("server", ca.server(hosts=["localhost"]))
    pair("more", ca.server(hosts=["more.test"]))
    pair("names", ca.server(hosts=["k.test", "*.k.test"]))
    pair("own", ca.client(common_name="gateway"))
    pair("other", ca.server(hosts=["localhost"]))
    pair("ended", ca.server(hosts=["localhost"], days=-1))
    pair("early", ca.server(hosts=["localhost"], begins=2))
    shutil.copy(ca.path, folder / "ca.pem")
    write_crl(folder / "crl.pem", ca, [])
    write_crl(folder / "stale.pem", ca, [], hours=-1)
    under_passphrase(folder / "server-key.pem", folder / "password-key.pem")
    TokenIssuer().write_jwks(folder / "jwks.json")
    (folder / "policy.yaml").write_text(POLICY)
    for file, text, bits in [
        ("password", "hunter2\n", 0o600), ("exposed", "hunter2\n", 0o644), ("empty", "\n", 0o600),
        ("token", "0123456789abcdef" * 4, 0o600),
    ]:  # fmt: skip
        (folder / file).write_text(text)
        (folder / file).chmod(bits)
    return folder


def under_passphrase(key: Path, to: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    loaded = serialization.load_pem_private_key(key.read_bytes(), None)
    encryption = serialization.BestAvailableEncryption(b"secret")
    form = serialization.PrivateFormat.PKCS8
    to.write_bytes(loaded.private_bytes(serialization.Encoding.PEM, form, encryption))
    to.chmod(0o600)


@pytest.fixture
def folder(material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GATEWAY_TEST_PASSWORD", "hunter2")
    return Path(shutil.copytree(material, tmp_path / "conf"))


def whole() -> dict[str, Any]:
    return copy.deepcopy(_whole())


@functools.cache
def _whole() -> dict[str, Any]:
    """Read once: there are hundreds of cases."""
    defaults = Limits()
    rows = "".join(
        f"  {each}: {_written(getattr(defaults, each))}\n" for each in SCHEMA["$defs"]["Limits"]["properties"]
    )
    found: dict[str, Any] = yaml.safe_load(WHOLE.replace("LIMITS\n", rows))
    return found


def written(data: dict[str, Any]) -> str:
    """By libyaml where PyYAML has it, which takes a tenth of the time."""
    return str(yaml.dump(data, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False))


def _written(value: object) -> str:
    return f"{value:g} s" if isinstance(value, float) else str(value)


def typed(data: dict[str, Any]) -> tuple[documents.Document, list[Mistake]]:
    """What the types alone say, which takes no files."""
    document = documents.parse(written(data), "gateway.yaml")
    try:
        documents.typed(Settings, document)
    except Mistakes as error:
        return document, error.mistakes
    return document, []


def read(folder: Path, data: dict[str, Any]) -> tuple[documents.Document, list[Mistake]]:
    """What `gateway check` says."""
    file = folder / "gateway.yaml"
    file.write_text(written(data))
    document = documents.parse(file.read_bytes(), str(file))
    try:
        config.read(file, time.time())
    except Mistakes as error:
        return document, error.mistakes
    return document, []


def put(data: Any, place: Place, value: object) -> None:
    for part in place[:-1]:
        data = data[part]
    if value is None:
        del data[place[-1]]
    else:
        data[place[-1]] = value


def test_the_whole_is_sound_and_has_every_setting(folder: Path) -> None:
    assert [str(each) for each in read(folder, whole())[1]] == []


CASES = [
    pytest.param(name, broken, id=f"{name}-{number}")
    for name, examples in BROKEN.items()
    for number, broken in enumerate(examples)
]


@pytest.mark.parametrize(("setting", "broken"), CASES)
def test_what_is_said_leads_to_the_fix(
    material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, broken: Broken
) -> None:
    monkeypatch.setenv("GATEWAY_TEST_PASSWORD", "hunter2")
    model, _, field = setting.partition(".")
    place = broken.at or (*PLACES[model], field)
    data = whole()
    if broken.files is not None:
        folder = Path(shutil.copytree(material, tmp_path / "conf"))
        broken.files(folder)
        document, mistakes = read(folder, data)
    else:
        put(data, place, broken.value)
        document, mistakes = typed(data)
        if not mistakes:
            document, mistakes = read(material, data)
    assert mistakes, "nothing is said of it"
    said_at = broken.said_at or place
    fitting = [each for each in mistakes if broken.found in each.found and broken.expected in each.expected]
    assert fitting, "\n".join(map(str, mistakes))
    (mistake, *_) = [each for each in fitting if each.where == documents.spell(said_at)] or fitting
    assert mistake.where == documents.spell(said_at), mistake
    assert 0 <= mistake.line - document.line(said_at) <= 1, mistake
    assert mistake.expected, mistake
    for word in JARGON:
        assert word not in str(mistake).lower(), mistake


def shapes(data: Any, place: Place = ()) -> Iterator[tuple[Place, object]]:
    """Every place of the whole, with a value of another shape than it has."""
    if isinstance(data, dict):
        if place:
            yield place, "nonsense"
        for key, value in data.items():
            yield from shapes(value, (*place, key))
    elif isinstance(data, list):
        yield place, {"no": "sense"}
        for index, value in enumerate(data):
            yield from shapes(value, (*place, index))
    else:
        yield place, {"no": "sense"}


@pytest.mark.parametrize(
    ("place", "value"), [pytest.param(*each, id=documents.spell(each[0])) for each in shapes(whole())]
)
def test_another_shape_is_named_in_words_of_the_file(place: Place, value: object) -> None:
    data = whole()
    put(data, place, value)
    document, mistakes = typed(data)
    spelled = documents.spell(place)
    said = [each for each in mistakes if each.where.startswith(spelled)]
    assert said, mistakes
    for mistake in said:
        assert document.line(place) <= mistake.line <= document.line(place) + 1
        assert mistake.found
        assert mistake.expected
        for word in JARGON:
            assert word not in str(mistake).lower(), mistake


def misspelt(data: Any, place: Place = ()) -> Iterator[Place]:
    if isinstance(data, dict):
        for key, value in data.items():
            yield (*place, key)
            yield from misspelt(value, (*place, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from misspelt(value, (*place, index))


@pytest.mark.parametrize("place", [pytest.param(each, id=documents.spell(each)) for each in misspelt(whole())])
def test_a_misspelt_setting_is_recognised(place: Place) -> None:
    data = whole()
    holder: Any = data
    for part in place[:-1]:
        holder = holder[part]
    key = str(place[-1])
    wrong = f"{key[:-1]}_{key[-1]}"
    holder[wrong] = copy.deepcopy(holder.pop(key))
    document, mistakes = typed(data)
    (mistake,) = [each for each in mistakes if each.found == "an unknown key"]
    assert mistake.where == documents.spell((*place[:-1], wrong))
    assert mistake.line == document.line((*place[:-1], wrong))
    assert mistake.expected.startswith(f"'{key}' (did you mean that?)")


def test_a_file_that_may_not_be_read_is_said_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused by the path's own `open`, since root may read a file of any mode."""
    opened = Path.open

    def refusing(path: Path, *arguments: Any, **named: Any) -> Any:
        if path.name == "ca.pem":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return opened(path, *arguments, **named)

    monkeypatch.setattr(Path, "open", refusing)
    _, mistakes = read(folder, whole())
    assert mistakes
    assert all("Permission denied" in each.found for each in mistakes)
