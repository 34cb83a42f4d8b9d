"""The files a configuration refers to: there, readable, and what they should be.

A certificate and its key are parsed and compared; the advertised host name is looked for in the certificate, since
every client would otherwise refuse it; CA files hold certificates; a key set holds at least one key. Only
``gateway check`` and the start of ``gateway run`` come here.
"""

from __future__ import annotations

import ipaddress
import os
import stat
import time
from collections.abc import Mapping
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from gateway.core.documents import Document, Mistake, spell
from gateway.core.documents import Path as Place
from gateway.core.keys import BadKeySet, parse_jwks
from gateway.core.settings import Backend, BackendTls, Listener, Web
from gateway.edge import private_files
from gateway.edge.names import together
from gateway.edge.reasons import StartRefused
from gateway.edge.tls import kind_of, revocation_lists
from gateway.ops import admin_token
from gateway.ops.config_parts import Parts

PEM_BYTES_MAX = 1024 * 1024
EXPIRY_WARNING_SECONDS = 14 * 86400


class Checker:
    """Collects what is wrong with the files of one configuration."""

    def __init__(self, document: Document, wall: float, mistakes: list[Mistake], warnings: list[str]) -> None:
        self.document = document
        self.wall = wall
        self.mistakes = mistakes
        self.warnings = warnings

    def wrong(self, place: Place, found: str, expected: str) -> None:
        self.mistakes.append(Mistake(self.document.file, self.document.line(place), spell(place), found, expected))

    def content(self, place: Place, file: str) -> bytes | None:
        """The file's bytes, None (and a mistake) if it cannot be read or is absurdly large."""
        try:
            with Path(file).open("rb") as stream:
                content = stream.read(PEM_BYTES_MAX + 1)
        except OSError as error:
            self.wrong(place, f"{file}: {error.strerror or type(error).__name__}", "a readable file")
            return None
        if len(content) > PEM_BYTES_MAX:
            self.wrong(place, f"{file}: over {PEM_BYTES_MAX} bytes", "a smaller file")
            return None
        return content

    def certificates(self, place: Place, file: str) -> list[x509.Certificate]:
        content = self.content(place, file)
        if content is None:
            return []
        try:
            return x509.load_pem_x509_certificates(content)
        except ValueError:
            self.wrong(place, f"{file}: no certificates", "certificates in PEM")
            return []

    def key(self, place: Place, file: str, leaf: x509.Certificate | None) -> None:
        content = self.content(place, file)
        if content is None:
            return
        mode = stat.S_IMODE(os.stat(file).st_mode)
        if private_files.exposed(mode):
            self.wrong(place, f"{file} with mode {mode:04o}", private_files.EXPECTED)
        try:
            key = serialization.load_pem_private_key(content, None)
        except TypeError:
            self.wrong(place, f"{file}: a key under a passphrase", "a key without one, guarded by its file mode")
            return
        except Exception:  # the parser's own errors are of several unrelated types
            self.wrong(place, f"{file}: no private key", "a private key in PEM")
            return
        if leaf is not None and _spki(key.public_key()) != _spki(leaf.public_key()):
            self.wrong(place, f"{file}: the key of another certificate", "the key of the certificate beside it")

    def validity(self, place: Place, leaf: x509.Certificate) -> None:
        left = leaf.not_valid_after_utc.timestamp() - self.wall
        if leaf.not_valid_before_utc.timestamp() > self.wall:
            begins = leaf.not_valid_before_utc.strftime("%Y-%m-%d")
            self.wrong(
                place, f"a certificate that begins on {begins}", "one that is valid now, or a clock that is right"
            )
        elif left <= 0:
            self.wrong(place, f"a certificate that ended on {_day(leaf)}", "one that is valid now")
        elif left < EXPIRY_WARNING_SECONDS:
            self.warnings.append(f"{spell(place)}: the certificate ends on {_day(leaf)}")

    def pairs(self, at: Place, listener: Listener) -> None:
        """Each certificate with its key, and every name that clients dial in one of them."""
        leaves = []
        found: dict[int, x509.Certificate] = {}
        for number, pair in enumerate(listener.tls.pairs):
            place: Place = at if number == 0 else (*at, "certificates", number - 1)
            chain = self.certificates((*place, "certificate"), pair.certificate)
            if chain:
                self.validity((*place, "certificate"), chain[0])
                leaves.append(chain[0])
                found[number] = chain[0]
            self.key((*place, "key"), pair.key, chain[0] if chain else None)
        self._shown(at, found)
        dialled = listener.host_names()
        bare = [name for name in dialled if not any(covers(leaf, name) for leaf in leaves)]
        if leaves and bare:
            names = ", ".join(name for leaf in leaves for name in names_of(leaf)) or "no host name"
            more = f" and {len(bare) - 1} more names" if len(bare) > 1 else ""
            self.wrong((*at, "certificate"), f"a certificate for {names}", f"one for {bare[0]}{more}")

    def _shown(self, at: Place, found: Mapping[int, x509.Certificate]) -> None:
        """Warn of certificates that no client gets. `found`: by number, those that could be read."""
        leaves = list(found.values())
        numbers = list(found)
        groups = together(
            [kind_of(leaf) for leaf in leaves], [frozenset(map(str.lower, names_of(leaf))) for leaf in leaves]
        )
        shown = {index for group in groups for index in group}
        for index in range(len(leaves)):
            if index not in shown and numbers[index]:
                place = (*at, "certificates", numbers[index] - 1, "certificate")
                self.warnings.append(
                    f"{spell(place)}: no client gets it: others have all of its names, and its kind of key for them"
                )

    def revocation_lists(self, place: Place, file: str) -> None:
        try:
            revocation_lists(file)
        except StartRefused as refused:
            self.wrong(place, refused.detail, refused.reason.remedy)

    def secret(self, at: Place, stem: str, file: str | None, variable: str | None) -> None:
        """A secret of the gateway's own, by the rules that the start has."""
        place = (*at, f"{stem}_file" if file is not None else f"{stem}_env")
        try:
            private_files.secret(file, variable)
        except StartRefused as refused:
            self.wrong(place, refused.detail, refused.reason.remedy)

    def key_set(self, place: Place, file: str) -> None:
        content = self.content(place, file)
        if content is None:
            return
        try:
            found = parse_jwks(content)
        except BadKeySet as error:
            self.wrong(place, f"{file}: {error}", "a JSON Web Key Set with at least one usable key")
            return
        self.warnings += [f"{spell(place)}: {file}: {note}" for note in found.notes]


