"""Two certificates for one name, with keys of two kinds: each client is shown the one that it can verify."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from OpenSSL import SSL

from gateway.core.settings import Addressing, CertificatePair, SniNames
from gateway.edge import channels
from gateway.edge.names import together
from gateway.ops.certificate_reload import given_context
from tests.certificates import Ca, make_ca
from tests.edge import EchoSession, frame, listener_settings, running

ECDSA, RSA = ec.EllipticCurvePublicKey, rsa.RSAPublicKey
BOTH = b"ecdsa_secp256r1_sha256:rsa_pss_rsae_sha256:rsa_pkcs1_sha256"
RSA_FIRST = b"rsa_pss_rsae_sha256:rsa_pkcs1_sha256:ecdsa_secp256r1_sha256"
RSA_ALONE = b"rsa_pss_rsae_sha256:rsa_pkcs1_sha256"
VERSIONS = [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION]
NAMES = SniNames(pattern="b{node_id}.kafka.example.com", bootstrap="kafka.example.com", node_ids="0-2")


def pair(ca: Ca, *hosts: str, rsa: bool) -> CertificatePair:
    certificate, key = ca.server(hosts=hosts, rsa=rsa)
    return CertificatePair(certificate=str(certificate), key=str(key))


def shown(ca: Ca, port: int, name: str, version: int, algorithms: bytes) -> tuple[type, list[x509.Certificate]]:
    """The kind of key, and the whole chain, that a client is shown which takes only these signatures. Blocks."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(version)
    context.set_max_proto_version(version)
    context.load_verify_locations(str(ca.path))
    context.set_verify(SSL.VERIFY_PEER)
    assert channels._lib.SSL_CTX_set1_sigalgs_list(context._context, algorithms) == 1
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        sock.setblocking(True)
        client = SSL.Connection(context, sock)
        client.set_connect_state()
        client.set_tlsext_host_name(name.encode())
        client.do_handshake()
        chain = client.get_peer_cert_chain(as_cryptography=True)
        client.sendall(frame(b"x"))
        got = b""
        while len(got) < 5:
            got += client.recv(5 - len(got))
        assert got == frame(b"x")
    assert chain
    kind = chain[0].public_key()
    return next(each for each in (ECDSA, RSA) if isinstance(kind, each)), chain


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("first", ["ecdsa", "rsa"])
async def test_ecdsa_to_whoever_can_and_rsa_to_the_others(tmp_path: Path, version: int, first: str) -> None:
    ca = make_ca(tmp_path)
    hosts = ["localhost", "127.0.0.1"]
    settings: dict[str, Any] = {}
    if first == "rsa":
        own = pair(ca, *hosts, rsa=True)
        settings = {"certificate": own.certificate, "key": own.key}
    settings["certificates"] = (pair(ca, *hosts, rsa=first == "ecdsa"),)
    async with running(tmp_path, EchoSession, ca=ca, tls=settings) as gateway:
        for algorithms, kind in ((BOTH, ECDSA), (RSA_FIRST, ECDSA), (RSA_ALONE, RSA)):
            found, _ = await asyncio.to_thread(shown, ca, gateway.port, "localhost", version, algorithms)
            assert found is kind


async def test_a_client_of_old_suites_with_rsa_alone_is_served(tmp_path: Path) -> None:
    ca = make_ca(tmp_path)
    more = (pair(ca, "localhost", "127.0.0.1", rsa=True),)
    async with running(tmp_path, EchoSession, ca=ca, tls={"certificates": more}) as gateway:
        for suites, cipher in (("ECDHE+aRSA", "ECDHE-RSA-"), ("ECDHE", "ECDHE-ECDSA-")):
            context = gateway.client_context()
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.set_ciphers(suites)
            client = await gateway.connect(context)
            assert client.writer.get_extra_info("cipher")[0].startswith(cipher)
            await client.send(frame(b"x"))
            assert await client.receive() == b"x"
            await client.close()


