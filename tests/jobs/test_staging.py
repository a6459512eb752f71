"""Folders of Runs: kept while their Run is open, gone afterwards."""

from __future__ import annotations

import os
from pathlib import Path

from tests.jobs.crash import open_runs

from tandem.core.clock import SystemClock
from tandem.core.principal import LOCAL
from tandem.jobs import staging


def test_folders_of_ended_and_unknown_runs_and_old_files_are_swept(tmp_path: Path) -> None:
    kept, work = open_runs(tmp_path), tmp_path / "work"
    waits, ended = (kept.create("train", "x", by=LOCAL).id for _ in range(2))
    kept.finish(ended, "failed", reason="x")
    for name in (waits, ended, "run_unknown", "somebody-elses"):
        (work / name / "plots").mkdir(parents=True)
    for name in ("upload.csv", "old.csv"):
        (work / name).touch()
    os.utime(work / "old.csv", (1, 1))
    assert staging.sweep(work, kept, SystemClock()) == ("old.csv", ended, "run_unknown")
    assert sorted(path.name for path in work.iterdir()) == sorted([waits, "somebody-elses", "upload.csv"])


def test_without_a_folder_there_is_nothing_to_sweep(tmp_path: Path) -> None:
    assert staging.sweep(tmp_path / "none", open_runs(tmp_path), SystemClock()) == ()
