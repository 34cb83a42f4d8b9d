"""The gateway's own questions to a Pulsar cluster, with brokers made by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from gateway.core.exchange import Exchange, ExchangeFailed
from gateway.core.session import Endpoint
from gateway.core.settings import Backend
from gateway.pulsar import commands
from gateway.pulsar.asks import BrokerFound, BrokerWanted
from gateway.pulsar.backend import PulsarBackend
from gateway.pulsar.broker_names import BrokerNames
from gateway.pulsar.control import REDIRECTS_MAX, PulsarControl
from tests.scenarios.kafka_world import HandClock
from tests.scenarios.pulsar_world import Account

B1, B2, B3 = (Endpoint(f"b{number}", 6650) for number in (1, 2, 3))
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


def control(tokens_passed: bool = False, account: Account | None = None) -> tuple[PulsarControl, PulsarBackend]:
    state = PulsarBackend("main", [B1, B2], BrokerNames(b"k", "main", HandClock()), plaintext=True)
    own = None if tokens_passed else account or Account()
    whose = "own-token" if tokens_passed else "original-principal"
    settings = Backend(name="main", system="pulsar", bootstrap=("b1:1",), clients_as=whose)
    return PulsarControl(state, lambda: own, settings), state


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
