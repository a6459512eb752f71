"""Datasets: rows under a contract."""

from __future__ import annotations

import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tandem_sdk.assets import Version
from tandem_sdk.errors import Broken, Invalid, TandemError
from tandem_sdk.monitors import Histogram
from tandem_sdk.runs import Run
from tandem_sdk.verdicts import Estimate
from tandem_sdk.wire import API, Query, Wire, read_replies, read_reply, segment

KINDS = {
    ".csv": ("csv", "text/csv"),
    ".jsonl": ("jsonl", "application/x-ndjson"),
    ".ndjson": ("jsonl", "application/x-ndjson"),
    ".parquet": ("parquet", "application/vnd.apache.parquet"),
    ".zip": ("zip", "application/zip"),
    ".tar": ("tar", "application/x-tar"),
}
"""File ending → the platform's word for the format, and its media type."""


FORMATS = {".csv": "csv", ".parquet": "parquet", ".jsonl": "jsonl"}
"""File ending → the format in which rows are written."""
POLL_SECONDS = 0.5
STATES = ("queued", "running")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Rows of a version, in the order in which they were written."""

    columns: tuple[str, ...] = ()
    total: int = 0
    """Rows that the condition lets through, of which these are some."""
    rows: tuple[tuple[object, ...], ...] = ()
    """One value per column; times as ISO 8601 text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Select:
    """Which rows of a version, and what of them."""

    columns: tuple[str, ...] = ()
    """Only these, in this order; all without."""
    where: str | None = None
    """Only rows of which this is true, in SQL or Polars' notation: `amount > 3`."""
    lineage: bool = False
    """Adds `_source`, the Run that brought a row, and `_row`, its row in that file, from 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing that was one way and is another; None where it was or is not there."""

    where: str
    was: str | None = None
    now: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCounts:
    """Rows of both versions."""

    old: int
    new: int
    by: str = "id"
    """`id`; or `values`, where no column names a row in both versions."""
    added: int = 0
    removed: int = 0
    changed: int = 0
    examples: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """`added`, `removed`, `changed`: the first ids of each."""
    cells: Mapping[str, int] = field(default_factory=dict)
    """Column → rows of the same id in which it differs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """How the values of one column have moved."""

    name: str
    dtype: str = ""
    verdict: str = ""
    """`changed`, `stable`, `inconclusive` or `not-compared`."""
    effect: Estimate | None = None
    """Population stability index."""
    variation: float | None = None
    """Total variation distance, 0 to 1."""
    adjusted: float | None = None
    """p-value, adjusted over the columns."""
    histogram: Histogram | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """What is different in the newer of two versions."""

    old: str
    new: str
    rows: RowCounts
    schema: tuple[Change, ...] = ()
    contract: tuple[Change, ...] = ()
    columns: tuple[Moved, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FromPandera:
    """A contract that came from elsewhere."""

    contract: Mapping[str, object] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    """What of its source has no effect here."""


class Datasets:
    """`client.datasets`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def add(
        self,
        name: str,
        file: str | Path,
        *,
        id_column: str | None = None,
        time_column: str | None = None,
        append: bool = False,
        evolve: bool = False,
        signals: bool = False,
        parents: Sequence[str] = (),
        on_progress: Callable[[int, int], None] | None = None,
        on_stage: Callable[[float, str], None] | None = None,
    ) -> Version:
        """Stores a file as the next version of a dataset; it is read and checked before this returns.

        The rows must keep the contract that `set_contract` stored, where there is one.

        Args:
            name: the dataset's name, without `dataset/`.
            file: a `.csv`, `.jsonl`, `.ndjson` or `.parquet` file; it is sent piece by piece. Or images: a folder, or a
                `.zip` or `.tar` of one; see the guide on images.
            id_column: the column that names a row.
            time_column: the column that says when a row became true.
            append: its rows are added to the newest version's; else they are all rows of the next. Rows that stand there
                word for word under the same id are left out.
            evolve: new columns that may be empty and wider types change the contract; else they are refused.
            signals: the folder or archive holds signals, a file of rows for each unit; see the guide on signals.
            parents: the versions that the rows were made from, for the lineage.
            on_progress: called with (bytes sent, bytes in all).
            on_stage: called from another thread while the platform reads, with (share done, what it does).

        Raises:
            Invalid: the file cannot be read, or its rows break the contract; the message names rows and columns.
        """
        source = Path(file)
        if source.is_dir():
            with tempfile.TemporaryDirectory() as work:
                return self.add(
                    name, _packed(source, Path(work)), id_column=id_column, time_column=time_column, append=append, evolve=evolve,
                    signals=signals, parents=parents, on_progress=on_progress, on_stage=on_stage,
                )  # fmt: skip
        known = KINDS.get(source.suffix.lower())
        if known is None:
            raise Invalid(
                f"'{source.name}' has no ending that tells its format.", hint=f"Known are {', '.join(KINDS)}.", field="file"
            )
        query: dict[str, str | list[str] | None] = {
            "parent": list(parents) or None,
            "id": id_column,
            "time": time_column,
            "format": known[0],
        }
        query |= {key: "true" for key, asked in (("append", append), ("evolve", evolve), ("signals", signals)) if asked}
        path = f"{API}/datasets/{segment(name)}"
        with self._watched(name, on_stage):
            return read_reply(Version, self._wire.upload(path, source, known[1], query=query, on_progress=on_progress))

    def link(
        self,
        name: str,
        address: str,
        *,
        version: int | None = None,
        id_column: str | None = None,
        time_column: str | None = None,
        evolve: bool = False,
    ) -> Version:
        """Makes rows that lie elsewhere the next version of a dataset; they are checked, and stay where they are.

        Args:
            name: the dataset's name.
            address: `delta:PLACE/TABLE` or `parquet:PLACE/*.parquet`, in a place that the platform's settings list.
            version: of a Delta table; None: its newest.
            id_column: see `add`, as the others.

        Raises:
            Invalid: the place is not listed, or the rows break the contract.
            NotFound: there is nothing.
        """
        told = {"address": address, "version": version, "id": id_column, "time": time_column, "evolve": evolve}
        body = {key: value for key, value in told.items() if value is not None}
        return read_reply(Version, self._wire.send("POST", f"{API}/datasets/{segment(name)}/link", body))

    def query(
        self,
        name: str,
        sql: str,
        *,
        database: str,
        id_column: str | None = None,
        time_column: str | None = None,
        append: bool = False,
        evolve: bool = False,
        on_stage: Callable[[float, str], None] | None = None,
    ) -> Version:
        """Stores what a database answers as the next version of a dataset; the platform asks it, and only reads.

        Args:
            name: the dataset's name.
            sql: one statement that reads.
            database: a reference that the platform's settings list, such as `env:ORDERS_URL`.
            id_column: see `add`, as the others.

        Raises:
            Invalid: there is no such database, the statement is wrong, or the rows break the contract.
            Unavailable: the database cannot be reached.
        """
        body = {"sql": sql, "database": database, "id": id_column, "time": time_column, "append": append, "evolve": evolve}
        with self._watched(name, on_stage):
            reply = self._wire.send("POST", f"{API}/datasets/{segment(name)}/query", body, patient=True)
        return read_reply(Version, reply)

    def rows(self, name: str, version: int | str, select: Select | None = None, *, limit: int = 100, offset: int = 0) -> Rows:
        """Some rows of any version.

        Raises:
            Invalid: there is no such column, or the condition is none.
        """
        query = {**_selected(select), "limit": limit, "offset": offset}
        return _rows(self._wire.get(f"{self._at(name, version)}/rows", query).json())

    def rows_file(self, name: str, version: int | str, out: str | Path, select: Select | None = None) -> Path:
        """Writes all rows of a version to a `.csv`, `.parquet` or `.jsonl` file.

        Raises:
            Invalid: the file cannot be written, or see `rows`.
        """
        return self._saved(f"{self._at(name, version)}/rows/file", _selected(select), Path(out))

    def quarantine(self, name: str, version: int | str, *, limit: int = 100, offset: int = 0) -> Rows:
        """Rows that were kept apart when a version was made, as text, with `_row`, `_line` and `_reasons`."""
        return _rows(self._wire.get(f"{self._at(name, version)}/quarantine", {"limit": limit, "offset": offset}).json())

    def quarantine_file(self, name: str, version: int | str, out: str | Path) -> Path:
        """Writes the rows that were kept apart to a `.csv`, `.parquet` or `.jsonl` file.

        Raises:
            NotFound: there are none.
            Invalid: the file cannot be written.
        """
        return self._saved(f"{self._at(name, version)}/quarantine/file", {}, Path(out))

    def diff(self, name: str, old: int | str, new: int | str) -> Diff:
        """What is different in the newer of two versions."""
        return read_reply(Diff, self._wire.get(f"{self._at(name, old)}/diff/{segment(new)}"))

    def contract(self, name: str, version: int | str) -> Mapping[str, object]:
        """What every column must be, as JSON that can be edited and handed to `set_contract`."""
        return _object(self._wire.get(f"{API}/datasets/{segment(name)}/{segment(version)}/contract").json())

    def kept_contract(self, name: str) -> Mapping[str, object]:
        """The edited contract, which the next rows must keep.

        Raises:
            NotFound: nobody edited one.
        """
        return _object(self._wire.get(f"{API}/datasets/{segment(name)}/contract").json())

    def set_contract(self, name: str, contract: Mapping[str, object]) -> Mapping[str, object]:
        """Stores the contract that the next rows must keep; returns it as it was understood.

        Raises:
            Invalid: it contradicts itself; `field` names where.
        """
        return _object(self._wire.send("PUT", f"{API}/datasets/{segment(name)}/contract", contract).json())

    def import_contract(self, name: str, schema: Mapping[str, object]) -> FromPandera:
        """Stores the contract that a Pandera schema asks for, which the next rows must keep.

        Args:
            name: the dataset.
            schema: what pandera's `to_json` or `to_yaml` wrote, decoded.

        Raises:
            Invalid: it holds what a contract cannot say; `field` names where.
        """
        return read_reply(FromPandera, self._wire.send("POST", f"{API}/datasets/{segment(name)}/contract/pandera", schema))

    def _at(self, name: str, version: int | str) -> str:
        return f"{API}/datasets/{segment(name)}/{segment(version)}"

    def _saved(self, path: str, query: Query, out: Path) -> Path:
        form = FORMATS.get(out.suffix.lower())
        if form is None:
            raise Invalid(
                f"'{out.name}' has no ending that tells its format.", hint=f"Known are {', '.join(FORMATS)}.", field="out"
            )
        with self._wire.download(path, {**query, "format": form}) as pieces:
            try:
                with out.open("wb") as file:
                    for piece in pieces:
                        file.write(piece)
            except OSError as error:
                raise Invalid(f"{out} cannot be written: {error.strerror}.", field="out") from None
        return out

    @contextmanager
    def _watched(self, name: str, on_stage: Callable[[float, str], None] | None) -> Iterator[None]:
        """Asks in another thread how far the Run of this dataset is, until the answer is there."""
        if on_stage is None:
            yield
            return
        done = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(name, on_stage, done), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()

    def _watch(self, name: str, on_stage: Callable[[float, str], None], done: threading.Event) -> None:
        while not done.wait(POLL_SECONDS):
            try:
                found = read_replies(Run, self._wire.get(f"{API}/runs", {"limit": 50}))
            except TandemError:
                continue
            for run in found:
                if (run.kind, run.name) == ("ingest", name) and run.state in STATES:
                    on_stage(run.progress, run.stage)
                    break


