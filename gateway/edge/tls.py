"""Server TLS contexts from a listener's settings: strict, or not at all.

TLS 1.3 and 1.2 with AEAD suites in the server's order (TLS 1.2 with ECDHE only), no renegotiation, no compression.
The key exchange groups are OpenSSL's own order, whose first is the hybrid X25519MLKEM768 since OpenSSL 3.5; pyOpenSSL
has no setter for them, so a test asks `get_group_name`. Session tickets, of TLS 1.3 alone, are of edge.tickets' keys;
listeners that ask for client certificates give none, so that every connection's certificate is verified anew.

A listener may have several certificates: the name that a client asks for (SNI) chooses, see `edge.names`. Where two for
the same names have keys of two kinds, a client that can verify ECDSA is shown that one: the order of signature
algorithms (TLS 1.3) and of suites (1.2) is the server's.

Refused, each as a StartRefused with its reason: files that cannot be read, a key that others can read, a key of another
certificate, a certificate that has expired, names of the listener that no certificate is for, a revocation list that
is past its time. Called by ops for each listener, at the start and when its files have changed.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from OpenSSL import SSL, crypto

from gateway.core.settings import CertificatePair, ListenerTls, SniNames
from gateway.edge import reasons
from gateway.edge.names import Chooser, choose_by_name, covered, none_of_old, together
from gateway.edge.private_files import exposed
from gateway.edge.reasons import StartRefused
from gateway.edge.tickets import TICKET_SECONDS, ServerContext, Versions

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
    """What the verification of a client's chain came to; the connection's app data."""

    error: str = ""
    """OpenSSL's words for the first certificate that was not believed, with its depth."""
    unknown_name: str | None = None
    """The server name that a listener with names did not know; "" for none given."""


def server_context(
    settings: ListenerTls, *names: str, sni: SniNames | None = None, alpn: tuple[str, ...] = (), listener: str = ""
) -> ServerContext:
    """`names`: every name that clients dial. `sni`: only these names are served. `alpn`: protocols to agree upon by
    RFC 7301, the best first; a client that names none of them goes on without. Tickets are good for the `listener` of
    this name. Raises StartRefused."""
    loaded = [_load(pair) for pair in settings.pairs]
    _check_names([each.names for each in loaded], settings, names)
    groups = together([kind_of(each.leaf) for each in loaded], [each.names for each in loaded])
    contexts = []
    for group in groups:
        context = _context(settings.versions)
        _give_tickets(context, settings, sni, listener)
        if alpn:
            context.set_alpn_select_callback(partial(_agree, [each.encode("ascii") for each in alpn]))
        if settings.client_certificate != "none":
            _ask_for_certificates(context, settings)
        for number in group:
            _use(context, loaded[number])
        contexts.append(context)
    if sni is not None or len(contexts) > 1:
        choose_by_name(contexts[0], Chooser(contexts, [loaded[first].names for first, *_ in groups], sni))
    elif not alpn and settings.client_certificate == "none":
        contexts[0].quiet = True
    contexts[0].adapted = settings.records == "adapted"
    return contexts[0]


def stem(versions: Versions) -> ServerContext:
    """What connections of listeners with these versions begin with, see edge.tickets."""
    context = _context(versions)
    context.set_timeout(TICKET_SECONDS)
    return context


def stem_versions(settings: ListenerTls) -> Versions:
    """Which stem a listener's connections begin with."""
    return tuple(sorted(settings.versions))


def _give_tickets(context: ServerContext, settings: ListenerTls, sni: SniNames | None, listener: str) -> None:
    """A broker's name and a certificate are of this handshake, not of an earlier one. With TLS 1.2 alone there are no
    tickets at all; beside 1.3 each handshake says."""
    if sni is not None or settings.client_certificate != "none" or "1.3" not in settings.versions:
        context.set_options(SSL.OP_NO_TICKET)
        return
    none_of_old(context)
    context.versions = stem_versions(settings)
    context.set_timeout(TICKET_SECONDS)
    context.set_session_id(hashlib.sha256(listener.encode()).digest())


