"""`tandem outcome`: labels that come after the answer."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime
from pathlib import Path

import click

from tandem.cli.options import as_json, platform
from tandem.cli.show import clean, emit

MICROS = 1_000_000


@click.group()
def outcome() -> None:
    """Labels that come late: what turned out to be true of a call."""


@outcome.command()
@click.argument("endpoint")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@as_json
def add(endpoint: str, file: Path, as_json: bool) -> None:
    """Tell what turned out. FILE is CSV with a header, or lines of JSON.

    Its columns: `trace`, or `key` (the id that the call was given); `label`; and, where it is known, `at` (RFC 3339). `row` says
    which row of the call the label is of, from 1; `drawn` is true of a call that was chosen by chance to be looked at. The same
    file may be sent again.
    """
    rows = _lines(file) if file.suffix in (".jsonl", ".ndjson") else _table(file)
    with platform() as tandem:
        taken = tandem.outcomes.add(endpoint, rows)
    if as_json:
        emit(taken)
        return
    click.echo(f"{taken.kept} labels kept, {taken.unknown} of calls that are not known, {taken.erased} of erased subjects.")
    if taken.examples:
        click.echo("Not known: " + ", ".join(clean(each) for each in taken.examples[:5]))


def _table(file: Path) -> list[dict[str, object]]:
    with file.open(newline="", encoding="utf-8") as lines:
        return [_row({name: value for name, value in row.items() if name and value}) for row in csv.DictReader(lines)]


def _lines(file: Path) -> list[dict[str, object]]:
    try:
        return [_row(json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (json.JSONDecodeError, TypeError, AttributeError):
        raise click.UsageError(f"{file} has a line that is no JSON object.") from None


def _row(row: dict[str, object]) -> dict[str, object]:
    at = row.get("at")
    if not isinstance(at, str):
        return row
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        raise click.UsageError(f"'{at}' is no time; write it as 2026-11-30T12:00:00Z.") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return {**row, "at": round(moment.timestamp() * MICROS)}
