"""A broker's stand-in for the scale curves: it keeps nothing, answers at once, and has as many topics as are wanted.

    python -m loadtest.standin cluster.json

It tells of one broker, itself, and of `topics` topics named by `topic_name`. Produce and Fetch succeed for whatever
they name, Fetch with one record batch as large as the partition's limit. An answer is made once for each form of
request and kept as bytes, so that it costs little.
"""

from __future__ import annotations

import asyncio
import json
import struct
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import uvloop

from gateway.kafka import codec
from loadtest import frames
from loadtest.processes import Daemon
from loadtest.topics import id_number, topic_id, topic_name, topic_number

ROOT = Path(__file__).parents[1]
NODE = 1
BATCH_OVERHEAD = 70
KEPT_MAX = 200_000
KEPT_BYTES_MAX = 1 << 20
"""A longer answer is made each time."""
Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Cluster:
    """What it tells."""

    port: int
    topics: int = 10
    partitions: int = 1
    """Of each topic, as Metadata tells; requests may name more."""


def standin(folder: Path, cluster: Cluster) -> Daemon:
    """One that is to be entered."""
    config = folder / f"standin-{cluster.port}.json"
    config.write_text(json.dumps(asdict(cluster)))
    return Daemon("standin", [sys.executable, "-m", "loadtest.standin", str(config)], folder, cluster.port)


class Answers:
    """Request -> answer, both without the length."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._kept: dict[bytes, bytes] = {}
        self._by_key: dict[int, Callable[[Body, int], Body]] = {
            frames.API_VERSIONS: self._api_versions,
            frames.METADATA: self._metadata,
            frames.PRODUCE: self._produce,
            frames.FETCH: self._fetch,
            32: self._describe_configs,
        }
        self._batches: dict[int, bytes] = {}

    def answer(self, frame: memoryview) -> bytes:
        """Raises KeyError for an API that is not known here, codec.Malformed."""
        key, version = struct.unpack_from(">hh", frame)
        correlation = bytes(frame[4:8])
        form = bytes(frame[:4]) + bytes(frame[8:264]) + len(frame).to_bytes(4, "big")
        rest = self._kept.get(form)
        if rest is None:
            header = codec.parse_request_header(frame)
            body = codec.decode_request(key, version, frame[header.body_offset :])
            made = codec.encode_response(key, version, self._by_key[key](body, version))
            rest = codec.encode_response_header(key, version, 0)[4:] + made
            if len(self._kept) < KEPT_MAX and len(rest) <= KEPT_BYTES_MAX:
                self._kept[form] = rest
        return correlation + rest

    def _api_versions(self, _: Body, __: int) -> Body:
        keys = [
            {"apiKey": key, "minVersion": api.versions[0], "maxVersion": api.versions[1]}
            for key, api in codec.APIS.items()
        ]
        return {"apiKeys": keys}

    def _metadata(self, body: Body, version: int) -> Body:
        numbers: list[int] | range = range(self._cluster.topics)
        if body["topics"] is not None:
            numbers = [_number(topic) for topic in body["topics"]]
        partitions = [
            {"partitionIndex": index, "leaderId": NODE, "replicaNodes": [NODE], "isrNodes": [NODE]}
            for index in range(self._cluster.partitions)
        ]
        topics: list[Body] = [{"name": topic_name(number), "partitions": partitions} for number in numbers]
        if version >= 10:
            topics = [{**topic, "topicId": topic_id(number)} for topic, number in zip(topics, numbers, strict=True)]
        broker = {"nodeId": NODE, "host": "127.0.0.1", "port": self._cluster.port}
        return {"brokers": [broker], "clusterId": "curves", "controllerId": NODE, "topics": topics}

    def _produce(self, body: Body, _: int) -> Body:
        responses = [
            {
                "name": topic["name"],
                "partitionResponses": [{"index": one["index"]} for one in topic["partitionData"]],
            }
            for topic in body["topicData"]
        ]
        return {"responses": responses}

    def _fetch(self, body: Body, _: int) -> Body:
        responses = [
            {
                "topic": topic["topic"],
                "partitions": [
                    {
                        "partitionIndex": one["partition"],
                        "highWatermark": 1,
                        "records": self._batch(one["partitionMaxBytes"]),
                    }
                    for one in topic["partitions"]
                ],
            }
            for topic in body["topics"]
        ]
        return {"responses": responses}

    def _batch(self, size: int) -> bytes:
        if size not in self._batches:
            self._batches = {size: frames.record_batch(1, max(size - BATCH_OVERHEAD, 1), summed=False)}
        return self._batches[size]

    def _describe_configs(self, body: Body, _: int) -> Body:
        configs = [{"name": "auto.create.topics.enable", "value": "false"}]
        return {
            "results": [
                {"resourceType": one["resourceType"], "resourceName": one["resourceName"], "configs": configs}
                for one in body["resources"]
            ]
        }


def _number(topic: Body) -> int:
    return topic_number(topic["name"]) if topic["name"] is not None else id_number(bytes(topic["topicId"]))


class Connection(asyncio.Protocol):
    """Splits frames and answers each."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by name

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        made = []
        at, end = 0, len(received)
        while end - at >= 4:
            length = int.from_bytes(received[at : at + 4], "big")
            if end - at < 4 + length:
                break
            with memoryview(received) as view, view[at + 4 : at + 4 + length] as frame:
                answer = self._answers.answer(frame)
            made += [len(answer).to_bytes(4, "big"), answer]
            at += 4 + length
        del received[:at]
        if made:
            self._transport.writelines(made)


async def serve(cluster: Cluster) -> None:
    answers = Answers(cluster)
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(answers), "127.0.0.1", cluster.port, backlog=4096
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(Cluster(**json.loads(Path(sys.argv[1]).read_text()))))
