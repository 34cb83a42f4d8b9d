"""gateway.yaml is read whole: what fits becomes settings, and everything that does not is listed at once."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.core import documents
from gateway.core.documents import Mistake, Mistakes
from gateway.ops import config
from tests.certificates import Ca, make_ca
from tests.tokens import TokenIssuer

ROOT = Path(__file__).parents[2]
EXAMPLES = [path for path in sorted((ROOT / "conf").glob("*.yaml")) if not path.stem.endswith("-policy")]

GOOD = """
version: 1
listeners:
  - name: kafka
    backend: main
    port: 9094
    broker_ports: {base: 9100, node_ids: 0-9}
    advertised: localhost
    tls: {certificate: server.pem, key: server-key.pem}
    authentication: {issuers: [corp]}
backends:
  - name: main
    bootstrap: ["127.0.0.1:9092"]
    insecure_plaintext: true
issuers:
  - name: corp
    issuer: https://issuer.test
    audiences: [kafka]
    keys: {file: jwks.json}
policies: {files: ["policy/*.yaml"]}
"""
POLICY = """
version: 1
roles:
  app:
    - allow: [produce]
      kafka: {topic: [orders]}
bindings:
  - {roles: [app], to: {issuer: corp, sub: app}}
end: true
"""


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that GOOD refers to."""
    folder = tmp_path_factory.mktemp("config")
    ca = make_ca(folder / "ca")
    give(folder / "server.pem", folder / "server-key.pem", ca, ["localhost"])
    TokenIssuer().write_jwks(folder / "jwks.json")
    (folder / "policy").mkdir()
    (folder / "policy" / "app.yaml").write_text(POLICY)
    (folder / "policy" / "app_test.yaml").write_text("not: a policy")
    return folder


def give(certificate: Path, key: Path, ca: Ca, hosts: Sequence[str], days: float = 30) -> None:
    made, made_key = ca.server(hosts=hosts, days=days)
    shutil.copy(made, certificate)
    shutil.copy(made_key, key)
    key.chmod(0o600)


@pytest.fixture
def folder(material: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(material, tmp_path / "conf"))


Read = Callable[[str], config.Configuration]


@pytest.fixture
def read(folder: Path) -> Read:
    def read(text: str) -> config.Configuration:
        file = folder / "gateway.yaml"
        file.write_text(text)
        return config.read(file, time.time())

    return read


def mistakes_of(read: Read, text: str) -> list[Mistake]:
    with pytest.raises(Mistakes) as caught:
        read(text)
    return caught.value.mistakes


def test_a_good_configuration_becomes_settings_with_whole_paths(read: Read, folder: Path) -> None:
    found = read(GOOD)
    assert found.settings.listeners[0].tls.certificate == str(folder / "server.pem")
    assert found.settings.issuers[0].keys.file == str(folder / "jwks.json")
    assert found.vocabulary.backends == {"main": "kafka"}
    assert found.policies.revision
    assert any("insecure_plaintext" in warning for warning in found.warnings)


def test_the_revision_names_the_content(read: Read) -> None:
    first = read(GOOD).revision
    assert read(GOOD).revision == first
    assert read(GOOD + "log_level: debug\n").revision != first


def test_every_path_setting_is_made_absolute() -> None:
    """A field that describes a PEM file or has `file` in its name is in config.PATHS, or it would follow the cwd."""
    from gateway.ops.schema import config_schema

    made = config_schema()
    named = {
        name
        for model in made["$defs"].values()
        for name, field in model["properties"].items()
        if "PEM file" in field.get("description", "") or name in ("file", "output") or name.endswith("_file")
    }
    assert named == {path[-1] for path in config.PATHS}


