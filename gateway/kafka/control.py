"""The gateway's own connection to a Kafka cluster: what the brokers are, what they can do, which topics there are.

Called on a schedule and on demand by edge.control, which brings connections, deadlines and retries. Only read
requests are sent, but for `create_topics`, which lets the broker create those topics that a client may create. What
was learnt goes into BackendState. Versions are negotiated, so that brokers from 3.9 on are understood.

What sessions ask goes over one connection that is kept from one refresh to the next, at most; another is dialled while
it is in use, or when it turns out to be dead. What a large cluster answers is taken in slices (core.slices).

A broker that cannot be reached does not stop a refresh: what is known of it stays. Every failure is an
ExchangeFailed, also an answer that cannot be decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import count

from gateway.core.exchange import Dial, Exchange, ExchangeFailed
from gateway.core.session import Endpoint
from gateway.core.settings import Backend
from gateway.core.slices import in_slices, let_go
from gateway.kafka import codec
from gateway.kafka.backend import BackendState, BrokerVersions, VersionRanges
from gateway.kafka.plan import ZERO_ID, Body, TopicFacts, TopicFactsWanted, TopicId, TopicsToCreate

METADATA = 3
API_VERSIONS = 18
DESCRIBE_CONFIGS = 32

API_VERSIONS_ASKED = 3
"""Old enough for every broker, new enough for features; one that does not know it answers in version 0."""
METADATA_BY_ID_FROM = 12
METADATA_IDS_FROM = 10
UNSUPPORTED_VERSION = 35
BROKER_RESOURCE = 4
CLIENT_ID = "gateway-control"
NAMES_ASKED_MAX = 1000
"""Topics in one Metadata request."""


class Broker:
    """One open connection to one broker, and the versions it speaks. Made by `greet`."""

    def __init__(self, endpoint: Endpoint, exchange: Exchange, versions: BrokerVersions) -> None:
        self.endpoint = endpoint
        self.versions = versions
        self._exchange = exchange
        self._ids = count(1)

    async def ask(self, api_key: int, body: Body, most: int | None = None) -> tuple[Body, int]:
        """One request at the newest version that both know (`most` at most): (the answer's body, the version)."""
        version = newest(api_key, self.versions.apis, most)
        if version is None:
            raise ExchangeFailed(f"{self.endpoint} has no version of {codec.APIS[api_key].name} that is known here")
        return await exchange_one(self._exchange, self.endpoint, api_key, version, next(self._ids), body), version

    def close(self) -> None:
        self._exchange.close()


class KafkaControl:
    """Keeps one backend's state true. `close` ends the connection that is kept, if any."""

    def __init__(self, state: BackendState, settings: Backend) -> None:
        self._state = state
        self._bootstrap = tuple(Endpoint.of(text) for text in settings.bootstrap)
        self._kept: Broker | None = None
        self._moved = False
        """The addresses are new ones: only they say which cluster this is, until one of them has answered."""
        self._closed = False

    def use(self, settings: Backend) -> None:
        """Find the cluster by these bootstrap addresses from now on."""
        found = tuple(Endpoint.of(text) for text in settings.bootstrap)
        if found != self._bootstrap:
            self._bootstrap = found
            self._moved = True

    @property
    def refresh_wanted(self) -> bool:
        """A session saw brokers or topics move since the last refresh."""
        return self._state.refresh_wanted

    def when_wanted(self, call: Callable[[], None]) -> None:
        """`call` is called each time one does."""
        self._state.on_wanted = call

    async def refresh(self, dial: Dial) -> None:
        """Learn brokers, versions, features and topics anew. Raises ExchangeFailed if no broker could be reached."""
        self._state.refresh_wanted = False  # what moves from here on is for the next one
        self._let_go()  # its broker may have left
        broker = await self._any_broker(dial)
        try:
            await self._learn_cluster(broker)
        finally:
            broker.close()
        await self._learn_brokers(dial)

    async def answer(self, ask: TopicFactsWanted | TopicsToCreate, dial: Dial) -> TopicFacts:
        """What a session asks for. Raises ExchangeFailed."""
        kept, self._kept = self._kept, None
        if kept is not None:
            try:
                return await self._told_by(kept, ask)
            except ExchangeFailed:
                pass  # brokers end connections that are idle, so this says nothing of the broker yet
        return await self._told_by(await self._any_broker(dial), ask)

    async def _told_by(self, broker: Broker, ask: TopicFactsWanted | TopicsToCreate) -> TopicFacts:
        """What one broker says; its connection is kept if all went well and none is."""
        try:
            if isinstance(ask, TopicsToCreate):
                facts = await self._create_topics(broker, ask)
            else:
                facts = await self._topic_facts(broker, ask)
        except BaseException:
            broker.close()
            raise
        if self._kept is None and not self._closed:
            self._kept = broker
        else:
            broker.close()
        return facts

    def _let_go(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.close()

    def close(self) -> None:
        self._closed = True
        self._let_go()

    async def _topic_facts(self, broker: Broker, ask: TopicFactsWanted) -> TopicFacts:
        """What these topics are called, or that they do not exist, from the backend as it is now."""
        by_name = [{"name": name, "topicId": ZERO_ID} for name in sorted(ask.names)]
        by_id: list[Body] = []
        latest = newest(METADATA, broker.versions.apis, None)
        if latest is not None and latest >= METADATA_BY_ID_FROM:
            by_id = [{"name": None, "topicId": topic_id} for topic_id in sorted(ask.ids)]
        found: dict[TopicId, str] = {}
        for topics in _slices(by_name + by_id):
            found.update(await self._topics(broker, topics, create=False))
        return _facts(found, ask.ids, ask.names)

    async def _create_topics(self, broker: Broker, ask: TopicsToCreate) -> TopicFacts:
        """Let the broker create these topics by its own rules, as it does for a Metadata request that permits it."""
        found: dict[TopicId, str] = {}
        for topics in _slices([{"name": name, "topicId": ZERO_ID} for name in sorted(ask.names)]):
            found.update(await self._topics(broker, topics, create=True))
        return _facts(found, frozenset(), ask.names)

    async def _any_broker(self, dial: Dial) -> Broker:
        """A greeted connection: bootstrap addresses first, then brokers known from before."""
        failures = []
        known = () if self._moved else tuple(self._state.brokers.values())
        for endpoint in dict.fromkeys((*self._bootstrap, *known)):
            try:
                greeted = await greet(endpoint, dial)
            except ExchangeFailed as failed:
                failures.append(f"{endpoint}: {failed}")
            else:
                self._moved = False
                return greeted
        raise ExchangeFailed("no broker could be reached; " + "; ".join(failures[:3]))

    async def _learn_cluster(self, broker: Broker) -> None:
        body, version = await broker.ask(METADATA, _metadata_body(None, False))
        brokers = {each["nodeId"]: Endpoint(each["host"], each["port"]) for each in body["brokers"]}
        if not brokers:
            raise ExchangeFailed(f"{broker.endpoint} named no broker")
        state = self._state
        state.cluster_id = body.get("clusterId")
        state.set_brokers(brokers)
        if version >= METADATA_IDS_FROM:
            named = (each for each in body["topics"] if each["name"] is not None)
            topics = ((each["name"], bytes(each["topicId"])) for each in named)
            await in_slices(partial(state.topics.replace, topics))
        await in_slices(partial(let_go, body))

    async def _auto_creates(self, broker: Broker, node_id: int) -> bool:
        """auto.create.topics.enable of a broker, which tells of no node but itself. Where it cannot be read it is taken
        as true, which asks before creating."""
        resource = {
            "resourceType": BROKER_RESOURCE,
            "resourceName": str(node_id),
            "configurationKeys": ["auto.create.topics.enable"],
        }
        try:
            body, _ = await broker.ask(DESCRIBE_CONFIGS, {"resources": [resource]})
        except ExchangeFailed:
            return True
        configs = [config for result in body["results"] for config in result["configs"] or ()]
        return not any(each["name"] == "auto.create.topics.enable" and each["value"] == "false" for each in configs)

    async def _learn_brokers(self, dial: Dial) -> None:
        """What each broker can do, and whether the first that is reached creates topics by itself."""
        reached = 0
        failure = ""
        for node_id, endpoint in list(self._state.brokers.items()):
            try:
                broker = await greet(endpoint, dial)
            except ExchangeFailed as failed:
                failure = f"{endpoint}: {failed}"
                continue
            try:
                if not reached:
                    self._state.auto_create_topics = await self._auto_creates(broker, node_id)
            finally:
                broker.close()
            self._state.set_versions(node_id, broker.versions)
            reached += 1
        if not reached:
            raise ExchangeFailed(f"no broker of the cluster could be reached at its own address; {failure}")

    async def _topics(self, broker: Broker, topics: list[Body], create: bool) -> dict[TopicId, str]:
        """id -> name of those topics that exist; brokers without topic ids give ids that are all ZERO_ID's."""
        body, version = await broker.ask(METADATA, _metadata_body(topics, create))
        found: dict[TopicId, str] = {}
        for each in body["topics"]:
            name = each["name"]
            topic_id = bytes(each["topicId"]) if version >= METADATA_IDS_FROM else ZERO_ID
            if name is not None and topic_id != ZERO_ID:
                self._state.topics.learn(name, topic_id)
                found[topic_id] = name
        return found


async def greet(endpoint: Endpoint, dial: Dial) -> Broker:
    """Connect and ask for versions. Raises ExchangeFailed."""
    exchange = await dial(endpoint)
    try:
        software = {"clientSoftwareName": "streaming-gateway", "clientSoftwareVersion": "1"}
        body = await exchange_one(exchange, endpoint, API_VERSIONS, API_VERSIONS_ASKED, 0, software)
        if body["errorCode"] == UNSUPPORTED_VERSION:
            body = await exchange_one(exchange, endpoint, API_VERSIONS, 0, 0, {})
        if body["errorCode"]:
            raise ExchangeFailed(f"{endpoint} answered ApiVersions with error {body['errorCode']}")
        return Broker(endpoint, exchange, _versions(body))
    except BaseException:
        exchange.close()
        raise


async def exchange_one(
    exchange: Exchange, endpoint: Endpoint, api_key: int, version: int, correlation_id: int, body: Body
) -> Body:
    """Send one request, take its answer. Raises ExchangeFailed."""
    header = codec.encode_request_header(api_key, version, correlation_id, CLIENT_ID)
    answer = await exchange.call(header + codec.encode_request(api_key, version, body))
    try:
        theirs, offset = codec.parse_response_header(api_key, version, answer)
        if theirs != correlation_id:
            raise ExchangeFailed(f"{endpoint} answered another request than the one that was asked")
        rest = memoryview(answer)[offset:]
        if api_key == API_VERSIONS and version > 0 and rest[:2] == UNSUPPORTED_VERSION.to_bytes(2, "big"):
            # KIP-511 has it in version 0, but only the error matters, and not every broker's rest is of that form.
            return {"errorCode": UNSUPPORTED_VERSION, "apiKeys": []}
        return await in_slices(partial(codec.decode_response, api_key, version, rest))
    except codec.Malformed as error:
        raise ExchangeFailed(f"{endpoint}: {error}") from None


def newest(api_key: int, theirs: VersionRanges, most: int | None) -> int | None:
    """The newest version of an API that a broker and the codec both know."""
    if api_key not in theirs:
        return None
    low, high = codec.APIS[api_key].versions
    low, high = max(low, theirs[api_key][0]), min(high, theirs[api_key][1])
    if most is not None:
        high = min(high, most)
    return high if low <= high else None


def _versions(body: Body) -> BrokerVersions:
    return BrokerVersions(
        apis={each["apiKey"]: (each["minVersion"], each["maxVersion"]) for each in body["apiKeys"]},
        supported_features={
            each["name"]: (each["minVersion"], each["maxVersion"]) for each in body.get("supportedFeatures", ())
        },
        finalized_features={
            each["name"]: (each["minVersionLevel"], each["maxVersionLevel"])
            for each in body.get("finalizedFeatures", ())
        },
        finalized_epoch=body.get("finalizedFeaturesEpoch", -1),
    )


def _metadata_body(topics: list[Body] | None, create: bool) -> Body:
    return {
        "topics": topics,
        "allowAutoTopicCreation": create,
        "includeClusterAuthorizedOperations": False,
        "includeTopicAuthorizedOperations": False,
    }


def _facts(found: dict[TopicId, str], ids: frozenset[TopicId], names: frozenset[str]) -> TopicFacts:
    known = frozenset(found.values())
    return TopicFacts(names_by_id=found, missing_ids=ids - found.keys(), missing_names=names - known)


def _slices(topics: Iterable[Body]) -> list[list[Body]]:
    every = list(topics)
    return [every[at : at + NAMES_ASKED_MAX] for at in range(0, len(every), NAMES_ASKED_MAX)]
