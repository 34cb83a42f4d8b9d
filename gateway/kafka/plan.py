"""What is to be done with one decoded request: the words between the engine (authorize) and the session.

The engine is pure: request body, header and a `View` in, a `Plan` out. The session performs the plan: it keeps the
order of answers, parks while a fact is wanted, and hands the broker's answer to the plan's `finish`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.core.reasons import Reason
from gateway.core.session import Ask, Endpoint, Fact

Body = dict[str, Any]
"""A decoded message: field names in camelCase as in the message definitions; see codec."""

TopicId = bytes
"""16 bytes."""
ZERO_ID: TopicId = bytes(16)


@dataclass(frozen=True, slots=True)
class TopicFactsWanted(Ask):
    """What are these topics called, or do they exist? Told: `TopicFacts`, from the backend as it is now."""

    backend: str
    names: frozenset[str]
    ids: frozenset[TopicId]


@dataclass(frozen=True, slots=True)
class TopicsToCreate(Ask):
    """Let the broker auto-create these topics, which the principal may create. Told: `TopicFacts`."""

    backend: str
    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class TopicFacts(Fact):
    """id -> name for those that exist; ids and names asked for and not found are in `missing_*`."""

    names_by_id: Mapping[TopicId, str]
    missing_ids: frozenset[TopicId]
    missing_names: frozenset[str]


class Topics(Protocol):
    """What is known of a backend's topics (kafka.backend keeps it)."""

    def name(self, topic_id: TopicId) -> str | None:
        """The name of a topic id, None if not known (ask then)."""
        ...

    def topic_id(self, name: str) -> TopicId | None:
        """The id of a name as last seen, None if not known; a hint, for error answers and for what may be missing."""
        ...

    def names(self) -> Collection[str]:
        """Every topic name as last seen, for requests that ask for all topics page by page."""
        ...


class View(Protocol):
    """What the engine may look at for one request: one principal's rights on one backend, the topics, addresses."""

    backend: str
    topics: Topics
    auto_create_topics: bool
    """The brokers' auto.create.topics.enable."""
    missing_ids: Collection[TopicId]
    """Ids of `TopicFacts.missing_ids` told for this very request: they are answered as unknown, not asked for again."""
    missing_names: Collection[str]
    """Names of `TopicFacts.missing_names` told for this very request, likewise. Both are empty before that."""

    def allowed(self, kind: str, operation: str, name: str) -> bool:
        """The principal's decision; a denial is audited by the view, once per request and resource."""
        ...

    def allowed_quietly(self, kind: str, operation: str, name: str) -> bool:
        """The same for filtering lists and authorized-operations fields: nothing is audited."""
        ...

    def allowed_on_any(self, kind: str, operation: str) -> bool:
        """Whether some resource of the kind is allowed (Kafka's authorizeByResourceType)."""
        ...

    def refused(self, kind: str, operation: str, name: str, why: str) -> None:
        """Audit what is refused whatever the rights are. why: ``regular-expression`` or ``loads-code``."""
        ...

    def address(self, node_id: int) -> Endpoint | None:
        """Where clients of this listener reach a broker; None: outside the range (nothing may leak then)."""
        ...


class Finish(Protocol):
    """The broker's answer (decoded, may be changed in place) to the client's."""

    def __call__(self, answer: Body, view: View | None = None) -> Body:
        """`view`: of another connection than the request was decided for, with the same rights."""
        ...


@dataclass(frozen=True, slots=True)
class Forward:
    """Send it on.

    body: None forwards the client's bytes as they are; else this body is encoded instead, at `version`.
    finish: None relays the broker's answer as it is; else the answer is decoded at `version`, finished, and encoded
    at the client's version.
    version: what the broker is asked at; None: the client's version.
    """

    body: Body | None = None
    finish: Finish | None = None
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The gateway answers by itself; the broker never sees it."""

    body: Body


@dataclass(frozen=True, slots=True)
class Refuse:
    """Close the connection, as the broker does; a denied Produce with acks=0 among them, which has no answer."""

    reason: Reason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing can be decided before this is known; plan again with what was told."""

    ask: TopicFactsWanted | TopicsToCreate


Plan = Forward | Answer | Refuse | Wait
