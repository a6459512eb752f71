"""Values between steps: what goes in comes out, and equal content has one digest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tandem.core.errors import Invalid
from tandem.pipelines.values import digest, pack, unpack
from tandem_sdk.pipeline import Asset, Context, Dataset

FRAME = pl.DataFrame({"a": [1, 2, None], "b": ["x", "y", "z"]})
LISTS = pl.DataFrame({"a": [[1], [2, 3]]})


def back(value: object, folder: Path) -> Any:
    folder.mkdir(exist_ok=True)
    text, files, now = pack(value, folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(files)
    later = unpack(text, folder)
    assert digest(now) == digest(later) == digest(value)
    return later


@pytest.mark.parametrize(
    "value",
    [None, True, 3, 0.5, "täxt", [1, [2]], {"a": {"b": []}}, b"\x00\x01", Dataset(ref="dataset/a@1", digest="sha256:1")],
)
def test_plain_values_bytes_and_assets_come_back(value: object, tmp_path: Path) -> None:
    assert back(value, tmp_path) == value


def test_a_tuple_comes_back_as_a_list_at_once(tmp_path: Path) -> None:
    assert pack((1, (2,)), tmp_path)[2] == [1, [2]]


def test_frames_and_files_come_back_inside_of_other_values(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("words")
    told = back({"frames": [FRAME, LISTS], "file": tmp_path / "notes.txt"}, tmp_path / "kept")
    assert_frame_equal(told["frames"][0], FRAME)
    assert_frame_equal(told["frames"][1], LISTS)
    assert told["file"].read_text() == "words"
    assert told["file"].suffix == ".txt"


def test_a_lazy_frame_is_collected(tmp_path: Path) -> None:
    assert_frame_equal(back(FRAME.lazy(), tmp_path), FRAME)


def test_a_frame_counts_by_its_content() -> None:
    pieces = pl.concat([FRAME.head(1), FRAME.tail(2)], rechunk=False)
    assert digest(pieces) == digest(FRAME) != digest(FRAME.reverse())
    assert digest(LISTS) == digest(pl.concat([LISTS.head(1), LISTS.tail(1)], rechunk=False)) != digest(LISTS.reverse())


def test_an_asset_counts_by_its_content_and_not_its_number() -> None:
    one, two = Asset(ref="model/a@1", digest="sha256:1"), Asset(ref="model/a@2", digest="sha256:1")
    assert digest(one) == digest(two) != digest(Asset(ref="model/a@1", digest="sha256:2"))


def test_alike_values_of_other_kinds_are_apart(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    found = [digest(value) for value in ("x", b"x", tmp_path / "x", ["x"], 1, True, 1.5, "1", None, "", {"x": "x"})]
    assert len(set(found)) == len(found)


def test_the_context_is_the_same_in_every_run() -> None:
    assert digest(Context(None, "run_1")) == digest(Context(None, "run_2"))  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [object(), {1: 2}, {"$": "frame"}, float("nan"), {1, 2}, "\ud800"])
def test_what_cannot_be_kept_is_refused(value: object, tmp_path: Path) -> None:
    with pytest.raises(Invalid):
        pack(value, tmp_path)
    with pytest.raises(Invalid):
        digest(value)


def test_json_is_bounded_and_frames_are_not_json(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="bytes of JSON"):
        pack("x" * (1 << 21), tmp_path)
    assert back(b"x" * (1 << 21), tmp_path) == b"x" * (1 << 21)
