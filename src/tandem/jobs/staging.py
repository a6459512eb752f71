"""Where a Run keeps files while it works: one folder per Run, gone when the Run has ended."""

from __future__ import annotations

import shutil
from pathlib import Path

from tandem.core.errors import NotFound
from tandem.jobs.perform import is_open
from tandem.jobs.repo import Runs


def clear(folder: Path) -> None:
    """Removes a Run's folder, if there is one."""
    shutil.rmtree(folder, ignore_errors=True)


def sweep(work: Path, runs: Runs) -> tuple[str, ...]:
    """Removes the folders that a killed process left: those of Runs that have ended, or that nobody knows.

    Args:
        work: the folder of folders; each is named by its Run's id.

    Returns:
        The names that were removed.
    """
    if not work.is_dir():
        return ()
    stale = tuple(sorted(folder.name for folder in work.iterdir() if not _is_open(runs, folder.name)))
    for name in stale:
        clear(work / name)
    return stale


def _is_open(runs: Runs, run_id: str) -> bool:
    try:
        return is_open(runs, run_id)
    except NotFound:
        return False
