"""A verified client certificate as the gateway's own value, and the principal it stands for.

The TLS engine has verified the chain before; nothing here decides whether a certificate is believed. What is taken
from it is bounded, since a CA may be talked into long names: a certificate past a bound gives no identity at all
rather than a shortened one, which could be somebody else's. Called by edge.tls after the handshake and by sessions.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from gateway.core.identity import Certificate, Principal

NAME_CHARS_MAX = 1024
"""Of a subject, and of each alternative name."""
NAMES_MAX = 64
"""Alternative names of each kind."""


class BadCertificate(Exception):
    """The certificate cannot name anybody: unreadable, without any name, or past a bound. Says which."""


def describe(certificate: x509.Certificate) -> Certificate:
    """The parts of a certificate that policies and the audit speak of. Raises BadCertificate, also for one whose
    principal would have no name, or an unprintable one."""
    try:
        subject = certificate.subject.rfc4514_string()
        common_names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        common_name = str(common_names[0].value) if common_names else ""
        uris, dns_names = _alternative_names(certificate)
        fingerprint = certificate.fingerprint(hashes.SHA256()).hex()
        not_after = certificate.not_valid_after_utc.timestamp()
    except (ValueError, TypeError, x509.DuplicateExtension) as error:
        raise BadCertificate(f"unreadable ({type(error).__name__})") from None
    for what, names in (("subject", (subject,)), ("URI name", uris), ("DNS name", dns_names)):
        if len(names) > NAMES_MAX:
            raise BadCertificate(f"more than {NAMES_MAX} {what}s")
        if any(len(name) > NAME_CHARS_MAX for name in names):
            raise BadCertificate(f"a {what} of more than {NAME_CHARS_MAX} characters")
    found = Certificate(subject, common_name, uris, dns_names, fingerprint, not_after)
    if not _name(found) or not _name(found).isprintable():
        raise BadCertificate("no printable URI name or subject")
    return found


def _alternative_names(certificate: x509.Certificate) -> tuple[tuple[str, ...], tuple[str, ...]]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return (), ()
    return (
        tuple(names.get_values_for_type(x509.UniformResourceIdentifier)),
        tuple(names.get_values_for_type(x509.DNSName)),
    )


def _name(certificate: Certificate) -> str:
    return certificate.uris[0] if certificate.uris else certificate.subject


def principal(certificate: Certificate, client_ca_name: str) -> Principal:
    """First URI name (a SPIFFE id, say), else the subject; `describe` has seen to it that it is one."""
    return Principal("certificate", client_ca_name, _name(certificate))
