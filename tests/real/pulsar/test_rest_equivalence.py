"""The gateway's decisions about REST requests beside the broker's own, with equal grants, for every route.

Each route is asked of a real broker by roles with no grant, with produce, with consume, and by the tenant's
administrator; rest_answers.txt keeps what it said (401 and 403 are denials), the superuser's besides. The same answers
are compared with decisions in tests/unit/test_pulsar_rest_answers.py, which needs no broker.
"""

from __future__ import annotations

import http.client
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.real.pulsar import rest_asking
from tests.real.pulsar.broker import HOST, PulsarBroker
from tests.real.pulsar.rest_asking import ADMIN, ASKED, CONSUME, DENIED, GONE, PRODUCE, ROLES, SPACE, SUPER, TENANT

ANSWER_SECONDS_MAX = 5.0
AT_ONCE = 6
HARMFUL = frozenset({"shutdown", "migration", "migrate", "bookieAffinity"})
"""What a superuser had better not try; never asked as one."""


@pytest.fixture(scope="module")
def tenant(broker: PulsarBroker) -> PulsarBroker:
    clusters = [name for name in broker.admin("GET", "/clusters") if name != "other"]
    broker.admin("PUT", f"/tenants/{TENANT}", {"adminRoles": [ADMIN], "allowedClusters": clusters})
    for name in (SPACE, GONE):
        broker.admin("PUT", f"/namespaces/{TENANT}/{name}", {})
    broker.grant(PRODUCE, "produce", namespace=f"{TENANT}/{SPACE}")
    broker.grant(CONSUME, "consume", namespace=f"{TENANT}/{SPACE}")
    return broker


def asked(broker: PulsarBroker, token: str, request: rest_asking.Request) -> int:
    """The status; 0 where the broker takes too long, which is no denial."""
    connection = http.client.HTTPConnection(HOST, broker.web_port, timeout=ANSWER_SECONDS_MAX)
    try:
        headers = {"authorization": f"Bearer {token}", "content-type": request.media_type}
        connection.request(request.row.method, request.path, request.body, headers)
        return connection.getresponse().status
    except TimeoutError:
        return 0
    finally:
        connection.close()


def harmful(request: rest_asking.Request) -> bool:
    return request.row.template.rsplit("/", 1)[-1] in HARMFUL


def test_the_broker_still_answers_as_it_did(tenant: PulsarBroker) -> None:
    """REST_ANSWERS=write keeps what it says now instead, the superuser's answers included."""
    writing = os.environ.get("REST_ANSWERS") == "write"
    lines, other = [], []
    for role in ROLES if writing else ROLES[:-1]:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            skipped = [request for request in ASKED if role == SUPER and harmful(request)]
            token = tenant.token(role)
            found = pool.map(lambda one, by=token, no=skipped: 200 if one in no else asked(tenant, by, one), ASKED)
            lines.append(list(found))
    if writing:
        rows = [" ".join([*map(str, each), request.row.route]) for request, *each in zip(ASKED, *lines, strict=True)]
        told = f"# Apache Pulsar's statuses for {' '.join(ROLES)}; 0 took too long.\n"
        rest_asking.ANSWERS_FILE.write_text(told + "\n".join(sorted(rows, key=lambda row: row.split()[-2:])) + "\n")
        return
    before = rest_asking.answers()
    for role, statuses in zip(ROLES, lines, strict=False):
        for request, status in zip(ASKED, statuses, strict=True):
            kept = before[request.row.route][role]
            if (status in DENIED) != (kept in DENIED):
                other.append(f"{role} {request.row.route}: {status}, {kept} when it was written down")
    assert not other, "\n".join(other)