def _selected(select: Select | None) -> Query:
    chosen = select or Select()
    return {"column": list(chosen.columns) or None, "where": chosen.where, "lineage": "true" if chosen.lineage else None}


def _rows(data: object) -> Rows:
    told = _object(data)
    columns, rows = told.get("columns"), told.get("rows")
    if not isinstance(columns, list) or not isinstance(rows, list):
        raise Broken("The platform's answer has no rows.", hint="Client and platform may be of different versions.")
    total = told.get("total")
    return Rows(
        columns=tuple(str(name) for name in columns),
        total=total if isinstance(total, int) else len(rows),
        rows=tuple(tuple(row) if isinstance(row, list) else () for row in rows),
    )


def _object(data: object) -> Mapping[str, object]:
    if not isinstance(data, dict):
        raise Broken("The platform's contract is no JSON object.", hint="Client and platform may be of different versions.")
    return data


def _packed(folder: Path, work: Path) -> Path:
    """A tar of the files of a folder, but for hidden ones.

    Raises:
        Invalid: there are none.
    """
    inside = {file: file.relative_to(folder) for file in sorted(folder.rglob("*")) if file.is_file()}
    files = {file: inner for file, inner in inside.items() if not any(part.startswith(".") for part in inner.parts)}
    if not files:
        raise Invalid(
            f"{folder} cannot be read: it is a folder without files.",
            field="file",
            hint="Name a file, or a folder of images or signals.",
        )
    bundle = work / "files.tar"
    with tarfile.open(bundle, "w") as archive:
        for file, inner in files.items():
            archive.add(file.resolve(), arcname=inner.as_posix(), recursive=False)
    return bundle
