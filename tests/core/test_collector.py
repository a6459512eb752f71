"""What was loaded before is left out of the collector's rounds; cycles made later are found."""

from __future__ import annotations

import subprocess
import sys

SAY = """
import gc, weakref
from tandem.core.collector import settle
class Ring: pass
settle()
assert gc.get_freeze_count() > 1000, gc.get_freeze_count()
def ring():
    one = Ring()
    one.itself = one
    return weakref.ref(one)
seen = ring()
kept = []
while seen() is not None:
    kept.append([[] for _ in range(1000)])
    assert len(kept) < 100, "never found"
"""


def test_cycles_are_found_after_the_start() -> None:
    done = subprocess.run([sys.executable, "-c", SAY], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
