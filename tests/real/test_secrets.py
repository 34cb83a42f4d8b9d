"""No credential and no payload octet in anything the gateway tells, at level debug, whatever happens to it.

One gateway with all of its ways in and out (ports, host names, PROXY protocol; SCRAM, client credentials) and two
workers is led through a good day and a bad one. Every secret that was near it is then looked for, in several
spellings, in its log, its audit, its metrics and status, and in what its commands print.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import secrets
import signal
import socket
import ssl
import struct
import subprocess
import sys
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from loadtest.million.storm import Mount, children
from tests.certificates import make_ca
from tests.real.gateway import GatewayProcess
from tests.real.guarded import CLIENT_SECRET, SCRAM_PASSWORD, GuardedKafka, TokenServer, guarded_backend, private
from tests.real.names import without_names
from tests.real.site import DIRECT, POLICY, unique, until
from tests.real.test_confluent import consume, produce
from tests.real.wire import API_VERSIONS, METADATA, SASL_AUTHENTICATE, SASL_HANDSHAKE, RawClient, request, string
from tests.tokens import TokenIssuer
from tests.unit.test_proxy_protocol import IPV4, tlv, v2

pytestmark = [
    pytest.mark.skipif(DIRECT, reason="REAL_DOOR=direct: it is the gateway that must not tell (unset it)"),
    pytest.mark.timeout(600),
]
PRODUCE = 0


@dataclass
class Day:
    """The gateway, and every secret that was shown to it."""

    gateway: GatewayProcess
    kafka: GuardedKafka
    endpoint: TokenServer
    mount: Mount
    admin_token: str
    secrets: dict[str, list[str]] = field(default_factory=dict)
    printed: list[str] = field(default_factory=list)
    """What commands and the admin port answered."""

    def secret(self, kind: str, made: str | None = None) -> str:
        """A new one, or one made elsewhere."""
        made = f"{kind}-{secrets.token_hex(12)}" if made is None else made
        self.secrets.setdefault(kind, []).append(made)
        return made

    def token(self, subject: str = "svc-app", lifetime: float = 600.0, **claims: Any) -> str:
        made = self.gateway.issuer.token(subject, lifetime=lifetime, groups=["app"], **claims)
        return self.secret("token", made)

    def said(self) -> str:
        audit = self.gateway.folder / "audit.jsonl"
        return self.gateway.log() + audit.read_text(errors="replace") + "".join(self.printed)


@pytest.fixture(scope="module")
def day(guarded_three: GuardedKafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    folder, kafka = tmp_path_factory.mktemp("secrets"), guarded_three
    endpoint = TokenServer(kafka.ca, kafka.issuer, lifetime=8.0)
    made = GatewayProcess(folder, dict.fromkeys(("main", "oauth"), kafka.bootstrap), policy=POLICY)
    scram, secret = private(folder / "scram", SCRAM_PASSWORD), private(folder / "secret", CLIENT_SECRET)
    oauth = {
        "token_url": endpoint.url, "client_id": "gw-client", "client_secret_file": secret, "ca": str(kafka.ca.path),
    }  # fmt: skip
    guarded_backend(made.config["backends"][0], kafka, {"scram": {"username": "gw", "password_file": scram}})
    guarded_backend(made.config["backends"][1], kafka, {"oauth": oauth})
    mount = Mount(folder / "mount", made.ca.server("gateway", hosts=["localhost", "127.0.0.1"]))
    made.config["listeners"][0]["tls"] = {"certificate": str(mount.certificate), "key": str(mount.key)}
    made.add_names()
    made.add_names("proxied", "proxied.test", proxy_protocol={"from": ["127.0.0.0/8"], "required": True})
    token = secrets.token_hex(24)
    made.config["admin"]["token_file"] = private(folder / "admin.token", token)
    made.config |= {"log_level": "debug", "workers": 2}
    found = Day(made, kafka, endpoint, mount, token)
    found.secret("admin token", token)
    found.secret("own password", SCRAM_PASSWORD)
    found.secret("own client secret", CLIENT_SECRET)
    with made:
        yield found
    endpoint.close()


def test_nothing_secret_is_told_whatever_happens(day: Day) -> None:
    happenings: tuple[Callable[[Day], None], ...] = (
        records_come_and_go,
        logins_fail,
        others_speak_to_the_port,
        frames_are_bad,
        names_and_balancers,
        certificates_and_keys_change,
        the_own_account_fails,
        operators_look_and_change,
        a_worker_falls_out,
    )
    for happens in happenings:
        happens(day)
    day.printed += [day.gateway.admin(path)[1] for path in ("/metrics", "/status", "/readyz", "/healthz")]
    issued = [*day.endpoint.tokens]
    assert len(issued) >= 2, "the own token was fetched anew"
    for token in issued:
        day.secret("own token", token)
    assert day.gateway.stop() == 0
    said = day.said()
    assert said.count('"event"') > 50, "the audit tells a lot"
    assert "DEBUG" in said.upper(), "the log tells everything"
    assert day.gateway.issuer.url in said or "svc-app" in said, "what is no secret is found by the same search"
    found = {kind: where for kind in day.secrets for each in day.secrets[kind] if (where := told(said, each, kind))}
    assert not found, found
    assert set(day.secrets) >= {"payload", "key", "header", "password", "token", "bearer", "private key", "own token"}


def told(said: str, secret: str, kind: str) -> str:
    """Around the first place where a secret is told in some spelling; "" if in none."""
    octets = secret.encode()
    spellings = {
        secret, repr(octets)[2:-1], json.dumps(secret)[1:-1], octets.hex(), octets.hex(" "),
        urllib.parse.quote(secret), base64.b64encode(octets).decode().rstrip("=")[:-2],
        base64.b64encode(b"gw-client:" + octets).decode(),
    }  # fmt: skip
    if "token" in kind and secret.count(".") == 2:
        spellings |= set(secret.split(".")[1:])
    for spelling in spellings:
        at = said.find(spelling)
        if at >= 0:
            return f"{kind} as {spelling[:60]!r} in ...{said[max(0, at - 200) : at + 80]}"
    return ""


@pytest.mark.parametrize(
    "spelt",
    [
        lambda secret: secret, lambda secret: repr(f"\0{secret}".encode()), lambda secret: secret.encode().hex(),
        lambda secret: base64.b64encode(f"{secret}".encode()).decode(), lambda secret: secret.split(".")[2],
        lambda secret: base64.b64encode(f"gw-client:{secret}".encode()).decode(),
    ],
)  # fmt: skip
def test_the_search_finds_a_secret_however_it_is_spelt(spelt: Callable[[str], str]) -> None:
    token = TokenIssuer().token("svc-app")
    assert told(f'{{"detail": "{spelt(token)}"}}', token, "token")
    assert not told(f'{{"detail": "{spelt(TokenIssuer().token("svc-app"))}"}}', token, "token")


# --- a good day


def records_come_and_go(day: Day) -> None:
    """By each way in, with payloads, keys and headers; allowed and denied; in transactions."""
    topic, closed = unique("app.secrets"), unique("closed.secrets")
    admin = AdminClient({"bootstrap.servers": day.kafka.cluster.bootstrap})
    for made in admin.create_topics([NewTopic(topic, 3, 3), NewTopic(closed, 1, 3)]).values():
        made.result(60)
    for made_topic in (topic, closed):
        day.kafka.cluster.wait_topic(made_topic)
    for door in ("main", "oauth"):
        settings = {**day.gateway.confluent(day.token), "bootstrap.servers": day.gateway.bootstrap(door)}
        producer = Producer(settings | {"transactional.id": unique("app-t"), "message.timeout.ms": 20000})
        producer.init_transactions(60)
        producer.begin_transaction()
        for _ in range(5):
            producer.produce(
                topic, day.secret("payload"), key=day.secret("key"), headers={"h": day.secret("header").encode()}
            )
        producer.commit_transaction(60)
        produce(settings, topic, closed, count=2)
        denied = Producer(settings)
        denied.produce(closed, day.secret("payload"), key=day.secret("key"))
        denied.flush(60)
        assert len(consume(settings | {"group.id": unique("app-g")}, [topic], 7)) >= 5
    plain = day.gateway.confluent_plain(day.token())
    Producer(plain).list_topics(timeout=60)


# --- a bad day


def logins_fail(day: Day) -> None:
    """Tokens that are forged, ended, foreign or none, by both mechanisms, whole and in pieces."""
    other = TokenIssuer("https://elsewhere.test", name="elsewhere")
    header, payload, _ = day.token().split(".")
    bad = [
        day.token(lifetime=-10), other.token("svc-app"), day.token(aud="others"), f"{header}.{payload}.AAAA",
        day.secret("bearer"), "a.b." + day.secret("bearer"), day.secret("bearer") * 100,
    ]  # fmt: skip
    day.secret("token", bad[1])
    for token in bad:
        with RawClient(day.gateway.port(), day.gateway.ca_file) as client, suppress(OSError, struct.error):
            client.authenticate(token)
        with suppress(KafkaException):
            Consumer(day.gateway.confluent_plain(token, **{"group.id": "app-g"})).list_topics(timeout=1)
    password = day.secret("password")
    for initial in (
        f"\0user\0{password}", f"{password}", f"n,,\1auth=Basic {password}\1\1", f"n,a={password},\1auth=Bearer x\1\1",
        f"n,,\1auth=Bearer {password}\1more={password}\1\1", f"\0\0\0{password}\0",
    ):  # fmt: skip
        for mechanism in ("PLAIN", "OAUTHBEARER", password):
            with RawClient(day.gateway.port(), day.gateway.ca_file) as client, suppress(OSError):
                client.send(request(SASL_HANDSHAKE, 1, string(mechanism)))
                client.receive()
                octets = initial.encode()
                client.send(request(SASL_AUTHENTICATE, 1, struct.pack(">i", len(octets)) + octets))
                client.receive()
                client.send(request(SASL_AUTHENTICATE, 1, struct.pack(">i", len(octets) + 9) + octets))
                client.ended()


def others_speak_to_the_port(day: Day) -> None:
    """HTTP with credentials, in plain and within TLS; Kafka in plain with a token."""
    bearer = day.secret("bearer")
    asked = f"GET /{bearer} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {bearer}\r\n\r\n{bearer}".encode()
    initial = f"n,,\1auth=Bearer {bearer}\1\1".encode()
    for opening in (asked, request(SASL_AUTHENTICATE, 1, struct.pack(">i", len(initial)) + initial), initial):
        with socket.create_connection(("127.0.0.1", day.gateway.port()), timeout=60) as plain, suppress(OSError):
            plain.sendall(opening)
            plain.recv(4096)
        with RawClient(day.gateway.port(), day.gateway.ca_file) as client, suppress(OSError):
            client.send(opening)
            client.ended()


def frames_are_bad(day: Day) -> None:
    """Before and after the login: cut off, too long, too large, of unknown APIs, with trailing octets."""
    for number in range(12):
        payload = day.secret("payload").encode()
        sent = [
            request(PRODUCE, 9, payload), request(PRODUCE, 3, payload * 50), request(METADATA, 1, payload),
            request(9999, 0, payload), request(API_VERSIONS, 3, payload), request(1, 11, payload),
            struct.pack(">i", -5) + payload, struct.pack(">i", 2**31 - 1) + payload,
            struct.pack(">i", len(payload) + 40) + payload, request(22, 3, payload), request(19, 5, payload),
            request(METADATA, 1, struct.pack(">i", 1) + string(payload.decode()) + payload),
        ][number]  # fmt: skip
        for known in (False, True):
            with RawClient(day.gateway.port(), day.gateway.ca_file, timeout=2.0) as client, suppress(OSError):
                if known:
                    client.authenticate(day.token())
                client.send(sent)
                client.ended()


def names_and_balancers(day: Day) -> None:
    """By host names, with headers of balancers that are good, that carry more than is known, and that are bad."""
    context = ssl.create_default_context(cafile=day.gateway.ca_file)
    marker = day.secret("payload")
    headers = {
        "good": b"PROXY TCP4 203.0.113.7 10.0.0.1 40000 9094\r\n",
        "more": v2(IPV4 + tlv(0xE0, marker.encode()) + tlv(0x05, marker.encode())),
        "bad": b"PROXY " + marker.encode() + b"\r\n",
        "long": b"PROXY TCP4 " + marker.encode() * 20,
    }
    for door, header, name in (
        ("names", b"", "b1.kafka.test"), ("names", b"", "kafka.test"), ("names", b"", "else.test"),
        *(("proxied", header, "proxied.test") for header in headers.values()),
    ):  # fmt: skip
        encrypted = context.wrap_socket(socket.socket(), server_hostname=name, do_handshake_on_connect=False)
        with encrypted, suppress(OSError):
            encrypted.settimeout(5)
            encrypted.connect(("127.0.0.1", day.gateway.port(door)))
            socket.socket.sendall(encrypted, header)
            encrypted.do_handshake()
            initial = f"n,,\1auth=Bearer {day.token()}\1\1".encode()
            encrypted.sendall(request(SASL_HANDSHAKE, 1, string("OAUTHBEARER")))
            encrypted.recv(4096)
            encrypted.sendall(request(SASL_AUTHENTICATE, 1, struct.pack(">i", len(initial)) + initial))
            encrypted.recv(4096)
            encrypted.sendall(request(PRODUCE, 9, day.secret("payload").encode()))
            encrypted.recv(4096)


def certificates_and_keys_change(day: Day) -> None:
    """Keys that do not fit, that are damaged, and a key set with private halves in it."""
    other = make_ca(day.gateway.folder / "other")
    certificate, key = day.gateway.ca.server("gateway", hosts=["localhost", "127.0.0.1"])
    _, foreign = other.server("gateway", hosts=["localhost"])
    damaged = day.gateway.folder / "damaged.pem"
    private(damaged, key.read_text().replace("\n", f"\n{day.secret('private key')}\n", 2))
    for each in (foreign, damaged, key):
        for line in each.read_text().splitlines()[1:-1]:
            day.secret("private key", line)
        at = len(day.gateway.audit())
        day.mount.put(certificate, each)
        event = "config-revision" if each == key else "warning"
        day.gateway.wait_audit(after=at, event=event)
    jwks = day.gateway.folder / "jwks.json"
    good = json.loads(jwks.read_text())
    for broken in (
        json.dumps({"keys": [good["keys"][0] | {"d": day.secret("private key")}]}),
        json.dumps({"keys": [{"kty": "oct", "kid": "x", "k": day.secret("private key")}]}),
        '{"keys": [' + day.secret("private key"),
    ):
        at = len(day.gateway.audit())
        replace(jwks, broken)
        day.gateway.wait_audit(after=at, event="keys")
    day.gateway.issuer.rotate()
    replace(jwks, json.dumps({"keys": [*good["keys"], *day.gateway.issuer.jwks()["keys"]]}))
    at = len(day.gateway.audit())
    day.gateway.change_policy(POLICY[: POLICY.index("end: true")])
    day.gateway.change_policy(POLICY.replace("roles:\n", "roles:\n  more: [{allow: [consume], kafka: {topic: [x]}}]\n"))
    until(lambda: logs_in(day), what="a token of the new key is taken")


def logs_in(day: Day) -> bool:
    with suppress(OSError), RawClient(day.gateway.port(), day.gateway.ca_file) as client:
        return client.authenticate(day.token())[0] == 0
    return False


def the_own_account_fails(day: Day) -> None:
    """A wrong password, a token endpoint that says no, and both right again."""
    wrong = day.secret("own password")
    day.endpoint.broken = True
    at = len(day.gateway.audit())
    replace(day.gateway.folder / "scram", wrong)
    day.gateway.wait_audit(after=at, event="upstream", state="account-refused")
    replace(day.gateway.folder / "scram", SCRAM_PASSWORD)
    day.endpoint.broken = False
    until(lambda: day.gateway.readyz()[0] == 200, 60, "the account is taken again")


def operators_look_and_change(day: Day) -> None:
    """Every command and route, with the credential, with a wrong one, and with more than is asked for."""
    gateway = day.gateway
    for words in (
        ("status",), ("status", "--json"), ("log-level", "info"), ("log-level", "debug"),
        ("close", "--principal", "jwt:test:svc-app"), ("check",), ("check", "--against", "running"), ("health",),
    ):  # fmt: skip
        line = [sys.executable, "-m", "gateway", *words, "--config", str(gateway.folder / "gateway.yaml")]
        environment = without_names(PYTHONPATH=str(Path(__file__).parents[2]))
        done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False, env=environment)
        day.printed += [done.stdout, done.stderr]
    wrong = day.secret("bearer")
    body = json.dumps({"principal": "jwt:test:nobody", "password": day.secret("password")})
    for credential in (wrong, day.admin_token):
        for method, path in (
            ("POST", "/connections/close"), ("POST", "/log-level"), ("GET", "/running"), ("GET", "/status"),
            ("GET", f"/{wrong}"), ("GET", f"/status?token={wrong}"),
        ):  # fmt: skip
            connection = http.client.HTTPConnection("127.0.0.1", gateway.admin_port, timeout=60)
            connection.request(method, path, body, {"Authorization": f"Bearer {credential}"})
            day.printed.append(connection.getresponse().read().decode())
            connection.close()
    broken = yaml.safe_load((gateway.folder / "gateway.yaml").read_text())
    broken["backends"][0]["account"]["scram"]["password"] = day.secret("password")
    file = gateway.folder / "broken.yaml"
    file.write_text(yaml.safe_dump(broken))
    line = [sys.executable, "-m", "gateway", "check", "--config", str(file)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert done.returncode != 0
    day.printed += [done.stdout, done.stderr]
    os.kill(gateway.pid, signal.SIGHUP)


def a_worker_falls_out(day: Day) -> None:
    """Killed in the middle of a login."""
    with RawClient(day.gateway.port(), day.gateway.ca_file) as client, suppress(OSError):
        client.send(request(SASL_HANDSHAKE, 1, string("OAUTHBEARER")))
        client.receive()
        initial = f"n,,\1auth=Bearer {day.token()}\1\1".encode()
        client.send(request(SASL_AUTHENTICATE, 1, struct.pack(">i", len(initial)) + initial)[:-9])
        before = children(day.gateway.pid)
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        until(lambda: len(children(day.gateway.pid) - before) == len(before), 60, "new ones")
    until(lambda: day.gateway.readyz()[0] == 200, what="the admin port is back")


def replace(path: Path, text: str) -> None:
    scratch = path.with_suffix(".scratch")
    private(scratch, text)
    os.replace(scratch, path)