@pytest.mark.parametrize("version", VERSIONS)
async def test_each_certificate_has_its_own_chain(tmp_path: Path, version: int) -> None:
    """Two authorities, of which the client believes both: what stands behind one leaf is not sent with the other."""
    one, other = make_ca(tmp_path / "one"), make_ca(tmp_path / "other")
    pairs = []
    for ca, with_rsa in ((one, False), (other, True)):
        certificate, key = ca.server(hosts=["localhost", "127.0.0.1"], rsa=with_rsa)
        certificate.write_bytes(certificate.read_bytes() + ca.path.read_bytes())
        pairs.append(CertificatePair(certificate=str(certificate), key=str(key)))
    settings = {"certificate": pairs[0].certificate, "key": pairs[0].key, "certificates": (pairs[1],)}
    async with running(tmp_path, EchoSession, ca=one, tls=settings) as gateway:
        for ca, algorithms in ((one, BOTH), (other, RSA_ALONE)):
            _, chain = await asyncio.to_thread(shown, ca, gateway.port, "localhost", version, algorithms)
            assert [each.issuer for each in chain] == [ca.certificate.subject] * 2
            assert chain[1] == ca.certificate


@pytest.mark.parametrize("version", VERSIONS)
async def test_names_choose_first_and_then_the_kind_of_key(tmp_path: Path, version: int) -> None:
    ca = make_ca(tmp_path)
    more = tuple(pair(ca, "kafka.example.com", "*.kafka.example.com", rsa=rsa) for rsa in (True, False))
    change = {"addressing": Addressing(sni=NAMES), "broker_ports": None, "advertised": ""}
    async with running(tmp_path, EchoSession, ca=ca, tls={"certificates": more}, change=change) as gateway:
        for name in ("kafka.example.com", "b2.kafka.example.com"):
            for algorithms, kind in ((BOTH, ECDSA), (RSA_ALONE, RSA)):
                found, chain = await asyncio.to_thread(shown, ca, gateway.port, name, version, algorithms)
                names = chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
                assert found is kind
                assert "kafka.example.com" in names.get_values_for_type(x509.DNSName)


def test_both_kinds_are_one_revision_and_a_changed_one_is_another(tmp_path: Path) -> None:
    """What a reload compares (ops.certificate_reload)."""
    ca = make_ca(tmp_path)
    more = pair(ca, "localhost", "127.0.0.1", rsa=True)
    listener = listener_settings(ca, certificates=(more,))
    before = given_context(listener)
    assert len(before.leaves) == 2
    assert given_context(listener, before) is before
    renewed = pair(ca, "localhost", "127.0.0.1", rsa=True)
    shutil.copy(renewed.certificate, more.certificate)
    shutil.copy(renewed.key, more.key)
    after = given_context(listener, before)
    assert after.revision != before.revision
    assert after.leaves[1] == x509.load_pem_x509_certificate(Path(renewed.certificate).read_bytes())


@pytest.mark.parametrize(
    ("certificates", "contexts"),
    [
        ([("ec", "a"), ("rsa", "a")], [(0, 1)]),
        ([("rsa", "a"), ("ec", "a")], [(0, 1)]),
        ([("ec", "a"), ("ec", "a")], [(0,)]),
        ([("ec", "a"), ("ec", "b")], [(0,), (1,)]),
        ([("ec", "a"), ("rsa", "ab")], [(0, 1), (1,)]),
        ([("ec", "ab"), ("rsa", "a")], [(0,)]),
        ([("ec", "a"), ("ec", "b"), ("rsa", "ab")], [(0, 2), (1, 2)]),
        ([("ec", "a"), ("ec", "b"), ("rsa", "b"), ("rsa", "a")], [(0, 3), (1, 2)]),
        ([("ec", ""), ("rsa", "a")], [(0,), (1,)]),
        ([("ec", "a"), ("rsa", "")], [(0,)]),
    ],
)
def test_which_stand_together(certificates: list[tuple[str, str]], contexts: list[tuple[int, ...]]) -> None:
    kinds: Mapping[str, type] = {"ec": ECDSA, "rsa": RSA}
    names = [[f"{letter}.example.com" for letter in letters] for _, letters in certificates]
    assert together([kinds[kind] for kind, _ in certificates], names) == contexts


def test_a_wildcard_covers_what_it_stands_for() -> None:
    names = [["a.example.com"], ["*.example.com"]]
    assert together([ECDSA, RSA], names) == [(0, 1), (1,)]
    assert together([RSA, ECDSA], names[::-1]) == [(0,)]
