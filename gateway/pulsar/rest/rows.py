"""How the table's rows are written down (rows_topics and its like)."""

from __future__ import annotations

from gateway.pulsar.rest.routes import Answer, Need, Reads, Row

BODY_BYTES_MAX = 64 << 10
"""Of a body that says a setting."""
FILE_BYTES_MAX = 4 << 30
"""Of a body with a program or a package in it; ``limits.upload_bytes_max`` says less."""
UNAUTHORIZED = 401
"""What brokers answer where a superuser's, a tenant's administrator's or a topic's own right is missing..."""
FORBIDDEN = 403
"""...and where a namespace's is, which making and removing topics are, or one on settings."""
_OF_NAMESPACE = frozenset({"Create", "Delete", "UpdatePartitions", "GetPolicies", "UpdatePolicies", "Replicate"})


def row(
    method: str,
    template: str,
    needs: str,
    query: str = "",
    *,
    body: int = 0,
    answer: Answer = Answer.UNREAD,
    reads: Reads = Reads.NOTHING,
    denied: int = 0,
    forced: str = "",
) -> Row:
    """needs, forced: ``kind.Operation`` with spaces between; query: names likewise. denied: if not as in `_status`."""
    wanted = _needs(needs)
    status = denied or (_status(wanted[0]) if wanted else UNAUTHORIZED)
    return Row(method, template, wanted, frozenset(query.split()), body, answer, reads, status, _needs(forced))


def _status(first: Need) -> int:
    of_namespace = first.kind == "namespace" or (first.kind == "topic" and first.operation in _OF_NAMESPACE)
    return FORBIDDEN if of_namespace else UNAUTHORIZED


def _needs(written: str) -> tuple[Need, ...]:
    pairs = (each.partition(".") for each in written.split())
    return tuple(Need(kind, operation) for kind, _, operation in pairs)


def setting(
    path: str, reads: str, writes: str, query: str = "", *, methods: str = "GET POST DELETE", denied: int = 0
) -> list[Row]:
    """The routes that show, set and remove one setting."""
    rows = []
    for method in methods.split():
        needs, body = (reads, 0) if method == "GET" else (writes, BODY_BYTES_MAX)
        rows.append(row(method, path, needs, query, body=body, denied=denied))
    return rows