# (what is changed, to what, line of the mistake, its place, what was found, what is expected)
WRONG = [
    ("log_level: x", None, 25, "log_level", "'x'", "'debug', 'info'"),
    ("    port: 9094", "    prt: 9094", 6, "listeners[0].prt", "an unknown key", "'port' (did you mean that?)"),
    ("    backend: main", "    backend: mian", 5, "listeners[0].backend", "'mian'", "a configured backend: main"),
    ("issuers: [corp]", "issuers: [cop]", 10, "listeners[0].authentication.issuers[0]", "'cop'", "issuer: corp"),
    ("issuers: [corp]", "issuers: [corp, corp]", 10, "listeners[0].authentication.issuers[1]", "second time", "once"),
    ("base: 9100", "base: 9090", 6, "listeners[0]", "a mapping", "a bootstrap port outside the range"),
    ("    port: 9094", "    port: 9640", 0, "admin.port", "port 9640", "nothing else here listens on"),
    ("advertised: localhost", "advertised: other.test", 9, "listeners[0].tls.certificate", "localhost", "other.test"),
    ("key: server-key.pem", "key: absent.pem", 9, "listeners[0].tls.key", "No such file", "a readable file"),
    ("key: server-key.pem", "key: server.pem", 9, "listeners[0].tls.key", "no private key", "PEM"),
    ("certificate: server.pem", "certificate: jwks.json", 9, "listeners[0].tls.certificate", "no certificates", "PEM"),
    ("keys: {file: jwks.json}", "keys: {file: server.pem}", 18, "issuers[0].keys.file", "server.pem", "Web Key Set"),
    ("keys: {file: jwks.json}", "keys: {}", 18, "issuers[0].keys", "a mapping", "exactly one of file and url"),
    ("{file: jwks.json}", "{url: 'http://issuer.test/keys'}", 18, "issuers[0].keys", "a mapping", "https://"),
    ("audiences: [kafka]", "audiences: []", 17, "issuers[0].audiences", "an empty list", "at least one"),
    ("    audiences: [kafka]", "", 15, "issuers[0].audiences", "nothing", "required"),
    ("    issuer: https://issuer.test", "", 15, "issuers[0].issuer", "nothing", "required"),
    ("authentication: {issuers: [corp]}", "", 4, "listeners[0]", "a mapping", "would know nobody"),
    ("policy/*.yaml", "policies/*.yaml", 19, "policies.files", "no file for", "at least one policy file"),
    ("policy/*.yaml", "server.pem", 0, "", "", ""),
    ("name: main", "name: main\n    system: pulsar", 5, "listeners[0].backend", "which is pulsar", "kafka backend"),
    ("127.0.0.1:9092", "127.0.0.1", 13, "backends[0].bootstrap[0]", "'127.0.0.1'", "host:port"),
    ("node_ids: 0-9", "node_ids: 9-0", 7, "listeners[0].broker_ports", "a mapping", "from the lower to the higher"),
    ("log_level: info\nlog_level: info", None, 26, "log_level", "second time", "each key once"),
    ("limits: {frame_bytes_max: 1 MB}", None, 25, "limits.frame_bytes_max", "'1 MB'", "a size such as"),
    ("limits: {idle_timeout: 5}", None, 25, "limits.idle_timeout", "'5'", "a duration such as"),
    ("limits: {connections_max: 0}", None, 25, "limits.connections_max", "'0'", "greater than 0"),
    ("audit: {output: absent/audit.jsonl}", None, 25, "audit.output", "cannot be written to", "a folder to write in"),
    ("limits: {frame_bytes_max: 200 MiB}", None, 25, "limits.frame_bytes_max", "209715200 bytes", "three quarters"),
    ("limits: {buffered_bytes_max: 64 MiB}", None, 25, "limits.frame_bytes_max", "67108864", "three quarters"),
    ("limits: {frame_bytes_before_authentication_max: 200 MiB}", None, 25,
     "limits.frame_bytes_before_authentication_max", "more than frame_bytes_max", "less"),
    ("audit: {output: policy}", None, 25, "audit.output", "a folder", "a file, or stdout"),
    ("limits: &a {connections_max: 1}", None, 25, "", "the anchor &a", "no anchors"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "line", "where", "found", "expected"), WRONG)
def test_each_mistake_is_named(
    read: Read, folder: Path, old: str, new: str | None, line: int, where: str, found: str, expected: str
) -> None:
    text = GOOD + "\n" * 3 + old if new is None else GOOD.replace(old, new)
    assert text != GOOD
    mistakes = mistakes_of(read, text)
    hits = [each for each in mistakes if where == each.where and found in each.found and expected in each.expected]
    assert hits, "\n".join(map(str, mistakes))
    if line:
        assert hits[0].file == str(folder / "gateway.yaml")
        assert line - 3 <= hits[0].line <= line + 3, hits[0]