def check(document: Document, parts: Parts, wall: float, mistakes: list[Mistake], warnings: list[str]) -> None:
    """Look at every file of the sound parts; add to `mistakes` and `warnings`."""
    checker = Checker(document, wall, mistakes, warnings)
    for index, listener in parts.listeners:
        at: Place = ("listeners", index, "tls")
        checker.pairs(at, listener)
        if listener.proxy_protocol is not None and not all(each.prefixlen for each in listener.proxy_protocol.networks):
            line = document.line(("listeners", index, "proxy_protocol"))
            warnings.append(
                f"{document.file}:{line}: listener {listener.name} believes a PROXY protocol header from anybody: "
                "whoever connects chooses the address that limits, bindings and audit see"
            )
        if listener.tls.client_crl is not None:
            checker.revocation_lists((*at, "client_crl"), listener.tls.client_crl)
        if listener.tls.client_ca is not None:
            checker.certificates((*at, "client_ca"), listener.tls.client_ca)
    for index, backend in parts.backends:
        if backend.tls.ca is not None:
            checker.certificates(("backends", index, "tls", "ca"), backend.tls.ca)
        if backend.web is not None:
            web_service(checker, ("backends", index, "web"), backend.name, backend.web)
        own_account(checker, ("backends", index), backend)
        if backend.insecure_plaintext:
            line = document.line(("backends", index, "insecure_plaintext"))
            warnings.append(
                f"{document.file}:{line}: backend {backend.name} is reached in plain text (insecure_plaintext): "
                "whoever is on the way reads and changes every record"
            )
    for index, issuer in parts.issuers:
        place: Place = ("issuers", index, "keys")
        if issuer.keys.file is not None:
            checker.key_set((*place, "file"), issuer.keys.file)
        if issuer.keys.ca is not None:
            checker.certificates((*place, "ca"), issuer.keys.ca)
    _check_admin(checker, parts)
    output = _output(document)
    if output is not None and Path(output).is_dir():
        checker.wrong(("audit", "output"), f"{output}: a folder", "a file, or stdout")
    if output is not None and not os.access(Path(output).parent, os.W_OK):
        checker.wrong(
            ("audit", "output"), f"{output}: its folder cannot be written to", "a folder to write in, or stdout"
        )


