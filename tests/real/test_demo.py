"""``gateway demo``: with nothing but Python, with the fallback, and with a broker of one's own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.real.kafka import KafkaCluster
from tests.real.ports import free_ports
from tests.real.site import until

ROOT = Path(__file__).parents[2]
STEPS = ["1  An allowed topic", "2  A denied topic", "3  An expired token", "4  A forged token", "5  A flood"]


def command(*arguments: str) -> list[str]:
    port = free_ports(16, consecutive=True)[0]
    return [sys.executable, "-m", "gateway", "demo", "--port", str(port), *arguments]


def played(text: str) -> None:
    """Every step is there, in order, and came out well; no colour codes where no terminal is."""
    assert [line for line in text.splitlines() if line in STEPS] == STEPS, text
    assert text.count("\n  ok  ") == len(STEPS), text
    assert "FAILED\x20\x20" not in text
    assert "\x1b" not in text


def demo_folders(folder: Path) -> list[Path]:
    return list(folder.glob("gateway-demo-*"))


@pytest.mark.parametrize("protocol", ["kafka", "pulsar"])
def test_once_plays_and_checks_every_step(tmp_path: Path, protocol: str) -> None:
    done = subprocess.run(
        command("--once", "--protocol", protocol), cwd=ROOT, env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    played(done.stdout)
    assert demo_folders(tmp_path) == []


def test_ones_own_broker(kafka_one: KafkaCluster) -> None:
    done = subprocess.run(
        command("--once", "--bootstrap", kafka_one.bootstrap), cwd=ROOT,
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    played(done.stdout)


def test_no_broker_there_is_said(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    done = subprocess.run(
        command("--once", "--bootstrap", f"127.0.0.1:{port}"), cwd=ROOT,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "the demo could not be set up" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("protocol", "file"), [("kafka", "demo.yaml"), ("pulsar", "demo_pulsar.yaml")])
def test_a_step_that_fails_ends_with_1(tmp_path: Path, protocol: str, file: str) -> None:
    """A policy that allows everything: the denied topic is not denied, and the demo says so."""
    policy = (ROOT / "policies" / file).read_text().replace('topic: ["*.pii"]', 'topic: ["*.never"]')
    (tmp_path / "lax.yaml").write_text(policy)
    done = subprocess.run(
        command("--once", "--protocol", protocol, "--policy", str(tmp_path / "lax.yaml")), cwd=ROOT,
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.count("\n  FAILED") == 1


PASTED = {
    "kafka": ("kcat -b localhost:", "sasl.oauthbearer.method=oidc", "PlainLoginModule", "from confluent_kafka"),
    "pulsar": ("bin/pulsar-client consume persistent://", "import pulsar", "pulsar.NewAuthenticationToken"),
}


@pytest.mark.parametrize(
    ("protocol", "number"), [("kafka", signal.SIGINT), ("kafka", signal.SIGTERM), ("pulsar", signal.SIGINT)]
)
def test_it_stays_up_and_goes_cleanly(tmp_path: Path, protocol: str, number: signal.Signals) -> None:
    """Settings to paste with a token, then Ctrl-C: no process and no folder is left."""
    arguments = command("--protocol", protocol)
    with subprocess.Popen(
        arguments, cwd=ROOT, env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line)
            if "stays up" in line:
                break
        text = "".join(lines)
        try:
            played(text)
            for name in PASTED[protocol]:
                assert name in text
            assert re.search(r"^TOKEN='[\w-]+\.[\w-]+\.[\w-]+'$", text, re.MULTILINE)
            (folder,) = demo_folders(tmp_path)
            until(lambda: audited(folder) >= {"authenticated", "denied", "refused", "throttled"}, what="their lines")
        finally:
            process.send_signal(number)
            _, errors = process.communicate(timeout=90)
    assert process.returncode == 0, errors
    assert demo_folders(tmp_path) == []
    assert "Traceback" not in errors
    until(lambda: _children_of(tmp_path) == [], what="no process that is left")


def audited(folder: Path) -> set[str]:
    """What the audit told of so far; its last line may be under way."""
    *lines, _ = (folder / "audit.jsonl").read_text().split("\n")
    return {json.loads(line)["event"] for line in lines}


def _children_of(folder: Path) -> list[str]:
    """Command lines of processes that still name the folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in text and "pytest" not in text.split(" ", 3)[1:2]:
            found.append(text)
    return found
