"""The rows of a dataset version that a suite asks about, read in a process of its own: control loads no Polars.

`python -m tandem.evaluation.rows` reads one JSON object on stdin and writes the rows on stdout, or why there are none.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from tandem.core.errors import Broken, Invalid, TandemError, TimedOut

SECONDS = 120.0
SHOWN = 500
"""Characters of a dead child's last words that an error quotes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which rows, and which of their columns."""

    lake: str
    table: str
    version: int
    columns: tuple[str, ...]
    id: str | None
    """The column that names a row; None numbers them from 1."""
    most: int
    limit: int | None
    """At most so many, drawn by `seed`; more than `most` without a limit is an error."""
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One row, as far as a suite needs it."""

    id: str
    values: dict[str, str | int | float | bool | None]


class _Told(msgspec.Struct, frozen=True):
    rows: tuple[Question, ...] = ()
    error: str | None = None


def read_apart(wanted: Wanted, *, python: str = sys.executable) -> tuple[Question, ...]:
    """The rows, in the dataset's order.

    Raises:
        Invalid: a column is missing, or there are too many rows or none.
        TimedOut: it took longer than two minutes.
        Broken: the child died.
    """
    command = [python, "-m", "tandem.evaluation.rows"]
    try:
        done = subprocess.run(command, input=msgspec.json.encode(wanted), capture_output=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise TimedOut(f"The rows of {wanted.table} were not read within {SECONDS:g} s.") from None
    if done.returncode != 0:
        raise Broken(f"Reading the rows ended with {done.returncode}: {done.stderr.decode(errors='replace')[-SHOWN:]}")
    told = msgspec.json.decode(done.stdout, type=_Told)
    if told.error is not None:
        raise Invalid(told.error, hint="Look at the dataset: `tandem data show`.")
    return told.rows


def drawn(ids: Sequence[str], limit: int | None, seed: int) -> list[int]:
    """The places of the rows to ask about, ascending: those whose seeded hash comes first, so that more rows keep these."""
    if limit is None or limit >= len(ids):
        return list(range(len(ids)))
    ranked = sorted(range(len(ids)), key=lambda place: hashlib.sha256(f"{seed}\0{ids[place]}".encode()).digest())
    return sorted(ranked[:limit])


def read(wanted: Wanted) -> tuple[Question, ...]:
    """See `read_apart`; needs the `ml` extra."""
    from pathlib import Path

    from tandem.store.lake import Lake

    frame = Lake(Path(wanted.lake)).read(wanted.table, wanted.version)
    for column in wanted.columns:
        if column not in frame.columns:
            raise Invalid(f"The dataset {wanted.table} has no column '{column}'.")
    ids = [str(value) for value in frame[wanted.id].to_list()] if wanted.id else [str(row + 1) for row in range(frame.height)]
    places = drawn(ids, wanted.limit, wanted.seed)
    if not places:
        raise Invalid(f"The dataset {wanted.table} has no rows.")
    if len(places) > wanted.most:
        what = f"The dataset {wanted.table} has {len(places)} rows; a suite asks about at most {wanted.most}."
        raise Invalid(f"{what} Name a number of rows.")
    chosen = frame.select(list(wanted.columns))[places].to_dicts()
    return tuple(
        Question(id=ids[place], values={name: _plain(value) for name, value in row.items()})
        for place, row in zip(places, chosen, strict=True)
    )


def _plain(value: object) -> str | int | float | bool | None:
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def main() -> int:
    try:
        told = _Told(rows=read(msgspec.json.decode(sys.stdin.buffer.read(), type=Wanted)))
    except TandemError as error:
        told = _Told(error=error.message)
    sys.stdout.buffer.write(msgspec.json.encode(told))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
