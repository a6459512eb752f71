"""A frame against its contract, rule by rule, and a contract from a frame. Knows no files."""

from __future__ import annotations

import math
from collections.abc import Mapping

import polars as pl

from tandem.core.clock import iso
from tandem.core.errors import Invalid
from tandem.data.contract import NUMBERS, Column, Contract, Dtype, RowRule, Severity, span
from tandem.data.dtypes import of_frame
from tandem.data.expression import evaluate
from tandem.data.findings import Findings
from tandem.data.problems import Problem, Problems

MARGIN = 0.5
"""How far an inferred range goes beyond what was seen, as a share of the seen span, on either side."""
CATEGORIES = 20
"""A text column with at most this many distinct texts is taken for a category."""

REPEATED = "occurs a second time in a column that names rows"


def check(frame: pl.DataFrame, contract: Contract, *, source: str = "The frame") -> None:
    """Compares every value of a frame with what a contract refuses; references and freshness are looked at when a file comes in.

    Raises:
        Invalid: with row (1-based) and column of up to twenty violations.
    """
    hint = "Mend the data, or edit the contract."
    problems = Problems(source=source)
    columns(list(frame.columns), contract, problems)
    problems.refuse(hint)
    for column in contract.columns:
        found = of_frame(frame.schema[column.name])
        if found != column.dtype:
            problems.add(Problem(column=column.name, what=f"is {found or 'of an unknown type'}, not {column.dtype}"))
    problems.refuse(hint)
    findings = Findings(problems=problems, rows=pl.int_range(1, frame.height + 1, eager=True))
    empties(frame, {}, contract, findings)
    values(frame, contract, findings)
    rows(frame, contract, findings)
    unique(frame, None, contract, findings)
    problems.refuse(hint)


def columns(names: list[str], contract: Contract, problems: Problems, hint: str = "") -> None:
    """Adds a problem for each column that is missing or unexpected."""
    for name in contract.names:
        if name not in names:
            problems.add(Problem(column=name, what="is missing"))
    for name in names:
        if name not in contract.names:
            problems.add(Problem(column=name, what=f"is not in the contract{hint}"))


def empties(frame: pl.DataFrame, strange: Mapping[str, pl.Series], contract: Contract, findings: Findings) -> None:
    """Reports each null where the contract wants a value.

    Args:
        strange: true, by column, for cells that are null because they are of another type.
    """
    for column in contract.columns:
        if not column.nullable:
            findings.report(_empty(frame[column.name], strange.get(column.name)), "is empty", column.of("empty"), column.name)


def values(frame: pl.DataFrame, contract: Contract, findings: Findings) -> None:
    """Reports each value that the contract does not allow; nulls are `empties`' business."""
    for column in contract.columns:
        cells = frame[column.name]
        if column.dtype in NUMBERS:
            _numbers(cells, column, findings)
        if column.categories is not None:
            strange = ~cells.is_in(list(column.categories)) & cells.is_not_null()
            what = f"is none of {', '.join(column.categories[:10])}"
            findings.report(strange, what, column.of("categories"), column.name, cells)


def rows(frame: pl.DataFrame, contract: Contract, findings: Findings) -> None:
    """Reports each row of which a row rule says false; null passes.

    Raises:
        Invalid: an expression is none, or says something else than true and false.
    """
    for rule in contract.rows:
        said = truths(frame, rule)
        findings.report(~said.fill_null(value=True), f"breaks '{rule.name}' ({rule.expression})", rule.severity, None)


def truths(frame: pl.DataFrame, rule: RowRule) -> pl.Series:
    """What a row rule says of each row: true, false or null.

    Raises:
        Invalid: its expression is none, or says something else.
    """
    try:
        said = evaluate(frame, rule.expression)
    except Invalid as error:
        raise Invalid(f"The row rule '{rule.name}': {error.message}", field=f"rows.{rule.name}", hint=error.hint) from None
    if said.dtype == pl.Null:
        return said.cast(pl.Boolean)
    if said.dtype != pl.Boolean:
        raise Invalid(
            f"The row rule '{rule.name}' says {said.dtype} and not true or false: {rule.expression}",
            field=f"rows.{rule.name}",
            hint="Compare something, such as: amount >= 0",
        )
    return said


