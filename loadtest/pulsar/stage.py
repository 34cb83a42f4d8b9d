"""A real Pulsar, and the two proxies in front of it: Apache's own, and the gateway with everything on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path

import pulsar
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from loadtest.processes import Daemon
from loadtest.pulsar.rows import MESSAGE_BYTES, OURS, STORED, STORED_SINGLY, Door
from loadtest.stage import scraped
from tests.real.gateway import GatewayProcess
from tests.real.jars import java
from tests.real.ports import free_ports
from tests.real.pulsar.broker import PROXY_ROLE, PulsarBroker
from tests.real.pulsar.site import gateway_for

ROLE = "load"
TOKEN_SECONDS = 7200.0
CIPHER = "TLS_AES_128_GCM_SHA256"
"""The gateway's first choice; the Apache proxy has no other, since its own first choice is AES-256."""
RULES, ROLES, ROLES_OF_CLIENT = 1000, 20, 3
CONNECTIONS_MAX = 12_000
_HEAP = "-Xms512m -Xmx512m -XX:MaxDirectMemorySize=1g"
SETTINGS = {
    OURS: f"TLS 1.3 ({CIPHER}), token, {RULES} rules in {ROLES} roles, limits of the principal, audit to a file; one "
    "worker",
    "apache-proxy": f"TLS 1.3 ({CIPHER}, Netty's OpenSSL), token, no authorization; heap 512 MB, direct memory 512 MB, "
    "G1, zero copy as by default; one I/O thread per core as by default",
}
SCRAPED = "; /metrics scraped each second"


def _unscraped(port: int, path: str) -> AbstractContextManager[None]:
    return nullcontext()


