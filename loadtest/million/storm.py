"""What is done to the cluster and to the gateway while records flow, and that each of it took effect.

Brokers are killed or stopped one at a time, and the next one only when every partition has all its replicas in sync
again: two down at once would leave less than min.insync.replicas, and nobody promises anything then. One thread calls.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import ssl
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from cryptography import x509

from loadtest.million.clients import Tokens
from tests.certificates import make_ca
from tests.real.gateway import GatewayProcess
from tests.real.kafka import KafkaCluster, KafkaFailed
from tests.real.wire import RawClient

EFFECT_SECONDS_MAX = 20.0
"""In which a reload is seen."""
DOWN_SECONDS_MAX = 10.0
"""A broker that fell out comes back within this."""


def in_sync(admin: AdminClient) -> bool:
    """Whether every partition has all its replicas in sync, the brokers' own topics included."""
    try:
        topics = admin.list_topics(timeout=5).topics.values()
    except KafkaException:
        return False
    return all(len(each.isrs) == len(each.replicas) for topic in topics for each in topic.partitions.values())


def shuffled(admin: AdminClient, lots: random.Random) -> dict[str, dict[int, list[int]]]:
    """Every partition's replicas in another order: topic -> partition -> nodes."""
    orders: dict[str, dict[int, list[int]]] = {}
    for name, topic in admin.list_topics(timeout=10).topics.items():
        if not name.startswith("_"):
            replicas = {number: list(each.replicas) for number, each in topic.partitions.items()}
            orders[name] = {number: lots.sample(each, len(each)) for number, each in replicas.items()}
    return orders


def children(pid: int) -> set[int]:
    """The processes that a process has started."""
    return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


class StormFailed(Exception):
    """Something that was done did not take effect."""


class Mount:
    """A certificate and its key as Kubernetes mounts a secret: links into a folder that is swapped as a whole."""

    def __init__(self, folder: Path, pair: tuple[Path, Path]) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._count = 0
        self.put(*pair)
        for name in ("tls.crt", "tls.key"):
            (folder / name).symlink_to(Path("..data") / name)

    @property
    def certificate(self) -> Path:
        return self._folder / "tls.crt"

    @property
    def key(self) -> Path:
        return self._folder / "tls.key"

    def put(self, certificate: Path, key: Path) -> None:
        self._count += 1
        data = self._folder / f"..{self._count}"
        data.mkdir()
        shutil.copy(certificate, data / "tls.crt")
        shutil.copy(key, data / "tls.key")
        (self._folder / "..new").symlink_to(data.name)
        os.replace(self._folder / "..new", self._folder / "..data")


