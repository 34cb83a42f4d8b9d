"""The load in a process of its own, which measures the proxy over its window.

    python -m loadtest.client < work.json > result.json

`run` starts it, with the one cipher suite and key exchange that every proxy is measured with.
"""

from __future__ import annotations

import json
import os
import resource
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from loadtest import idle, librdkafka, raw, storm
from loadtest.processes import CIPHER, GROUP
from loadtest.work import Door, LoadFailed, Window, Work

CLIENT_SECONDS_MAX = 180.0
"""Beyond the window: start, connecting, warm-up, the last acknowledgements."""
ROOT = Path(__file__).resolve().parents[1]


KINDS: dict[str, Callable[[Work], Window]] = {
    "produce": librdkafka.produce,
    "consume": librdkafka.consume,
    "paced": librdkafka.paced,
    "raw-produce": raw.produce,
    "raw-paced": raw.paced,
    "raw-metadata": raw.metadata,
    "raw-fetch": raw.fetch,
    "handshakes": storm.full,
    "resumed": storm.resumed,
    "logins": storm.logins,
    "idle": idle.hold,
}
"""What can be done, by name."""


def run(work: Work) -> Window:
    """Do the work in a client process. Raises LoadFailed."""
    with tempfile.TemporaryDirectory(prefix="client-") as folder:
        openssl = Path(folder) / "openssl.cnf"
        openssl.write_text(
            "openssl_conf = all\n[all]\nssl_conf = tls\n[tls]\nsystem_default = suites\n"
            f"[suites]\nCiphersuites = {CIPHER}\nGroups = {GROUP}\n"
        )
        try:
            done = subprocess.run(
                [sys.executable, "-m", "loadtest.client"],
                input=json.dumps(asdict(work)), capture_output=True, text=True, cwd=ROOT, check=False,
                env={**os.environ, "OPENSSL_CONF": str(openssl)}, timeout=work.seconds + CLIENT_SECONDS_MAX,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise LoadFailed(f"{work.kind} {work.topic}: the client did not end") from None
    if done.returncode != 0:
        raise LoadFailed(f"{work.kind} {work.topic}: {done.stderr[-4000:]}")
    window = Window(**json.loads(done.stdout))
    if not window.count:
        raise LoadFailed(f"{work.kind} {work.topic}: nothing was done in the window")
    return window


def more_descriptors() -> None:
    """As many as the system lets this process have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main() -> int:
    given = json.load(sys.stdin)
    work = Work(**{**given, "door": Door(**given["door"]), "tokens": tuple(given["tokens"])})
    more_descriptors()
    try:
        window = KINDS[work.kind](work)
    except (LoadFailed, ProcessLookupError, OSError, ssl.SSLError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    json.dump(asdict(window), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