def test_all_mistakes_are_listed_at_once_in_order_of_line(read: Read) -> None:
    text = GOOD.replace("backend: main", "backend: other").replace("key: server-key.pem", "key: absent.pem")
    text = text.replace("audiences: [kafka]", "audience: [kafka]").replace("base: 9100", "base: no")
    mistakes = mistakes_of(read, text)
    places = {mistake.where for mistake in mistakes}
    assert {"listeners[0].broker_ports.base", "issuers[0].audience", "issuers[0].audiences"} <= places
    lines = [mistake.line for mistake in mistakes]
    assert lines == sorted(lines)
    assert {Path(mistake.file).name for mistake in mistakes} == {"gateway.yaml"}, "no policy is to blame"


def test_sound_parts_are_checked_though_others_are_not(read: Read) -> None:
    text = GOOD.replace("key: server-key.pem", "key: absent.pem").replace("audiences: [kafka]", "audience: [kafka]")
    places = {mistake.where for mistake in mistakes_of(read, text)}
    assert {"listeners[0].tls.key", "issuers[0].audience"} <= places


def test_names_are_unique_in_each_section(read: Read) -> None:
    second = '  - {name: main, bootstrap: ["127.0.0.1:9093"]}\n'
    mistakes = mistakes_of(read, GOOD.replace("issuers:\n  - name", second + "issuers:\n  - name"))
    assert [(each.where, each.found) for each in mistakes] == [("backends[1].name", "'main' a second time")]


def second_listener(port: int, base: int) -> str:
    return (
        f"  - {{name: two, backend: main, port: {port}, broker_ports: {{base: {base}}}, advertised: localhost, "
        "tls: {certificate: server.pem, key: server-key.pem}, authentication: {issuers: [corp]}}\n"
    )


@pytest.mark.parametrize(("port", "base", "sound"), [
    (9095, 9110, True),
    (9094, 9110, False),   # the other bootstrap port
    (9105, 9110, False),   # in the other's range
    (9095, 9109, False),   # ranges that overlap in one port
    (9095, 9631, False),   # the admin port
    (9095, 9630, True),    # one below it
])  # fmt: skip
def test_no_two_listeners_share_a_port(read: Read, port: int, base: int, sound: bool) -> None:
    text = GOOD.replace("backends:\n", second_listener(port, base) + "backends:\n")
    if sound:
        assert len(read(text).settings.listeners) == 2
    else:
        assert all("ports that nothing else" in each.expected for each in mistakes_of(read, text))


def test_two_issuers_of_one_iss_do_not_share_a_listener(read: Read) -> None:
    twin = "  - {name: twin, issuer: 'https://issuer.test', audiences: [x], keys: {file: jwks.json}}\n"
    text = GOOD.replace("policies:", twin + "policies:")
    assert read(text)
    mistakes = mistakes_of(read, text.replace("issuers: [corp]", "issuers: [corp, twin]"))
    assert "whose iss is that of 'corp'" in mistakes[0].found


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o644, 0o666])
def test_a_key_that_others_may_read_is_refused(read: Read, folder: Path, mode: int) -> None:
    (folder / "server-key.pem").chmod(mode)
    (mistake, *_) = mistakes_of(read, GOOD)
    assert f"{mode:04o}" in mistake.found
    assert "`defaultMode: 0440`" in mistake.expected
    assert "`fsGroup`" in mistake.expected


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640])
def test_a_key_kept_from_others_is_taken(read: Read, folder: Path, mode: int) -> None:
    (folder / "server-key.pem").chmod(mode)
    assert read(GOOD)


def test_the_key_of_another_certificate_is_refused(read: Read, folder: Path) -> None:
    give(folder / "x.pem", folder / "server-key.pem", make_ca(folder / "ca2"), ["localhost"])
    assert "another certificate" in mistakes_of(read, GOOD)[0].found


def test_an_ended_certificate_is_refused_and_one_about_to_end_is_warned_of(read: Read, folder: Path) -> None:
    ca = make_ca(folder / "ca2")
    give(folder / "server.pem", folder / "server-key.pem", ca, ["localhost"], days=-1)
    assert "ended on" in mistakes_of(read, GOOD)[0].found
    give(folder / "server.pem", folder / "server-key.pem", ca, ["localhost"], days=3)
    assert any("the certificate ends on" in warning for warning in read(GOOD).warnings)


