"""Client certificates: what is taken from them, and the name they give."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.core.certificates import NAME_CHARS_MAX, NAMES_MAX, BadCertificate, describe, principal
from tests.certificates import make_ca

ALICE = [(NameOID.COMMON_NAME, "alice")]


def certificate(names: list[x509.GeneralName], subject: list[tuple[x509.ObjectIdentifier, str]]) -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(oid, value) for oid, value in subject])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256())


def test_what_a_certificate_says(tmp_path: Path) -> None:
    path, _ = make_ca(tmp_path).client(uri="spiffe://bank/orders", common_name="orders", dns_names=["orders.bank"])
    parsed = x509.load_pem_x509_certificate(path.read_bytes())
    found = describe(parsed)
    assert found.subject == "CN=orders"
    assert found.common_name == "orders"
    assert found.uris == ("spiffe://bank/orders",)
    assert found.dns_names == ("orders.bank",)
    assert found.fingerprint == parsed.fingerprint(hashes.SHA256()).hex()
    assert found.not_after == parsed.not_valid_after_utc.timestamp()
    assert str(principal(found, "clients")) == "certificate:clients:spiffe://bank/orders"


def test_without_a_uri_the_subject_is_the_name_and_cannot_pass_for_another() -> None:
    found = describe(certificate([], [(NameOID.ORGANIZATION_NAME, "Bank"), (NameOID.COMMON_NAME, "a,O=Other")]))
    assert principal(found, "clients").name == r"CN=a\,O=Other,O=Bank"


@pytest.mark.parametrize("names", [[], [x509.DNSName("host")], [x509.UniformResourceIdentifier("spiffe://a\nb")]])
def test_a_certificate_that_names_nobody(names: list[x509.GeneralName]) -> None:
    with pytest.raises(BadCertificate, match="no printable"):
        describe(certificate(names, []))


def test_bounds_at_the_maximum_and_one_past_it() -> None:
    longest = "spiffe://" + "a" * (NAME_CHARS_MAX - 9)
    assert describe(certificate([x509.UniformResourceIdentifier(longest)], [])).uris == (longest,)
    with pytest.raises(BadCertificate, match="characters"):
        describe(certificate([x509.UniformResourceIdentifier(longest + "a")], []))
    many: list[x509.GeneralName] = [x509.DNSName(f"host{number}") for number in range(NAMES_MAX)]
    assert len(describe(certificate(many, ALICE)).dns_names) == NAMES_MAX
    with pytest.raises(BadCertificate, match="more than"):
        describe(certificate([*many, x509.DNSName("one")], ALICE))
