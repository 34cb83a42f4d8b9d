"""The gateway's own questions to a Pulsar cluster, with brokers made by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from gateway.core.exchange import Exchange, ExchangeFailed
from gateway.core.session import Endpoint
from gateway.core.settings import Backend
from gateway.http.client1 import Http1Call
from gateway.http.messages import Response
from gateway.pulsar import commands
from gateway.pulsar.asks import BrokerFound, BrokerWanted
from gateway.pulsar.backend import PulsarBackend
from gateway.pulsar.broker_names import BrokerNames
from gateway.pulsar.control import REDIRECTS_MAX, PulsarControl
from gateway.pulsar.web_brokers import WebBrokers
from tests.scenarios.kafka_world import HandClock
from tests.scenarios.pulsar_world import Account

B1, B2, B3 = (Endpoint(f"b{number}", 6650) for number in (1, 2, 3))
W1, W2 = Endpoint("b1", 8443), Endpoint("b2", 8443)
TAKEN = commands.framed("connected", server_version="x", protocol_version=21)
REFUSED = commands.framed("error", request_id=1, error=3, message="no")
Says = Callable[[Any], bytes]


class Broker:
    """Answers each command by its name; `heard` keeps what it was asked."""

    def __init__(self, says: Mapping[str, bytes]) -> None:
        self._says = says
        self.heard: list[Any] = []
        self.open = 0

    async def call(self, frame: bytes) -> bytes:
        command = commands.decode(memoryview(frame)[4:])
        self.heard.append(command)
        return self._says[command.name][4:]

    def close(self) -> None:
        self.open -= 1


class Web:
    """The web service: what it says at each address, and what it was asked."""

    def __init__(self, says: Mapping[Endpoint, int]) -> None:
        self._says = says
        self.heard: list[tuple[Endpoint, bytes]] = []

    async def __call__(self, endpoint: Endpoint, call: Http1Call) -> Response:
        self.heard.append((endpoint, b"".join(call.parts)))
        if endpoint not in self._says:
            raise ExchangeFailed(f"{endpoint}: nobody there")
        return Response(self._says[endpoint])


def control(
    tokens_passed: bool = False, account: Account | None = None, web: Web | None = None
) -> tuple[PulsarControl, PulsarBackend]:
    state = PulsarBackend("main", [B1, B2], BrokerNames(b"k", "main", HandClock()), plaintext=True)
    own = None if tokens_passed else account or Account()
    whose = "own-token" if tokens_passed else "original-principal"
    settings = Backend(name="main", system="pulsar", bootstrap=("b1:1",), clients_as=whose)
    if web is not None:
        state.web = WebBrokers([W1, W2], [], plaintext=False)
    return PulsarControl(state, lambda: own, settings, web), state


def dialling(brokers: Mapping[Endpoint, Broker]) -> Any:
    async def dial(endpoint: Endpoint) -> Exchange:
        if endpoint not in brokers:
            raise ExchangeFailed(f"{endpoint}: nobody there")
        brokers[endpoint].open += 1
        return brokers[endpoint]

    return dial


def sent_on(to: str, response: int = 0) -> bytes:
    return commands.framed("lookup_response", request_id=1, response=response, broker_url=f"pulsar://{to}:6650")


WANTED = BrokerWanted("main", B2, "persistent://public/default/orders", "alice", True, "outside")


async def test_one_broker_that_answers_is_enough() -> None:
    made, state = control()
    broker = Broker({"connect": TAKEN})
    await made.refresh(dialling({B2: broker}))
    assert state.ready
    assert broker.open == 0
    assert broker.heard[0].body.original_principal == "gateway-control"


@pytest.mark.parametrize(
    "says", [REFUSED, commands.framed("success", request_id=1), b"\0\0\0\x08\0\0\0\x04\xff\xff\xff\xff"]
)
async def test_a_broker_that_does_not_take_it_is_not_enough(says: bytes) -> None:
    made, state = control()
    broker = Broker({"connect": says})
    with pytest.raises(ExchangeFailed):
        await made.refresh(dialling({B1: broker}))
    assert not state.ready
    assert broker.open == 0


async def test_with_tokens_passed_on_it_is_enough_to_be_answered() -> None:
    made, state = control(tokens_passed=True)
    await made.refresh(dialling({B1: Broker({"connect": REFUSED})}))
    assert state.ready


async def test_without_a_credential_nobody_is_asked() -> None:
    account = Account()
    account.secret = ""
    made, _ = control(account=account)
    with pytest.raises(ExchangeFailed, match="credential"):
        await made.refresh(dialling({}))


async def test_a_lookup_is_followed_in_the_clients_name() -> None:
    made, _ = control()
    second = Broker({"connect": TAKEN, "lookup": sent_on("b3")})
    third = Broker({"connect": TAKEN, "lookup": sent_on("b9", 1)})
    assert await made.answer(WANTED, dialling({B2: second, B3: third})) == BrokerFound(WANTED, Endpoint("b9", 6650))
    greeted, asked = third.heard
    assert greeted.body.original_principal == "alice"
    assert (asked.body.topic, asked.body.advertised_listener_name) == (WANTED.topic, "outside")
    assert (second.open, third.open) == (0, 0)


async def test_what_the_broker_says_no_to_is_told_with_its_words() -> None:
    made, _ = control()
    no = commands.framed("lookup_response", request_id=1, response=2, error=4, message="not you")
    found = await made.answer(WANTED, dialling({B2: Broker({"connect": TAKEN, "lookup": no})}))
    assert found == BrokerFound(WANTED, None, 4, "not you")


async def test_a_lookup_that_goes_round_ends() -> None:
    made, _ = control()
    round_about = Broker({"connect": TAKEN, "lookup": sent_on("b2")})
    found = await made.answer(WANTED, dialling({B2: round_about}))
    assert isinstance(found, BrokerFound)
    assert found.broker is None
    assert len(round_about.heard) == 2 * REDIRECTS_MAX


async def test_a_ping_in_between_is_answered() -> None:
    made, state = control()
    await made.refresh(dialling({B1: Broker({"connect": commands.framed("ping"), "pong": TAKEN})}))
    assert state.ready


async def test_one_address_of_the_web_service_that_answers_is_enough() -> None:
    web = Web({W2: 200})
    made, state = control(web=web)
    await made.refresh(dialling({B1: Broker({"connect": TAKEN})}))
    assert state.web_reached
    assert [at for at, _ in web.heard] == [W1, W2]
    asked = web.heard[1][1]
    assert asked.startswith(b"GET /admin/v2/brokers/ready HTTP/1.1\r\n")
    assert b"authorization: Bearer own-token\r\n" in asked.replace(b"Authorization", b"authorization")


@pytest.mark.parametrize(("says", "words"), [({}, "nobody there"), ({W1: 401, W2: 401}, "401"), ({W2: 503}, "503")])
async def test_a_web_service_that_is_down_is_named(says: Mapping[Endpoint, int], words: str) -> None:
    """And the brokers are reached all the same."""
    made, state = control(web=Web(says))
    with pytest.raises(ExchangeFailed, match=f"^web service: .*{words}"):
        await made.refresh(dialling({B1: Broker({"connect": TAKEN})}))
    assert state.ready
    assert not state.web_reached


async def test_brokers_that_are_down_are_named_beside_the_web_service() -> None:
    made, state = control(web=Web({W1: 404}))
    with pytest.raises(ExchangeFailed, match=r"^b2:6650: nobody there$"):
        await made.refresh(dialling({}))
    assert state.web_reached, "it answered"
    assert not state.ready


async def test_without_a_credential_no_web_service_is_asked() -> None:
    account = Account()
    account.secret = ""
    web = Web({W1: 200})
    made, state = control(account=account, web=web)
    with pytest.raises(ExchangeFailed, match="web service: no credential"):
        await made.refresh(dialling({}))
    assert web.heard == []
    assert not state.web_reached


async def test_with_tokens_passed_on_it_is_enough_that_the_web_service_answers() -> None:
    made, state = control(tokens_passed=True, web=Web({W1: 401}))
    await made.refresh(dialling({B1: Broker({"connect": TAKEN})}))
    assert state.web_reached
