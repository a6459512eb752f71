"""What the rules of a contract found in a file: faults that refuse it, rows to keep apart, and what is only counted."""

from __future__ import annotations

from dataclasses import dataclass, field

import polars as pl

from tandem.core.errors import Invalid
from tandem.data.contract import Severity
from tandem.data.problems import LIMIT, Hit, Problem, Problems, quote
from tandem.data.read import Table

REASONS = 3
"""Rules that a refusal names when too many rows would be kept apart."""


@dataclass(slots=True, kw_only=True)
class Findings:
    """What was found in one source, rule by rule."""

    problems: Problems
    rows: pl.Series
    """1-based data row of each frame row."""
    lines: pl.Series | None = None
    """1-based line of each frame row; None where the format has no lines."""
    hits: list[Hit] = field(default_factory=list)
    apart: list[tuple[str, pl.Series]] = field(default_factory=list)
    """Reason and places (from 0) of rows to keep apart."""

    def report(self, bad: pl.Series, what: str, severity: Severity, column: str | None, cells: pl.Series | None = None) -> None:
        """Takes note of every true of `bad`; a refusal quotes the cell where there is one."""
        places = bad.arg_true()
        if not len(places):
            return
        if severity == "refuse":
            self._refuse(places, what, column, cells)
            return
        rule = what if column is None else f"column '{column}': {what}"
        where = Problem(what=rule, row=int(self.rows[places[0]]), line=self._line(places[0])).where
        self.hits.append(Hit(rule=rule, severity=severity, count=len(places), example=where))
        if severity == "quarantine":
            self.apart.append((rule, places))

    def told(self, what: str, severity: Severity, column: str) -> None:
        """Takes note of a fault of the whole file."""
        if severity == "refuse":
            self.problems.add(Problem(column=column, what=what))
        else:
            self.hits.append(Hit(rule=f"column '{column}': {what}", severity=severity, count=1, example=self.problems.source))

    def kept(self) -> pl.Series:
        """True for each row that no rule keeps apart."""
        kept = pl.Series("kept", [True], dtype=pl.Boolean).new_from_index(0, len(self.rows))
        for _, places in self.apart:
            kept = kept.scatter(places, values=False)
        return kept

    def bound(self, share: float) -> None:
        """Refuses a file of which too much would be kept apart.

        Raises:
            Invalid: more than `share` of the rows, or all of them.
        """
        total, left = len(self.rows), int((~self.kept()).sum())
        if left and (left > share * total or left == total):
            worst = sorted((hit for hit in self.hits if hit.severity == "quarantine"), key=lambda hit: -hit.count)[:REASONS]
            said = "; ".join(f"{hit.rule} ({hit.count:,}, first {hit.example})" for hit in worst)
            raise Invalid(
                f"{self.problems.source} was refused: {left:,} of {total:,} rows would be kept apart, "
                f"and at most {share:.0%} may be: {said}.",
                field="quarantine_share",
                hint="Mend the file, or raise the contract's quarantine_share if it is right that so much is wrong.",
            )

    def quarantine(self, source: Table) -> pl.DataFrame:
        """The rows that are kept apart: the source's columns as text, `_row`, `_line` and `_reasons`."""
        reasons: dict[int, list[str]] = {}
        for reason, places in self.apart:
            for place in places.to_list():
                reasons.setdefault(place, []).append(reason)
        order = sorted(reasons)
        chosen = source.take(order).select(pl.all().cast(pl.String, strict=False))
        return chosen.with_columns(
            self.rows.gather(order).cast(pl.Int64).alias("_row"),
            _line_column(self.lines, order),
            pl.Series("_reasons", ["; ".join(reasons[place]) for place in order], dtype=pl.String),
        )

    def _refuse(self, places: pl.Series, what: str, column: str | None, cells: pl.Series | None) -> None:
        for place in places.head(LIMIT).to_list():
            cell = None if cells is None else cells[place]
            said = what if cell is None else f"{quote(cell)} {what}"
            self.problems.add(Problem(row=int(self.rows[place]), line=self._line(place), column=column, what=said))
        self.problems.count += max(0, len(places) - LIMIT)

    def _line(self, place: int) -> int | None:
        return None if self.lines is None else int(self.lines[place])


def _line_column(lines: pl.Series | None, order: list[int]) -> pl.Series:
    if lines is None:
        return pl.Series("_line", [None] * len(order), dtype=pl.Int64)
    return lines.gather(order).cast(pl.Int64).alias("_line")
