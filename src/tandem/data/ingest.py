"""A file becomes a dataset: read, typed, checked, profiled, digested; or it is refused whole. Writes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from tandem.core.errors import Invalid
from tandem.data import check as checks
from tandem.data.contract import DTYPES, Contract, Dtype, Severity
from tandem.data.digest import content_digest
from tandem.data.dtypes import NAMES, cast_values, convert, guess, of_frame
from tandem.data.evolve import aligned, evolved
from tandem.data.findings import Findings
from tandem.data.problems import Hit, Problem, Problems
from tandem.data.profile import Correlations, Profile, correlations, profile
from tandem.data.read import Limits, Table, read
from tandem.jobs.apart import Progress, silent

HINT = "Mend the file, or state another type or range in the contract."
EVOLVE = "; ask for an evolved contract (--evolve) to take it in as a column that may be empty"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a file is read under, beside its own content."""

    contract: Contract | None = None
    """What it must keep to; inferred from it when missing."""
    id_column: str | None = None
    time_column: str | None = None
    now: int | None = None
    """When it came in, UTC microseconds; without it no time is too old or too far ahead."""
    known: Mapping[str, pl.Series] = field(default_factory=dict)
    """The values that a column may refer to, by column; needed for every column with `references`."""
    before: pl.DataFrame | None = None
    """The rows to which the file's are added."""
    base: str = "the newest version"
    """What `before` is called."""
    evolve: bool = False
    """Whether the contract may grow with the file; see `tandem.data.evolve`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingested:
    """A file that kept its contract."""

    frame: pl.DataFrame
    """All rows, those it was added to first. Columns in the contract's order: Float64, Int64, String, Boolean, or
    Datetime (UTC microseconds)."""
    contract: Contract
    profile: Profile
    digest: str
    """`sha256:…` over schema and values; see `tandem.data.digest`."""
    rows: int
    numbers: pl.Series
    """For each of the last rows of `frame`, those of this file, its 1-based data row."""
    hits: tuple[Hit, ...] = ()
    """Rules that were broken without refusing the file."""
    quarantine: pl.DataFrame | None = None
    """Rows that were kept apart; see `Findings.quarantine`."""
    repeated: int = 0
    """Rows that stood in the version before, word for word under the same id, and were left out."""
    changes: tuple[str, ...] = ()
    """What was changed in the contract, in words."""
    correlations: Correlations | None = None


def ingest(path: Path, reading: Reading | None = None, *, limits: Limits | None = None, progress: Progress = silent) -> Ingested:
    """Reads a CSV (RFC 4180, UTF-8, a header), JSON-lines or Parquet file; an empty cell is a missing value.

    Without a contract, types and ranges are inferred from the data; a column of mostly numbers with some
    text is then refused rather than called text. With one, each fault does what its rule says.

    Raises:
        Invalid: the file is broken or breaks the contract; names row, line and column of up to 20 faults.
    """
    reading = reading or Reading()
    problems = Problems(source=path.name)
    with TemporaryDirectory(dir=path.parent, prefix="rows-", ignore_cleanup_errors=True) as folder:
        table = read(path, Path(folder), problems, limits, lambda fraction: progress(0.5 * fraction, "reading"))
        progress(0.5, "checking")
        if reading.contract is None:
            return _under_none(table, reading, problems, progress)
        contract = _with_roles(reading.contract, reading.id_column, reading.time_column)
        return _under(contract, table, reading, problems, progress)


def _under(contract: Contract, table: Table, reading: Reading, problems: Problems, progress: Progress) -> Ingested:
    """The file as a contract wants it."""
    contract, changes = evolved(contract, table) if reading.evolve else (contract, ())
    names = list(table.names)
    checks.columns(names, contract, problems, "" if reading.evolve else EVOLVE)
    if any(name not in names for name in contract.names):
        problems.refuse(HINT)
    _refuse_empty(table, problems)
    before = None if reading.before is None else aligned(reading.before, contract, reading.base)
    typed = _typed(table, {column.name: column.dtype for column in contract.columns}, problems)
    table, typed, repeated = _fresh(table, typed, before, contract)
    frame, findings = typed.frame, Findings(problems=problems, rows=table.rows, lines=table.lines)
    _types(table, typed, {column.name: column.of("type") for column in contract.columns}, findings)
    checks.empties(frame, typed.strange, contract, findings)
    checks.values(frame, contract, findings)
    checks.rows(frame, contract, findings)
    checks.references(frame, reading.known, contract, findings)
    if reading.now is not None:
        checks.times(frame, reading.now, contract, findings)
    checks.unique(frame, before, contract, findings)
    problems.refuse(HINT)
    findings.bound(contract.quarantine_share)
    kept = findings.kept()
    added = frame if kept.all() else frame.filter(kept)
    whole = added if before is None else pl.concat([before, added])
    progress(0.8, "profiling")
    return Ingested(
        frame=whole,
        contract=contract,
        profile=profile(whole, contract),
        digest=content_digest(whole),
        rows=whole.height,
        numbers=table.rows.filter(kept),
        hits=tuple(findings.hits),
        quarantine=None if kept.all() else findings.quarantine(table),
        repeated=repeated,
        changes=changes,
        correlations=correlations(whole, contract),
    )


def _under_none(table: Table, reading: Reading, problems: Problems, progress: Progress) -> Ingested:
    """The file, and the contract that it keeps; numbers must be finite, ids there and unique."""
    names = list(table.names)
    for role, name in (("id", reading.id_column), ("time", reading.time_column)):
        if name is not None and name not in names:
            raise Invalid(f"{problems.source} has no {role} column '{name}'.", field=f"column '{name}'", hint=_among(names))
    _refuse_empty(table, problems)
    wanted: dict[str, Dtype | None] = dict.fromkeys(names)
    if reading.id_column is not None and not table.typed:
        wanted[reading.id_column] = _of_id(table.column(reading.id_column))
    if reading.time_column is not None and not table.typed:
        wanted[reading.time_column] = "datetime"
    typed = _typed(table, wanted, problems)
    frame, findings = typed.frame, Findings(problems=problems, rows=table.rows, lines=table.lines)
    _types(table, typed, dict.fromkeys(names, "refuse"), findings)
    for cells in frame.iter_columns():
        checks.finite(cells, "refuse", findings)
    if reading.id_column is not None:
        strange = typed.strange.get(reading.id_column)
        checks.named(frame[reading.id_column], strange, findings)
    problems.refuse(HINT)
    progress(0.8, "profiling")
    contract = checks.infer(frame, id_column=reading.id_column, time_column=reading.time_column)
    return Ingested(
        frame=frame,
        contract=contract,
        profile=profile(frame, contract),
        digest=content_digest(frame),
        rows=frame.height,
        numbers=table.rows,
        correlations=correlations(frame, contract),
    )


def _refuse_empty(table: Table, problems: Problems) -> None:
    if not table.height:
        problems.refuse(HINT)
        raise Invalid(f"{problems.source} has a header but no rows.", field="path", hint="Write at least one row.")


def _with_roles(contract: Contract, id_column: str | None, time_column: str | None) -> Contract:
    """The contract knows its own id and time columns; an argument may repeat them but not contradict."""
    for role, given, own in (("id", id_column, contract.id_column), ("time", time_column, contract.time_column)):
        if given is not None and given != own:
            raise Invalid(
                f"The {role} column was given as '{given}', but the contract names {own or 'none'}.",
                field=f"{role}_column",
                hint="Edit the contract, or leave the argument out.",
            )
    return contract


@dataclass(frozen=True, slots=True, kw_only=True)
class _Typed:
    """A table's cells as values."""

    frame: pl.DataFrame
    strange: Mapping[str, pl.Series]
    """Column → true where a cell has a text that is not of the column's type; it is null in the frame."""

    def only(self, kept: pl.Series) -> _Typed:
        strange = {name: bad.filter(kept) for name, bad in self.strange.items()}
        return _Typed(frame=self.frame.filter(kept), strange=strange)


