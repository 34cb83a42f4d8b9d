"""What Pulsar and its proxy were attacked by, tried on the gateway; and transactions, step by step."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.core.session import Endpoint
from gateway.edge.clock import SystemClock
from gateway.pulsar import commands
from gateway.pulsar.broker_names import BrokerNames
from tests.certificates import make_ca
from tests.corpus import tokens as corpus
from tests.http import request
from tests.real.gateway import GatewayProcess
from tests.real.pulsar.broker import PulsarBroker
from tests.real.pulsar.command_play import transaction
from tests.real.pulsar.site import ROLE, Site, add_web, gateway_for
from tests.real.pulsar.wire import RawPulsar
from tests.real.site import until


def raw(site: Site) -> RawPulsar:
    return RawPulsar(site.gateway.port(), site.gateway.ca_file)


@pytest.fixture
def elsewhere() -> Iterator[socket.socket]:
    """Somebody listens who is no broker."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.settimeout(0.5)
        yield listening


def test_nobody_is_dialled_whom_no_broker_named(site: Site, elsewhere: socket.socket) -> None:
    """CVE-2022-24280; also not a broker's own address, which clients are never told."""
    at = site.audited()
    for address in (f"127.0.0.1:{elsewhere.getsockname()[1]}", site.broker.bootstrap):
        with raw(site) as client:
            client.connect(site.token(), proxy_to_broker_url=address)
            assert client.ended()
    with pytest.raises(TimeoutError):
        elsewhere.accept()
    site.gateway.wait_audit(event="refused", after=at, reason="broker-not-discovered")


@pytest.mark.parametrize("field", ["proxy_version", "original_principal", "original_auth_data", "original_auth_method"])
def test_nobody_is_a_proxy(site: Site, field: str) -> None:
    """CVE-2023-31007's crafted CONNECT, CVE-2023-30429."""
    at = site.audited()
    with raw(site) as client:
        client.connect(site.token(), **{field: "admin"})
        assert client.ended()
    site.gateway.wait_audit(event="refused", after=at, reason="command-forged")


def test_the_answer_to_a_lookup_names_no_address(site: Site) -> None:
    with raw(site) as client:
        client.connect(site.token())
        assert client.receive().name == "connected"
        answer = client.ask("lookup", topic=site.topic(), request_id=1)
        assert answer.body.proxy_through_service_url
        assert str(site.broker.port) not in answer.body.broker_url + answer.body.broker_url_tls
        named = answer.body.broker_url_tls.removeprefix("pulsar+ssl://")
    with raw(site) as client:
        client.connect(site.token(), proxy_to_broker_url=named)
        assert client.receive().name == "connected"


@pytest.mark.parametrize("command", ["end_txn_on_partition", "end_txn_on_subscription", "connected", "message"])
def test_what_clients_never_send_ends_it(site: Site, command: str) -> None:
    with raw(site) as client:
        client.connect(site.token())
        assert client.receive().name == "connected"
        client.send(commands.framed(command))
        assert client.ended()


def test_schemas_are_read_by_right(site: Site) -> None:
    """The broker itself checks nothing there."""
    with raw(site) as client:
        client.connect(site.token())
        client.receive()
        denied = client.ask("get_schema", topic=site.topic("secret"), request_id=1)
        assert (denied.name, denied.body.error_code) == ("get_schema_response", 4)
        allowed = client.ask("get_schema", topic=site.topic(), request_id=2)
        assert allowed.body.error_code == 11, "the broker's own: there is no such topic"


def test_a_transaction_from_its_begin_to_its_end(site: Site) -> None:
    topic = site.topic()
    with raw(site) as client:
        client.connect(site.token())
        client.receive()
        assert client.ask("partitioned_metadata", topic=COORDINATORS, request_id=1).body.partitions > 0
        assert client.ask("lookup", topic=f"{COORDINATORS}-partition-0", request_id=2).body.response == 1
        joined = client.ask("tc_client_connect_request", request_id=3, tc_id=0)
        assert (joined.name, joined.body.message) == ("tc_client_connect_response", "")
        begun = client.ask("new_txn", request_id=4, txn_ttl_seconds=60_000, tc_id=0)
        assert (begun.name, begun.body.message) == ("new_txn_response", "")
        own = transaction(begun)
        denied = client.ask("add_partition_to_txn", request_id=5, partitions=[topic, site.topic("secret")], **own)
        assert (denied.name, denied.body.error) == ("add_partition_to_txn_response", 4)
        added = client.ask("add_partition_to_txn", request_id=6, partitions=[topic], **own)
        assert (added.name, added.body.message) == ("add_partition_to_txn_response", "")
        ended = client.ask("end_txn", request_id=7, txn_action=1, **own)
        assert (ended.name, ended.body.message) == ("end_txn_response", "")


COORDINATORS = "persistent://pulsar/system/transaction_coordinator_assign"


@pytest.mark.parametrize("wrong", ["another authority", "another name"])
def test_no_credential_leaves_before_the_broker_is_verified(broker: PulsarBroker, tmp_path: Path, wrong: str) -> None:
    """CVE-2022-33681, -33682, -33683: somebody else answers in the broker's place, and is told nothing."""
    stranger = make_ca(tmp_path / "stranger")
    issuing = stranger if wrong == "another authority" else broker.ca
    certificate, key = issuing.server("impostor", hosts=["localhost" if issuing is stranger else "other.test"])
    impostor = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    impostor.load_cert_chain(certificate, key)
    said: list[bytes] = []
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        gateway = gateway_for(tmp_path / "gateway", broker)
        (backend,) = gateway.config["backends"]
        del backend["insecure_plaintext"], backend["account"]["over_plaintext"]
        backend["bootstrap"] = [f"localhost:{listening.getsockname()[1]}"]
        backend["tls"] = {"ca": str(broker.ca.path)}
        answering = threading.Thread(target=_impersonate, args=(listening, impostor, said), daemon=True)
        answering.start()
        gateway.start(ready=False)
        try:
            until(lambda: len(said) >= 2 and gateway.readyz()[0] != 0, what="two tries of the gateway")
            assert gateway.readyz()[0] == 503
        finally:
            gateway.stop()
    assert set(said) == {b""}


