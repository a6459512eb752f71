"""Python's collector of cycles, as a long-running process wants it. [door]"""

from __future__ import annotations

import gc

YOUNG, MIDDLE, OLD = 10_000, 10, 10
"""Objects that are made until the youngest are looked at, then how often that is until the next older ones are, and all."""


def settle() -> None:
    """Leaves what was loaded until now out of every later round, and makes rounds rarer.

    What a call makes is freed by its last reference. With Python's own thresholds, the collector looked at the objects of
    several calls after every few of them, and at the whole process now and then, for cycles that hardly exist.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, OLD)
