"""Rows that lie where others keep them: a Delta table, or Parquet files, in a directory or on object storage. Only read.

    delta:/srv/lake/orders        delta:s3://bucket/orders        parquet:/srv/export/orders-*.parquet

An address that a version keeps means the same rows for good: of a Delta table one version, of Parquet files those that
were there, by their sizes and times; whoever reads them later is told when they have changed.
"""

from __future__ import annotations

import hashlib
import re
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING

from tandem.core.errors import Broken, Conflict, Invalid, NotFound

if TYPE_CHECKING:
    import polars as pl

DELTA, PARQUET = "delta:", "parquet:"
MARK = "#"
"""Between the address of Parquet files and what they were."""
FILES = 10_000
"""Parquet files that one address may mean."""


def is_elsewhere(table: str) -> bool:
    """Whether a table's name is an address outside the lake.

    >>> is_elsewhere("delta:/srv/orders"), is_elsewhere("orders")
    (True, False)
    """
    return table.startswith((DELTA, PARQUET))


def allowed(address: str, places: tuple[str, ...], setting: str = "places") -> str:
    """The address itself, if it lies in one of the places that the settings list.

    Raises:
        Invalid: it does not, or it is no address.
    """
    if not is_elsewhere(address) or MARK in address:
        raise Invalid(
            f"'{address[:120]}' is no address of rows.",
            field="address",
            hint="Write delta:PLACE/TABLE or parquet:PLACE/*.parquet.",
        )
    path = address.partition(":")[2]
    inside = any(_within(path, place) for place in places)
    if not inside or ".." in path.split("/"):
        raise Invalid(
            f"'{address[:120]}' lies in no place that the settings list.",
            field="address",
            hint=f'Whoever runs the platform lists it in tandem.toml: [data] {setting} = ["/srv/lake"].',
        )
    return address


def _within(path: str, place: str) -> bool:
    root = place.rstrip("/") + "/"
    if "://" in place or "://" in path:
        return path.startswith(root)
    held = Path(re.split(r"[*?\[]", path)[0]).resolve()  # a link out of the place leads out of it
    return str(held).startswith(root) or str(held) == root.rstrip("/")


def pinned(address: str, version: int | None = None) -> tuple[str, int]:
    """What a version of a dataset keeps: an address and a number that mean these rows for good.

    Args:
        version: of a Delta table; None: its newest.

    Raises:
        NotFound: there is nothing.
    """
    if address.startswith(DELTA):
        return address, int(_delta(address, version).version())
    return address + MARK + _state(address), 0


def scan(table: str, version: int | None) -> pl.LazyFrame:
    """The rows before they are read, in the types that datasets have.

    Raises:
        NotFound: there is nothing any more.
        Conflict: the files have changed since the dataset was linked.
    """
    import polars as pl

    if table.startswith(DELTA):
        return _plain(pl.scan_delta(_delta(table, version)))
    address, _, state = table.partition(MARK)
    if state and _state(address) != state:
        raise Conflict(
            f"The files at {address} are not those that the dataset was linked to.",
            hint="Link it again, which makes a version of what is there now.",
        )
    try:
        return _plain(pl.scan_parquet(address.removeprefix(PARQUET)))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise NotFound(f"{address} cannot be read: {error}.", hint="Check the address.") from None


def _delta(address: str, version: int | None):  # type: ignore[no-untyped-def]  # a DeltaTable, imported late
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError, TableNotFoundError

    try:
        return DeltaTable(address.removeprefix(DELTA), version=version)
    except TableNotFoundError:
        raise NotFound(f"There is no Delta table at {address}.", hint="Check the address.") from None
    except (DeltaError, OSError) as error:
        raise NotFound(f"{address} has no version {version}: {error}.", hint="Check address and version.") from None


def _state(address: str) -> str:
    """Names of the files, their sizes and times, in one digest; of object storage the address alone."""
    path = address.removeprefix(PARQUET)
    if "://" in path:
        return hashlib.sha256(path.encode()).hexdigest()[:16]
    files = sorted(glob(path))
    if not files or len(files) > FILES:
        raise NotFound(f"{address} means {len(files)} files.", hint=f"1 to {FILES:,} are read: check the address.")
    try:
        told = [f"{name}\0{Path(name).stat().st_size}\0{Path(name).stat().st_mtime_ns}" for name in files]
    except OSError as error:
        raise NotFound(f"{address} cannot be read: {error}.") from None
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]


def _plain(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Whole numbers, fractions and times as datasets hold them.

    Raises:
        Broken: a column has a type that a dataset cannot hold.
    """
    import polars as pl

    wanted: list[pl.Expr] = []
    for name, kind in rows.collect_schema().items():
        column = pl.col(name)
        if kind.is_integer():
            wanted.append(column.cast(pl.Int64))
        elif kind.is_float() or kind.is_decimal():
            wanted.append(column.cast(pl.Float64))
        elif isinstance(kind, pl.Datetime):
            zoned = column.dt.replace_time_zone("UTC") if kind.time_zone is None else column.dt.convert_time_zone("UTC")
            wanted.append(zoned.cast(pl.Datetime("us", "UTC")))
        elif isinstance(kind, pl.Date):
            wanted.append(column.cast(pl.Datetime("us")).dt.replace_time_zone("UTC"))
        elif isinstance(kind, pl.Boolean | pl.String):
            wanted.append(column)
        elif isinstance(kind, pl.Categorical | pl.Enum):
            wanted.append(column.cast(pl.String))
        else:
            raise Broken(f"Column '{name}' is {kind}, which a dataset cannot hold.", hint="Leave it out of the table.")
    return rows.select(wanted)