class Stage:
    """The broker is up while it is entered. `door` brings up a proxy once and keeps it."""

    def __init__(self, folder: Path, *, stored: int, scraping: bool = True, fast_start: bool = False) -> None:
        """`stored`: messages in each topic that is consumed. `scraping`: each proxy's metrics are read each second.
        `fast_start`: JVMs that start quickly and are not fast."""
        self._quick = ("-XX:TieredStopAtLevel=1",) if fast_start else ()
        self._folder = folder
        self._stored = stored
        self._scraped = scraped if scraping else _unscraped
        self._stack = ExitStack()
        self._doors: dict[str, Door] = {}
        self._made = 0
        self.broker = PulsarBroker(folder / "broker", memory=" ".join((_HEAP, *self._quick)))

    def __enter__(self) -> Stage:
        with ExitStack() as stack:
            stack.enter_context(self.broker)
            for role in (PROXY_ROLE, ROLE):
                self.broker.grant(role, "produce", "consume")
            for topic, batched in ((STORED, True), (STORED_SINGLY, False)):
                self._fill(topic, batched=batched)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def door(self, peer: str) -> Door:
        if peer not in self._doors:
            self._doors[peer] = self._stack.enter_context(self.opened(peer))
        return self._doors[peer]

    @contextmanager
    def opened(self, peer: str) -> Iterator[Door]:
        """One that has seen no load yet."""
        self._made += 1
        folder = self._folder / f"{peer}-{self._made}"
        token = self.broker.issuer.token(ROLE, lifetime=TOKEN_SECONDS)
        if peer == OURS:
            with self._gateway(folder) as gateway, self._scraped(gateway.admin_port, "/metrics"):
                yield Door(gateway.port(), gateway.pid, gateway.ca_file, token)
            return
        web = free_ports(1)[0]
        with self._apache(folder, web) as daemon, self._scraped(web, "/metrics/"):
            yield Door(daemon.port, daemon.pid, str(self.broker.ca.path), token)

    def _gateway(self, folder: Path) -> GatewayProcess:
        limits = {"connections_max": CONNECTIONS_MAX, "connections_per_address_max": CONNECTIONS_MAX}
        made = gateway_for(
            folder, self.broker, _policy(self.broker.issuer.name), issuer=self.broker.issuer, limits=limits
        )
        del made.config["audit"]["allowed_interval"], made.config["policies"]["poll"]
        for backend in made.config["backends"]:
            del backend["metadata_refresh"]
        made.config["log_level"] = "info"
        return made

    def _apache(self, folder: Path, web: int) -> Daemon:
        """bin/pulsar proxy, as its own configuration has it but for what is needed here. `web`: its port for HTTP."""
        folder.mkdir(parents=True)
        broker = self.broker
        port = free_ports(1)[0]
        certificate, key = broker.ca.server("apache-proxy", hosts=["localhost"])
        pkcs8 = folder / "key.pem"
        pkcs8.touch(mode=0o600)
        loaded = load_pem_private_key(key.read_bytes(), None)
        pkcs8.write_bytes(loaded.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        public = folder / "tokens.der"
        public.write_bytes(broker.issuer.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
        wanted = {
            "brokerServiceURL": f"pulsar://{broker.bootstrap}",
            "brokerWebServiceURL": f"http://127.0.0.1:{broker.web_port}",
            "clusterName": "standalone",
            "bindAddress": "127.0.0.1",
            "advertisedAddress": "127.0.0.1",
            "brokerProxyAllowedTargetPorts": str(broker.port),
            "servicePort": "",
            "servicePortTls": str(port),
            "webServicePort": str(web),
            "tlsCertificateFilePath": str(certificate),
            "tlsKeyFilePath": str(pkcs8),
            "tlsProtocols": "TLSv1.3",
            "tlsCiphers": CIPHER,
            "authenticateMetricsEndpoint": "false",
            "authenticationEnabled": "true",
            "authenticationProviders": "org.apache.pulsar.broker.authentication.AuthenticationProviderToken",
            "tokenPublicKey": public.as_uri(),
            "tokenPublicAlg": "RS256",
            "brokerClientAuthenticationPlugin": "org.apache.pulsar.client.impl.auth.AuthenticationToken",
            "brokerClientAuthenticationParameters": f"token:{broker.token(PROXY_ROLE)}",
        }
        lines = (broker.home / "conf" / "proxy.conf").read_text().splitlines()
        kept = [line for line in lines if line.partition("=")[0].strip() not in wanted]
        conf = folder / "proxy.conf"
        conf.write_text("\n".join([*kept, *(f"{name}={value}" for name, value in wanted.items())]) + "\n")
        environment = {
            "JAVA_HOME": str(Path(java()).parent.parent),
            "PULSAR_PROXY_CONF": str(conf),
            "PULSAR_MEM": " ".join(("-Xms256m -Xmx512m -XX:MaxDirectMemorySize=512m", *self._quick)),
            "PULSAR_GC": "-XX:+UseSerialGC" if self._quick else "-XX:+UseG1GC",
            "PULSAR_EXTRA_OPTS": "-XX:-UsePerfData",
            "PULSAR_LOG_DIR": str(folder),
            "PULSAR_LOG_APPENDER": "Console",
            "PULSAR_LOG_LEVEL": "warn",
        }
        command = ["env", *(f"{name}={value}" for name, value in environment.items())]
        return Daemon("apache-proxy", [*command, str(broker.home / "bin" / "pulsar"), "proxy"], folder, port, web)

    def _fill(self, topic: str, *, batched: bool) -> None:
        """Straight to the broker; kept by a subscription that nobody reads."""
        client = pulsar.Client(
            f"pulsar://{self.broker.bootstrap}",
            authentication=pulsar.AuthenticationToken(self.broker.token("admin")),
            logger=pulsar.ConsoleLogger(pulsar.LoggerLevel.Error),
        )
        try:
            client.subscribe(topic, "keep").close()
            producer = client.create_producer(
                topic, batching_enabled=batched, batching_max_publish_delay_ms=5, block_if_queue_full=True
            )
            for _ in range(self._stored):
                producer.send_async(os.urandom(8) * (MESSAGE_BYTES // 8), None)
            producer.flush()
        finally:
            client.close()


def _policy(issuer: str) -> str:
    roles = (
        '  load:\n    - allow: [produce, consume]\n      pulsar: {topic: ["persistent://public/default/load-*"], '
        'subscription: ["*"]}\n'
        '    - deny: [produce, consume]\n      id: no-pii\n      pulsar: {topic: ["*.pii"]}\n'
    )
    for role in range(ROLES):
        roles += f"  team-{role}:\n"
        for rule in range(RULES // ROLES):
            topic = f"persistent://team-{role}/orders/{rule}"
            roles += f'    - allow: [produce, consume]\n      pulsar: {{topic: ["{topic}", "{topic}.*"]}}\n'
    mine = ", ".join(["load", *(f"team-{role}" for role in range(ROLES_OF_CLIENT))])
    return (
        f"version: 1\nroles:\n{roles}bindings:\n  - {{roles: [{mine}], to: {{issuer: {issuer}, sub: {ROLE}}}}}\n"
        "limits:\n  - {to: any, produce: 100 GiB/s, consume: 100 GiB/s, requests: 1000000/s, "
        f"connections: {CONNECTIONS_MAX}}}\nend: true\n"
    )