def unique(frame: pl.DataFrame, before: pl.DataFrame | None, contract: Contract, findings: Findings) -> None:
    """Reports each value, or combination of values, that stood in an earlier row; rows that are kept apart do not count.

    Args:
        before: the rows to which these are added, if any; they are looked at, not reported.
    """
    kept = findings.kept()
    for column in contract.columns:
        if column.unique:
            again = _again(frame, before, (column.name,), kept)
            findings.report(again, REPEATED, column.of("unique"), column.name, frame[column.name])
    for together in contract.unique:
        again = _again(frame, before, together.columns, kept)
        findings.report(again, f"repeats {', '.join(together.columns)} of an earlier row", together.severity, None)


def references(frame: pl.DataFrame, known: Mapping[str, pl.Series], contract: Contract, findings: Findings) -> None:
    """Reports each value that does not stand in the column that it refers to; nulls refer to nothing.

    Args:
        known: values by referring column.

    Raises:
        Invalid: the two columns are of different types.
    """
    for column in contract.columns:
        if column.references is None:
            continue
        there, cells = known[column.name], frame[column.name]
        if of_frame(there.dtype) != column.dtype:
            raise Invalid(
                f"Column '{column.name}' is {column.dtype}, and {column.references} is {of_frame(there.dtype)}.",
                field=column.name,
                hint="Make both of one type.",
            )
        lost = ~cells.is_in(there.unique().implode()) & cells.is_not_null()
        findings.report(lost, f"is not in {column.references}", column.of("references"), column.name, cells)


def times(frame: pl.DataFrame, now: int, contract: Contract, findings: Findings) -> None:
    """Reports times that lie too far ahead, and a file whose newest time is too old.

    Args:
        now: UTC microseconds.
    """
    for column in contract.columns:
        cells = frame[column.name]
        if column.future is not None:
            ahead = (cells.dt.epoch("us") > now + span(column.future, "future")).fill_null(value=False)
            what = f"lies more than {column.future} ahead of {iso(now)}"
            findings.report(ahead, what, column.of("future"), column.name, cells)
        if column.fresh is not None:
            newest = cells.filter(findings.kept()).dt.epoch("us").max()
            if not isinstance(newest, int) or newest < now - span(column.fresh, "fresh"):
                said = "has no time at all" if not isinstance(newest, int) else f"has {iso(newest)} as its newest time"
                findings.told(f"{said}, older than {column.fresh} at {iso(now)}", column.of("fresh"), column.name)


def named(ids: pl.Series, strange: pl.Series | None, findings: Findings) -> None:
    """Reports each row without an id of its own.

    Args:
        strange: true for ids that are null because they are of another type.
    """
    findings.report(_empty(ids, strange), "is empty", "refuse", ids.name)
    again = ~ids.is_first_distinct() & ids.is_not_null()
    findings.report(again, REPEATED, "refuse", ids.name, ids)


def finite(cells: pl.Series, severity: Severity, findings: Findings) -> None:
    """Reports each NaN or infinity."""
    if cells.dtype.is_float():
        bad = ~cells.is_finite().fill_null(value=True)
        findings.report(bad, "is not a finite number", severity, cells.name, cells)


def _empty(cells: pl.Series, strange: pl.Series | None) -> pl.Series:
    return cells.is_null() if strange is None else cells.is_null() & ~strange


def _again(frame: pl.DataFrame, before: pl.DataFrame | None, names: tuple[str, ...], kept: pl.Series) -> pl.Series:
    """True for each kept row whose values stood in an earlier one; a row with a null among them repeats nothing."""
    held = frame.select(names)
    counts = kept & ~held.select(pl.any_horizontal(pl.all().is_null())).to_series()
    seen = held.filter(counts)
    former = 0
    if before is not None:
        former = before.height
        seen = pl.concat([before.select(names), seen])
    named = pl.col(names[0]) if len(names) == 1 else pl.struct(pl.all())
    again = ~seen.select(named.is_first_distinct()).to_series().slice(former)
    places = counts.arg_true().filter(again)
    return pl.Series([False], dtype=pl.Boolean).new_from_index(0, frame.height).scatter(places, values=True)


