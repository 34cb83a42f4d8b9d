"""Test files of policies: who can do what, who cannot and because of what. Run by ``gateway policy test``.

A test that fails for another reason than it names has failed. The identities are made up, so a test may speak of an
issuer that no policy knows. Claims come from YAML and so are strings, lists and mappings of strings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from gateway.core import documents
from gateway.core.documents import Document, Mistake, Mistakes, Path, spell
from gateway.core.identity import Certificate, Identity, Principal
from gateway.core.policy.decide import PolicySet
from gateway.core.policy.explain import Explanation, Question, explain
from gateway.core.policy.load import meaning
from gateway.core.policy.model import Endpoint, Words
from gateway.core.policy.table import Rule
from gateway.core.settings import Model, Name

SOMEWHERE = IPv4Address("192.0.2.1")
"""Where a principal of a test connects from if it does not say (an address for documentation, RFC 5737)."""
LIKE_DEPTH_MAX = 16


def as_address(value: object) -> object:
    try:
        return ip_address(str(value))
    except ValueError:
        raise ValueError("an IP address") from None


def as_moment(value: object) -> object:
    """A day (its first second, UTC) or a time with its zone, as seconds since the epoch."""
    try:
        if isinstance(value, str) and len(value) == 10:
            day = date.fromisoformat(value)
            return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError("a day such as 2027-03-31, or a time such as 2027-03-31T12:00:00+00:00")
    return moment.timestamp()


Address = Annotated[IPv4Address | IPv6Address, BeforeValidator(as_address)]
Moment = Annotated[float, BeforeValidator(as_moment)]


class CertificateShown(Model):
    """A certificate that a principal of a test shows; `ca` is the listener's `client_ca_name`."""

    ca: Name = "clients"
    subject: str = ""
    common_name: str = ""
    uri: Annotated[tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)] = ()
    dns: Annotated[tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)] = ()

    def identity(self, address: IPv4Address | IPv6Address, endpoint: str) -> Identity:
        name = self.uri[0] if self.uri else self.subject or f"CN={self.common_name}"
        certificate = Certificate(self.subject, self.common_name, self.uri, self.dns, "", 0.0)
        return Identity(Principal("certificate", self.ca, name), address, certificate=certificate, endpoint=endpoint)


class Who(Model):
    """A made-up principal; `like` takes over another's words, and its claims key by key."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    like: Name | None = None
    issuer: Name | None = None
    sub: str | None = None
    claims: dict[str, Any] = Field(default_factory=dict)
    certificate: CertificateShown | None = None
    address: Address | None = Field(default=None, alias="from")
    endpoint: Endpoint | None = None

    def over(self, other: Who) -> Who:
        return Who(
            issuer=self.issuer or other.issuer,
            sub=self.sub or other.sub,
            claims={**other.claims, **self.claims},
            certificate=self.certificate or other.certificate,
            address=self.address or other.address,
            endpoint=self.endpoint or other.endpoint,
        )

    def identity(self, address: IPv4Address | IPv6Address | None = None, endpoint: str | None = None) -> Identity:
        at, through = address or self.address or SOMEWHERE, endpoint or self.endpoint or ""
        if self.certificate is not None and self.issuer is None:
            return self.certificate.identity(at, through)
        return Identity(Principal("jwt", self.issuer or "", self.sub or ""), at, self.claims, endpoint=through)


class Trial(Model):
    """One test: `who` can, or cannot, do these verbs on these resources (every verb on every resource)."""

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True)
    __pydantic_extra__: dict[str, dict[str, Words]]

    who: Name
    can: Words | None = None
    cannot: Words | None = None
    because: str | None = None
    """With cannot: no-rule, no-binding, network, expired, or the id of the deny. With can: the id of the allow."""
    address: Address | None = Field(default=None, alias="from")
    endpoint: Endpoint | None = None
    at: Moment | None = None
    backend: Name | None = None
    """Left out: every backend of the system."""

    @property
    def verbs(self) -> Words:
        verbs = self.can if self.can is not None else self.cannot
        assert verbs is not None
        return verbs

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.can is None) == (self.cannot is None):
            raise ValueError("exactly one of can and cannot")
        if not self.__pydantic_extra__:
            raise ValueError("resources as well: a system, its kinds, their names")
        return self


class TrialFile(Model):
    version: Literal["1"] = "1"
    principals: dict[Name, Who]
    tests: Annotated[tuple[Trial, ...], Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class Failure:
    """A test that did not hold, for one question; `wanted` in the test file's words."""

    file: str
    line: int
    who: str
    question: Question
    wanted: str
    explanation: Explanation


@dataclass(frozen=True, slots=True)
class Outcome:
    tests: int
    questions: int
    failures: tuple[Failure, ...]
    untouched: tuple[Rule, ...]
    """Rules that met none of the questions."""