def _check_admin(checker: Checker, parts: Parts) -> None:
    admin = parts.admin
    if admin is None:
        return
    if admin.tls is not None:
        chain = checker.certificates(("admin", "tls", "certificate"), admin.tls.certificate)
        if chain:
            checker.validity(("admin", "tls", "certificate"), chain[0])
        checker.key(("admin", "tls", "key"), admin.tls.key, chain[0] if chain else None)
    if admin.token_file is not None:
        try:
            admin_token.read(Path(admin.token_file))
        except admin_token.Unusable as error:
            checker.wrong(("admin", "token_file"), error.found, error.expected)


def own_certificate(checker: Checker, at: Place, tls: BackendTls) -> None:
    if tls.certificate is not None and tls.key is not None:
        chain = checker.certificates((*at, "certificate"), tls.certificate)
        if chain:
            checker.validity((*at, "certificate"), chain[0])
        checker.key((*at, "key"), tls.key, chain[0] if chain else None)


def web_service(checker: Checker, at: Place, backend: str, web: Web) -> None:
    """How the brokers' HTTP interface is reached."""
    if web.tls is not None:
        if web.tls.ca is not None:
            checker.certificates((*at, "tls", "ca"), web.tls.ca)
        own_certificate(checker, (*at, "tls"), web.tls)
    if web.insecure_plaintext:
        line = checker.document.line((*at, "insecure_plaintext"))
        checker.warnings.append(
            f"{checker.document.file}:{line}: the web service of backend {backend} is reached in plain text "
            "(insecure_plaintext): whoever is on the way reads and changes every request, and has the gateway's token"
        )


def own_account(checker: Checker, at: Place, backend: Backend) -> None:
    """What the gateway shows to brokers: its certificate's files, and its account's secret."""
    account = backend.account
    own_certificate(checker, (*at, "tls"), backend.tls)
    if account is None:
        return
    at = (*at, "account")
    for kind, each in (("plain", account.plain), ("scram", account.scram)):
        if each is not None:
            checker.secret((*at, kind), "password", each.password_file, each.password_env)
    oauth = account.oauth
    if oauth is not None and oauth.token_file is not None:
        checker.secret((*at, "oauth"), "token", oauth.token_file, None)
    elif oauth is not None:
        checker.secret((*at, "oauth"), "client_secret", oauth.client_secret_file, oauth.client_secret_env)
        if oauth.ca is not None:
            checker.certificates((*at, "oauth", "ca"), oauth.ca)
    if backend.insecure_plaintext:
        line = checker.document.line(at)
        words = "its exchange can be recorded and guessed at" if account.scram else "whoever is on the way has it"
        checker.warnings.append(
            f"{checker.document.file}:{line}: backend {backend.name} is shown the gateway's account in plain text: "
            + words
        )


def _output(document: Document) -> str | None:
    audit = document.data.get("audit") if isinstance(document.data, dict) else None
    output = audit.get("output") if isinstance(audit, dict) else None
    return output if isinstance(output, str) and output != "stdout" else None


def names_of(leaf: x509.Certificate) -> list[str]:
    """The host names and addresses in a certificate's subject alternative names; the common name counts nowhere."""
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    return [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]


def covers(leaf: x509.Certificate, host: str) -> bool:
    """Whether clients that dial `host` accept the certificate (RFC 9525: a star is the whole first label)."""
    return any(_matches(name, host) for name in names_of(leaf))


def _matches(name: str, host: str) -> bool:
    try:
        return ipaddress.ip_address(name) == ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        pass
    name, host = name.lower().rstrip("."), host.lower().rstrip(".")
    if name.startswith("*."):
        return host.partition(".")[2] == name[2:] and "." in name[2:]
    return name == host


def _spki(key: object) -> bytes:
    encoded: bytes = key.public_bytes(  # type: ignore[attr-defined]  # every public key type has it
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return encoded


def _day(leaf: x509.Certificate) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(leaf.not_valid_after_utc.timestamp()))
