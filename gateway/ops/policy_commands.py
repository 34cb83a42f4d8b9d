"""``gateway policy explain`` and ``gateway policy test``.

Both read the policies of a configuration (``--config``) or policy files alone (``--policies``). explain ends with 0 if
the answer is yes, 1 if it is no; test with 1 if a test failed; both with 2 if the question, the command line or a file
is wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from gateway.core.policy import PolicySet
from gateway.core.policy.explain import Explanation, Question, explain
from gateway.core.policy.load import meaning
from gateway.core.policy.table import Rule
from gateway.core.policy.trial import Failure, Outcome, as_address, as_moment, run
from gateway.ops.exit_codes import CHECK_FAILED, OK, WRONG_USE
from gateway.ops.policy_asked import (
    TOKEN_BYTES_MAX,
    Asked,
    CannotAsk,
    by_certificate,
    by_decision,
    by_name,
    by_token,
    read_claims,
)
from gateway.ops.policy_source import Source, from_config, from_files, tests_beside


def add_policy_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``policy explain`` and ``policy test``; each sets `command`, returning an exit code."""
    policy = subparsers.add_parser("policy", help="explain decisions, run the policies' tests")
    commands = policy.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_explain(commands)
    test = commands.add_parser("test", help="run the *_test.yaml files beside the policies")
    _takes_policies(test, many=True)
    test.add_argument("--at", type=_typed(as_moment), help="the moment to test at (default: now)")
    test.add_argument("--json", action="store_true", help="print JSON")
    test.set_defaults(command=test_policies)


def _add_explain(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "explain",
        help="say what is decided for a principal, by which rule, and why",
        epilog="Example: gateway policy explain --policies policies/demo.yaml --issuer dev --sub orders-service "
        "--claims claims.json produce topic:payments.orders",
    )
    parser.add_argument("operation", nargs="?", help="a verb (produce) or the system's operation (Read)")
    parser.add_argument("resource", nargs="?", metavar="[SYSTEM:]KIND:NAME", help="such as topic:payments.orders")
    _takes_policies(parser, many=False)
    who = parser.add_argument_group("who")
    who.add_argument("--issuer", help="the issuer's name in the configuration")
    who.add_argument("--sub", help="the principal's name")
    who.add_argument("--claims", type=Path, metavar="FILE", help="the claims, JSON or YAML")
    who.add_argument("--token", choices=["-"], help="read a token from standard input")
    who.add_argument("--certificate", action="append", metavar="FIELD=VALUE", help="uri, dns, subject, common_name")
    who.add_argument("--ca", default="clients", help="the certificate's client_ca_name (default: clients)")
    who.add_argument("--decision", metavar="ID", help="a denial of the audit; says who, what, where and when")
    who.add_argument("--audit", type=Path, metavar="FILE", help="the audit log with that denial")
    who.add_argument("--from", dest="address", type=_typed(as_address), metavar="ADDRESS", help="the client's address")
    parser.add_argument("--at", type=_typed(as_moment), help="a day or time (default: now, or the denial's)")
    parser.add_argument("--backend", help="needed if the system has several")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(command=explain_decision)


def _takes_policies(parser: argparse.ArgumentParser, *, many: bool) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--config", type=Path, metavar="FILE", help="take the policies of this configuration")
    nargs = "+" if many else None
    text = "policy file, or a pattern with * in its last part" + ("" if many else "; may be given several times")
    source.add_argument("--policies", metavar="FILE", nargs=nargs, action="extend" if many else "append", help=text)


def _typed(convert: Callable[[object], Any]) -> Callable[[str], Any]:
    def value(text: str) -> Any:
        try:
            return convert(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r}; expected {error}") from None

    return value


def _source(chosen: argparse.Namespace) -> Source:
    return from_config(chosen.config) if chosen.config is not None else from_files(chosen.policies)


# explain