def run(policies: PolicySet, files: Sequence[tuple[str, bytes]], wall: float) -> Outcome:
    """Run test files, as (name, content), against a policy set; `wall` is now. Raises Mistakes in the test files."""
    mistakes: list[Mistake] = []
    failures: list[Failure] = []
    touched: set[Rule] = set()
    tests = questions = 0
    for name, content in files:
        try:
            document = documents.parse(content, name)
            file = documents.typed(TrialFile, document)
            people = _people(document, file)
        except Mistakes as error:
            mistakes += error.mistakes
            continue
        for number, trial in enumerate(file.tests):
            tests += 1
            for question in _questions(policies, document, number, trial, people, wall, mistakes):
                questions += 1
                found = explain(policies, question)
                touched.update(found.matched)
                wanted = _wanted(trial, found)
                if wanted:
                    line = document.line(("tests", number))
                    failures.append(Failure(name, line, trial.who, question, wanted, found))
    if mistakes:
        raise Mistakes(mistakes)
    untouched = tuple(rule for rule in policies.rules if rule not in touched)
    return Outcome(tests, questions, tuple(failures), untouched)


def _wanted(trial: Trial, found: Explanation) -> str:
    """ "" if the test holds, else what it wanted."""
    decision = found.decision
    if trial.can is not None:
        good = decision.allowed and trial.because in (None, decision.rule)
        return "" if good else "allowed" + (f" by {trial.because}" if trial.because else "")
    good = not decision.allowed and trial.because in (None, decision.why)
    return "" if good else "denied" + (f" because {trial.because}" if trial.because else "")


def _people(document: Document, file: TrialFile) -> dict[str, Who]:
    """Every principal with what it is like worked in. Raises Mistakes."""
    people: dict[str, Who] = {}
    mistakes = []
    for name, who in file.principals.items():
        whole, seen = who, {name}
        like = who.like
        while like is not None:
            other = file.principals.get(like)
            if other is None or like in seen or len(seen) > LIKE_DEPTH_MAX:
                path: Path = ("principals", name, "like")
                mistakes.append(_mistake(document, path, repr(like), "the name of another principal, not in a circle"))
                break
            seen.add(like)
            whole, like = whole.over(other), other.like
        if like is None and whole.certificate is None and not (whole.issuer and whole.sub):
            mistakes.append(_mistake(document, ("principals", name), "nobody", "issuer and sub, or certificate"))
        people[name] = whole
    if mistakes:
        raise Mistakes(mistakes)
    return people


def _mistake(document: Document, path: Path, found: str, expected: str) -> Mistake:
    return Mistake(document.file, document.line(path), spell(path), found, expected)


def _questions(
    policies: PolicySet,
    document: Document,
    number: int,
    trial: Trial,
    people: Mapping[str, Who],
    wall: float,
    mistakes: list[Mistake],
) -> Iterator[Question]:
    path: Path = ("tests", number)
    who = people.get(trial.who)
    if who is None:
        known = ", ".join(people)
        mistakes.append(_mistake(document, (*path, "who"), repr(trial.who), f"one of the principals {known}"))
        return
    identity = who.identity(trial.address, trial.endpoint)
    at = trial.at if trial.at is not None else wall
    meant: set[str] = set()
    for system_name, kinds in trial.__pydantic_extra__.items():
        system = policies.vocabulary.systems.get(system_name)
        if system is None:
            known = ", ".join(sorted(policies.vocabulary.systems))
            mistakes.append(_mistake(document, (*path, system_name), f"the unknown key {system_name!r}", known))
            continue
        backends = [name for name, of in policies.vocabulary.backends.items() if of == system_name]
        if trial.backend is not None:
            if trial.backend not in backends:
                expected = f"one of {', '.join(sorted(backends))}"
                mistakes.append(_mistake(document, (*path, "backend"), f"{trial.backend!r}", expected))
            backends = [name for name in backends if name == trial.backend]
        for kind_name, names in kinds.items():
            kind = system.kinds.get(kind_name)
            if kind is None:
                expected = f"one of {', '.join(sorted(system.kinds))}"
                mistakes.append(_mistake(document, (*path, system_name, kind_name), repr(kind_name), expected))
                continue
            for verb in trial.verbs:
                operations = meaning(verb, system_name, kind)
                meant |= {verb} if operations else set()
                for name in names:
                    for backend in backends:
                        for operation in sorted(operations):
                            yield Question(identity, backend, kind_name, operation, name, at)
    for verb in trial.verbs:
        if verb not in meant:
            mistakes.append(
                _mistake(document, path, f"{verb!r}", "a verb that means something on a resource of the test")
            )