def _typed(table: Table, wanted: Mapping[str, Dtype | None], problems: Problems) -> _Typed:
    """The wanted columns as values, each read, turned and let go; None wants the type that a column seems to have.

    Raises:
        Invalid: a typed column has another type.
    """
    found: dict[str, pl.Series] = {}
    strange: dict[str, pl.Series] = {}
    for cells in table.columns():
        if cells.name not in wanted:
            continue
        dtype = wanted[cells.name]
        if table.typed:
            found[cells.name] = _values(cells, dtype, problems)
            continue
        values = convert(cells, dtype or guess(cells))
        bad = values.is_null() & cells.is_not_null()
        found[cells.name] = values
        if bad.any():
            strange[cells.name] = bad
    if table.typed:
        problems.refuse(HINT)
    return _Typed(frame=pl.DataFrame([found[name] for name in wanted]), strange=strange)


def _types(table: Table, typed: _Typed, severities: Mapping[str, Severity], findings: Findings) -> None:
    """Reports each cell of text that is not of its column's type."""
    for name, bad in typed.strange.items():
        dtype = of_frame(typed.frame.schema[name])
        assert dtype is not None  # it was made so
        findings.report(bad, f"is not {NAMES[dtype]}", severities[name], name, table.column(name))


def _fresh(table: Table, typed: _Typed, before: pl.DataFrame | None, contract: Contract) -> tuple[Table, _Typed, int]:
    """A file without the rows that stand in the version before already, word for word under the same id; and their number."""
    if before is None or contract.id_column is None:
        return table, typed, 0
    frame = typed.frame
    places = frame.with_row_index("_place").join(before, on=frame.columns, how="semi", nulls_equal=True)["_place"]
    if not len(places):
        return table, typed, 0
    fresh = pl.Series([True], dtype=pl.Boolean).new_from_index(0, frame.height).scatter(places, values=False)
    return table.only(fresh), typed.only(fresh), len(places)


def _of_id(cells: pl.Series) -> Dtype:
    """An id is whole numbers or text, whatever most of its cells look like."""
    plain = guess(cells) in ("int", "string") and bool(cells.drop_nulls().str.contains(r"^\d{1,18}$").all())
    return guess(cells) if plain else "string"


def _values(cells: pl.Series, wanted: Dtype | None, problems: Problems) -> pl.Series:
    """A column that came with types, in the frame's own representation."""
    found = of_frame(cells.dtype)
    wanted = wanted or found
    values = None if found is None or wanted is None or (found, wanted) not in _WIDENS else cast_values(cells, wanted)
    if values is None:
        problems.add(Problem(column=cells.name, what=f"is {cells.dtype}, not {wanted or 'a type that a dataset can hold'}"))
        return cells
    return values


_WIDENS: frozenset[tuple[Dtype, Dtype]] = frozenset({("int", "float"), *((dtype, dtype) for dtype in DTYPES)})
"""Conversions of a typed column that keep every value."""


def _among(names: list[str]) -> str:
    return f"Columns are: {', '.join(names[:10])}{', …' if len(names) > 10 else ''}."