class Storm:
    """`step` does one thing, chosen by lot among those that were done least; `calm` brings everything back."""

    def __init__(
        self,
        cluster: KafkaCluster,
        gateway: GatewayProcess,
        mount: Mount,
        tokens: Tokens,
        policy: str,
        workers: int,
        seed: int,
        say: Callable[[str], None],
    ) -> None:
        self._cluster = cluster
        self._gateway = gateway
        self._mount = mount
        self._tokens = tokens
        self._policy = policy
        self._workers = workers
        self._lots = random.Random(seed)
        self._say = say
        self._other_ca = make_ca(gateway.folder / "another", "Another CA")
        self._admin = AdminClient({"bootstrap.servers": cluster.bootstrap, "log_level": 0})
        self._down: tuple[int, float] | None = None
        """The broker that fell out, and when it is started again."""
        self._mending = False
        """A broker came back, and replicas are not in sync yet."""
        self.done: Counter[str] = Counter()
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.unavailable = 0.0
        """Seconds in which no gateway was there."""
        self._faults: dict[str, Callable[[], None]] = {
            "broker killed (kill -9) and restarted": self._kill_broker,
            "broker stopped and restarted": self._stop_broker,
            "gateway killed (kill -9) and restarted": self._kill_gateway,
            "gateway stopped (SIGTERM) and restarted": self._stop_gateway,
            **({"worker or office killed (kill -9) and replaced": self._kill_one} if workers > 1 else {}),
            "leaders of all partitions moved": self._move_leaders,
            "certificate renewed": self._renew_certificate,
            "certificate with another's key, refused": self._wrong_certificate,
            "policies changed": self._change_policy,
            "broken policies, refused": self._break_policy,
            "key set rotated": self._rotate_keys,
        }
        self.kinds = tuple(self._faults)

    def least(self) -> int:
        """How often the rarest kind was done."""
        return min(self.done[kind] for kind in self.kinds)

    # --- one step

    def step(self) -> None:
        """Do one thing. Raises StormFailed if it took no effect, and what gateway or cluster raise."""
        self.mend()
        ready = [name for name in self._faults if (self._down is None and not self._mending) or "broker" not in name]
        least = min(self.done[name] for name in ready)
        name = self._lots.choice([name for name in ready if self.done[name] <= least])
        self._say(name)
        begun = time.monotonic()
        self._faults[name]()
        self.done[name] += 1
        self.seconds[name] += time.monotonic() - begun

    def mend(self) -> None:
        """Start again what has been down for long enough, and see whether the replicas are in sync."""
        if self._down is not None and time.monotonic() >= self._down[1]:
            self._cluster.restart(self._down[0], wait=False)
            self._say(f"broker {self._down[0]} is started again")
            self._down, self._mending = None, True
        if self._mending and self.in_sync():
            self._mending = False

    def calm(self, seconds: float) -> None:
        """Everything up, and in sync. Raises StormFailed."""
        if self._down is not None:
            self._down = (self._down[0], 0.0)
        deadline = time.monotonic() + seconds
        self.mend()
        while self._mending:
            if time.monotonic() > deadline:
                raise StormFailed(f"replicas are not in sync after {seconds:.0f} s")
            time.sleep(0.2)
            self.mend()

    def in_sync(self) -> bool:
        """Whether every partition has all its replicas in sync."""
        return in_sync(self._admin)

    # --- brokers

    def _kill_broker(self) -> None:
        node = self._lots.choice(self._cluster.nodes)
        self._cluster.kill(node)
        self._fell_out(node)

    def _stop_broker(self) -> None:
        node = self._lots.choice(self._cluster.nodes)
        self._cluster.stop_node(node)
        self._fell_out(node)

    def _fell_out(self, node: int) -> None:
        down = self._lots.uniform(0.0, DOWN_SECONDS_MAX)
        self._say(f"broker {node} is down for {down:.1f} s")
        self._down = (node, time.monotonic() + down)

    def _move_leaders(self) -> None:
        """Every partition's replicas in another order, and the first of them elected. While the controllers elect one
        of their own, it is asked again."""
        orders = shuffled(self._admin, self._lots)

        def moved() -> bool:
            try:
                self._cluster.move_leaders(orders)
            except KafkaFailed:
                return False
            return True

        self._until(moved, "the leaders have moved")

    # --- the gateway

    def _kill_gateway(self) -> None:
        """Its other processes end with it, or the next one would share their ports."""
        family = self._family()
        self._gateway.kill()
        self._until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in family), "its other processes end, too")
        self._gateway_back()

    def _stop_gateway(self) -> None:
        code = self._gateway.stop()
        if code != 0:
            raise StormFailed(f"the gateway ended with {code} on SIGTERM")
        self._gateway_back()

    def _gateway_back(self) -> None:
        begun = time.monotonic()
        self._gateway.start()
        self.unavailable += time.monotonic() - begun

    def _kill_one(self) -> None:
        """A worker, or the office beside them: another takes its place, and the rest go on."""
        before = self._family()
        os.kill(self._lots.choice(sorted(before)), signal.SIGKILL)

        def mended() -> bool:
            now = self._family()
            return len(now) == len(before) and now != before and self._gateway.admin("/readyz")[0] == 200

        self._until(mended, "the one that was killed is replaced")

    def _family(self) -> set[int]:
        """The gateway's other processes; none where it is one."""
        return children(self._gateway.pid)

    # --- what it reloads

    def _renew_certificate(self) -> None:
        certificate, key = self._gateway.ca.server("gateway", hosts=["localhost", "127.0.0.1"])
        wanted = x509.load_pem_x509_certificate(certificate.read_bytes()).serial_number
        self._mount.put(certificate, key)
        self._until(lambda: self._served() == {wanted}, "the renewed certificate is shown")

    def _wrong_certificate(self) -> None:
        """Refused; the one before stays in force, and the next good pair is taken."""
        before, at = self._served(), self._lines()
        certificate, _ = self._gateway.ca.server("gateway", hosts=["localhost", "127.0.0.1"])
        _, key = self._other_ca.server("gateway", hosts=["localhost"])
        self._mount.put(certificate, key)
        self._gateway.wait_audit(
            lambda line: line["event"] == "warning" and "TLS files were refused" in line["warning"],
            after=at, timeout=EFFECT_SECONDS_MAX,
        )  # fmt: skip
        if self._served() != before:
            raise StormFailed("a certificate with another's key took the place of a good one")
        self._renew_certificate()

    def _change_policy(self) -> None:
        """The same grants and one more, so that every decision is made anew under another revision."""
        extra = f"  extra-{self._lots.randrange(1 << 30)}: [{{allow: [consume], kafka: {{topic: [elsewhere]}}}}]\n"
        at = self._lines()
        revision = self._gateway.change_policy(self._policy.replace("roles:\n", f"roles:\n{extra}", 1))
        line = self._gateway.wait_audit(event="policy-revision", after=at)
        if line["revision"] != revision:
            raise StormFailed("another revision than the one that was written is in force")

    def _break_policy(self) -> None:
        at = self._lines()
        self._gateway.change_policy(self._policy[: self._policy.index("end: true")])
        self._gateway.wait_audit(event="policy-refused", after=at)
        self._change_policy()

    def _rotate_keys(self) -> None:
        """A token of the new key is taken."""
        self._tokens.rotate()
        self._until(self._logs_in, "a token of the new key is taken")

    # --- how

    def _lines(self) -> int:
        return len(self._gateway.audit())

    def _logs_in(self) -> bool:
        with RawClient(self._gateway.port(), self._gateway.ca_file) as client:
            return client.authenticate(self._tokens.give())[0] == 0

    def _served(self) -> set[int]:
        """The serial numbers of the certificates that new clients get, of every worker as far as chance goes."""
        return {self._serial() for _ in range(1 if self._workers == 1 else 4 * self._workers)}

    def _serial(self) -> int:
        context = ssl.create_default_context(cafile=self._gateway.ca_file)
        with (
            socket.create_connection(("127.0.0.1", self._gateway.port()), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as stream,
        ):
            der = stream.getpeercert(binary_form=True)
        assert der is not None
        return x509.load_der_x509_certificate(der).serial_number

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + EFFECT_SECONDS_MAX
        while True:
            try:
                if condition():
                    return
            except OSError:  # refused, reset: said again below
                pass
            if time.monotonic() > deadline:
                raise StormFailed(f"not seen within {EFFECT_SECONDS_MAX:.0f} s: {what}")
            time.sleep(0.1)
