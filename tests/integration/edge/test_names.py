"""Server names: which certificate is given, which broker is meant, and names that are nobody's."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from gateway.core.settings import Addressing, CertificatePair, SniNames
from gateway.edge import reasons
from gateway.edge.reasons import StartRefused
from gateway.edge.tls import server_context
from tests.certificates import Ca, make_ca
from tests.edge import EchoSession, Running, frame, listener_settings, running

NAMES = SniNames(pattern="b{node_id}.kafka.example.com", bootstrap="kafka.example.com", node_ids="0-12")
BY_NAME = {"addressing": Addressing(sni=NAMES), "broker_ports": None, "advertised": ""}


def pair(ca: Ca, *hosts: str) -> CertificatePair:
    certificate, key = ca.server(hosts=hosts)
    return CertificatePair(certificate=str(certificate), key=str(key))


async def dial(gateway: Running, name: str | None, **options: Any) -> set[str]:
    """Handshake under a server name, echo something; the names of the certificate that was given."""
    context = gateway.client_context()
    context.check_hostname = False
    for key, value in options.items():
        setattr(context, key, value)
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port, ssl=context, server_hostname=name or "")
    writer.write(frame(b"x"))
    assert await reader.readexactly(5) == frame(b"x")
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    names = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    writer.close()
    await writer.wait_closed()
    return set(names.get_values_for_type(x509.DNSName))


VERSIONS = [{"maximum_version": ssl.TLSVersion.TLSv1_2}, {"minimum_version": ssl.TLSVersion.TLSv1_3}]


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_first_certificate_that_covers_the_name_is_given(tmp_path: Path, version: dict[str, Any]) -> None:
    ca = make_ca(tmp_path)
    more = (pair(ca, "a.example.com"), pair(ca, "*.example.com"), pair(ca, "b.example.com"))
    async with running(tmp_path, EchoSession, ca=ca, tls={"certificates": more}) as gateway:
        assert await dial(gateway, "a.example.com", **version) == {"a.example.com"}
        assert await dial(gateway, "B.example.com", **version) == {"*.example.com"}
        assert await dial(gateway, "localhost", **version) == {"localhost"}
        assert await dial(gateway, "elsewhere.test", **version) == {"localhost"}
        assert await dial(gateway, None, **version) == {"localhost"}


def test_clients_with_certificates_are_verified_whichever_is_given(tmp_path: Path) -> None:
    ca = make_ca(tmp_path)
    listener = listener_settings(
        ca, certificates=(pair(ca, "a.example.com"),), client_certificate="required", client_ca=str(ca.path)
    )

    async def attempts() -> None:
        tls = {"certificates": listener.tls.certificates, "client_certificate": "required", "client_ca": str(ca.path)}
        async with running(tmp_path, EchoSession, ca=ca, tls=tls) as gateway:
            for name in ("localhost", "a.example.com"):
                with pytest.raises((ssl.SSLError, OSError, asyncio.IncompleteReadError)):
                    await dial(gateway, name)
            assert set(gateway.reasons()) == {"client-certificate-missing"}
            context = gateway.client_context()
            context.load_cert_chain(*ca.client(uri="spiffe://bank/a"))
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", gateway.port, ssl=context, server_hostname="a.example.com"
            )
            writer.write(frame(b"x"))
            await reader.readexactly(5)
            assert gateway.sessions[0].peer.certificate.uris == ("spiffe://bank/a",)
            writer.close()
            await writer.wait_closed()

    asyncio.run(attempts())


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_name_means_a_broker(tmp_path: Path, version: dict[str, Any]) -> None:
    ca = make_ca(tmp_path)
    both = pair(ca, "kafka.example.com", "*.kafka.example.com")
    made: list[int | None] = []
    tls = {"certificates": (both,)}
    async with running(tmp_path, EchoSession, ca=ca, tls=tls, change=BY_NAME, factory_of=made.append) as gateway:
        for name in ("kafka.example.com", "b0.kafka.example.com", "B12.Kafka.example.com", "b0.kafka.example.com"):
            assert "kafka.example.com" in await dial(gateway, name, **version)
        assert made == [None, 0, 12]
        assert [each.peer.server_name.lower() for each in gateway.sessions][1] == "b0.kafka.example.com"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "name", ["b13.kafka.example.com", "b01.kafka.example.com", "b.kafka.example.com", "localhost", "x.test", None]
)
async def test_another_name_ends_with_the_alert(
    tmp_path: Path, name: str | None, version: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    ca = make_ca(tmp_path)
    tls = {"certificates": (pair(ca, "kafka.example.com", "*.kafka.example.com"),)}
    async with running(tmp_path, EchoSession, ca=ca, tls=tls, change=BY_NAME) as gateway:
        with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
            await dial(gateway, name, **version)
        event = await gateway.until_refused("tls-server-name-unknown")
        assert event.fields["detail"] == (name or "the client gave none")
        assert gateway.sessions == []
    assert capfd.readouterr().err == ""


async def test_a_session_of_one_broker_does_not_lead_to_another(tmp_path: Path) -> None:
    """In TLS 1.2 a resumed session brings its own name (RFC 6066, 3 leaves the check to the server)."""
    ca = make_ca(tmp_path)
    tls = {"certificates": (pair(ca, "kafka.example.com", "*.kafka.example.com"),)}
    async with running(tmp_path, EchoSession, ca=ca, tls=tls, change=BY_NAME) as gateway:

        def twice() -> list[bool]:
            import socket

            context = gateway.client_context()
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            session, reused = None, []
            for name in ("b0.kafka.example.com", "b1.kafka.example.com"):
                with (
                    socket.create_connection(("127.0.0.1", gateway.port)) as sock,
                    context.wrap_socket(sock, server_hostname=name, session=session) as stream,
                ):
                    stream.sendall(frame(b"x"))
                    stream.recv(5)
                    session = stream.session
                    reused.append(bool(stream.session_reused))
            return reused

        assert await asyncio.to_thread(twice) == [False, False]
        assert [each.peer.server_name for each in gateway.sessions] == ["b0.kafka.example.com", "b1.kafka.example.com"]


def test_every_name_must_be_covered(tmp_path: Path) -> None:
    ca = make_ca(tmp_path)
    for hosts in (["kafka.example.com"], ["*.kafka.example.com"], ["kafka.example.com", "b0.kafka.example.com"]):
        tls = listener_settings(ca, hosts).tls
        with pytest.raises(StartRefused) as caught:
            server_context(tls, NAMES.bootstrap, *NAMES.hosts(), sni=NAMES)
        assert caught.value.reason is reasons.TLS_NAME_NOT_COVERED
    several = listener_settings(ca, ["kafka.example.com"], certificates=(pair(ca, *NAMES.hosts()),)).tls
    server_context(several, NAMES.bootstrap, *NAMES.hosts(), sni=NAMES)


async def test_ipv6_alone(tmp_path: Path) -> None:
    ca = make_ca(tmp_path)
    change = {**BY_NAME, "bind": "::1"}
    tls = {"certificates": (pair(ca, "kafka.example.com", "*.kafka.example.com"),)}
    async with running(tmp_path, EchoSession, ca=ca, tls=tls, change=change) as gateway:
        reader, writer = await asyncio.open_connection(
            "::1", gateway.port, ssl=gateway.client_context(), server_hostname="b3.kafka.example.com"
        )
        writer.write(frame(b"x"))
        assert await reader.readexactly(5) == frame(b"x")
        assert str(gateway.sessions[0].peer.address) == "::1"
        writer.close()
        await writer.wait_closed()
