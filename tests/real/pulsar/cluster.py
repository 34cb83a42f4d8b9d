"""Two real brokers of one cluster, and the process that keeps their metadata and their messages.

No standalone is among them: that one answers every lookup with "through the service URL", to its own readers too, so
that it never reaches what another broker has, and waits for ever where a bundle has moved.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests.real.jars import QUICK_START, java
from tests.real.pulsar.broker import HOST, SYSTEM_NAMESPACE, PulsarBroker, PulsarFailed
from tests.tokens import TokenIssuer

CLUSTER = "standalone"
"""As the configuration has it that the brokers' own is made from."""
COORDINATORS = 2
"""Of transactions."""
_SETUP_SECONDS_MAX = 200


class Store(PulsarBroker):
    """ZooKeeper and a bookie, and no broker."""

    def _command(self) -> list[str]:
        return [*super()._command(), "--no-broker"]

    def _ready(self) -> bool:
        for port in (self.metadata_port, self._bookie_port):
            socket.create_connection((HOST, port), 1).close()
        return True

    @property
    def url(self) -> str:
        return f"zk:{HOST}:{self.metadata_port}"

    def set_up_transactions(self) -> None:
        """By the distribution's own tool. Raises PulsarFailed."""
        command = [str(self.home / "bin" / "pulsar"), "initialize-transaction-coordinator-metadata"]
        command += ["-cs", self.url, "-c", CLUSTER, "--initial-num-transaction-coordinators", str(COORDINATORS)]
        environment = {"JAVA_HOME": str(Path(java()).parent.parent), "PULSAR_LOG_DIR": str(self.folder)}
        environment |= {"PULSAR_MEM": " ".join(("-Xmx96m", *QUICK_START)), "PULSAR_GC": "-XX:+UseSerialGC"}
        done = subprocess.run(
            command, env={**os.environ, **environment}, cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=_SETUP_SECONDS_MAX, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise PulsarFailed(f"transactions were not set up: {done.stdout[-2000:]}{done.stderr[-1000:]}")


class Member(PulsarBroker):
    """One of the brokers."""

    def __init__(self, folder: Path, store: Store) -> None:
        self._store = store
        self.beside: list[Member] = [self]
        """Those that have to know it when it has started."""
        super().__init__(folder)

    def _issuer(self) -> TokenIssuer:
        return self._store.issuer

    def _metadata_port(self) -> int:
        return self._store.metadata_port

    def _command(self) -> list[str]:
        return ["broker"]

    def _more(self) -> dict[str, str]:
        return {
            "metadataStoreUrl": self._store.url,
            "configurationMetadataStoreUrl": self._store.url,
            "brokerShutdownTimeoutMs": "2000",
            "topicLevelPoliciesEnabled": "true",
        }

    def _ready(self) -> bool:
        return all(self.web in each.admin("GET", f"/brokers/{CLUSTER}") for each in self.beside)


@contextmanager
def two_brokers(folder: Path, namespace: str, bundles: int) -> Iterator[tuple[Member, Member]]:
    """Both, with transactions and topic policies, and one namespace in so many bundles."""
    with Store(folder / "store") as store:
        first, second = Member(folder / "first", store), Member(folder / "second", store)
        try:
            with ThreadPoolExecutor(3) as pool:
                begun = [pool.submit(each) for each in (first.start, second.start, store.set_up_transactions)]
                for each in begun:
                    each.result()
            first.beside = second.beside = [first, second]
            tenant = namespace.partition("/")[0]
            first.admin("PUT", f"/clusters/{CLUSTER}", {"serviceUrl": f"http://{first.web}"})
            first.admin("PUT", f"/tenants/{tenant}", {"adminRoles": [], "allowedClusters": [CLUSTER]})
            settings = {"bundles": {"numBundles": bundles}, "replication_clusters": [CLUSTER]}
            first.admin("PUT", f"/namespaces/{namespace}", settings)
            assert SYSTEM_NAMESPACE in first.admin("GET", "/namespaces/pulsar")
            yield first, second
        finally:
            second.stop()
            first.stop()
