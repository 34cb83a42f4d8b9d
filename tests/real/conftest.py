"""The sites of the client suites: one broker and three, each behind a gateway of its own.

The gateway before the three has both ways of telling them apart at once, a port each and a host name each.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from tests.real.gateway import GatewayProcess
from tests.real.guarded import GuardedKafka, guarded_kafka
from tests.real.kafka import KafkaCluster
from tests.real.names import need_names
from tests.real.site import DIRECT, POLICY, Site

HERE = Path(__file__).parent
NEEDS_NO_BROKER = {"test_missing_table.py", "test_cluster_parts.py"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents and item.path.name not in NEEDS_NO_BROKER:
            item.add_marker(pytest.mark.real)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(300))


@pytest.fixture(scope="session", params=["one", "three"])
def site(request: pytest.FixtureRequest) -> Site:
    """Every test that asks for it runs with one broker and with three; ADDRESSED ones by host names, too."""
    if request.param == "one":
        return cast(Site, request.getfixturevalue("site_one"))
    if request.param == "names":
        if DIRECT:
            pytest.skip("REAL_DOOR=direct: the names are the gateway's (unset it)")
        need_names()
    cluster, gateway = request.getfixturevalue("three")
    return Site(cluster, gateway, "names" if request.param == "names" else "main")


@pytest.fixture(scope="session")
def three(
    kafka_three: KafkaCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[KafkaCluster, GatewayProcess | None]]:
    """Three brokers behind one gateway with two listeners, `main` by ports and `names` by host names."""
    if DIRECT:
        yield kafka_three, None
        return
    gateway = GatewayProcess(tmp_path_factory.mktemp("gateway-three"), {"main": kafka_three.bootstrap}, policy=POLICY)
    gateway.add_names()
    with gateway:
        yield kafka_three, gateway


@pytest.fixture(scope="session")
def guarded_three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedKafka]:
    """Three brokers that want an account and want it again, and each of which may fall out."""
    properties = {"min.insync.replicas": "2", "auto.create.topics.enable": "false"}
    with guarded_kafka(tmp_path_factory.mktemp("guarded-three"), 3, controllers=3, properties=properties) as made:
        yield made


@pytest.fixture(scope="session")
def site_one(kafka_one: KafkaCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One broker only, for what does not depend on their number."""
    yield from _site(kafka_one, tmp_path_factory.mktemp("gateway-one"))


def _site(cluster: KafkaCluster, folder: Path) -> Iterator[Site]:
    if DIRECT:
        yield Site(cluster, None)
        return
    with GatewayProcess(folder, {"main": cluster.bootstrap}, policy=POLICY) as gateway:
        yield Site(cluster, gateway)


@pytest.fixture
def guarded(site: Site) -> Site:
    """A site with a gateway in it: denials are wanted."""
    if site.gateway is None:
        pytest.skip("REAL_DOOR=direct: nothing denies there (unset it)")
    return site
