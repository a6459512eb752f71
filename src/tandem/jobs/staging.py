"""Where a Run keeps files while it works: one folder per Run, gone when the Run has ended."""

from __future__ import annotations

import shutil
from pathlib import Path

from tandem.core.clock import MICROS, Clock
from tandem.core.errors import NotFound
from tandem.jobs.perform import is_open
from tandem.jobs.repo import Runs

STALE_SECONDS = 3600.0
"""Whatever else lies among the folders, such as an upload, is in nobody's hands after this time."""


def clear(folder: Path) -> None:
    """Removes a Run's folder, if there is one."""
    shutil.rmtree(folder, ignore_errors=True)


def sweep(work: Path, runs: Runs, clock: Clock) -> tuple[str, ...]:
    """Removes what killed processes left: the folders of Runs that have ended or that nobody knows, and old files.

    Args:
        work: the folder of folders; each is named by its Run's id. Runs that are open keep theirs.

    Returns:
        The names that were removed.
    """
    if not work.is_dir():
        return ()
    stale: list[str] = []
    for path in sorted(work.iterdir()):
        if path.name.startswith("run_"):
            if not _is_open(runs, path.name):
                clear(path)
                stale.append(path.name)
        elif path.is_file() and path.stat().st_mtime < clock.now() / MICROS - STALE_SECONDS:
            path.unlink(missing_ok=True)
            stale.append(path.name)
    return tuple(stale)


def _is_open(runs: Runs, run_id: str) -> bool:
    try:
        return is_open(runs, run_id)
    except NotFound:
        return False
