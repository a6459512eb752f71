"""The composition root: it alone knows every adapter. It builds, it does not decide.

`door.py` is one worker of the door, `process.py` the control process, and `control.py` the order in which that is built, out of
one file per part. A part is a frozen set of services, made from the parts before it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

Role = Literal["all", "serve", "work"]
"""Of a control process: everything, all but the work of Runs, or that work alone."""
CACHE = "cache.db"
BOARD = "targets"
"""Folder of a home in which door workers tell of targets that rest."""


def control_socket(home: Path) -> Path:
    """Where the control process of a home listens."""
    return home / "control.sock"