def explain_decision(chosen: argparse.Namespace) -> int:
    """Raises Mistakes if the policies do not load."""
    source = _source(chosen)
    try:
        asked, questions, notes = _ask(chosen, source)
    except CannotAsk as error:
        print(f"gateway policy explain: {error}", file=sys.stderr)
        return WRONG_USE
    found = [(question, explain(source.policies, question)) for question in questions]
    if chosen.json:
        answers = [_explanation_json(question, each) for question, each in found]
        allowed = all(each.decision.allowed for _, each in found)
        print(json.dumps({"allowed": allowed, "notes": notes, "answers": answers}, indent=2))
    else:
        for note in notes:
            print(f"note: {note}")
        for question, each in found:
            print_explanation(asked, question, each, sys.stdout)
    return OK if all(each.decision.allowed for _, each in found) else CHECK_FAILED


def _ask(chosen: argparse.Namespace, source: Source) -> tuple[Asked, list[Question], list[str]]:
    policies = source.policies
    if chosen.decision is not None:
        if chosen.audit is None:
            raise CannotAsk("--decision needs --audit FILE, the audit log it is in")
        denied = by_decision(chosen.decision, chosen.audit)
        notes = list(denied.asked.notes)
        if denied.revision != policies.revision:
            notes.append(
                f"decided under revision {denied.revision}; explained under {policies.revision}, as files are now"
            )
        at = chosen.at if chosen.at is not None else denied.wall
        backend = chosen.backend or denied.backend
        question = Question(denied.asked.identity, backend, denied.kind, denied.operation, denied.resource, at)
        return denied.asked, [question], notes
    if not chosen.operation or ":" not in (chosen.resource or ""):
        raise CannotAsk("an operation and a resource are needed, such as: produce kafka:topic:payments.orders")
    at = chosen.at if chosen.at is not None else time.time()
    asked = _who(chosen, source, at)
    system_name, _, rest = chosen.resource.partition(":")
    if system_name not in policies.vocabulary.systems:
        system_name, rest = None, chosen.resource
    kind, _, name = rest.partition(":")
    backend = _backend(policies, kind, chosen.backend, system_name)
    system = policies.vocabulary.systems[policies.vocabulary.backends[backend]]
    found = system.kinds[kind]
    operations = meaning(chosen.operation, system.name, found) or found.operations & {chosen.operation}
    if not operations:
        verbs = [verb for verb in found.verbs if found.verbs[verb]]
        known = ", ".join((*verbs, *sorted(found.operations)))
        raise CannotAsk(f"{chosen.operation!r} means nothing on a {system.name} {kind}; there are {known}")
    questions = [Question(asked.identity, backend, kind, operation, name, at) for operation in sorted(operations)]
    return asked, questions, list(asked.notes)


def _who(chosen: argparse.Namespace, source: Source, wall: float) -> Asked:
    if chosen.token is not None:
        token = sys.stdin.read(TOKEN_BYTES_MAX * 2).strip()
        return by_token(token, source.settings, source.folder, chosen.issuer, chosen.address, wall)
    if chosen.certificate:
        return by_certificate(chosen.certificate, chosen.ca, chosen.address)
    claims = read_claims(chosen.claims) if chosen.claims is not None else {}
    sub = chosen.sub if chosen.sub is not None else claims.get("sub")
    if chosen.issuer is None or not isinstance(sub, str):
        raise CannotAsk(
            "who? Give --issuer and --sub (or a sub among the claims), --token -, --certificate or --decision"
        )
    return by_name(chosen.issuer, sub, claims, chosen.address)


def _backend(policies: PolicySet, kind: str, backend: str | None, system: str | None) -> str:
    """The one backend that is meant. Raises CannotAsk."""
    words = policies.vocabulary
    fits = [
        name
        for name, of in words.backends.items()
        if kind in words.systems[of].kinds and system in (None, of) and backend in (None, name)
    ]
    if len(fits) == 1:
        return fits[0]
    if not fits:
        raise CannotAsk(f"there is no kind {kind!r} on {backend or 'any backend'}")
    raise CannotAsk(f"on which backend? Give --backend: {', '.join(sorted(fits))}; or put the system before the kind")


