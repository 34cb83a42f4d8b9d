"""Server TLS contexts from a listener's settings: strict, or not at all.

TLS 1.3 and 1.2 with AEAD suites in the server's order (TLS 1.2 with ECDHE only), no renegotiation, no compression.
The key exchange groups are OpenSSL's own order, whose first is the hybrid X25519MLKEM768 since OpenSSL 3.5; pyOpenSSL
has no setter for them, so a test asks `get_group_name`. Session tickets are the process's own; listeners that ask for
client certificates give none, so that every connection's certificate is verified anew.

Refused at start, each as a StartRefused with its reason: files that cannot be read, a key that others can read, a key
of another certificate, a certificate that has expired or is for another name than the advertised one. Called by ops
once per listener.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import stat
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL, crypto

from gateway.core.settings import ListenerTls
from gateway.edge import reasons
from gateway.edge.reasons import StartRefused

SUITES_13 = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
SUITES_12 = (
    b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    b"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    b"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)
CHAIN_MAX = 10
"""Certificates of a chain, sent or verified."""
PEM_BYTES_MAX = 1 << 20
_MODE_ENABLE_PARTIAL_WRITE = 1
"""Set by pyOpenSSL; with it each call writes one record only. Without, a write is taken whole or not at all, and moves
(SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER stays set); `streams.Stream.write` asks its callers for what that needs."""
_VERSIONS = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}


@dataclass(slots=True)
class ClientVerdict:
    """What the verification of a client's chain came to, and its handshake's alerts; the connection's app data."""

    error: str = ""
    """OpenSSL's words for the first certificate that was not believed, with its depth."""
    alert_sent: int = -1
    alert_received: int = -1


