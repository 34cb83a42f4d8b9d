"""The Java client: by the tools of Pulsar's own distribution, and by a program of ours for its transactions."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.real.jars import QUICK_START, java
from tests.real.pulsar.site import Site

SECONDS_MAX = 180
PLUGIN = "org.apache.pulsar.client.impl.auth.AuthenticationToken"


def run(site: Site, tool: str, *arguments: str, token: str | None = None) -> str:
    """Run one of the distribution's tools as an application; what it said. Raises CalledProcessError."""
    configuration = site.gateway.folder / "client.conf"
    configuration.write_text(
        f"brokerServiceUrl={site.url}\nwebServiceUrl={site.url}\nauthPlugin={PLUGIN}\n"
        f"authParams=token:{token or site.token()}\ntlsTrustCertsFilePath={site.gateway.ca_file}\n"
        "tlsEnableHostnameVerification=true\n"
    )
    environment = {
        **os.environ,
        "JAVA_HOME": str(Path(java()).parent.parent),
        "PULSAR_CLIENT_CONF": str(configuration),
        "PULSAR_MEM": " ".join(("-Xmx128m -XX:MaxDirectMemorySize=256m", *QUICK_START)),
        "PULSAR_GC": "-XX:+UseSerialGC",
        "PULSAR_EXTRA_OPTS": "-XX:-UsePerfData",
        "PULSAR_LOG_DIR": str(site.gateway.folder),
    }
    done = subprocess.run(
        [str(site.broker.home / "bin" / tool), *arguments], capture_output=True, text=True, timeout=SECONDS_MAX,
        env=environment, cwd=site.gateway.folder, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise subprocess.CalledProcessError(done.returncode, tool, done.stdout[-6000:], done.stderr[-3000:])
    return done.stdout + done.stderr


def test_produce_and_consume(site: Site) -> None:
    topic = site.topic()
    said = run(site, "pulsar-client", "produce", topic, "-m", "from Java", "-n", "20")
    assert "20 messages successfully produced" in said
    said = run(site, "pulsar-client", "consume", topic, "-s", "app-java", "-p", "Earliest", "-n", "20")
    assert said.count("content:from Java") == 20


def test_a_denial_is_the_librarys_own(site: Site) -> None:
    with pytest.raises(subprocess.CalledProcessError) as error:
        run(site, "pulsar-client", "produce", site.topic("secret"), "-m", "x")
    assert "AuthorizationException" in error.value.output + error.value.stderr


def test_transactions(site: Site) -> None:
    """What is aborted is never seen, and what it had consumed comes again; both within the same transactions."""
    into, out = site.topic(), site.topic()
    source = Path(__file__).parent / "Transactions.java"
    done = subprocess.run(
        [
            java(), "-Xmx128m", *QUICK_START, "-cp", f"{site.broker.home / 'lib'}/*",
            str(source), site.url, site.token(), site.gateway.ca_file, into, out,
        ],
        capture_output=True, text=True, timeout=SECONDS_MAX, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert f"found [{', '.join(f'kept order {number}' for number in range(5))}]" in done.stdout
    assert "left null" in done.stdout
