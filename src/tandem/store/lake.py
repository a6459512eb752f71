"""The lake: tables as Delta versions in one directory. Knows what a frame is, not what it means.

A write is one Delta commit: the data files first, then one log entry that is put in place in one step. A process
killed before that leaves the former version as it was, and files that no version names.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tandem.core.asset import check_name
from tandem.core.errors import Broken, Conflict, NotFound
from tandem.core.ids import new_id

if TYPE_CHECKING:
    import polars as pl
    from deltalake import DeltaTable

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
        from deltalake import CommitProperties, write_deltalake
        from deltalake.exceptions import CommitFailedError, DeltaError

        path = self._path(name)
        path.mkdir(parents=True, exist_ok=True)
        mark = new_id("wrt")
        try:
            write_deltalake(
                str(path),
                frame,
                mode="overwrite",
                schema_mode="overwrite",
                commit_properties=CommitProperties(custom_metadata={_MARK: mark}),
            )
        except CommitFailedError as error:
            raise Conflict(f"Table '{name}' was written by somebody else meanwhile: {error}.", hint="Try again.") from None
        except (DeltaError, OSError) as error:
            raise Broken(f"Table '{name}' was not written: {error}.", hint="Check disk space and permissions.") from None
        for commit in self._table(name).history():
            if commit.get(_MARK) == mark:
                return int(commit["version"])
        raise Broken(f"The commit to table '{name}' is not in its history.")

    def read(self, name: str, version: int | None = None) -> pl.DataFrame:
        """All rows of a version, in the order they were written; the newest without a number.

        Raises:
            NotFound: no such table or version.
        """
        import polars as pl

        table = self._table(name, version)
        return pl.DataFrame(pl.scan_delta(table).collect())

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
