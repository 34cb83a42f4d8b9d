"""The configuration changes under a running gateway: all of it or nothing, and connections that may go on do."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.ops.demo.cluster import EmbeddedCluster
from tests.integration.test_admin import command
from tests.integration.test_run import POLICY, until
from tests.real.gateway import GatewayProcess, Line
from tests.real.ports import free_ports
from tests.real.wire import METADATA, RawClient, request
from tests.tokens import TokenIssuer

Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def cluster() -> Iterator[EmbeddedCluster]:
    made = EmbeddedCluster(["orders", "payroll"])
    yield made
    made.stop()


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "two workers"])
def running(
    request: pytest.FixtureRequest, cluster: EmbeddedCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    runtime = tmp_path_factory.mktemp("runtime")
    before = os.environ.get("XDG_RUNTIME_DIR")
    os.environ["XDG_RUNTIME_DIR"] = str(runtime)
    folder = tmp_path_factory.mktemp("gateway")
    limits = {"shutdown_timeout": "3 s"}
    backends = {"main": ",".join(cluster.bootstrap)}
    with GatewayProcess(folder, backends, policy=POLICY, limits=limits, workers=request.param) as made:
        yield made
    if before is None:
        del os.environ["XDG_RUNTIME_DIR"]
    else:
        os.environ["XDG_RUNTIME_DIR"] = before


@pytest.fixture
def gateway(running: GatewayProcess) -> Iterator[GatewayProcess]:
    """The one gateway of this file, whose configuration is put back after each test."""
    yield running
    if held(running) != running.config:
        assert change(running, lambda config: config.update(running.config))["event"] == "config-revision"


def held(gateway: GatewayProcess) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((gateway.folder / "gateway.yaml").read_text())
    return found


def write(gateway: GatewayProcess, how: Change) -> None:
    """Another configuration file in the old one's place."""
    config = held(gateway)
    how(config)
    scratch = gateway.folder / "gateway.new"
    scratch.write_text(json.dumps(config))  # which is YAML, and knows no aliases
    os.replace(scratch, gateway.folder / "gateway.yaml")


def change(gateway: GatewayProcess, how: Change) -> Line:
    """Another configuration file, and what the gateway says of it: the line of the audit."""
    at = len(gateway.audit())
    write(gateway, how)
    return gateway.wait_audit(lambda line: line["event"] in ("config-revision", "config-refused"), after=at)


@pytest.fixture
def client(gateway: GatewayProcess) -> Iterator[RawClient]:
    """A connection that is logged in and has been answered."""
    with known(gateway) as made:
        yield made


def known(gateway: GatewayProcess, port: int = 0, issuer: TokenIssuer | None = None) -> RawClient:
    made = RawClient(port or gateway.port(), gateway.ca_file)
    try:
        code, _ = made.authenticate((issuer or gateway.issuer).token("app"))
        assert code == 0
        asked(made)
    except BaseException:
        made.__exit__(None, None, None)
        raise
    return made


def asked(client: RawClient) -> bytes:
    """Metadata of no topic at all (v1: an empty list), which the broker answers."""
    client.send(request(METADATA, 1, b"\x00\x00\x00\x00"))
    return client.receive()