def print_explanation(asked: Asked, question: Question, found: Explanation, out: TextIO) -> None:
    decision = found.decision
    what = f"{question.operation} on {question.kind} {question.name!r} of {question.backend}"
    print(f"{'ALLOWED' if decision.allowed else 'DENIED'}: {what}", file=out)
    moment = datetime.fromtimestamp(question.wall, UTC).strftime("%Y-%m-%d %H:%M UTC")
    print(f"  who:      {asked.identity.principal} at {asked.identity.address}, {moment}", file=out)
    print(f"  why:      {WHY.get(decision.why, 'a deny beats every allow')} ({decision.why})", file=out)
    if found.rule is not None:
        print(f"  rule:     {found.rule.id} at {found.rule.place}, role {found.rule.role}", file=out)
    for binding in found.bindings:
        owner = f", owner {binding.owner}" if binding.owner else ""
        print(f"  bound at: {binding.place}{owner}", file=out)
    for near in found.nearest:
        print(f"  nearest:  {near.place} ({near.what}): {near.why}", file=out)
    print(f"  revision: {found.revision}", file=out)


WHY = {
    "allowed": "an allow matches and no deny does",
    "no-rule": "no rule of the principal's roles allows it",
    "no-binding": "no binding concerns this principal",
    "network": "a binding would allow it, but not from this address",
    "expired": "a binding would have allowed it, but has expired",
}


def _explanation_json(question: Question, found: Explanation) -> dict[str, Any]:
    return {
        "allowed": found.decision.allowed,
        "why": found.decision.why,
        "rule": _rule_json(found.rule) if found.rule else None,
        "bindings": [str(binding.place) for binding in found.bindings],
        "nearest": [{"at": str(near.place), "what": near.what, "why": near.why} for near in found.nearest],
        "principal": str(question.identity.principal),
        "address": str(question.identity.address),
        "backend": question.backend,
        "kind": question.kind,
        "operation": question.operation,
        "resource": question.name,
        "revision": found.revision,
    }


def _rule_json(rule: Rule) -> dict[str, Any]:
    return {"id": rule.id, "file": rule.place.file, "line": rule.place.line, "role": rule.role}


# test


def test_policies(chosen: argparse.Namespace) -> int:
    """Raises Mistakes if policies or test files do not load."""
    source = _source(chosen)
    files = tests_beside(source.files)
    if not files:
        places = ", ".join(sorted({str(file.parent) for file in source.files}))
        print(f"gateway policy test: no *_test.yaml beside the policies in {places}", file=sys.stderr)
        return WRONG_USE
    outcome = run(source.policies, files, chosen.at if chosen.at is not None else time.time())
    if chosen.json:
        print(json.dumps(_outcome_json(source.policies, outcome), indent=2))
    else:
        print_outcome(source.policies, outcome, sys.stdout)
    return CHECK_FAILED if outcome.failures else OK


def print_outcome(policies: PolicySet, outcome: Outcome, out: TextIO) -> None:
    for failure in outcome.failures:
        _print_failure(failure, out)
    for rule in outcome.untouched:
        print(f"untouched: no test meets the rule {rule.id} at {rule.place}, role {rule.role}", file=out)
    failed = len({(failure.file, failure.line) for failure in outcome.failures})
    result = f"{failed} failed" if failed else "all good"
    print(f"{outcome.tests} tests, {outcome.questions} decisions: {result} (revision {policies.revision})", file=out)


def _print_failure(failure: Failure, out: TextIO) -> None:
    question, decision = failure.question, failure.explanation.decision
    got = f"allowed by {decision.rule}" if decision.allowed else f"denied because {decision.why}"
    what = f"{question.operation} on {question.kind} {question.name!r} of {question.backend}"
    print(f"FAILED {failure.file}:{failure.line}: {failure.who}, {what}: wanted {failure.wanted}, got {got}", file=out)
    for near in failure.explanation.nearest:
        print(f"    nearest: {near.place} ({near.what}): {near.why}", file=out)


def _outcome_json(policies: PolicySet, outcome: Outcome) -> dict[str, Any]:
    def failed(failure: Failure) -> dict[str, Any]:
        answer = _explanation_json(failure.question, failure.explanation)
        return {"file": failure.file, "line": failure.line, "who": failure.who, "wanted": failure.wanted, "got": answer}

    return {
        "revision": policies.revision,
        "tests": outcome.tests,
        "decisions": outcome.questions,
        "failures": [failed(failure) for failure in outcome.failures],
        "untouched": [_rule_json(rule) for rule in outcome.untouched],
    }
