"""How much memory this process holds, and how what is free is given back. Imports nothing of ours."""

from __future__ import annotations

import ctypes
import gc
import os
from contextlib import suppress
from pathlib import Path

STATM = Path("/proc/self/statm")
MIB = 1024 * 1024


def resident() -> int:
    """Bytes that this process holds in memory; 0 where the system does not tell."""
    with suppress(OSError, ValueError, IndexError):
        return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def give_back() -> None:
    """Frees what nobody names any more, and gives free memory back to the system where its allocator can."""
    gc.collect()
    with suppress(OSError, AttributeError):  # glibc's alone
        ctypes.CDLL(None).malloc_trim(0)
