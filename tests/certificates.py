"""A certificate authority for tests: makes server and client certificates into a temporary folder.

    ca = make_ca(tmp_path)
    certificate, key = ca.server("gateway", hosts=["localhost", "127.0.0.1"])
    certificate, key = ca.client(uri="spiffe://bank/orders", common_name="orders")

Keys are EC P-256 unless `rsa=True`. Everything is PEM; `ca.path` is what the other side trusts.
"""

from __future__ import annotations

import datetime
import ipaddress
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
_count = itertools.count(1)


@dataclass
class Ca:
    """An authority and the folder it writes to."""

    folder: Path
    key: Key
    certificate: x509.Certificate
    path: Path
    """The authority's own certificate."""

    def server(
        self,
        name: str = "server",
        hosts: Sequence[str] = ("localhost", "127.0.0.1"),
        *,
        rsa: bool = False,
        days: float = 30,
        begins: float = 0,
    ) -> tuple[Path, Path]:
        """A certificate for these host names and addresses. Returns the paths of certificate and key."""
        names = [_host(host) for host in hosts]
        return self._issue(name, name, names, ExtendedKeyUsageOID.SERVER_AUTH, rsa, days, begins)

    def client(
        self,
        uri: str | None = None,
        common_name: str = "client",
        *,
        dns_names: Sequence[str] = (),
        rsa: bool = False,
        days: float = 30,
    ) -> tuple[Path, Path]:
        """A client's certificate, with a URI name if asked for. Returns the paths of certificate and key."""
        names: list[x509.GeneralName] = [x509.DNSName(name) for name in dns_names]
        if uri is not None:
            names.append(x509.UniformResourceIdentifier(uri))
        return self._issue("client", common_name, names, ExtendedKeyUsageOID.CLIENT_AUTH, rsa, days)

    def _issue(
        self,
        stem: str,
        common_name: str,
        names: list[x509.GeneralName],
        usage: x509.ObjectIdentifier,
        with_rsa: bool,
        days: float,
        begins: float = 0,
    ) -> tuple[Path, Path]:
        key = _new_key(with_rsa)
        builder = _builder(_subject(common_name), self.certificate.subject, key, days, begins)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        builder = (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(_usage(ca=False), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        certificate = builder.sign(self.key, hashes.SHA256())
        return _write(self.folder, f"{stem}-{next(_count)}", certificate, key)


def make_ca(tmp: Path, common_name: str = "Test CA", *, rsa: bool = False) -> Ca:
    """A new self-signed authority that writes into `tmp`."""
    key = _new_key(rsa)
    subject = _subject(common_name)
    certificate = (
        _builder(subject, subject, key, days=60)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    tmp.mkdir(parents=True, exist_ok=True)
    path, _ = _write(tmp, f"ca-{next(_count)}", certificate, key)
    return Ca(tmp, key, certificate, path)


def _new_key(with_rsa: bool) -> Key:
    if with_rsa:
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return ec.generate_private_key(ec.SECP256R1())


def _subject(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: Key, days: float, begins: float = 0
) -> x509.CertificateBuilder:
    """Valid since an hour ago, or from so many days later on; a negative number of days makes one that has expired."""
    end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    begin = min(datetime.datetime.now(datetime.UTC), end) - datetime.timedelta(hours=1)
    begin += datetime.timedelta(days=begins)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, key_cert_sign=ca, crl_sign=ca, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write(folder: Path, stem: str, certificate: x509.Certificate, key: Key) -> tuple[Path, Path]:
    certificate_path, key_path = folder / f"{stem}.pem", folder / f"{stem}-key.pem"
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.touch(mode=0o600)
    key_path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate_path, key_path
