"""Policy sets and identities for tests, with a made-up system of few words."""

from __future__ import annotations

from ipaddress import ip_address

from gateway.core.identity import Certificate, Identity, Principal
from gateway.core.policy import PolicySet, load_policy
from gateway.core.vocabulary import Kind, System, Vocabulary

BOX = Kind(
    name="box",
    operations=frozenset({"Put", "Take", "Look"}),
    verbs={"produce": frozenset({"Put"}), "consume": frozenset({"Take"}), "describe": frozenset({"Look"})},
    implied={"Put": frozenset({"Look"}), "Take": frozenset({"Look"})},
    separators=".-",
)
ROOM = Kind("room", frozenset({"Enter"}), {"consume": frozenset({"Enter"})}, {}, names=frozenset({"hall"}))
ATTIC = System("attic", {"box": BOX, "room": ROOM})
CELLAR = System("cellar", {"box": BOX})

VOCABULARY = Vocabulary(
    {"attic": ATTIC, "cellar": CELLAR},
    {"a1": "attic", "a2": "attic", "c1": "cellar"},
    frozenset({"corp", "dev"}),
    frozenset({"clients", "partners"}),
)
NOON = 1_800_000_000.0
"""2027-01-15, 08:00 UTC."""


def policy(body: str, vocabulary: Vocabulary = VOCABULARY) -> PolicySet:
    return load_policy([("p.yaml", f"version: 1\n{body}\nend: true\n".encode())], vocabulary)


def person(name: str = "ann", issuer: str = "corp", address: str = "10.0.0.1", **claims: object) -> Identity:
    return Identity(Principal("jwt", issuer, name), ip_address(address), claims)


def holder(uri: str = "", dns: str = "", subject: str = "", common_name: str = "", ca: str = "clients") -> Identity:
    uris, names = ((uri,) if uri else ()), ((dns,) if dns else ())
    certificate = Certificate(subject, common_name, uris, names, "00", 2e9)
    return Identity(Principal("certificate", ca, uri or subject), ip_address("10.0.0.1"), certificate=certificate)
