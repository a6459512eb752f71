"""Archives of signals: a row per sample, the file's name is the unit, and files that do not fit together."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from PIL import Image
from tests.pictures import packed

from tandem.core.errors import Invalid
from tandem.data import signals
from tandem.data.child import Done, Order, carry_out
from tandem.store.lake import Lake

HEAD = "at,x\n"


def add(home: Path, files: dict[str, str]) -> Done:
    folder = home / f"work-{len(list(home.iterdir()))}"
    folder.mkdir()
    path = packed(folder / "shakes.zip", {name: text.encode() for name, text in files.items()})
    return carry_out(Order(path=str(path), lake=str(home / "lake"), table="shakes", signals=True))


def rows(home: Path, done: Done) -> pl.DataFrame:
    return Lake(home / "lake").read("shakes", done.version)


def test_each_file_is_a_unit_and_its_samples_are_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "TOGETHER", 2)
    done = add(
        tmp_path,
        {
            "pumps/a.csv": HEAD + "1,1\n2,2\n3,\n",
            "pumps/b.jsonl": '{"x": 0.5, "at": 1}\n{"x": 1.5, "at": 2}\n',
            "pumps/c.csv": "x,at\n,7\n",
            "labels.csv": "file,label,hall\npumps/a.csv,bad,4\npumps/b.jsonl,good,5\n",
        },
    )
    found = rows(tmp_path, done)
    assert found.columns == ["unit", "at", "x", "label", "hall"]
    assert found["unit"].to_list() == ["pumps/a"] * 3 + ["pumps/b"] * 2 + ["pumps/c"]
    assert found["x"].to_list() == [1.0, 2.0, None, 0.5, 1.5, None]
    assert found["label"].to_list() == ["bad"] * 3 + ["good"] * 2 + [None]
    assert (done.units, done.contract.time_column) == (3, None)
    assert (done.contract.column("unit").categories, done.contract.column("at").high) == (None, None)
    assert done.sheet is not None
    with Image.open(done.sheet) as sheet:
        assert sheet.size == (signals.WIDTH, 3 * (signals.HEIGHT + 14))


def test_samples_without_a_time_are_numbered_and_folders_are_labels(tmp_path: Path) -> None:
    found = rows(tmp_path, add(tmp_path, {"bad/a.csv": "x\n1\n2\n", "good/b.csv": "x\n3\n"}))
    assert found["at"].to_list() == [1, 2, 1]
    assert found["label"].to_list() == ["bad", "bad", "good"]


def test_times_become_the_time_column(tmp_path: Path) -> None:
    done = add(tmp_path, {"a.csv": HEAD + "2026-01-01T00:00:00Z,1\n2026-01-01T00:00:01Z,2\n"})
    assert done.contract.time_column == "at"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a.csv": HEAD + "1,1\n", "b.csv": "at,y\n1,1\n"}, "'b.csv' has the columns at, y; the first file has at, x"),
        ({"a.csv": HEAD + "1,1\n2,2\n3,oh\n"}, "'a.csv' row 3, column 'x': is not a whole number"),
        (
            {"a.csv": HEAD + "1,1\n", "b.csv": HEAD + "1,high\n"},
            "'b.csv': the column 'x' holds string, and int in the files before",
        ),
        ({"a.csv": HEAD + "1,1\n", "a.jsonl": '{"x": 1, "at": 1}\n'}, "are of one unit"),
        ({"a.csv": HEAD}, "'a.csv' has no samples"),
        ({"a.csv": "unit,x\nm,1\n"}, "the column 'unit', which its name says"),
        ({"a.csv": HEAD + "1,1\n", "labels.csv": "file,label\nz.csv,bad\n"}, "'z.csv', which is not there"),
        ({"a.csv": HEAD + "1,1\n", "labels.csv": "file,x\na.csv,3\n"}, "a column 'x', which files have themselves"),
        ({"a.png": "no"}, "holds no signals"),
        ({"../a.csv": HEAD + "1,1\n"}, "a.csv"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_file(tmp_path: Path, files: dict[str, str], said: str) -> None:
    with pytest.raises(Invalid, match=said.replace("(", r"\(")):
        add(tmp_path, files)
