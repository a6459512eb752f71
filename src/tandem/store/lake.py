"""The lake: tables as Delta versions in one directory. Knows what a frame is, not what it means.

A write is one Delta commit: the data files first, then one log entry that is put in place in one step. A process
killed before that leaves the former version as it was, and files that no version names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tandem.core.asset import check_name
from tandem.core.errors import Broken, Conflict, NotFound
from tandem.core.ids import new_id
from tandem.store import elsewhere

if TYPE_CHECKING:
    import polars as pl
    from deltalake import DeltaTable

HIDDEN = ("_source", "_row")
"""The last two columns of a table whose rows say where they came from: a Run, and the row of its file, from 1."""
IMAGES = "_images"
"""The folder beside the tables with the images that their rows name by digest; no table can be called so."""
GROUP = 50_000
"""Rows that a writer holds before they go to disk; a million of them at a time cost as much memory again as the rows."""
_MARK = "tandem.write"
"""Commit metadata by which a writer finds its own version again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One version of a table."""

    version: int
    at: int
    """UTC microseconds, to the millisecond."""
    operation: str
    """Delta's word, such as `WRITE`."""


class Lake:
    """Delta tables by name below one directory. Needs the `ml` extra; imports it on first use."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def write(self, name: str, frame: pl.DataFrame) -> int:
        """Makes the frame the table's next version, whatever its former schema, and returns its number (from 0).

        Raises:
            Invalid: the name cannot be one.
            Conflict: another writer was first; nothing was written.
            Broken: the disk refused.
        """
        from deltalake import CommitProperties, WriterProperties, write_deltalake

        path = self._path(name)
        path.mkdir(parents=True, exist_ok=True)
        mark = new_id("wrt")
        with _told(name):
            write_deltalake(
                str(path),
                frame,
                mode="overwrite",
                schema_mode="overwrite",
                writer_properties=WriterProperties(max_row_group_size=GROUP, compression="SNAPPY"),
                commit_properties=CommitProperties(custom_metadata={_MARK: mark}),
            )
        return self._found(name, mark)

    def write_lazy(self, name: str, rows: pl.LazyFrame, *, mark: str) -> int:
        """Makes the rows the table's next version, in their order and as one file; only a few of them are held at a time.

        Args:
            mark: names this write: asked again, it finds the version that it made before.

        Raises:
            Invalid, Conflict, Broken: as `write`.
        """
        import polars as pl
        from arro3.core import Table
        from deltalake import CommitProperties, DeltaTable, Schema
        from deltalake.transaction import AddAction, create_table_with_add_actions

        known = self._marked(name, mark)
        if known is not None:
            return known
        path = self._path(name)
        path.mkdir(parents=True, exist_ok=True)
        file = path / f"part-{new_id('wrt')}.parquet"
        marked = CommitProperties(custom_metadata={_MARK: mark})
        with _told(name):
            rows.sink_parquet(file, row_group_size=GROUP)
            count = int(pl.scan_parquet(file).select(pl.len()).collect().item())
            state = file.stat()
            added = AddAction(file.name, state.st_size, {}, int(state.st_mtime * 1000), True, f'{{"numRecords":{count}}}')
            schema = Schema.from_arrow(Table.from_arrow(pl.DataFrame(schema=rows.collect_schema())).schema)
            if DeltaTable.is_deltatable(str(path)):
                self._table(name).create_write_transaction([added], "overwrite", schema, commit_properties=marked)
            else:
                create_table_with_add_actions(str(path), schema, [added], mode="error", commit_properties=marked)
        return self._found(name, mark)

    def _found(self, name: str, mark: str) -> int:
        version = self._marked(name, mark)
        if version is None:
            raise Broken(f"The commit to table '{name}' is not in its history.")
        return version

    def _marked(self, name: str, mark: str) -> int | None:
        """The version that a write of this mark made."""
        try:
            commits = self._table(name).history()
        except NotFound:
            return None
        return next((int(commit["version"]) for commit in commits if commit.get(_MARK) == mark), None)

    def read(self, name: str, version: int | None = None, *, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """All rows of a version, in the order they were written; the newest without a number.

        Args:
            name: the table.
            version: its number.
            columns: only these; else all but those that say where a row came from.

        Raises:
            NotFound: no such table or version.
        """
        import polars as pl

        rows = self.scan(name, version)
        names = rows.collect_schema().names()
        wanted = (names[:-2] if tuple(names[-2:]) == HIDDEN else names) if columns is None else list(columns)
        return pl.DataFrame(rows.select(wanted).collect())

    def scan(self, name: str, version: int | None = None) -> pl.LazyFrame:
        """The rows of a version before they are read, with `HIDDEN` where the table has it.

        Args:
            name: the table, or an address of `tandem.store.elsewhere`.

        Raises:
            NotFound: no such table or version.
            Conflict: it lies elsewhere, and has changed.
        """
        import polars as pl

        if elsewhere.is_elsewhere(name):
            return elsewhere.scan(name, version)
        return pl.scan_delta(self._table(name, version))

    def history(self, name: str) -> tuple[Commit, ...]:
        """Every version, newest first.

        Raises:
            NotFound: no such table.
        """
        return tuple(
            Commit(version=int(commit["version"]), at=int(commit["timestamp"]) * 1000, operation=str(commit["operation"]))
            for commit in self._table(name).history()
        )

    def _table(self, name: str, version: int | None = None) -> DeltaTable:
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError, TableNotFoundError

        try:
            return DeltaTable(str(self._path(name)), version=version)
        except TableNotFoundError:
            raise NotFound(f"There is no table '{name}' in the lake.", hint="Add the dataset first.") from None
        except DeltaError as error:
            raise NotFound(f"Table '{name}' has no version {version}: {error}.", hint="Look at its history.") from None

    def _path(self, name: str) -> Path:
        return self._root / check_name(name)


@contextmanager
def _told(name: str) -> Iterator[None]:
    """What the writing of a table says when it fails, as our errors."""
    from deltalake.exceptions import CommitFailedError, DeltaError
    from polars.exceptions import ComputeError

    try:
        yield
    except CommitFailedError as error:
        raise Conflict(f"Table '{name}' was written by somebody else meanwhile: {error}.", hint="Try again.") from None
    except (DeltaError, ComputeError, OSError) as error:
        raise Broken(f"Table '{name}' was not written: {error}.", hint="Check disk space and permissions.") from None