def _context(versions: Sequence[str]) -> ServerContext:
    context = ServerContext(SSL.TLS_SERVER_METHOD)
    strict(context, versions)
    context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE | SSL.OP_SINGLE_ECDH_USE)
    return context


def strict(context: SSL.Context, versions: Sequence[str]) -> None:
    """What contexts of both directions share: versions, suites, and how the channels want it."""
    context.set_min_proto_version(min(_VERSIONS[version] for version in versions))
    context.set_max_proto_version(max(_VERSIONS[version] for version in versions))
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    context.set_cipher_list(SUITES_12)
    context.set_tls13_ciphersuites(SUITES_13)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.clear_mode(_MODE_ENABLE_PARTIAL_WRITE)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)


def _agree(ours: list[bytes], _: SSL.Connection, theirs: list[bytes]) -> Any:
    """The first protocol of ours that the client named."""
    return next((each for each in ours if each in theirs), SSL.NO_OVERLAPPING_PROTOCOLS)


def certificate_leaves(settings: ListenerTls) -> tuple[x509.Certificate, ...]:
    """The certificates themselves, in the order of the settings. Raises StartRefused."""
    return tuple(_certificates(pair.certificate, "certificate")[0] for pair in settings.pairs)


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A certificate with its key, of which each is as it should be."""

    pair: CertificatePair
    leaf: x509.Certificate
    key: PrivateKeyTypes
    names: frozenset[str]


def _load(pair: CertificatePair) -> _Loaded:
    """Raises StartRefused."""
    chain = _certificates(pair.certificate, "certificate")
    if len(chain) > CHAIN_MAX:
        raise StartRefused(reasons.TLS_FILE_UNREADABLE, f"{pair.certificate} holds over {CHAIN_MAX} certificates")
    _check_validity(chain[0], pair.certificate)
    data = _read(pair.key, "key")
    _check_permissions(pair.key)
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError) as error:
        raise StartRefused(
            reasons.TLS_FILE_UNREADABLE, f"key {pair.key} holds no key that can be read ({type(error).__name__})"
        ) from None
    if _public(key.public_key()) != _public(chain[0].public_key()):
        raise StartRefused(reasons.TLS_KEY_MISMATCH, f"{pair.key} and {pair.certificate}")
    return _Loaded(pair, chain[0], key, names_of(chain[0]))


def _use(context: ServerContext, loaded: _Loaded) -> None:
    """One for each kind of key, with a chain of its own. OpenSSL reads it from the file: pyOpenSSL's other call gives
    one chain to all. If the file has changed since, the key does not fit, or its change is seen.

    Raises StartRefused."""
    file = loaded.pair.certificate
    try:
        context.use_certificate_chain_file(file)
        context.use_privatekey(loaded.key)  # type: ignore[arg-type]  # of the kinds in the stubs, or TypeError
        context.check_privatekey()
    except (SSL.Error, TypeError) as error:
        raise StartRefused(reasons.TLS_KEY_WEAK, f"{file}: {error_words(error)}") from None


def kind_of(leaf: x509.Certificate) -> object:
    """Which kind of key it is for: a context has one certificate of each."""
    return type(leaf.public_key())


def _public(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


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
    if exposed(mode):
        raise StartRefused(reasons.TLS_KEY_EXPOSED, f"{path} has mode {mode:04o}; chmod 0600 {path}")


def _check_validity(leaf: x509.Certificate, path: str) -> None:
    now = datetime.datetime.now(datetime.UTC)
    begin, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    if not begin <= now <= end:
        detail = f"{path} is valid from {begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC"
        raise StartRefused(reasons.TLS_CERTIFICATE_EXPIRED, detail)


def names_of(leaf: x509.Certificate) -> frozenset[str]:
    """What a certificate is for. RFC 9525: subject alternative names alone count."""
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    addresses = names.get_values_for_type(x509.IPAddress)
    return frozenset([*(name.lower() for name in names.get_values_for_type(x509.DNSName)), *map(str, addresses)])


def _check_names(of_each: list[frozenset[str]], settings: ListenerTls, names: tuple[str, ...]) -> None:
    found = frozenset().union(*of_each)
    for name in names:
        if not covered(found, name):
            files = ", ".join(pair.certificate for pair in settings.pairs)
            shown = ", ".join(sorted(found)) or "no subject alternative name"
            raise StartRefused(reasons.TLS_NAME_NOT_COVERED, f"{files} for {shown}; clients dial {name}")


def _ask_for_certificates(context: SSL.Context, settings: ListenerTls) -> None:
    assert settings.client_ca is not None
    authorities = _certificates(settings.client_ca, "client_ca")
    store = context.get_cert_store()
    assert store is not None
    for each in authorities:
        store.add_cert(crypto.X509.from_cryptography(each))
        context.add_client_ca(each)
    if settings.client_crl is not None:
        for each_list in revocation_lists(settings.client_crl):
            store.add_crl(each_list)
        store.set_flags(crypto.X509StoreFlags.CRL_CHECK | crypto.X509StoreFlags.CRL_CHECK_ALL)
    context.set_verify_depth(CHAIN_MAX)
    mode = SSL.VERIFY_PEER | SSL.VERIFY_CLIENT_ONCE
    if settings.client_certificate == "required":
        mode |= SSL.VERIFY_FAIL_IF_NO_PEER_CERT
    context.set_verify(mode, _verify)
    context.set_session_id(os.urandom(32))
    context.set_options(SSL.OP_NO_TICKET)


def revocation_lists(path: str) -> list[x509.CertificateRevocationList]:
    """The lists in a PEM file, all within their time. Raises StartRefused."""
    data = _read(path, "client_crl")
    parts = re.findall(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", data, re.DOTALL)
    try:
        found = [x509.load_pem_x509_crl(part) for part in parts]
    except ValueError:
        found = []
    if not found:
        raise StartRefused(reasons.TLS_FILE_UNREADABLE, f"client_crl {path} holds no readable revocation list")
    now = datetime.datetime.now(datetime.UTC)
    for each in found:
        if each.next_update_utc is not None and each.next_update_utc <= now:
            end = f"{each.next_update_utc:%Y-%m-%d %H:%M} UTC"
            detail = f"{path}, of {each.issuer.rfc4514_string()}, was to be renewed by {end}"
            raise StartRefused(reasons.TLS_CRL_STALE, detail)
    return found


def _verify(connection: SSL.Connection, _: crypto.X509, error: int, depth: int, believed: int) -> bool:
    """Never more lenient than OpenSSL: only remember what it said. (What is returned as true clears the error.)"""
    if believed == 1 and error == 0:
        return True
    verdict = connection.get_app_data()
    if isinstance(verdict, ClientVerdict) and not verdict.error:
        verdict.error = f"{verify_words(error)} (certificate {depth} of the chain, 0 the leaf)"
    return False


def verify_words(error: int) -> str:
    return _VERIFY_WORDS.get(error, "verification error") + f" [{error}]"


_VERIFY_WORDS = {
    SSL.X509VerificationCodes.ERR_CERT_HAS_EXPIRED: "the certificate has expired",
    SSL.X509VerificationCodes.ERR_CERT_REVOKED: "the certificate has been revoked",
    SSL.X509VerificationCodes.ERR_UNABLE_TO_GET_CRL: "client_crl has no revocation list of the certificate's issuer",
    SSL.X509VerificationCodes.ERR_CRL_HAS_EXPIRED: "the revocation list in client_crl is past its time",
    SSL.X509VerificationCodes.ERR_CRL_SIGNATURE_FAILURE: "the revocation list in client_crl is not its CA's",
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
