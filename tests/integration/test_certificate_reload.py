"""Certificates change under a running gateway: new handshakes take them, connections stay, bad ones are refused."""

from __future__ import annotations

import datetime
import os
import shutil
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from gateway.ops.demo.cluster import EmbeddedCluster
from tests.certificates import Ca, make_ca
from tests.integration.test_run import POLICY, until
from tests.real.gateway import GatewayProcess


@pytest.fixture(scope="module")
def cluster() -> Iterator[EmbeddedCluster]:
    made = EmbeddedCluster(["orders", "payroll"])
    yield made
    made.stop()


class Mount:
    """A folder as Kubernetes mounts a secret: files are links into ..data, which is a link to a folder."""

    def __init__(self, folder: Path, ca: Ca) -> None:
        self.folder = folder
        self.ca = ca
        self._count = 0
        self.put(*ca.server())
        for name in ("tls.crt", "tls.key"):
            (folder / name).symlink_to(Path("..data") / name)

    def put(self, certificate: Path, key: Path) -> None:
        self._count += 1
        data = self.folder / f"..{self._count}"
        data.mkdir(parents=True)
        shutil.copy(certificate, data / "tls.crt")
        shutil.copy(key, data / "tls.key")
        (self.folder / "..new").symlink_to(data.name)
        os.replace(self.folder / "..new", self.folder / "..data")


@pytest.fixture
def mount(tmp_path: Path) -> Mount:
    (tmp_path / "mount").mkdir()
    return Mount(tmp_path / "mount", make_ca(tmp_path / "ca"))


@pytest.fixture
def gateway(cluster: EmbeddedCluster, mount: Mount, tmp_path: Path) -> Iterator[GatewayProcess]:
    crl = tmp_path / "crl.pem"
    write_crl(crl, mount.ca, [])
    listener = {
        "tls": {
            "certificate": str(mount.folder / "tls.crt"),
            "key": str(mount.folder / "tls.key"),
            "client_certificate": "optional",
            "client_ca": str(mount.ca.path),
            "client_crl": str(crl),
        }
    }
    backends = {"main": ",".join(cluster.bootstrap)}
    with GatewayProcess(tmp_path / "gateway", backends, policy=POLICY, listener=listener) as made:
        yield made


def write_crl(path: Path, ca: Ca, revoked: list[Path], hours: float = 1) -> None:
    now = datetime.datetime.now(datetime.UTC)
    end = now + datetime.timedelta(hours=hours)
    builder = x509.CertificateRevocationListBuilder(ca.certificate.subject, min(now, end) - datetime.timedelta(1), end)
    for each in revoked:
        serial = x509.load_pem_x509_certificate(each.read_bytes()).serial_number
        entry = x509.RevokedCertificateBuilder(serial, now - datetime.timedelta(hours=2)).build()
        builder = builder.add_revoked_certificate(entry)
    made = builder.sign(ca.key, hashes.SHA256())
    scratch = path.with_suffix(".new")
    scratch.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    os.replace(scratch, path)


def connect(gateway: GatewayProcess, ca: Ca, pair: tuple[Path, Path] | None = None) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=str(ca.path))
    if pair is not None:
        context.load_cert_chain(*pair)
    sock = socket.create_connection(("127.0.0.1", gateway.port()), timeout=60)
    stream = context.wrap_socket(sock, server_hostname="localhost", do_handshake_on_connect=False)
    try:
        stream.do_handshake()
    except BaseException:
        stream.close()
        raise
    return stream


def served(gateway: GatewayProcess, ca: Ca) -> int:
    """The serial number of the certificate that a new client gets."""
    with connect(gateway, ca) as stream:
        der = stream.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der).serial_number


def serial(path: Path) -> int:
    return x509.load_pem_x509_certificate(path.read_bytes()).serial_number


API_VERSIONS = bytes.fromhex("00120000000000070000")
SASL_HANDSHAKE = bytes.fromhex("001100010000000800000005") + b"PLAIN"


