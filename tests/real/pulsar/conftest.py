"""One broker and one gateway for all of the suite; tests that harm either start their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.pulsar.broker import PulsarBroker
from tests.real.pulsar.keepalive import Quiet
from tests.real.pulsar.site import Site, gateway_for, granted

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A broker takes its time to start on a busy machine, and the first test waits for it."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(400), append=False)


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PulsarBroker]:
    with PulsarBroker(tmp_path_factory.mktemp("pulsar")) as running:
        granted(running)
        yield running


@pytest.fixture(autouse=True)
def _beginning_early(request: pytest.FixtureRequest) -> None:
    """Those who are to be quiet for a minute begin with the suite, so that no test waits for it."""
    if "site" in request.fixturenames:
        request.getfixturevalue("quiet")


@pytest.fixture(scope="session")
def quiet(site: Site) -> Iterator[Quiet]:
    with Quiet(site) as begun:
        yield begun


@pytest.fixture(scope="session")
def site(broker: PulsarBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with gateway_for(tmp_path_factory.mktemp("gateway-pulsar"), broker) as gateway:
        yield Site(broker, gateway)
