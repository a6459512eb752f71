"""Where the rows of a dataset version lie, and their columns in the order of some evidence. Loads Polars only when it reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tandem.core.asset import Ref
from tandem.core.errors import Invalid
from tandem.data.versions import place
from tandem.governance.authorise import ALL
from tandem.registry.registry import Registry

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The rows of one dataset version."""

    lake: str
    """The lake's directory."""
    table: str
    version: int
    """Of the Delta table."""
    id: str | None = None
    """The column that names a row; None numbers them from 1."""

    def read(self) -> pl.DataFrame:
        """All of them, in the dataset's order.

        Raises:
            NotFound: there is no such table or version.
        """
        from tandem.store.lake import Lake

        return Lake(Path(self.lake)).read(self.table, self.version)

    def names(self, frame: pl.DataFrame) -> list[str]:
        """The ids of the rows, as evidence writes them."""
        return list(map(str, frame[self.id].to_list() if self.id is not None else range(1, frame.height + 1)))


def rows_of(registry: Registry, lake: str, dataset: str) -> Rows:
    """Where a dataset version lies; of any team, since this is the lineage of a version that the caller may see.

    Raises:
        Invalid: it has no rows in the lake.
    """
    version = registry.find(Ref.parse(dataset), ALL)
    found = place(version, "dataset")
    return Rows(lake=lake, table=found.table, version=found.version, id=found.id)


def cells(rows: Rows, columns: Sequence[str], ids: Sequence[str]) -> Mapping[str, Sequence[object]]:
    """Those of the columns that the dataset has, each in the order of the ids.

    Raises:
        Invalid: the dataset does not hold these rows.
    """
    frame = rows.read()
    place = {name: number for number, name in enumerate(rows.names(frame))}
    missing = sum(name not in place for name in ids)
    if missing:
        raise Invalid(f"{missing} rows of the evidence are not in {rows.table}.", field="rows", hint="Train or evaluate again.")
    order = [place[name] for name in ids]
    return {column: frame[column].gather(order).to_list() for column in columns if column in frame.columns}
