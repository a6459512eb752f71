"""What was measured, as numbers and as a table: medians, percentiles, ratios. Pure; it measures nothing."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace

MARK = "<!-- figures: {} -->"
"""Encloses what `write_block` replaces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One measurement of one target under one load."""

    target: str
    load: str
    """`1 connection`, `in process`…"""
    requests: int
    per_second: float
    p50: float
    """Microseconds, as the caller sees them."""
    p99: float
    cpu: float | None = None
    """Microseconds of user and system time per request, in the process that answers."""
    cpu_all: float | None = None
    """The same over all processes of the target, until everything is booked and recorded."""
    error: int | None = None
    """Booked minus billed, in nano-dollars; None where nothing is booked."""
    refused: int = 0
    """Replies that were not 2xx."""
    broken: int = 0
    """Connections that failed or timed out."""
    unbilled: int = 0
    """Replies minus requests on the upstream's bill: above 0 somebody else answered, below 0 a request was sent twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The medians of all rounds of a target under a load, and what they are compared with."""

    target: str
    load: str
    per_second: float
    p50: float
    p99: float
    cpu: float | None
    cpu_all: float | None
    error: int | None
    """How far the books of the rounds are from their bills, added up; none makes good another."""
    base: str = ""
    """Whose figures the ratios are to, as `target, load`; empty for a base itself."""
    p50_ratio: float | None = None
    p99_ratio: float | None = None
    cpu_ratio: float | None = None
    cpu_all_ratio: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One comparison: its rows, what must be said beside them, and every round."""

    title: str
    rows: Sequence[Row]
    notes: Sequence[str] = ()
    rounds: Sequence[Round] = field(default=(), repr=False)

    def plain(self) -> dict[str, object]:
        """For `--json`."""
        return asdict(self)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` (above 0, at most 1) of all values do not pass: nearest rank.

    >>> percentile([4, 1, 3, 2], 0.5), percentile([4, 1, 3, 2], 0.99)
    (2, 4)
    """
    if not values or not 0 < share <= 1:
        raise ValueError(f"There is no {share} percentile of {len(values)} values.")
    return sorted(values)[math.ceil(share * len(values)) - 1]


def ratio(value: float | None, base: float | None) -> float | None:
    """`value` ÷ `base`; None where one of them is missing or the base is zero.

    >>> ratio(3.0, 2.0), ratio(3.0, 0.0), ratio(None, 1.0)
    (1.5, None, None)
    """
    return None if value is None or not base else value / base


def rows(rounds: Iterable[Round], bases: dict[tuple[str, str], tuple[str, str]]) -> list[Row]:
    """One row for each (target, load), in the order of their first rounds.

    Args:
        rounds: as they were measured.
        bases: (target, load) → the (target, load) that its ratios are to; one that was not measured is left out.
    """
    grouped: dict[tuple[str, str], list[Round]] = {}
    for one in rounds:
        grouped.setdefault((one.target, one.load), []).append(one)
    made = {key: _row(*key, found) for key, found in grouped.items()}
    return [_against(row, made.get(bases.get(key, ("", "")))) for key, row in made.items()]


def _row(target: str, load: str, rounds: Sequence[Round]) -> Row:
    errors = [one.error for one in rounds if one.error is not None]
    return Row(
        target=target,
        load=load,
        per_second=statistics.median(one.per_second for one in rounds),
        p50=statistics.median(one.p50 for one in rounds),
        p99=statistics.median(one.p99 for one in rounds),
        cpu=_median([one.cpu for one in rounds]),
        cpu_all=_median([one.cpu_all for one in rounds]),
        error=sum(map(abs, errors)) if errors else None,
    )


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _against(row: Row, base: Row | None) -> Row:
    if base is None or base is row:
        return row
    return replace(
        row,
        base=f"{base.target}, {base.load}",
        p50_ratio=ratio(row.p50, base.p50),
        p99_ratio=ratio(row.p99, base.p99),
        cpu_ratio=ratio(row.cpu, base.cpu),
        cpu_all_ratio=ratio(row.cpu_all, base.cpu_all),
    )


