"""A process of few open files, full of clients: brokers are dialled, policies and audit opened all the same."""

from __future__ import annotations

import os
import re
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from loadtest import frames
from loadtest.wire import Connection, client_context
from loadtest.work import Door, LoadFailed
from tests.real.gateway import GatewayProcess
from tests.real.kafka import KafkaCluster
from tests.real.site import POLICY, Site, until

pytestmark = pytest.mark.real

OPEN_FILES = 320


def test_a_table_full_of_clients_leaves_room_for_everything_else(kafka_one: KafkaCluster, tmp_path: Path) -> None:
    door = GatewayProcess(tmp_path, {"main": kafka_one.bootstrap}, policy=POLICY)
    door.before = ("sh", "-c", f'ulimit -n {OPEN_FILES}; exec "$@"', "sh")
    with door, ExitStack() as stack:
        warned = door.wait_audit(event="warning", reason="open-files-too-few")
        room = int(warned["detail"].split()[0])
        assert 16 <= room < OPEN_FILES // 2
        topic = Site(kafka_one, door).topic(partitions=1)
        way = Door(door.port(), 0, door.ca_file, door.issuer.token("svc-app", lifetime=600.0, groups=["app"]))
        context = client_context(door.ca_file)
        frame = frames.produce(topic, [0], 1, 100)

        def client() -> Connection:
            made = Connection(way, context)
            stack.callback(made.close)
            assert frames.produce_error(topic, made.ask(frame)) == 0
            return made

        clients = [client() for _ in range(room)]  # each with its connection to the broker
        with pytest.raises((LoadFailed, OSError)):
            client()
        door.wait_audit(event="refused", reason="connections-max")
        door.change_policy(POLICY.replace("id: no-pii", "id: no-personal-data"))
        (tmp_path / "audit.jsonl").rename(tmp_path / "audit.old")
        os.kill(door.pid, signal.SIGHUP)
        until((tmp_path / "audit.jsonl").exists, what="another audit file")
        assert door.admin("/readyz")[0] == 200
        assert frames.produce_error(topic, clients[0].ask(frame)) == 0
        clients.pop().close()
        left = f'gateway_connections_open{{listener="main-listener"}} {room - 1}.0'
        until(lambda: left in door.admin("/metrics")[1], what="a place")
        client()  # a broker is dialled
        assert not re.search(r"gateway_accept_pauses_total [1-9]", door.admin("/metrics")[1])