def refused_port(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def other_listener(config: dict[str, Any], ports: list[int], name: str = "second") -> None:
    made = {**config["listeners"][0], "name": name, "port": ports[0]}
    made["broker_ports"] = {"base": ports[1], "node_ids": "0-9"}
    config["listeners"] = [*config["listeners"], made]


def test_a_sound_change_is_taken_while_connections_go_on(
    gateway: GatewayProcess, client: RawClient, tmp_path: Path
) -> None:
    ports = free_ports(12, consecutive=True)
    partner = TokenIssuer("https://partner.test", name="partner")
    partner.write_jwks(tmp_path / "partner.json")

    def more(config: dict[str, Any]) -> None:
        keys = {"file": str(tmp_path / "partner.json")}
        config["issuers"].append({"name": "partner", "issuer": partner.url, "audiences": ["kafka"], "keys": keys})
        config["listeners"][0]["authentication"]["issuers"].append("partner")
        config["listeners"][0]["advertised"] = "127.0.0.1"
        config["limits"]["in_flight_max"] = 77
        config["log_level"] = "warning"
        config["audit"]["allowed_interval"] = "2 s"
        other_listener(config, ports)

    line = change(gateway, more)
    assert line["event"] == "config-revision"
    assert line["previous"] != line["revision"]
    assert "~ limits.in_flight_max: 1000 -> 77" in line["changes"]
    assert line["waiting"] == []
    assert b"127.0.0.1" in asked(client)
    with known(gateway, ports[0]) as second, known(gateway, ports[2], partner) as third:
        asked(second)
        asked(third)
    status = json.loads(gateway.admin("/status")[1])
    assert status["log_level"] == "warning"
    assert [each["name"] for each in status["listeners"]] == ["main-listener", "second"]
    assert status["configuration"]["revision"] == line["revision"]


def test_what_is_not_sound_is_refused_as_a_whole_and_said_everywhere(
    gateway: GatewayProcess, client: RawClient
) -> None:
    def wrong(config: dict[str, Any]) -> None:
        config["limits"]["in_flight_max"] = 78
        config["listeners"][0]["backend"] = "mian"

    line = change(gateway, wrong)
    assert line["event"] == "config-refused"
    (mistake,) = line["mistakes"]
    assert "listeners[0].backend: found 'mian'; expected the name of a configured backend: main" in mistake
    assert asked(client)
    until(lambda: "note: configuration refused for" in gateway.admin("/readyz")[1])
    code, text = gateway.admin("/readyz")
    assert code == 200
    assert mistake in text
    until(lambda: "gateway_config_refused 1.0" in gateway.admin("/metrics")[1])
    shown = command(gateway, "status").stdout
    assert "the file on disk is refused since" in shown
    assert mistake in shown
    told = command(gateway, "reload")
    assert told.returncode == 1
    assert mistake in told.stdout
    assert mistake in command(gateway, "check").stderr
    assert json.loads(gateway.admin("/status")[1])["configuration"]["revision"] == line["revision"]
    assert change(gateway, lambda config: config.update(gateway.config))["event"] == "config-revision"
    until(lambda: gateway.admin("/readyz") == (200, "ready\n"))
    until(lambda: "gateway_config_refused 0.0" in gateway.admin("/metrics")[1])


def test_a_file_that_it_names_makes_a_refused_configuration_sound(gateway: GatewayProcess, tmp_path: Path) -> None:
    late = tmp_path / "late.json"

    def more(config: dict[str, Any]) -> None:
        issuer = {"name": "late", "issuer": "https://late.test", "audiences": ["kafka"], "keys": {"file": str(late)}}
        config["issuers"] = [*config["issuers"], issuer]

    assert change(gateway, more)["event"] == "config-refused"
    at = len(gateway.audit())
    TokenIssuer("https://late.test", name="late").write_jwks(late)
    gateway.wait_audit(event="config-revision", after=at)


def test_a_withdrawn_issuer_ends_its_sessions_and_no_others(
    gateway: GatewayProcess, client: RawClient, tmp_path: Path
) -> None:
    partner = TokenIssuer("https://partner.test", name="partner")
    partner.write_jwks(tmp_path / "partner.json")

    def more(config: dict[str, Any]) -> None:
        keys = {"file": str(tmp_path / "partner.json")}
        issuer = {"name": "partner", "issuer": partner.url, "audiences": ["kafka", "other"], "keys": keys}
        config["issuers"] = [*config["issuers"], issuer]
        config["listeners"][0]["authentication"]["issuers"] = ["test", "partner"]

    assert change(gateway, more)["event"] == "config-revision"
    with known(gateway, issuer=partner) as theirs:
        at = len(gateway.audit())
        line = change(gateway, lambda config: config["issuers"][1].update(audiences=["other"]))
        assert line["closed"] == 1
        assert theirs.ended()
    line = gateway.wait_audit(event="closed", reason="no-longer-believed", after=at)
    assert "token-audience" in line["detail"]
    change(gateway, lambda config: config["issuers"][1].update(audiences=["kafka"]))
    with known(gateway, issuer=partner) as theirs, RawClient(gateway.port(), gateway.ca_file) as waiting:
        at = len(gateway.audit())

        def less(config: dict[str, Any]) -> None:
            config["issuers"].pop()
            config["listeners"][0]["authentication"]["issuers"] = ["test"]

        assert change(gateway, less)["closed"] == 1
        assert theirs.ended()
        waiting.authenticate(partner.token("app"))  # a connection that is older than the change
        gateway.wait_audit(event="refused", reason="token-issuer", after=at)
    assert asked(client)


def test_a_listener_that_is_gone_lets_go_of_its_connections_and_its_ports(
    gateway: GatewayProcess, client: RawClient
) -> None:
    ports = free_ports(12, consecutive=True)
    change(gateway, lambda config: other_listener(config, ports))
    with known(gateway, ports[0]) as second:
        at = len(gateway.audit())
        line = change(gateway, lambda config: config["listeners"].pop())
        assert line["leaving"] == 1
        assert second.ended()
    gateway.wait_audit(event="closed", reason="listener-gone", after=at)
    assert refused_port(ports[0])
    assert refused_port(ports[5])
    assert asked(client)


def test_a_renamed_listener_keeps_its_ports(gateway: GatewayProcess) -> None:
    line = change(gateway, lambda config: config["listeners"][0].update(name="renamed"))
    assert line["event"] == "config-revision"
    with known(gateway) as made:
        asked(made)
    assert json.loads(gateway.admin("/status")[1])["listeners"][0]["name"] == "renamed"


def test_a_port_that_is_taken_refuses_all_and_binds_nothing(gateway: GatewayProcess, client: RawClient) -> None:
    ports = free_ports(12, consecutive=True)
    with socket.create_server(("127.0.0.1", ports[7])):
        line = change(gateway, lambda config: other_listener(config, ports))
        assert line["event"] == "config-refused"
        assert f"port {ports[7]}" in line["mistakes"][0]
        assert refused_port(ports[0])
    assert asked(client)
    told = command(gateway, "reload")  # the port is free now
    assert told.returncode == 0, told.stdout
    assert "listeners[second]" in told.stdout
    assert not refused_port(ports[0])


def test_what_needs_a_restart_is_named_and_the_rest_is_taken(gateway: GatewayProcess) -> None:
    other = free_ports(1)[0]

    def both(config: dict[str, Any]) -> None:
        config["admin"] = {"port": other}
        config["limits"]["in_flight_max"] = 79

    line = change(gateway, both)
    assert line["event"] == "config-revision"
    assert line["waiting"] == ["admin"]
    assert line["changes"] == ["~ limits.in_flight_max: 1000 -> 79"]
    until(lambda: "needs a restart for admin" in gateway.admin("/readyz")[1])


def test_a_backend_that_would_be_lost_is_refused(
    gateway: GatewayProcess, client: RawClient, cluster: EmbeddedCluster
) -> None:
    nowhere = f"127.0.0.1:{free_ports(1)[0]}"
    line = change(gateway, lambda config: config["backends"][0].update(bootstrap=[nowhere]))
    assert line["event"] == "config-refused"
    assert nowhere in line["mistakes"][0]
    assert asked(client)
    fewer = list(cluster.bootstrap)[:1]
    line = change(gateway, lambda config: config["backends"][0].update(bootstrap=fewer))
    assert line["event"] == "config-revision"
    assert asked(client)


def test_keys_that_cannot_be_had_from_their_new_place_refuse_it(gateway: GatewayProcess) -> None:
    url = f"https://127.0.0.1:{free_ports(1)[0]}/jwks"
    line = change(gateway, lambda config: config["issuers"][0].update(keys={"url": url}))
    assert line["event"] == "config-refused"
    assert "issuers[0].keys" in line["mistakes"][0]
    with known(gateway) as made:
        asked(made)


def test_a_new_backend_with_a_listener_of_its_own(
    gateway: GatewayProcess, client: RawClient, cluster: EmbeddedCluster
) -> None:
    ports = free_ports(12, consecutive=True)

    def more(config: dict[str, Any]) -> None:
        other_listener(config, ports)
        config["listeners"][1]["backend"] = "more"
        config["backends"] = [*config["backends"], {**config["backends"][0], "name": "more"}]

    assert change(gateway, more)["event"] == "config-revision"
    until(lambda: 'gateway_backend_ready{backend="more"} 1.0' in gateway.admin("/metrics")[1])
    with known(gateway, ports[0]) as second:
        asked(second)
        at = len(gateway.audit())
        change(gateway, lambda config: (config["listeners"].pop(), config["backends"].pop()))
        assert second.ended()
    gateway.wait_audit(event="closed", reason="listener-gone", after=at)
    assert 'gateway_backend_ready{backend="more"}' not in gateway.admin("/metrics")[1]
    assert asked(client)


def test_certificates_are_taken_from_the_new_list(gateway: GatewayProcess, client: RawClient) -> None:
    certificate, key = gateway.ca.server("more", hosts=["more.test"])

    def more(config: dict[str, Any]) -> None:
        config["listeners"][0]["tls"]["certificates"] = [{"certificate": str(certificate), "key": str(key)}]

    assert change(gateway, more)["event"] == "config-revision"
    context = ssl.create_default_context(cafile=gateway.ca_file)
    with (
        socket.create_connection(("127.0.0.1", gateway.port()), timeout=60) as plain,
        context.wrap_socket(plain, server_hostname="more.test") as stream,
    ):
        assert stream.version() == "TLSv1.3"
    shown = json.loads(gateway.admin("/status")[1])["certificates"]
    assert [each["names"] for each in shown] == [["127.0.0.1", "localhost"], ["more.test"]]
    assert asked(client)


def test_the_audit_moves_to_another_file_and_sighup_looks_at_once(gateway: GatewayProcess) -> None:
    other = gateway.folder / "other.jsonl"
    write(gateway, lambda config: config["audit"].update(output=str(other)))
    os.kill(gateway.pid, signal.SIGHUP)
    until(other.exists)
    until(lambda: '"config-revision"' in other.read_text())
    write(gateway, lambda config: config.update(gateway.config))
    at = len(gateway.audit())
    gateway.wait_audit(event="config-revision", after=max(0, at - 1))


def test_a_mount_that_is_swapped_is_taken_as_one(cluster: EmbeddedCluster, tmp_path: Path) -> None:
    """As Kubernetes writes a ConfigMap: links into ..data, which becomes another folder in one step. The new policy
    speaks of an issuer that the old configuration does not know."""
    gateway = GatewayProcess(tmp_path / "gateway", {"main": ",".join(cluster.bootstrap)}, policy=POLICY)
    mount = tmp_path / "mount"
    mount.mkdir()
    partner = TokenIssuer("https://partner.test", name="partner")
    partner.write_jwks(tmp_path / "partner.json")

    def put(name: str, config: dict[str, Any], policy: str) -> None:
        (mount / name).mkdir()
        (mount / name / "gateway.yaml").write_text(json.dumps(config))
        (mount / name / "policy.yaml").write_text(policy)
        (mount / "..new").symlink_to(name)
        os.replace(mount / "..new", mount / "..data")

    config = {**gateway.config, "policies": {"files": [str(mount / "policy.yaml")], "poll": "200 ms"}}
    put("..1", config, POLICY)
    for name in ("gateway.yaml", "policy.yaml"):
        (mount / name).symlink_to(Path("..data") / name)
    gateway.config, gateway.config_path = config, mount / "gateway.yaml"
    with gateway, known(gateway) as client:
        issuer = {"name": "partner", "issuer": partner.url, "audiences": ["kafka"]}
        issuers = [*config["issuers"], {**issuer, "keys": {"file": str(tmp_path / "partner.json")}}]
        listener = {**config["listeners"][0], "authentication": {"issuers": ["test", "partner"]}}
        policy = POLICY.replace("limits:", "  - {roles: [app], to: {issuer: partner, sub: app}}\nlimits:")
        put("..2", {**config, "issuers": issuers, "listeners": [listener]}, policy)
        gateway.wait_audit(event="config-revision", trigger="changed file")
        with known(gateway, issuer=partner) as theirs:
            asked(theirs)
        assert asked(client)
        assert not [line for line in gateway.audit() if line["event"].endswith("-refused")]
