"""A case asked twice, straight and through the engine, and what is left of the difference."""

from __future__ import annotations

import time

from gateway.kafka.plan import Body
from tests.equivalence.cases import Case, Run
from tests.equivalence.compare import differences, settled
from tests.equivalence.gateway import through
from tests.equivalence.wire import Closed
from tests.equivalence.world import World

CLOSED: Body = {"closed": True}
COORDINATOR_LOAD_IN_PROGRESS = 14
"""Nothing was done yet: a broker says so too when it has used up its block of producer ids."""
ATTEMPTS_MAX = 600


def compare(world: World, case: Case, version: int, principal: str) -> tuple[list[str], set[str]]:
    """(differences that the case does not explain, one line each; why the others are meant to be)."""
    unexplained, reasons = [], set()
    for line in differences(*answers(world, case, version, principal)):
        reason = next((why for path, why in case.differs.items() if line.startswith(path)), None)
        if reason is None:
            unexplained.append(f"v{version} {principal}: {line}")
        else:
            reasons.add(reason)
    return unexplained, reasons


def answers(world: World, case: Case, version: int, principal: str) -> tuple[Body, Body]:
    """(the broker's answer to the principal, the gateway's), both settled."""
    return _asked(world, case, version, principal, True), _asked(world, case, version, principal, False)


def _asked(world: World, case: Case, version: int, principal: str, direct: bool) -> Body:
    run = Run(world, version, world.label())
    if case.setup is not None:
        case.setup(run)
    body = case.build(run)
    for _ in range(ATTEMPTS_MAX):
        try:
            if direct:
                answer = world.direct(principal).ask(case.key, version, body)
            else:
                answer = through(world.broker, world.view(principal), world.learn, case.key, version, body)
        except Closed:
            return CLOSED
        if answer is None or answer.get("errorCode") != COORDINATOR_LOAD_IN_PROGRESS:
            break
        time.sleep(0.05)
    labels = {run.label: "run"}
    labels |= {topic_id.hex(): name.replace(run.label, "run") for name, topic_id in world.topics.ids.items()}
    made = settled(answer or {}, labels)
    assert isinstance(made, dict)
    return made
