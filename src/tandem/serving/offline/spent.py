"""How long each piece of a scoring took, in files that outlive a kill, so that each can be booked once. It loads no frames."""

from __future__ import annotations

from pathlib import Path

FOLDER = "spent"
FIRST = 2
"""The number of the first part; piece 1 is what is no part's: the beginning and the end."""


def keep(folder: Path, part: int, seconds: float) -> None:
    """Keeps what a part took, unless it was kept before. Before the part itself is there, so that none lacks its time.

    Args:
        folder: the Run's.
        part: counted from 0.
    """
    path = folder / FOLDER / str(part + FIRST)
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        half = path.with_name(f".{path.name}")
        half.write_text(repr(seconds))
        half.replace(path)


def read(folder: Path) -> dict[int, float]:
    """Piece → seconds."""
    return {int(path.name): float(path.read_text()) for path in (folder / FOLDER).glob("[0-9]*")}
