from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from tandem.core.errors import Conflict, Invalid, NotFound
from tandem.store.lake import Lake

FRAME = pl.DataFrame(
    {
        "id": ["b", "a", "c"],
        "x": [1.5, None, -0.0],
        "n": [1, 2, None],
        "ok": [True, None, False],
        "at": pl.Series([datetime(2026, 1, 1, 12, 0, 0, 5, tzinfo=UTC)] * 3, dtype=pl.Datetime("us", "UTC")),
    }
)


def test_versions_are_kept_and_read_back(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    assert lake.write("tumor", FRAME) == 0
    other = pl.DataFrame({"different": ["schema"]})
    assert lake.write("tumor", other) == 1
    assert lake.read("tumor", 0).equals(FRAME)
    assert dict(lake.read("tumor", 0).schema) == dict(FRAME.schema)
    assert lake.read("tumor", 1).equals(other)
    assert lake.read("tumor").equals(other)
    history = lake.history("tumor")
    assert [commit.version for commit in history] == [1, 0]
    assert history[0].at >= history[1].at > 1_700_000_000_000_000


def test_what_is_not_there_is_not_found(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    with pytest.raises(NotFound, match="no table 'none'"):
        lake.read("none")
    with pytest.raises(NotFound, match="no table 'none'"):
        lake.history("none")
    lake.write("tumor", FRAME)
    with pytest.raises(NotFound, match="no version 7"):
        lake.read("tumor", 7)


@pytest.mark.parametrize("name", ["../out", "a/b", "", "A", ".."])
def test_a_name_stays_inside_the_lake(tmp_path: Path, name: str) -> None:
    with pytest.raises(Invalid):
        Lake(tmp_path).write(name, FRAME)


def test_many_rows_keep_their_order(tmp_path: Path) -> None:
    frame = pl.DataFrame({"n": range(300_000, 0, -1)})
    lake = Lake(tmp_path)
    lake.write("long", frame)
    assert lake.read("long").equals(frame)


def test_writers_at_the_same_time_each_get_their_own_version_or_a_conflict(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.write("shared", pl.DataFrame({"writer": [-1]}))
    versions: dict[int, int] = {}

    def write(number: int) -> None:
        try:
            versions[number] = lake.write("shared", pl.DataFrame({"writer": [number]}))
        except Conflict:
            versions[number] = -1

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    won = {number: version for number, version in versions.items() if version > 0}
    assert len(versions) == 4
    assert won
    assert len(set(won.values())) == len(won)
    for number, version in won.items():
        assert lake.read("shared", version)["writer"].to_list() == [number]


WRITER = """
import sys, polars as pl
from pathlib import Path
from tandem.store.lake import Lake
lake = Lake(Path(sys.argv[1]))
print("ready", flush=True)
number = 1
while True:
    lake.write("tumor", pl.DataFrame({"writer": [number] * 400_000}).with_row_index())
    number += 1
"""


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.05, 0.11])
def test_a_writer_killed_at_any_time_leaves_a_whole_version(tmp_path: Path, delay: float) -> None:
    lake = Lake(tmp_path)
    lake.write("tumor", pl.DataFrame({"writer": [0] * 400_000}).with_row_index())
    before = set((tmp_path / "tumor").glob("*.parquet"))
    child = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, env=dict(os.environ))
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    deadline = time.monotonic() + 20
    while set((tmp_path / "tumor").glob("*.parquet")) == before and time.monotonic() < deadline:
        time.sleep(0.001)  # a data file of a later version has begun
    time.sleep(delay)
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    newest = lake.history("tumor")[0].version
    for version in range(newest + 1):
        frame = lake.read("tumor", version)
        assert frame["writer"].to_list() == [version] * 400_000
    assert lake.write("tumor", FRAME) == newest + 1
    assert lake.read("tumor").equals(FRAME)


def test_a_lake_needs_its_libraries_only_when_used() -> None:
    code = "import sys, tandem.store.lake; assert not {'polars', 'deltalake', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
