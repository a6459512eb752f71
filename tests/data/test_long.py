"""Columns that are longer than memory should hold are described as others are."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from tandem.data import counts
from tandem.data.check import column_of
from tandem.data.contract import Column, Contract
from tandem.data.counts import Counts
from tandem.data.long import describe
from tandem.data.profile import profile

RANDOM = np.random.default_rng(5)
ROWS = 4_000
START = datetime(2026, 1, 1, tzinfo=UTC)
COLUMNS = {
    "different": RANDOM.normal(size=ROWS),
    "repeated": RANDOM.normal(size=ROWS).round(1),
    "one value": np.full(ROWS, 3.5),
    "ascending": np.arange(ROWS, dtype=np.int64),
    "few": RANDOM.integers(0, 2, ROWS),
    "huge": np.where(np.arange(ROWS) % 2, 1.7e308, -1.7e308),
    "mostly one": np.where(np.arange(ROWS) % 50, 0.0, RANDOM.normal(size=ROWS)),
    "texts": [f"t{number}" for number in RANDOM.integers(0, 3_000, ROWS)],
    "kinds": [f"k{number}" for number in RANDOM.integers(0, 15, ROWS)],
    "truths": RANDOM.integers(0, 2, ROWS).astype(bool),
    "times": [START + timedelta(seconds=int(number)) for number in RANDOM.integers(0, 10_000, ROWS)],
}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if memory were small: several runs of many steps."""
    for name, size in (("HELD", 4_096), ("FEW", 1_024), ("STEP", 16), ("RANGE", 5)):
        monkeypatch.setattr(counts, name, size)


def both(cells: pl.Series, folder: Path, size: int, *, unique: bool = False) -> list[tuple[Column, dict[str, object]]]:
    """What is said of a column that is described in chunks, and of the same one whole."""

    def chunks() -> Iterator[pl.Series]:
        return (cells.slice(start, size) for start in range(0, len(cells), size))

    column, told = describe(chunks, unique=unique, folder=folder)
    whole = column_of(cells, unique=unique)
    said = profile(cells.to_frame(), Contract(columns=(whole,))).columns[0]
    return [(column, msgspec.to_builtins(told)), (whole, msgspec.to_builtins(said))]


@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_in_chunks_is_described_as_the_whole(name: str, holes: bool, tmp_path: Path, small: None) -> None:
    cells = pl.Series(name, COLUMNS[name])
    if holes:
        cells = pl.select(pl.when(pl.int_range(ROWS) % 7 > 0).then(cells)).to_series().alias(name)
    (column, told), (whole, said) = both(cells, tmp_path, 130)
    assert column == whole
    for rounded in ("mean", "std"):
        close, exact = told.pop(rounded), said.pop(rounded)
        assert close == exact or close == pytest.approx(exact, rel=1e-12, abs=1e-12)
    assert told == said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cells", [[None, None, None], [1.5], [2.0, None], ["a"], []])
def test_short_columns_are_described_alike(cells: list[object], tmp_path: Path) -> None:
    dtype = pl.String if "a" in cells else pl.Float64
    long, whole = both(pl.Series("c", cells or [None], dtype=dtype), tmp_path, 1, unique=cells == ["a"])
    assert long == whole


def test_only_a_few_values_are_in_memory_at_one_time(tmp_path: Path, small: None) -> None:
    found = Counts(tmp_path)
    for start in range(0, 20_000, 100):
        found.add(pl.Series(RANDOM.permutation(20_000)[start : start + 100]))
        assert sum(each.estimated_size() for each in (*found._cells, *found._few)) <= counts.HELD + counts.FEW
    most = counts.STEP * (counts.RANGE + len(found._runs))
    blocks = list(found.blocks())
    assert max(block.height for block in blocks) <= most < 20_000 / 4
    values = pl.concat(blocks)["value"]
    assert values.is_sorted()
    assert values.n_unique() == len(values)
    assert pl.concat(blocks)["count"].sum() == 20_000
