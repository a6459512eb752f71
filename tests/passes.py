"""The whole suite in three passes: what needs the machine to itself, the rest beside each other, and the journeys once more
on PostgreSQL. All are run whatever the first says, and each fails the whole, also when it finds no test.

Journeys are about several processes, ends of leases and kills, on a machine that others may use as well. So where few tests
of a pass fail, just those are done once more, one after the other in a process of their own. What fails twice fails the
whole. What fails once is told at the end as unsteady: it hides a race, in the product or in the test, and wants mending.

    python -m tests.passes [WORKERS]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

FEW = 5
"""More failures of one pass than that are no accident; nothing is done again."""
SOME_FAILED = 1
"""What pytest ends with when tests failed, and nothing else went wrong."""


class Pass(NamedTuple):
    what: Sequence[str]
    named: Mapping[str, str] = {}
    """Of the environment."""


def passes(workers: str) -> list[Pass]:
    beside = ("-n", workers, "--dist", "loadscope", "--no-loadscope-reorder")
    return [
        Pass(("-m", "alone")),
        Pass(("-m", "not alone", *beside)),
        Pass(("tests/journeys", "-m", "not alone and not files", *beside), {"JOURNEYS_ON": "postgres"}),
    ]


def do(one: Pass) -> tuple[bool, list[str]]:
    """Whether the pass holds, and the tests of it that failed once only."""
    with tempfile.TemporaryDirectory() as kept:
        if (code := _pytest(one, one.what, kept)) != SOME_FAILED:
            return code == 0, []
        last = Path(kept, "v", "cache", "lastfailed")
        failed = sorted(json.loads(last.read_text())) if last.exists() else []
        if not 0 < len(failed) <= FEW:
            return False, []
        print(f"Once more, alone: {', '.join(failed)}", flush=True)
        if _pytest(one, failed, kept) != 0:
            return False, []
        return True, failed


def _pytest(one: Pass, what: Sequence[str], kept: str) -> int:
    command = [sys.executable, "-m", "pytest", "-o", f"cache_dir={kept}", *what]
    return subprocess.run(command, env={**os.environ, **one.named}, check=False).returncode


def main() -> int:
    done = [do(one) for one in passes(sys.argv[1] if len(sys.argv) > 1 else "2")]
    for test in [test for _, unsteady in done for test in unsteady]:
        print(f"UNSTEADY {test}: it failed, and passed when it was done once more.")
    return 0 if all(held for held, _ in done) else 1


if __name__ == "__main__":
    sys.exit(main())
