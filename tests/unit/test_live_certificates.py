"""What a listener's certificates come to when their time is over while the gateway runs."""

from __future__ import annotations

import time
from pathlib import Path

from gateway.core.audit import AuditEvent
from gateway.core.meters import Meters
from gateway.ops.certificate_reload import LiveCertificates
from tests.certificates import make_ca
from tests.edge import listener_settings


async def test_a_certificate_in_force_that_has_ended_is_named(tmp_path: Path) -> None:
    ca = make_ca(tmp_path)
    listener = listener_settings(ca)
    events: list[AuditEvent] = []
    used: list[str] = []
    now = [time.time()]
    live = LiveCertificates(
        [listener], lambda name, context: used.append(name), events.append, Meters(), lambda: now[0]
    )
    assert live.ended() == []
    now[0] += 31 * 86400
    assert live.ended() == ["listener front: its certificate has ended"]
    certificate, key = ca.server(days=60)
    Path(listener.tls.certificate).write_bytes(certificate.read_bytes())
    Path(listener.tls.key).write_bytes(key.read_bytes())
    await live.reload("SIGHUP")
    assert live.ended() == []
    assert used == ["front"]
    assert [event.fields["trigger"] for event in events] == ["SIGHUP"]
    await live.reload("SIGHUP")
    assert used == ["front"]


async def test_every_certificate_in_force_is_shown_with_what_is_refused(tmp_path: Path) -> None:
    listener = listener_settings(make_ca(tmp_path))
    live = LiveCertificates([listener], lambda name, context: None, lambda event: None, Meters(), lambda: 100.0)
    ((name, leaf, refused),) = live.shown()
    assert (name, refused) == ("front", "")
    assert leaf.not_valid_after_utc.timestamp() > time.time()
    Path(listener.tls.key).write_bytes(b"")
    await live.reload("changed file")
    ((_, same, refused),) = live.shown()
    assert same == leaf
    assert refused.startswith("tls-file-unreadable: ")


async def test_a_refusal_is_over_when_the_old_files_are_back(tmp_path: Path) -> None:
    listener = listener_settings(make_ca(tmp_path))
    live = LiveCertificates([listener], lambda name, context: None, lambda event: None, Meters(), lambda: 100.0)
    path = Path(listener.tls.key)
    key = path.read_bytes()
    path.write_bytes(b"")
    await live.reload("changed file")
    assert "tls-file-unreadable" in live.notes()[0]
    path.write_bytes(key)
    await live.reload("changed file")
    assert live.notes() == []