def server_context(settings: ListenerTls, advertised: str) -> SSL.Context:
    """Raises StartRefused."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(min(_VERSIONS[version] for version in settings.versions))
    context.set_max_proto_version(max(_VERSIONS[version] for version in settings.versions))
    context.set_options(
        SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE | SSL.OP_SINGLE_ECDH_USE
    )
    context.set_cipher_list(SUITES_12)
    context.set_tls13_ciphersuites(SUITES_13)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.clear_mode(_MODE_ENABLE_PARTIAL_WRITE)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_info_callback(_note_alerts)
    _load_certificate(context, settings, advertised)
    if settings.client_certificate != "none":
        _ask_for_certificates(context, settings)
    return context


def _load_certificate(context: SSL.Context, settings: ListenerTls, advertised: str) -> None:
    chain = _certificates(settings.certificate, "certificate")
    if len(chain) > CHAIN_MAX:
        raise StartRefused(reasons.TLS_FILE_UNREADABLE, f"{settings.certificate} holds over {CHAIN_MAX} certificates")
    _check_validity(chain[0], settings.certificate)
    _check_name(chain[0], settings.certificate, advertised)
    data = _read(settings.key, "key")
    _check_permissions(settings.key)
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError) as error:
        raise StartRefused(
            reasons.TLS_FILE_UNREADABLE, f"key {settings.key} holds no key that can be read ({type(error).__name__})"
        ) from None
    if _public(key.public_key()) != _public(chain[0].public_key()):
        raise StartRefused(reasons.TLS_KEY_MISMATCH, f"{settings.key} and {settings.certificate}")
    try:
        context.use_certificate(chain[0])
        for each in chain[1:]:
            context.add_extra_chain_cert(each)
        context.use_privatekey(key)  # type: ignore[arg-type]
        context.check_privatekey()
    except (SSL.Error, TypeError) as error:
        raise StartRefused(reasons.TLS_KEY_WEAK, f"{settings.certificate}: {error_words(error)}") from None


def _public(key: object) -> bytes:
    return key.public_bytes(  # type: ignore[attr-defined, no-any-return]
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _read(path: str, what: str) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(PEM_BYTES_MAX + 1)
    except OSError as error:
        raise StartRefused(reasons.TLS_FILE_UNREADABLE, f"{what} {path}: {error.strerror}") from None
    if len(data) > PEM_BYTES_MAX:
        raise StartRefused(reasons.TLS_FILE_UNREADABLE, f"{what} {path} is over {PEM_BYTES_MAX} bytes")
    return data


def _certificates(path: str, what: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_read(path, what))
    except ValueError:
        raise StartRefused(reasons.TLS_FILE_UNREADABLE, f"{what} {path} holds no readable certificate") from None


def _check_permissions(path: str) -> None:
    """Others may do nothing with a key; its group may read it."""
    mode = stat.S_IMODE(os.stat(path).st_mode)
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        raise StartRefused(reasons.TLS_KEY_EXPOSED, f"{path} has mode {mode:04o}; chmod 0600 {path}")


def _check_validity(leaf: x509.Certificate, path: str) -> None:
    now = datetime.datetime.now(datetime.UTC)
    begin, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    if not begin <= now <= end:
        detail = f"{path} is valid from {begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC"
        raise StartRefused(reasons.TLS_CERTIFICATE_EXPIRED, detail)


def _check_name(leaf: x509.Certificate, path: str, advertised: str) -> None:
    """RFC 9525: subject alternative names alone count; a wildcard stands for the whole leftmost label."""
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        hosts = [name.lower() for name in names.get_values_for_type(x509.DNSName)]
        addresses = names.get_values_for_type(x509.IPAddress)
    except x509.ExtensionNotFound:
        hosts, addresses = [], []
    try:
        covered = ipaddress.ip_address(advertised.strip("[]")) in addresses
    except ValueError:
        name = advertised.lower().rstrip(".")
        _, _, parent = name.partition(".")
        covered = name in hosts or (parent.count(".") >= 1 and f"*.{parent}" in hosts)
    if not covered:
        found = ", ".join([*hosts, *map(str, addresses)]) or "no subject alternative name"
        raise StartRefused(reasons.TLS_NAME_NOT_COVERED, f"{path} is for {found}; advertised is {advertised}")


def _ask_for_certificates(context: SSL.Context, settings: ListenerTls) -> None:
    assert settings.client_ca is not None
    authorities = _certificates(settings.client_ca, "client_ca")
    store = context.get_cert_store()
    assert store is not None
    for each in authorities:
        store.add_cert(crypto.X509.from_cryptography(each))
        context.add_client_ca(each)
    context.set_verify_depth(CHAIN_MAX)
    mode = SSL.VERIFY_PEER | SSL.VERIFY_CLIENT_ONCE
    if settings.client_certificate == "required":
        mode |= SSL.VERIFY_FAIL_IF_NO_PEER_CERT
    context.set_verify(mode, _verify)
    context.set_session_id(os.urandom(32))
    context.set_options(SSL.OP_NO_TICKET)


def _verify(connection: SSL.Connection, _: crypto.X509, error: int, depth: int, believed: int) -> bool:
    """Never more lenient than OpenSSL: only remember what it said. (What is returned as true clears the error.)"""
    if believed == 1 and error == 0:
        return True
    verdict = connection.get_app_data()
    if isinstance(verdict, ClientVerdict) and not verdict.error:
        verdict.error = f"{verify_words(error)} (certificate {depth} of the chain, 0 the leaf)"
    return False


def _note_alerts(connection: SSL.Connection, where: int, value: int) -> None:
    if where & SSL.SSL_CB_ALERT:
        verdict = connection.get_app_data()
        if isinstance(verdict, ClientVerdict):
            if where & SSL.SSL_CB_READ:
                verdict.alert_received = value & 0xFF
            else:
                verdict.alert_sent = value & 0xFF


def verify_words(error: int) -> str:
    return _VERIFY_WORDS.get(error, "verification error") + f" [{error}]"


_VERIFY_WORDS = {
    SSL.X509VerificationCodes.ERR_CERT_HAS_EXPIRED: "the certificate has expired",
    SSL.X509VerificationCodes.ERR_CERT_NOT_YET_VALID: "the certificate is not valid yet",
    SSL.X509VerificationCodes.ERR_UNABLE_TO_GET_ISSUER_CERT: "the issuer is unknown",
    SSL.X509VerificationCodes.ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "the issuer is not in client_ca",
    SSL.X509VerificationCodes.ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE: "the issuer is not in client_ca",
    SSL.X509VerificationCodes.ERR_DEPTH_ZERO_SELF_SIGNED_CERT: "the certificate is self-signed",
    SSL.X509VerificationCodes.ERR_SELF_SIGNED_CERT_IN_CHAIN: "the chain ends at a CA that is not in client_ca",
    SSL.X509VerificationCodes.ERR_CERT_CHAIN_TOO_LONG: "the chain is too long",
    SSL.X509VerificationCodes.ERR_INVALID_CA: "an issuer of the chain is no CA",
    SSL.X509VerificationCodes.ERR_PATH_LENGTH_EXCEEDED: "the chain is longer than its CA permits",
    SSL.X509VerificationCodes.ERR_INVALID_PURPOSE: "the certificate is not for TLS clients",
    SSL.X509VerificationCodes.ERR_CERT_SIGNATURE_FAILURE: "a signature of the chain is wrong",
}


def error_words(error: Exception) -> str:
    """The TLS library's words, for a detail and never to decide by."""
    if isinstance(error, SSL.Error) and error.args and isinstance(error.args[0], list):
        return "; ".join(dict.fromkeys(str(each[-1]) for each in error.args[0]))[:200] or type(error).__name__
    return type(error).__name__
