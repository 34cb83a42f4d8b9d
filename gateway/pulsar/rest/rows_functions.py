"""Functions, sources, sinks, packages and their workers: programs of the client's, run beside the brokers.

No common verb reaches any of it; a role names each operation (``pulsar.Register``) and the resource.
"""

from __future__ import annotations

from collections.abc import Iterator

from gateway.pulsar.rest.routes import Row
from gateway.pulsar.rest.rows import BODY_BYTES_MAX, FILE_BYTES_MAX, row

_WORKER, _PLUGINS = "worker.Describe", "worker.Reload"


def functions() -> Iterator[Row]:
    root = "/admin/v3/functions"
    for path in ("builtins", "connectors"):
        yield row("GET", f"{root}/{path}", _WORKER)
    yield row("POST", f"{root}/builtins/reload", _PLUGINS)
    yield from _programs("function", root, "functionName")
    one = f"{root}/{{tenant}}/{{namespace}}/{{functionName}}"
    yield row("GET", f"{one}/download", "function.Download", "transform-function")
    for path in ("stats", "{instanceId}/stats"):
        yield row("GET", f"{one}/{path}", "function.Describe")
    yield row("POST", f"{one}/trigger", "function.Trigger", body=FILE_BYTES_MAX)
    yield row("GET", f"{one}/state/{{key}}", "function.GetState")
    yield row("POST", f"{one}/state/{{key}}", "function.PutState", body=FILE_BYTES_MAX)


def connectors() -> Iterator[Row]:
    """By both of their names; pulsar-admin uses the one in the singular."""
    for kind in ("source", "sink"):
        for root in (f"/admin/v3/{kind}", f"/admin/v3/{kind}s"):
            builtin = f"{root}/builtin{kind}s"
            yield row("GET", builtin, _WORKER)
            yield row("GET", f"{builtin}/{{name}}/configdefinition", _WORKER)
            yield row("POST", f"{root}/reloadBuiltIn{kind.capitalize()}s", _PLUGINS)
            yield from _programs(kind, root, f"{kind}Name")


def _programs(kind: str, root: str, name: str) -> Iterator[Row]:
    space = f"{root}/{{tenant}}/{{namespace}}"
    yield row("GET", space, f"{kind}.List")
    one = f"{space}/{{{name}}}"
    yield row("GET", one, f"{kind}.Describe")
    yield row("POST", one, f"{kind}.Register", body=FILE_BYTES_MAX)
    yield row("PUT", one, f"{kind}.Update", body=FILE_BYTES_MAX)
    yield row("DELETE", one, f"{kind}.Deregister")
    for at in (one, f"{one}/{{instanceId}}"):
        yield row("GET", f"{at}/status", f"{kind}.Describe")
        for act in ("start", "stop", "restart"):
            yield row("POST", f"{at}/{act}", f"{kind}.Run")


def packages() -> Iterator[Row]:
    space = "/admin/v3/packages/{type}/{tenant}/{namespace}"
    yield row("GET", space, "package.List")
    every = f"{space}/{{packageName}}"
    yield row("GET", every, "package.Describe")
    one = f"{every}/{{version}}"
    yield row("GET", one, "package.Download")
    yield row("POST", one, "package.Upload", body=FILE_BYTES_MAX)
    yield row("DELETE", one, "package.Delete")
    yield row("GET", f"{one}/metadata", "package.Describe")
    yield row("PUT", f"{one}/metadata", "package.Update", body=BODY_BYTES_MAX)


def workers() -> Iterator[Row]:
    root = "/admin/v2/worker"
    for path in ("assignments", "cluster", "cluster/leader", "cluster/leader/ready", "connectors", "drain"):
        yield row("GET", f"{root}/{path}", _WORKER)
    yield row("GET", f"{root}/leader/drain", _WORKER, "workerId")
    yield row("PUT", f"{root}/leader/drain", "worker.Drain", "workerId")
    for path in ("drain", "rebalance"):
        yield row("PUT", f"{root}/{path}", "worker.Drain")
    for path in ("functionsmetrics", "metrics"):
        yield row("GET", f"/admin/v2/worker-stats/{path}", _WORKER)
