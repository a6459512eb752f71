"""Drift at known places: how soon a Monitor's arithmetic notices a change, and how often it calls without one.

    python -m bench.drift FILE.csv --change 10000 --change 20000 --window 500
    python -m bench.drift FILE.csv --null --exclude class

A stream of rows is cut into windows; each is judged as a Monitor judges it, against frozen bins of the rows before the
first change (or, after each alarm, against the rows that follow the change, as a retrained model would be).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl

from tandem.monitoring.findings import overall
from tandem.monitoring.judge import judge
from tandem.scorers.bins import Bins
from tandem.scorers.drift import freeze


@dataclass(frozen=True, slots=True, kw_only=True)
class Detected:
    """One change, and when it was noticed."""

    at: int
    """The row at which it begins."""
    noticed: int | None
    """Rows after it until the end of the first window that raised an alarm; None: not before the next change."""
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one stream gave."""

    file: str
    rows: int
    window: int
    reference: int
    level: float
    threshold: float
    checks: int
    """Windows that hold no row after a change that the reference has not."""
    false_alarms: int
    detected: tuple[Detected, ...]


def numbers(path: Path, exclude: Sequence[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """The numeric columns of a CSV file as rows x columns, NaN where a value is missing."""
    frame = pl.read_csv(path, infer_schema_length=None)
    names = tuple(name for name, kind in frame.schema.items() if kind.is_numeric() and name not in exclude)
    cells = [frame[name].cast(pl.Float64).fill_null(float("nan")).to_numpy() for name in names]
    return names, np.column_stack(cells)


def frozen(names: Sequence[str], rows: np.ndarray) -> tuple[Bins, ...]:
    return tuple(freeze(name, rows[:, place]) for place, name in enumerate(names))


def moved(bins: Sequence[Bins], rows: np.ndarray, level: float, threshold: float, seed: int) -> tuple[str, ...]:
    """The columns of a window that have drifted; empty without an alarm."""
    found = judge(
        bins, rows.tolist(), calls=len(rows), refused={}, minimum=min(100, len(rows)), threshold=threshold, level=level, seed=seed
    )
    return tuple(finding.subject for finding in found if finding.verdict == "drifted") if overall(found) == "drifted" else ()


def follow(path: Path, options: argparse.Namespace) -> Figures:
    """Judges a stream window by window; after a noticed change, the reference is made of the rows behind it."""
    names, rows = numbers(path, options.exclude)
    window, length, level = options.window, options.reference, 1 / options.false_alarm_every
    bounds = [0, *options.change, len(rows)]
    checks = false = 0
    detected: list[Detected] = []
    bins: tuple[Bins, ...] | None = None
    for number, (start, end) in enumerate(pairwise(bounds)):
        noticed: Detected | None = None
        if bins is not None:  # the reference is of the concept before
            for at in range(start, end - window + 1, window):
                columns = moved(bins, rows[at : at + window], level, options.threshold, at)
                if columns:
                    noticed = Detected(at=start, noticed=at + window - start, columns=columns)
                    break
            detected.append(noticed or Detected(at=start, noticed=None, columns=()))
        settled = start + (options.settle if number else 0)
        bins = frozen(names, rows[settled : settled + length])
        for at in range(settled + length, end - window + 1, window):
            checks += 1
            false += bool(moved(bins, rows[at : at + window], level, options.threshold, at))
    return Figures(
        file=path.name,
        rows=len(rows),
        window=window,
        reference=length,
        level=level,
        threshold=options.threshold,
        checks=checks,
        false_alarms=false,
        detected=tuple(detected),
    )


def shuffled(path: Path, options: argparse.Namespace) -> Figures:
    """The same rows in random order, again and again: every alarm is a false one."""
    names, rows = numbers(path, options.exclude)
    draw, level = np.random.default_rng(options.seed), 1 / options.false_alarm_every
    checks = false = 0
    while checks < options.checks:
        mixed = draw.permutation(rows)
        bins = frozen(names, mixed[: options.reference])
        for at in range(options.reference, len(mixed) - options.window + 1, options.window):
            if checks >= options.checks:
                break
            checks += 1
            false += bool(moved(bins, mixed[at : at + options.window], level, options.threshold, checks))
    return Figures(
        file=path.name,
        rows=len(rows),
        window=options.window,
        reference=options.reference,
        level=level,
        threshold=options.threshold,
        checks=checks,
        false_alarms=false,
        detected=(),
    )


def options(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.drift", description="Drift at known places of a stream of rows.")
    parser.add_argument("file", type=Path, nargs="+", help="CSV files, rows in order of time")
    parser.add_argument("--change", type=int, action="append", default=[], help="a row (from 0) at which something changes")
    parser.add_argument("--settle", type=int, default=0, help="rows after a change until the new concept holds alone")
    parser.add_argument("--exclude", action="append", default=[], help="a column that is no input")
    parser.add_argument("--window", type=int, default=500)
    parser.add_argument("--reference", type=int, default=3000, help="rows behind the frozen bins")
    parser.add_argument("--threshold", type=float, default=0.1)
    parser.add_argument("--false-alarm-every", type=int, default=1000)
    parser.add_argument("--null", action="store_true", help="shuffle the rows, so that nothing changes")
    parser.add_argument("--checks", type=int, default=500, help="windows of a shuffled stream")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(words)


def main(words: Sequence[str]) -> int:
    given = options(words)
    found = [shuffled(path, given) if given.null else follow(path, given) for path in given.file]
    if given.json:
        print(json.dumps([asdict(each) for each in found], indent=2))
        return 0
    print("| stream | window | reference | checks without a change | false alarms | allowed | changes noticed, rows after them |")
    print("|---|--:|--:|--:|--:|--:|---|")
    for each in found:
        told = ", ".join(
            f"{change.at}: "
            + (f"{change.noticed} ({', '.join(change.columns)})" if change.noticed is not None else "not noticed")
            for change in each.detected
        )
        print(
            f"| {each.file} | {each.window} | {each.reference} | {each.checks} | {each.false_alarms} "
            f"| {each.checks * each.level:.1f} | {told or '-'} |"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
