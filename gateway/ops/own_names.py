"""What brokers call whoever shows a certificate: its subject, and its common name where a mapping rule takes that."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509

from gateway.core.certificates import BadCertificate, describe


def names_of_certificate(file: str) -> frozenset[str]:
    """Of the first certificate in a PEM file; none of one that cannot be read, which is refused elsewhere."""
    try:
        found = describe(x509.load_pem_x509_certificates(Path(file).read_bytes())[0])
    except (OSError, ValueError, IndexError, BadCertificate):
        return frozenset()
    return frozenset({found.subject, found.common_name, *found.uris} - {""})