def complaints(rounds: Iterable[Round]) -> list[str]:
    """What went wrong under load, one line for each target and load; nothing if nothing did."""
    sums: dict[tuple[str, str], list[int]] = {}
    for one in rounds:
        found = sums.setdefault((one.target, one.load), [0, 0, 0])
        for at, count in enumerate((one.refused, one.broken, one.unbilled)):
            found[at] += count
    return [
        f"{target} at {load}: {refused} replies were not 2xx, {broken} connections broke, {unbilled} replies are not on the bill."
        for (target, load), (refused, broken, unbilled) in sums.items()
        if refused or broken or unbilled
    ]


COLUMNS = (
    "target",
    "load",
    "per s",
    "p50 µs",
    "p99 µs",
    "CPU µs",
    "CPU all µs",
    "p50 ÷",
    "p99 ÷",
    "CPU ÷",
    "CPU all ÷",
    "error n$",
)


def _cells(row: Row) -> list[str]:
    numbers = (row.per_second, row.p50, row.p99, row.cpu, row.cpu_all)
    ratios = (row.p50_ratio, row.p99_ratio, row.cpu_ratio, row.cpu_all_ratio)
    return [
        row.target,
        row.load,
        *("" if value is None else f"{value:.0f}" if value >= 100 else f"{value:.1f}" for value in numbers),
        *("" if value is None else f"{value:.2f}" for value in ratios),
        "" if row.error is None else str(row.error),
    ]


def _comparisons(report: Report) -> list[str]:
    """What the ratios are to, where it is not the same for all rows."""
    return sorted({row.base for row in report.rows if row.base})


def text(reports: Sequence[Report]) -> str:
    """All reports as one table for a terminal, with the notes below."""
    table = [list(COLUMNS)]
    heads: dict[int, str] = {}
    for report in reports:
        heads[len(table)] = report.title
        table += [_cells(row) for row in report.rows]
    widths = [max(len(cells[at]) for cells in table) for at in range(len(COLUMNS))]
    lines = []
    for number, cells in enumerate(table):
        if number in heads:
            lines += ["", heads[number]]
        padded = [
            cell.ljust(width) if at < 2 else cell.rjust(width) for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        lines.append("  ".join(padded).rstrip())
    notes = [f"{report.title}: {note}" for report in reports for note in _notes(report)]
    return "\n".join([*lines, "", *notes])


def markdown(reports: Sequence[Report]) -> str:
    """All reports as Markdown tables, with the notes below each."""
    lines: list[str] = []
    for report in reports:
        lines += [f"**{report.title}**", ""]
        if report.rows:
            lines += [f"| {' | '.join(COLUMNS)} |", f"|---|---|{'--:|' * (len(COLUMNS) - 2)}"]
            lines += [*[f"| {' | '.join(_cells(row))} |" for row in report.rows], ""]
        lines += [*[f"- {note}" for note in _notes(report)], ""]
    return "\n".join(lines).strip()


def _notes(report: Report) -> list[str]:
    bases = _comparisons(report)
    return [*([f"ratios are to: {'; '.join(bases)}."] if bases else []), *report.notes]


def write_block(page: str, content: str) -> str:
    """The page with what stands between its two marks replaced.

    Raises:
        ValueError: a mark is missing or stands twice.
    """
    begin, end = MARK.format("begin"), MARK.format("end")
    if page.count(begin) != 1 or page.count(end) != 1 or page.index(begin) > page.index(end):
        raise ValueError(f"The page must hold {begin} and, behind it, {end}, each once.")
    before, _, rest = page.partition(begin)
    return f"{before}{begin}\n\n{content.strip()}\n\n{end}{rest.partition(end)[2]}"