def asks(stream: ssl.SSLSocket, request: bytes = API_VERSIONS) -> bool:
    """Whether a request of Kafka's is answered on this connection."""
    stream.sendall(len(request).to_bytes(4, "big") + request)
    return bool(stream.recv(4096))


def test_a_new_pair_serves_new_handshakes_and_live_connections_stay(gateway: GatewayProcess, mount: Mount) -> None:
    pair = mount.ca.server()
    with connect(gateway, mount.ca) as old:
        assert asks(old)
        mount.put(*pair)
        until(lambda: served(gateway, mount.ca) == serial(pair[0]))
        assert asks(old, SASL_HANDSHAKE)
    line = gateway.wait_audit(event="config-revision", listener="main-listener")
    assert line["trigger"] == "changed file"
    assert 'gateway_certificate_reloads_total{listener="main-listener",result="changed"} 1.0' in metrics(gateway)


def metrics(gateway: GatewayProcess) -> str:
    return gateway.admin("/metrics")[1]


def test_what_cannot_serve_is_refused_and_the_old_one_stays(gateway: GatewayProcess, mount: Mount) -> None:
    before = served(gateway, mount.ca)
    bad: list[tuple[str, Callable[[], None]]] = [
        ("tls-key-mismatch", lambda: mount.put(mount.ca.server()[0], mount.ca.server()[1])),
        ("tls-certificate-expired", lambda: mount.put(*mount.ca.server(days=-1))),
        ("tls-name-not-covered", lambda: mount.put(*mount.ca.server(hosts=["elsewhere.test"]))),
        ("tls-file-unreadable", lambda: (mount.folder / "..data").unlink()),
    ]
    for code, change in bad:
        at = len(gateway.audit())
        change()
        line = gateway.wait_audit(event="warning", reason=code, after=at)
        assert line["listener"] == "main-listener"
        assert served(gateway, mount.ca) == before
        until(lambda code=code: f"({code}" in gateway.admin("/readyz")[1])  # type: ignore[misc]
        assert gateway.admin("/readyz")[0] == 200
        until(lambda: 'gateway_certificates_refused{listener="main-listener"} 1.0' in metrics(gateway))
    pair = mount.ca.server()
    mount.put(*pair)
    until(lambda: served(gateway, mount.ca) == serial(pair[0]))
    until(lambda: gateway.admin("/readyz") == (200, "ready\n"))
    until(lambda: 'gateway_certificates_refused{listener="main-listener"} 0.0' in metrics(gateway))


def test_sighup_looks_at_once_and_says_nothing_new(gateway: GatewayProcess, mount: Mount) -> None:
    before = served(gateway, mount.ca)
    os.kill(gateway.pid, signal.SIGHUP)
    until(
        lambda: 'gateway_certificate_reloads_total{listener="main-listener",result="unchanged"} 1.0' in metrics(gateway)
    )
    assert served(gateway, mount.ca) == before
    assert not [line for line in gateway.audit() if line.get("certificates")]


def test_a_revoked_client_is_refused_from_the_next_handshake_on(
    gateway: GatewayProcess, mount: Mount, tmp_path: Path
) -> None:
    good, bad = mount.ca.client(uri="spiffe://bank/good"), mount.ca.client(uri="spiffe://bank/bad")
    for pair in (good, bad):
        with connect(gateway, mount.ca, pair) as stream:
            assert asks(stream)
    write_crl(tmp_path / "crl.pem", mount.ca, [bad[0]])
    gateway.wait_audit(event="config-revision", listener="main-listener")
    with connect(gateway, mount.ca, good) as stream:
        assert asks(stream)
    with pytest.raises((ssl.SSLError, ConnectionError)), connect(gateway, mount.ca, bad) as stream:
        asks(stream)
    line = gateway.wait_audit(event="refused", reason="client-certificate-refused")
    assert "revoked" in line["detail"]
    at = len(gateway.audit())
    write_crl(tmp_path / "crl.pem", mount.ca, [], hours=-1)
    gateway.wait_audit(event="warning", reason="tls-crl-stale", after=at)
    with pytest.raises((ssl.SSLError, ConnectionError)), connect(gateway, mount.ca, bad) as stream:
        asks(stream)