def _numbers(cells: pl.Series, column: Column, findings: Findings) -> None:
    finite(cells, column.of("type"), findings)
    known = cells.is_finite().fill_null(value=False) if cells.dtype.is_float() else cells.is_not_null()
    severity = column.of("range")
    if column.low is not None:
        findings.report((cells < column.low) & known, f"is below {column.low:g}", severity, column.name, cells)
    if column.high is not None:
        findings.report((cells > column.high) & known, f"is above {column.high:g}", severity, column.name, cells)


def infer(frame: pl.DataFrame, *, id_column: str | None = None, time_column: str | None = None) -> Contract:
    """A contract that the frame keeps, with ranges half a span wider than seen; every bound is marked as inferred.

    A range does not cross zero where the data did not. Columns of only 0 and 1 keep exactly that range.

    Raises:
        Invalid: a column has a type that a dataset cannot hold, or the id or time column is not one.
    """
    for role, name in (("id", id_column), ("time", time_column)):
        if name is not None and name not in frame.columns:
            raise Invalid(
                f"There is no {role} column '{name}'.", field=name, hint=f"Columns are: {', '.join(frame.columns[:10])}."
            )
    found = [column_of(frame[name], unique=name == id_column) for name in frame.columns]
    return Contract(columns=tuple(found), id_column=id_column, time_column=time_column)


def column_of(cells: pl.Series, *, unique: bool, rows: int | None = None) -> Column:
    """The column of a contract that these cells keep; see `infer`.

    Args:
        rows: how many cells there are, where these only stand for them: the extremes of numbers, different texts, and a
            null where there is any.

    Raises:
        Invalid: they have a type that a dataset cannot hold.
    """
    dtype = of_frame(cells.dtype)
    if dtype is None:
        raise Invalid(
            f"Column '{cells.name}' has the type {cells.dtype}, which a dataset cannot hold.",
            field=cells.name,
            hint="Use numbers, texts, truth values or times.",
        )
    low, high = (None, None) if unique or dtype not in NUMBERS else _range(cells, dtype)
    return Column(
        name=cells.name,
        dtype=dtype,
        nullable=cells.null_count() > 0,
        low=low,
        high=high,
        categories=None if unique or dtype != "string" else _categories(cells, len(cells) if rows is None else rows),
        unique=unique,
        inferred=True,
    )


def _range(cells: pl.Series, dtype: Dtype) -> tuple[float | None, float | None]:
    seen = cells.drop_nulls()
    if not len(seen):
        return None, None
    low, high = float(seen.min()), float(seen.max())  # type: ignore[arg-type]  # numbers, as the caller knows
    if dtype == "int" and low >= 0 and high <= 1:
        return 0.0, 1.0
    span = (high - low) or max(abs(high), 1.0)
    wide_low, wide_high = low - MARGIN * span, high + MARGIN * span
    if low >= 0:
        wide_low = max(wide_low, 0.0)
    if high <= 0:
        wide_high = min(wide_high, 0.0)
    if dtype == "int":
        return float(math.floor(wide_low)), float(math.ceil(wide_high))
    return _bounded(wide_low), _bounded(wide_high)


def _bounded(bound: float) -> float | None:
    """Six significant digits are enough for a person to read; None where the margin overflows."""
    return float(f"{bound:.6g}") if math.isfinite(bound) else None


def _categories(cells: pl.Series, rows: int) -> tuple[str, ...] | None:
    distinct = cells.drop_nulls().unique().sort().to_list()
    few = 0 < len(distinct) <= CATEGORIES and len(distinct) * 2 <= rows
    return tuple(str(text) for text in distinct) if few else None
