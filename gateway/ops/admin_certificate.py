"""The admin port's own certificate: which one is shown, when it ends, and why new files are not taken.

Read at the start and when its files change (ops.admin_serving); `gateway status` and /readyz tell of it beside those of
the listeners. One per gateway, made by the process that has the port.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from pathlib import Path

from cryptography import x509

from gateway.core.settings import AdminTls

NAME = "the admin port"

log = logging.getLogger("gateway.admin")


class AdminCertificate:
    """Of an admin port with TLS."""

    def __init__(self, tls: AdminTls, wall: Callable[[], float]) -> None:
        self.tls = tls
        self._wall = wall
        self._leaf = _leaf(tls)
        self.refused = ""
        """Why the files on the disk are not taken."""

    def renew(self, shown: ssl.SSLContext | None) -> bool:
        """Show the new certificate from the next connection on; a pair that does not fit leaves the old one in use."""
        tls = self.tls
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tls.certificate, tls.key)
            if shown is not None:
                shown.load_cert_chain(tls.certificate, tls.key)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            self.refused = f"certificate and key cannot be used together ({type(error).__name__})"
            log.error("the admin port keeps its certificate; the new files are refused: %s", type(error).__name__)
            return False
        self._leaf, self.refused = _leaf(tls), ""
        log.info("the admin port has a new certificate")
        return True

    def shown(self) -> tuple[str, x509.Certificate, str] | None:
        """As LiveCertificates.shown. None: the file holds none, and the port could not be opened."""
        return (NAME, self._leaf, self.refused) if self._leaf is not None else None

    def ended(self) -> list[str]:
        """For /readyz: nobody can ask the port, whatever its listeners do."""
        over = self._leaf is not None and self._leaf.not_valid_after_utc.timestamp() <= self._wall()
        return [f"{NAME}: its certificate has ended"] if over else []

    def notes(self) -> list[str]:
        return [f"{NAME}: new files are refused: {self.refused}; the old ones are in force"] if self.refused else []


def _leaf(tls: AdminTls) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificates(Path(tls.certificate).read_bytes())[0]
    except (OSError, ValueError):
        return None
