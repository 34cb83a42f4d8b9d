"""What is spoken is agreed upon in the handshake, on listeners that speak HTTP alone; in both forms of the engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.edge import alerts, channels, engine
from tests.edge import EchoSession, frame, running


@pytest.fixture(params=["interpreted", "compiled"], autouse=True)
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "interpreted":
        monkeypatch.setattr(engine, "tls_channel", channels.TlsChannel)
        monkeypatch.setattr(engine, "alerts", alerts)
        return
    found = pytest.importorskip("gateway.edge.channels_compiled", reason="C compiler (gcc, or a wheel of the gateway)")
    monkeypatch.setattr(engine, "tls_channel", found.TlsChannel)
    monkeypatch.setattr(engine, "alerts", found.Alerts())


@pytest.mark.parametrize(
    ("offered", "agreed"),
    [
        (["h2", "http/1.1"], "h2"), (["http/1.1", "h2"], "h2"), (["http/1.1"], "http/1.1"),
        (["h3", "http/1.1"], "http/1.1"), (["kafka"], None), ([], None),
    ],
)  # fmt: skip
async def test_the_best_of_what_both_speak(tmp_path: Path, offered: list[str], agreed: str | None) -> None:
    async with running(tmp_path, EchoSession, change={"protocol": "pulsar-http"}) as edge:
        context = edge.client_context()
        if offered:
            context.set_alpn_protocols(offered)
        client = await edge.connect(context)
        assert client.writer.get_extra_info("ssl_object").selected_alpn_protocol() == agreed
        await client.send(frame(b"hello"))
        assert await client.receive() == b"hello"
        assert edge.sessions[0].peer.alpn == (agreed or "")
        await client.close()


async def test_other_listeners_agree_upon_nothing(tmp_path: Path) -> None:
    async with running(tmp_path, EchoSession) as edge:
        context = edge.client_context()
        context.set_alpn_protocols(["h2", "http/1.1"])
        client = await edge.connect(context)
        assert client.writer.get_extra_info("ssl_object").selected_alpn_protocol() is None
        await client.close()