def test_a_certificate_that_no_client_gets_is_warned_of(read: Read, folder: Path) -> None:
    ca = make_ca(folder / "ca2")
    with_more = GOOD.replace("server-key.pem}", "server-key.pem, certificates: [{certificate: b.pem, key: b-key.pem}]}")
    for more, warned in ((["localhost"], True), (["localhost", "b.test"], False)):
        give(folder / "b.pem", folder / "b-key.pem", ca, more)
        assert any("certificates[0].certificate: no client" in each for each in read(with_more).warnings) is warned
    made, made_key = ca.server(hosts=["localhost"], rsa=True)
    shutil.copy(made, folder / "b.pem")
    shutil.copy(made_key, folder / "b-key.pem")
    assert not [each for each in read(with_more).warnings if "no client gets it" in each]


@pytest.mark.parametrize(("names", "host", "covered"), [
    (["localhost"], "localhost", True),
    (["LOCALHOST"], "localhost", True),
    (["*.example.com"], "kafka.example.com", True),
    (["*.example.com"], "a.kafka.example.com", False),
    (["*.example.com"], "example.com", False),
    (["127.0.0.1"], "127.0.0.1", True),
    (["127.0.0.1"], "127.0.0.2", False),
    (["::1"], "::1", True),
    (["kafka"], "kafka.example.com", False),
])  # fmt: skip
def test_the_advertised_name_is_looked_for_in_the_certificate(
    read: Read, folder: Path, names: list[str], host: str, covered: bool
) -> None:
    give(folder / "server.pem", folder / "server-key.pem", make_ca(folder / "ca2"), names)
    text = GOOD.replace("advertised: localhost", f'advertised: "{host}"')
    if covered:
        assert read(text)
    else:
        assert mistakes_of(read, text)[0].expected == f"one for {host}"


def test_mistakes_of_policies_come_with_the_others(read: Read, folder: Path) -> None:
    (folder / "policy" / "app.yaml").write_text(POLICY.replace("issuer: corp", "issuer: other"))
    mistakes = mistakes_of(read, GOOD.replace("key: server-key.pem", "key: absent.pem"))
    assert {Path(mistake.file).name for mistake in mistakes} == {"gateway.yaml", "app.yaml"}


def test_policies_are_matched_by_name_and_tests_are_none(folder: Path) -> None:
    from gateway.ops import config_policies

    (folder / "policy" / ".hidden.yaml").write_text("x")
    (folder / "policy" / "b.yaml").write_text(POLICY)
    found, wrong = config_policies.read_files(None, ["policy/*.yaml", "policy/app.yaml"], folder)
    assert [name for name, _ in found] == ["policy/app.yaml", "policy/b.yaml"]
    assert not wrong


def test_a_file_that_is_not_there_is_one_mistake(tmp_path: Path) -> None:
    with pytest.raises(Mistakes, match=r"absent\.yaml: found No such file or directory; expected a readable"):
        config.read(tmp_path / "absent.yaml", 0.0)


@pytest.mark.parametrize("text", ["", "[]", "3", "listeners: 3", "listeners: [3]", "policies: {files: 3}", "a: b: c",
                                  "\x00", "listeners: {a: b}", "audit: 3", "issuers: [{keys: 3}]"])  # fmt: skip
def test_any_other_shape_is_a_mistake_and_no_traceback(read: Read, text: str) -> None:
    assert mistakes_of(read, text)


