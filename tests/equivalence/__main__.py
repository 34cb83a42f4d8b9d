"""Compare everything with a real broker and write docs/kafka-apis.md."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.equivalence.matrix import DOCUMENT, measure, render
from tests.equivalence.world import World


def main() -> int:
    with tempfile.TemporaryDirectory() as folder, World(Path(folder) / "judge") as world:
        results = measure(world)
    DOCUMENT.parent.mkdir(exist_ok=True)
    DOCUMENT.write_text(render(results))
    unexplained = [line for result in results.values() for line in result.unexplained]
    print(*unexplained, sep="\n")
    print(f"{sum(result.compared for result in results.values())} comparisons, {len(unexplained)} differences")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
