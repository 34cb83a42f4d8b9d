"""An embedded cluster of three brokers without Java: librdkafka's mock cluster, in memory, on loopback.

librdkafka ships it for its own tests inside every confluent-kafka wheel; its C functions are reached by ctypes. It
speaks produce, fetch, groups, idempotence and transactions; it has no admin APIs and no disk. Why this one and not
another: docs/decisions/0008-demo-cluster.md. Used by ``gateway demo`` only.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path

BROKERS = 3
_PRODUCER = 0
_ERROR_BYTES = 512
_METADATA, _METADATA_SOUND_MAX = 3, 8


class NoCluster(Exception):
    """The library that holds the mock cluster is not here; the message says what to do."""


class EmbeddedCluster:
    """Three brokers with these topics, from construction until `stop`."""

    def __init__(self, topics: Sequence[str], *, partitions: int = 3) -> None:
        self._library = _load()
        error = ctypes.create_string_buffer(_ERROR_BYTES)
        settings = self._library.rd_kafka_conf_new()
        self._library.rd_kafka_conf_set(settings, b"log_level", b"0", error, _ERROR_BYTES)
        self._client = self._library.rd_kafka_new(_PRODUCER, settings, error, _ERROR_BYTES)
        if not self._client:
            raise NoCluster(error.value.decode())
        self._cluster = self._library.rd_kafka_mock_cluster_new(self._client, BROKERS)
        if not self._cluster:
            raise NoCluster("librdkafka could not open its mock cluster")
        self._library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 0)
        # Its Metadata answers of version 9 and later end with a byte too many, which the gateway does not take.
        self._library.rd_kafka_mock_set_apiversion(self._cluster, _METADATA, 0, _METADATA_SOUND_MAX)
        for topic in topics:
            self._library.rd_kafka_mock_topic_create(self._cluster, topic.encode(), partitions, min(2, BROKERS))

    @property
    def bootstrap(self) -> tuple[str, ...]:
        """host:port of each broker; their node ids are 1, 2 and 3."""
        found: bytes = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster)
        return tuple(found.decode().split(","))

    def stop(self) -> None:
        if self._cluster:
            self._library.rd_kafka_mock_cluster_destroy(self._cluster)
            self._library.rd_kafka_destroy(self._client)
            self._cluster = None


def _load() -> ctypes.CDLL:
    """confluent-kafka's own librdkafka, the functions used typed. Raises NoCluster."""
    try:
        import confluent_kafka
    except ImportError:
        raise NoCluster("the demo needs confluent-kafka: pip install 'streaming-gateway[demo]'") from None
    package = Path(confluent_kafka.__file__).parent
    folders = (package.parent / "confluent_kafka.libs", package / ".dylibs")  # where wheels for Linux and macOS keep it
    found = [path for folder in folders for path in sorted(folder.glob("librdkafka*"))]
    library = ctypes.CDLL(str(found[0])) if found else _of_the_system()
    handle, text, count = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    for name, result, arguments in (
        ("rd_kafka_conf_new", handle, ()),
        ("rd_kafka_conf_set", count, (handle, text, text, text, ctypes.c_size_t)),
        ("rd_kafka_new", handle, (count, handle, text, ctypes.c_size_t)),
        ("rd_kafka_destroy", None, (handle,)),
        ("rd_kafka_mock_cluster_new", handle, (handle, count)),
        ("rd_kafka_mock_cluster_destroy", None, (handle,)),
        ("rd_kafka_mock_cluster_bootstraps", text, (handle,)),
        ("rd_kafka_mock_topic_create", count, (handle, text, count, count)),
        ("rd_kafka_mock_set_apiversion", count, (handle, ctypes.c_int16, ctypes.c_int16, ctypes.c_int16)),
        ("rd_kafka_mock_group_initial_rebalance_delay_ms", None, (handle, ctypes.c_int32)),
    ):
        try:
            function = getattr(library, name)
        except AttributeError:
            raise NoCluster(f"this librdkafka has no {name}: install confluent-kafka from its wheel") from None
        function.restype, function.argtypes = result, list(arguments)
    return library


def _of_the_system() -> ctypes.CDLL:
    for name in ("librdkafka.so.1", "librdkafka.1.dylib", "librdkafka.dylib"):
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise NoCluster("no librdkafka was found beside confluent-kafka: install confluent-kafka from its wheel")
