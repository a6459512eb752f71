"""How often each value of a column occurs, however many there are: what is too much for the memory lies sorted in files.

Sorted runs on disk, merged a range of values at a time (Knuth, The Art of Computer Programming, volume 3, 5.4).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

HELD = 4 * 1024**2
"""Bytes of cells that are in memory before they are counted."""
FEW = HELD // 4
"""Bytes of values and counts that stay in memory; more become a run."""
STEP = 8_192
"""Values of a run that are read together."""
RANGE = 32
"""Steps, of all runs together, that are merged at one time."""


class Counts:
    """Values of one column with how often each was seen."""

    def __init__(self, folder: Path) -> None:
        """
        Args:
            folder: an empty one for the runs; whoever made it removes it.
        """
        self._folder = folder
        self._cells: list[pl.Series] = []
        self._few: list[pl.DataFrame] = []
        self._runs: list[Path] = []
        self._marks: list[pl.Series] = []

    def add(self, cells: pl.Series) -> None:
        """Counts some more cells, none of them null."""
        self._cells.append(cells.alias("value"))
        if sum(each.estimated_size() for each in self._cells) > HELD:
            self._count()

    def blocks(self) -> Iterator[pl.DataFrame]:
        """The columns `value` and `count`: each value once, all in ascending order, in blocks that memory holds."""
        if self._cells:
            self._count()
        if not self._runs:
            yield from self._few
            return
        for table in self._few:
            self._spill(table)
        cuts = pl.concat(self._marks).sort().gather_every(RANGE).unique(maintain_order=True)[1:]
        for low, high in zip([None, *cuts], [*cuts, None], strict=True):
            rows = pl.scan_parquet(self._runs)
            if low is not None:
                rows = rows.filter(pl.col("value") >= low)
            if high is not None:
                rows = rows.filter(pl.col("value") < high)
            yield _summed(rows.collect())

    def _count(self) -> None:
        table = _counted(pl.concat(self._cells))
        self._cells = []
        if table.estimated_size() <= FEW:
            table = _summed(pl.concat([*self._few, table]))
            self._few = []
        if table.estimated_size() <= FEW:
            self._few = [table]
        else:
            self._spill(table)

    def _spill(self, table: pl.DataFrame) -> None:
        path = self._folder / f"{len(self._runs)}.parquet"
        table.write_parquet(path, compression="uncompressed", row_group_size=STEP)
        self._runs.append(path)
        self._marks.append(table["value"].gather_every(STEP))


def _counted(cells: pl.Series) -> pl.DataFrame:
    return cells.sort().rle().struct.unnest().select("value", pl.col("len").cast(pl.Int64).alias("count"))


def _summed(table: pl.DataFrame) -> pl.DataFrame:
    if table["count"].max() == 1:  # as of most columns with many values, and faster
        return _counted(table["value"])
    ordered = table.sort("value")
    runs = ordered["value"].rle().struct.unnest()
    until = ordered["count"].cum_sum().gather(runs["len"].cum_sum() - 1)
    return runs.select("value", (until - until.shift(1, fill_value=0)).alias("count"))
