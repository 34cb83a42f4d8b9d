"""ACLs as the broker takes them, and rights of equal meaning for a view: one list makes both."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from gateway.core.session import Endpoint
from gateway.kafka.plan import Body, TopicId

TYPES = {"topic": 2, "group": 3, "cluster": 4, "transactional-id": 5}
OPERATIONS = {
    "All": 2, "Read": 3, "Write": 4, "Create": 5, "Delete": 6, "Alter": 7, "Describe": 8, "ClusterAction": 9,
    "DescribeConfigs": 10, "AlterConfigs": 11, "IdempotentWrite": 12,
}  # fmt: skip
_IMPLIED = {"Describe": ("Read", "Write", "Delete", "Alter"), "DescribeConfigs": ("AlterConfigs",)}
_LITERAL, _PREFIXED = 3, 4


@dataclass(frozen=True)
class Acl:
    """`name` with a star at its end is a prefix; a star alone is everything."""

    kind: str
    operation: str
    name: str
    deny: bool = False

    def covers(self, kind: str, name: str) -> bool:
        if self.kind != kind:
            return False
        return name.startswith(self.name[:-1]) if self.name.endswith("*") else name == self.name

    def creation(self, principal: str) -> Body:
        prefixed = self.name.endswith("*") and self.name != "*"
        return {
            "resourceType": TYPES[self.kind],
            "resourceName": self.name[:-1] if prefixed else self.name,
            "resourcePatternType": _PREFIXED if prefixed else _LITERAL,
            "principal": f"User:{principal}",
            "host": "*",
            "operation": OPERATIONS[self.operation],
            "permissionType": 2 if self.deny else 3,
        }


@dataclass
class Topics:
    """What the driver knows of the broker's topics; filled from its metadata."""

    ids: dict[str, TopicId] = field(default_factory=dict)

    def name(self, topic_id: TopicId) -> str | None:
        return next((name for name, known in self.ids.items() if known == topic_id), None)

    def topic_id(self, name: str) -> TopicId | None:
        return self.ids.get(name)

    def names(self) -> Collection[str]:
        return list(self.ids)


@dataclass
class AclView:
    """Rights as StandardAuthorizer understands ACLs: a deny wins, Read and the like imply Describe."""

    acls: tuple[Acl, ...]
    topics: Topics
    addresses: dict[int, Endpoint] = field(default_factory=dict)
    auto_create_topics: bool = True
    backend: str = "judge"
    missing_ids: Collection[TopicId] = ()
    missing_names: Collection[str] = ()

    def allowed(self, kind: str, operation: str, name: str) -> bool:
        return self.allowed_quietly(kind, operation, name)

    def allowed_quietly(self, kind: str, operation: str, name: str) -> bool:
        concerned = [acl for acl in self.acls if acl.covers(kind, name)]
        if any(acl.deny and acl.operation in (operation, "All") for acl in concerned):
            return False
        enough = {operation, "All", *_IMPLIED.get(operation, ())}
        return any(not acl.deny and acl.operation in enough for acl in concerned)

    def allowed_on_any(self, kind: str, operation: str) -> bool:
        mine = [acl for acl in self.acls if acl.kind == kind and acl.operation in (operation, "All")]
        allows, denies = [acl for acl in mine if not acl.deny], [acl for acl in mine if acl.deny]
        return any(not any(_dominates(deny, allow) for deny in denies) for allow in allows)

    def refused(self, kind: str, operation: str, name: str, why: str) -> None:
        """Nobody reads an audit here."""

    def address(self, node_id: int) -> Endpoint | None:
        return self.addresses.get(node_id)


def _dominates(deny: Acl, allow: Acl) -> bool:
    if deny.name.endswith("*"):
        return allow.name.startswith(deny.name[:-1])
    return deny.name == allow.name


def acls(*lines: str) -> tuple[Acl, ...]:
    """``Read topic a-*``, ``deny Read topic b-*`` or ``Alter cluster``, one each."""
    return tuple(_acl(line.split()) for line in lines)


def _acl(words: list[str]) -> Acl:
    deny = words[0] == "deny"
    operation, kind, *names = words[1:] if deny else words
    return Acl(kind, operation, names[0] if names else "kafka-cluster", deny)


def creations(principals: Iterable[tuple[str, tuple[Acl, ...]]]) -> list[Body]:
    return [acl.creation(name) for name, granted in principals for acl in granted]