def _impersonate(listening: socket.socket, context: ssl.SSLContext, said: list[bytes]) -> None:
    """Take connections until the socket is closed, and write down what is said on each after its handshake."""
    while True:
        try:
            taken, _ = listening.accept()
        except OSError:
            return
        taken.settimeout(5)
        try:
            with context.wrap_socket(taken, server_side=True) as encrypted:
                said.append(encrypted.recv(1000))
        except OSError:
            said.append(b"")
        finally:
            taken.close()


def test_names_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """CVE-2023-51437: a MAC that a client shows (a broker's name has one) is compared by hmac.compare_digest alone."""
    names = BrokerNames(b"k" * 32, "main", SystemClock())
    name = names.name(Endpoint("broker1.internal", 6650))
    assert name is not None
    assert names.broker(name) is not None
    compared = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(one)
        return False

    monkeypatch.setattr("gateway.pulsar.broker_names.hmac.compare_digest", compare)
    assert names.broker(name) is None
    assert compared


def test_a_web_socket_is_nothing_here(site: Site) -> None:
    """CVE-2023-37544: an upgrade to WebSocket gets no session, whoever asks."""
    context = ssl.create_default_context(cafile=site.gateway.ca_file)
    found = b""
    with (
        socket.create_connection(("127.0.0.1", site.gateway.port()), timeout=60) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as client,
    ):
        client.sendall(
            b"GET /ws/v2/producer/persistent/public/default/app-x HTTP/1.1\r\nHost: localhost\r\n"
            b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        with contextlib.suppress(OSError):
            while data := client.recv(4096):
                found += data
    assert b" 101 " not in found


def test_a_message_too_large_is_not_waited_for(site: Site) -> None:
    """Refused by its length, with nothing of it read."""
    at = site.audited()
    with raw(site) as client:
        client.connect(site.token())
        client.receive()
        client.send(struct.pack(">II", 100 << 20, 20))
        assert client.ended()
    site.gateway.wait_audit(event="closed", after=at, reason="frame-too-large")


@pytest.fixture(scope="module")
def strict(broker: PulsarBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway that believes the corpus's issuers."""
    folder: Path = tmp_path_factory.mktemp("pulsar-refusals")
    made = gateway_for(folder, broker, limits={"failed_login_delay_max": "1 ms"})
    for issuer in corpus.issuers()[:2]:
        file = folder / f"{issuer.name}.json"
        file.write_bytes(corpus.jwks(issuer.name))
        made.config["issuers"].append(
            {
                "name": issuer.name, "issuer": issuer.issuer, "audiences": list(issuer.audiences),
                "algorithms": list(issuer.algorithms), "keys": {"file": str(file)},
            }
        )  # fmt: skip
        made.config["listeners"][0]["authentication"]["issuers"].append(issuer.name)
    add_web(made, broker)
    with made:
        yield made


def test_every_refused_token_is_refused_alike(strict: GatewayProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole corpus (CVE-2021-22160 in it): answers are equal to the octet, the audit names each reason."""
    answers: dict[bytes, list[str]] = {}
    refused = 0
    for case in corpus.cases():
        monkeypatch.setattr(corpus, "NOW", corpus.now_for(case, time.time()))
        token = corpus.build(case.row)
        if case.expect in ("accepted", "key-missing") or len(token) > 16 << 10:
            continue
        at = len(strict.audit())
        with RawPulsar(strict.port(), strict.ca_file) as client:
            client.connect(token)
            answer = client.receive()
            assert answer.name == "error", case.name
            assert client.ended(), case.name
        answers.setdefault(answer.body.SerializeToString(), []).append(case.name)
        line = strict.wait_audit(event="refused", after=at)
        assert line["reason"] == case.expect, case.name
        refused += 1
    assert refused > 100
    assert len(answers) == 1


def test_every_refused_token_is_refused_alike_by_http(strict: GatewayProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the corpus that can stand in a header."""
    context = ssl.create_default_context(cafile=strict.ca_file)
    answers: dict[bytes, list[str]] = {}
    for case in corpus.cases():
        monkeypatch.setattr(corpus, "NOW", corpus.now_for(case, time.time()))
        token = corpus.build(case.row)
        bearer = re.fullmatch(rb"[A-Za-z0-9._~+/-]+=*", token)
        if case.expect in ("accepted", "key-missing") or bearer is None or len(token) > 16 << 10:
            continue
        at, said = len(strict.audit()), b""
        with (
            socket.create_connection(("127.0.0.1", strict.ports["web"][0]), timeout=60) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as client,
        ):
            client.sendall(request("/admin/v2/clusters", Authorization=f"Bearer {token.decode()}"))
            while more := client.recv(4096):
                said += more
        answers.setdefault(said, []).append(case.name)
        assert strict.wait_audit(event="refused", after=at)["reason"] == case.expect, case.name
    assert len(answers) == 1
    ((said, refused),) = answers.items()
    assert said.startswith(b"HTTP/1.1 401 ")
    assert len(refused) > 100


def test_a_good_token_is_let_in_there_too(strict: GatewayProcess) -> None:
    """The corpus was not refused by mistake."""
    with RawPulsar(strict.port(), strict.ca_file) as client:
        client.connect(strict.issuer.token(ROLE, groups=["app"]))
        assert client.receive().name == "connected"