def test_environment_variables_are_not_read(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "/etc/passwd")
    mistakes = mistakes_of(read, GOOD.replace("file: jwks.json", 'file: "${env:SECRET}"'))
    assert "${env:SECRET}" in mistakes[0].found


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_every_example_passes_with_files_of_its_own(example: Path, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    shutil.copytree(ROOT / "policies", tmp_path / "policies")
    file = tmp_path / "conf" / example.name
    supply(file, documents.parse(file.read_bytes(), "x").data)
    found = config.read(file, time.time())
    assert found.settings.listeners
    assert os.path.isabs(found.settings.listeners[0].tls.key)


def supply(file: Path, data: Any) -> None:
    """Make every file that an example refers to."""
    ca = make_ca(file.parent / "ca")
    for listener in data["listeners"]:
        tls = listener["tls"]
        for path in (tls["certificate"], tls["key"]):
            (file.parent / path).parent.mkdir(exist_ok=True)
        give(file.parent / tls["certificate"], file.parent / tls["key"], ca, [listener["advertised"]])
    for authority in set(re.findall(r"(?:ca|client_ca): (tls/\S+\.pem)", file.read_text())):
        shutil.copy(ca.path, file.parent / authority)
    for secret in re.findall(r"file: (secrets/[^\s}]+)", file.read_text()):
        (file.parent / secret).parent.mkdir(exist_ok=True)
        (file.parent / secret).touch(mode=0o600)
        (file.parent / secret).write_text("a secret")
    for jwks in re.findall(r"file: (keys/\S+)", file.read_text()):
        (file.parent / jwks).parent.mkdir(exist_ok=True)
        (file.parent / jwks).write_text(json.dumps(TokenIssuer().jwks()))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "    port: 9094\n",
            "",
            "listeners[0].port: found nothing; expected a value; it is required: The bootstrap port",
        ),
        ("port: 9094", "port: kafka", "listeners[0].port: found 'kafka'; expected a whole number"),
        ("0-9", "ten", "found 'ten'; expected the lowest and the highest node id, as in 0-9"),
        ("[corp]}\nbackends", "corp}\nbackends", "issuers: found 'corp'; expected a list, as in [a, b]"),
        ("insecure_plaintext: true", "insecure_plaintext: maybe", "found 'maybe'; expected true or false"),
        ("insecure_plaintext: true", "insecure_plaintext: true\n    tls: {server_name: b}", "not both"),
        ("insecure_plaintext: true", "tls: false", "for no TLS at all: insecure_plaintext: true"),
        ("{file: jwks.json}", "jwks.json", "keys: found 'jwks.json'; expected a mapping, as in `name: value`"),
        ("[kafka]", "[kafka]\n    types: []", "types: found an empty list; expected at least one item"),
    ],
)
def test_messages_lead_to_the_fix(read: Read, old: str, new: str, words: str) -> None:
    assert old in GOOD
    assert any(words in str(mistake) for mistake in mistakes_of(read, GOOD.replace(old, new)))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("end: true\n", "", "end: found nothing; expected true; it is required: A file cut short is not a policy"),
        ("allow:", "alow:", "found an unknown key; expected 'allow' (did you mean that?)"),
        ("[orders]", "[*.orders]", 'quotes around it, as in "*.events"'),
        ("  app:", "\tapp:", "found a tab; expected spaces"),
        ("[orders]", "[orders", "expected a bracket, quote, colon or indentation that is missing here or just before"),
    ],
)
def test_messages_about_a_policy_lead_to_the_fix(read: Read, folder: Path, old: str, new: str, words: str) -> None:
    assert old in POLICY
    (folder / "policy" / "app.yaml").write_text(POLICY.replace(old, new))
    assert any(words in str(mistake) for mistake in mistakes_of(read, GOOD))


def test_a_header_from_anybody_is_warned_of(read: Read) -> None:
    text = GOOD.replace("    advertised: localhost", '    advertised: localhost\n    proxy_protocol: {from: ["::/0"]}')
    assert any("believes a PROXY protocol header from anybody" in warning for warning in read(text).warnings)
    assert not any("PROXY" in warning for warning in read(text.replace("::/0", "10.0.0.0/8")).warnings)


def test_several_certificates_and_names_are_checked_by_file(read: Read) -> None:
    names = "addressing: {sni: {pattern: 'b{node_id}.k.test', bootstrap: k.test, node_ids: 0-1}}"
    text = GOOD.replace("    broker_ports: {base: 9100, node_ids: 0-9}\n", "")
    (mistake,) = mistakes_of(read, text.replace("advertised: localhost", names))
    assert mistake.where == "listeners[0].tls.certificate"
    assert "k.test and 2 more names" in mistake.expected
    more = "server-key.pem, certificates: [{certificate: no.pem, key: server-key.pem}]}"
    text = GOOD.replace("server-key.pem}", more)
    (mistake,) = mistakes_of(read, text)
    assert mistake.where == "listeners[0].tls.certificates[0].certificate"


@pytest.mark.parametrize(("wanted", "system", "count"), [(1, "darwin", 0), (2, "darwin", 1), ("auto", "darwin", 1),
                                                         (2, "linux", 0), ("x", "darwin", 0)])  # fmt: skip
def test_several_workers_need_linux(wanted: object, system: str, count: int) -> None:
    document = documents.parse(f"workers: {wanted}\n".encode(), "gateway.yaml")
    mistakes: list[documents.Mistake] = []
    list(config.workers_at_odds(document, mistakes, system))
    assert len(mistakes) == count


def test_more_workers_than_cores_are_warned_of() -> None:
    document = documents.parse(b"workers: 64\n", "gateway.yaml")
    (warning,) = config.workers_at_odds(document, [], "linux")
    assert warning.startswith("workers: 64, on a machine")
