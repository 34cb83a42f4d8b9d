"""How the commands speak to a running gateway: by the admin port that its configuration names.

Only the ``admin`` part of the file has to be sound, so that the commands still work while somebody edits the rest.
Over TLS exactly the configured certificate is believed, whatever name it is for.
"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gateway.core import documents
from gateway.core.documents import FILE_BYTES_MAX, Mistake, Mistakes
from gateway.core.settings import Admin
from gateway.ops import admin_token

SECONDS = 10.0
ANSWER_BYTES_MAX = 64 << 20
"""Of one answer: every rule of the largest policy set."""
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where to dial, not where to listen


class NoAnswer(Exception):
    """The gateway could not be asked, or said no; in words for who typed the command."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    text: str

    def json(self) -> dict[str, Any]:
        """Raises NoAnswer if the gateway refused, or it was no gateway that answered."""
        if self.status != http.HTTPStatus.OK:
            raise NoAnswer(f"the gateway refused ({self.status}): {self.text.strip()}")
        try:
            found = json.loads(self.text)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise NoAnswer("what answers there is no gateway")
        return found


def admin_of(file: Path) -> Admin:
    """The admin part of a configuration file, its paths made whole. Raises Mistakes."""
    try:
        with file.open("rb") as stream:
            content = stream.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        found = error.strerror or type(error).__name__
        raise Mistakes(
            [Mistake(str(file), 0, "", found, "a readable configuration file; name it by --config")]
        ) from None
    document = documents.parse(content, str(file))
    part = document.data.get("admin", {}) if isinstance(document.data, dict) else {}
    try:
        admin = Admin.model_validate(part)
    except ValidationError as error:
        words = "; ".join(each["msg"] for each in error.errors())
        raise Mistakes([Mistake(str(file), document.line(("admin",)), "admin", words, "a sound admin part")]) from None
    folder = file.absolute().parent
    changed: dict[str, object] = {}
    if admin.token_file is not None:
        changed["token_file"] = str(folder / admin.token_file)
    if admin.tls is not None:
        certificate, key = str(folder / admin.tls.certificate), str(folder / admin.tls.key)
        changed["tls"] = admin.tls.model_copy(update={"certificate": certificate, "key": key})
    return admin.model_copy(update=changed)


def ask(
    admin: Admin,
    method: str,
    path: str,
    body: Mapping[str, object] | None = None,
    *,
    trusted: bool,
    seconds: float = SECONDS,
) -> Answer:
    """One request. `trusted`: send the credential (off loopback it always is). Raises NoAnswer."""
    headers = {}
    if trusted or not admin.on_loopback:
        try:
            headers["Authorization"] = f"Bearer {admin_token.read(admin_token.found(admin))}"
        except admin_token.Unusable as error:
            raise NoAnswer(f"the admin token cannot be used: {error}. Run this as the gateway's own user") from None
    content = None
    if body is not None:
        content = json.dumps(body).encode()
        headers["Content-Type"] = "application/json"
    host = ANYWHERE.get(admin.bind, admin.bind)
    connection = _connection(admin, host, seconds)
    try:
        connection.request(method, path, content, headers)
        answer = connection.getresponse()
        return Answer(answer.status, answer.read(ANSWER_BYTES_MAX).decode("utf-8", "replace"))
    except (OSError, http.client.HTTPException) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        words = f"no gateway answers at {host} port {admin.port} ({why}); is one running with this configuration?"
        raise NoAnswer(words) from None
    finally:
        connection.close()


def _connection(admin: Admin, host: str, seconds: float) -> http.client.HTTPConnection:
    if admin.tls is None:
        return http.client.HTTPConnection(host, admin.port, timeout=seconds)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(admin.tls.certificate)
    except OSError as error:
        raise NoAnswer(f"{admin.tls.certificate}: {error.strerror or type(error).__name__}") from None
    return http.client.HTTPSConnection(host, admin.port, timeout=seconds, context=context)
