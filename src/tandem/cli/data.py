"""`tandem data`: datasets and their contracts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import click

from tandem.cli.options import as_json, bare, decoded, file_text, platform, wrong
from tandem.cli.progress import bar
from tandem.cli.show import clean, emit, moment, pairs, short, table
from tandem_sdk import Client, Invalid, Moved, Rows, Select, Version
from tandem_sdk.assets import split


@click.group()
def data() -> None:
    """Datasets: rows under a contract."""


@data.command()
@click.argument("name")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option(
    "--sql", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), help="Take what a database answers to FILE."
)
@click.option("--database", metavar="REF", help="The database: env:NAME or file:PATH, as the platform's settings list it.")
@click.option("--id", "id_column", metavar="COL", help="The column that names a row.")
@click.option("--time", "time_column", metavar="COL", help="The column that says when a row became true.")
@click.option("--append", is_flag=True, help="Add the rows to those of the newest version.")
@click.option("--evolve", is_flag=True, help="Take in new columns that may be empty, and wider types.")
@click.option("--signals", is_flag=True, help="FILE is a folder or archive of signals, a file of rows for each unit.")
@as_json
def add(
    name: str,
    file: Path | None,
    sql: Path | None,
    database: str | None,
    id_column: str | None,
    time_column: str | None,
    append: bool,
    evolve: bool,
    signals: bool,
    as_json: bool,
) -> None:
    """Store FILE (.csv, .jsonl, .parquet; of images or signals a folder, .zip or .tar) as the next version of dataset NAME.

    The whole file is checked first. With an edited contract (`tandem data contract`) it must keep that;
    else types and ranges are inferred. Its rows are all rows of the next version, or with --append are added to the
    newest version's. Prints dataset/NAME@VERSION, and what a contract kept apart or only counted.
    With --sql and --database the platform asks a database instead, and only reads.
    """
    if (file is None) == (sql is None) or (sql is None) != (database is None) or (sql is not None and signals):
        raise wrong("Name a FILE; or a query with --sql FILE and its --database.")
    version = _sent(bare(name, "dataset"), file or sql, database, (id_column, time_column), (append, evolve, signals), as_json)
    if as_json:
        emit(version)
        return
    click.echo(version.ref)
    click.echo(f"  {_size(version)}, {short(version.digest)}")
    for line in _told(version):
        click.echo(f"  {clean(line)}")


@data.command()
@click.argument("name")
@click.argument("address")
@click.option("--version", type=click.IntRange(0), metavar="N", help="Of a Delta table; else its newest.")
@click.option("--id", "id_column", metavar="COL", help="The column that names a row.")
@click.option("--time", "time_column", metavar="COL", help="The column that says when a row became true.")
@click.option("--evolve", is_flag=True, help="New columns that may be empty, and wider types, change the contract.")
@as_json
def link(
    name: str, address: str, version: int | None, id_column: str | None, time_column: str | None, evolve: bool, as_json: bool
) -> None:
    """Make rows that lie elsewhere the next version of dataset NAME; they are checked, and stay where they are.

    ADDRESS is delta:PLACE/TABLE or parquet:PLACE/*.parquet, in a place that the platform's settings list.
    """
    with platform() as tandem:
        made = tandem.datasets.link(
            bare(name, "dataset"), address, version=version, id_column=id_column, time_column=time_column, evolve=evolve
        )
    if as_json:
        emit(made)
        return
    click.echo(made.ref)
    click.echo(f"  {_size(made)}, {short(made.digest)}")


@data.command()
@click.argument("name")
@as_json
def show(name: str, as_json: bool) -> None:
    """Show a version of dataset NAME (NAME@VERSION; else the newest): its columns, ranges and counts."""
    with platform() as tandem:
        version = tandem.assets.version(_ref(name))
    if as_json:
        emit(version)
        return
    click.echo(version.ref)
    pairs(
        [
            ("rows", version.meta.get("rows")),
            ("digest", version.digest),
            ("made", f"{moment(version.created_at)} by {version.created_by}"),
            ("run", version.run),
            ("aliases", version.aliases),
            ("id column", version.meta.get("id")),
            ("time column", version.meta.get("time")),
            ("rules of rows", "; ".join(_rules(version.meta.get("contract")))),
        ]
    )
    for line in _told(version):
        click.echo(clean(line))
    click.echo()
    profiles = {str(row.get("name")): row for row in _rows(version.meta.get("profile"))}
    headings = ("column", "type", "empty", "unique", "allowed", "missing", "distinct", "least", "mean", "most")
    table(headings, [_column(column, profiles.get(str(column.get("name")), {})) for column in _contract(version)])


@data.command()
@click.argument("name")
@click.option(
    "--edit", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), help="Store FILE as the contract to keep."
)
@click.option("--out", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), help="Write the contract to FILE.")
@click.option(
    "--from-pandera",
    "schema",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Store what a Pandera schema (.yaml, .json) asks for.",
)
@as_json
def contract(name: str, edit: Path | None, out: Path | None, schema: Path | None, as_json: bool) -> None:
    """Print the contract of dataset NAME, write it to a file, or store an edited one.

    The stored contract governs every later `tandem data add` of this dataset; versions that exist do not change.
    """
    asked = {"--edit": edit, "--out": out, "--from-pandera": schema}
    given = [name for name, file in asked.items() if file is not None]
    if len(given) > 1:
        raise wrong(f"{given[0]} and {given[1]} exclude each other.")
    kind, bare_name, tail = split(_ref(name))
    with platform() as tandem:
        if schema is not None:
            found = tandem.datasets.import_contract(bare_name, _schema(schema))
            if as_json:
                emit(found)
                return
            for note in found.notes:
                click.echo(clean(note))
            click.echo(f"The contract of dataset/{bare_name} is stored; the next rows must keep it.")
            return
        if edit is not None:
            edited = decoded(file_text(edit), str(edit))
            if not isinstance(edited, dict):
                raise wrong(f"{edit} is no JSON object.")
            stored = tandem.datasets.set_contract(bare_name, edited)
            if as_json:
                emit(stored)
            else:
                click.echo(f"The contract of dataset/{bare_name} is stored; the next rows must keep it.")
            return
        told = tandem.datasets.contract(bare_name, tail or tandem.assets.version(f"{kind}/{bare_name}").version)
    if out is None:
        emit(told)
        return
    try:
        out.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", "utf-8")
    except OSError as error:
        raise Invalid(f"{out} cannot be written: {error.strerror}.") from None
    if as_json:
        emit({"file": str(out)})
        return
    click.echo(f"{out} holds the contract. Edit it, then: tandem data contract {bare_name} --edit {out}")


@data.command()
@click.argument("name")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="Rows to print.")
@click.option("--offset", type=click.IntRange(0), default=0, help="Rows to pass over first.")
@click.option("--columns", metavar="A,B", help="Only these columns.")
@click.option("--where", metavar="CONDITION", help="Only rows of which this is true: \"amount > 3 AND kind = 'a'\".")
@click.option("--lineage", is_flag=True, help="Show the Run that brought each row, and its row in that file.")
@click.option("--out", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), help="Write all rows to FILE.")
@as_json
def rows(
    name: str, limit: int, offset: int, columns: str | None, where: str | None, lineage: bool, out: Path | None, as_json: bool
) -> None:
    """Read rows of any version of dataset NAME (NAME@VERSION; else the newest), or write all of them to a file.

    FILE ends in .csv, .parquet or .jsonl. The condition is SQL over the columns of one row, or Polars' notation.
    """
    select = Select(columns=tuple(columns.split(",")) if columns else (), where=where, lineage=lineage)
    with platform() as tandem:
        bare_name, version = _version(tandem, name)
        if out is not None:
            _written(tandem.datasets.rows_file(bare_name, version, out, select), as_json)
            return
        found = tandem.datasets.rows(bare_name, version, select, limit=limit, offset=offset)
    _page(found, as_json)


@data.command()
@click.argument("name")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="Rows to print.")
@click.option("--out", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), help="Write all of them to FILE.")
@as_json
def quarantine(name: str, limit: int, out: Path | None, as_json: bool) -> None:
    """Show the rows that were kept apart when a version of dataset NAME was made, and why.

    The contract says which faults do that: "severity": "quarantine". FILE ends in .csv, .parquet or .jsonl.
    """
    with platform() as tandem:
        bare_name, version = _version(tandem, name)
        if out is not None:
            _written(tandem.datasets.quarantine_file(bare_name, version, out), as_json)
            return
        found = tandem.datasets.quarantine(bare_name, version, limit=limit)
    _page(found, as_json, empty="No rows were kept apart.")


@data.command()
@click.argument("old")
@click.argument("new")
@as_json
def diff(old: str, new: str, as_json: bool) -> None:
    """Show what is different in version NEW of a dataset: columns, contract, rows, and values that have moved.

    OLD is NAME@VERSION, NEW is NAME@VERSION of the same dataset or the version alone.
    """
    _, bare_name, first = split(_ref(old))
    _, other, second = split(_ref(new if "@" in new else f"{bare_name}@{new}"))
    if other != bare_name or not first or not second:
        raise wrong("Name two versions of one dataset: tandem data diff NAME@1 NAME@2")
    with platform() as tandem:
        found = tandem.datasets.diff(bare_name, first, second)
    if as_json:
        emit(found)
        return
    click.echo(f"{found.old} → {found.new}")
    counted = found.rows
    by = "by id" if counted.by == "id" else "by all their values"
    pairs(
        [
            ("rows", f"{counted.old} → {counted.new}"),
            ("told apart", by),
            ("added", counted.added),
            ("removed", counted.removed),
            ("changed", counted.changed if counted.by == "id" else None),
        ]
    )
    for title, changes in (("columns", found.schema), ("contract", found.contract)):
        if changes:
            click.echo()
            table((title, "was", "is"), [[change.where, change.was, change.now] for change in changes])
    click.echo()
    headings = ("column", "type", "verdict", "psi", "low", "high", "p adjusted", "cells changed")
    table(headings, [_moved(column, counted.cells.get(column.name)) for column in found.columns])


def _moved(column: Moved, cells: int | None) -> list[object]:
    effect = column.effect
    figures: list[object] = [None] * 4
    if effect is not None and column.adjusted is not None:
        bounds = (effect.value, effect.low, effect.high)
        figures = [*(None if each is None else round(each, 4) for each in bounds), float(f"{column.adjusted:.2g}")]
    return [column.name, column.dtype, column.verdict, *figures, cells]


def _version(tandem: Client, name: str) -> tuple[str, int | str]:
    """The dataset, and the version that a name means: the newest without one."""
    kind, bare_name, tail = split(_ref(name))
    return bare_name, tail or tandem.assets.version(f"{kind}/{bare_name}").version


def _page(found: Rows, as_json: bool, *, empty: str = "No rows.") -> None:
    if as_json:
        emit(found)
        return
    table(found.columns, found.rows, empty=empty)
    if found.total > len(found.rows):
        click.echo(f"{len(found.rows)} of {found.total} rows.")


def _written(out: Path, as_json: bool) -> None:
    if as_json:
        emit({"file": str(out)})
        return
    click.echo(f"{out} holds the rows.")


def _told(version: Version) -> list[str]:
    """What the ingest had to say: rows added and kept apart, rules that were broken, and what the contract took in."""
    lines = []
    appended = version.meta.get("appended")
    if isinstance(appended, Mapping):
        there = f"; {appended.get('repeated')} stood there already" if appended.get("repeated") else ""
        lines.append(f"{appended.get('rows')} rows added to {appended.get('to')}{there}")
    if version.meta.get("quarantined"):
        shown = f"tandem data quarantine {version.name}@{version.version}"
        lines.append(f"{version.meta['quarantined']} rows were kept apart: {shown}")
    checks = version.meta.get("checks")
    for check in checks if isinstance(checks, list) else []:
        if isinstance(check, Mapping):
            lines.append(
                f"{check.get('severity')}: {check.get('rule')}, {check.get('count')} times, first {check.get('example')}"
            )
    images = version.meta.get("images")
    if isinstance(images, Mapping) and images.get("duplicates"):
        lines.append(f"{images['duplicates']} images have the same pixels as another; column pixels tells which")
    references = version.meta.get("references")
    if isinstance(references, Mapping):
        lines += [f"{column} was looked up in {there}" for column, there in references.items()]
    evolved = version.meta.get("evolved")
    return lines + [str(change) for change in (evolved if isinstance(evolved, list) else [])]


def _rules(contract: object) -> list[str]:
    rules = contract.get("rows") if isinstance(contract, Mapping) else None
    found = [rule for rule in rules if isinstance(rule, Mapping)] if isinstance(rules, list) else []
    return [f"{rule.get('name')}: {rule.get('expression')}" for rule in found]


def _sent(
    name: str,
    file: Path | None,
    database: str | None,
    roles: tuple[str | None, str | None],
    how: tuple[bool, bool, bool],
    quiet: bool,
) -> Version:
    """The version that a file, or the answer to the query in it, became; a bar tells how far it is."""
    assert file is not None  # one of the two was given
    (id_column, time_column), (append, evolve, signals) = roles, how
    with platform() as tandem, bar(f"adding {file.name}", quiet=quiet) as advance:
        on_stage = None if quiet else advance
        if database is not None:
            return tandem.datasets.query(
                name, file_text(file), database=database, id_column=id_column, time_column=time_column, append=append,
                evolve=evolve, on_stage=on_stage,
            )  # fmt: skip
        return tandem.datasets.add(
            name,
            file,
            id_column=id_column,
            time_column=time_column,
            append=append,
            evolve=evolve,
            signals=signals,
            on_progress=lambda sent, total: advance(sent / max(1, total), "sent" if sent == total else "sending"),
            on_stage=on_stage,
        )


def _schema(file: Path) -> Mapping[str, object]:
    """What a file of YAML or JSON holds."""
    import yaml

    try:
        told = yaml.safe_load(file_text(file))  # JSON is YAML too
    except yaml.YAMLError as error:
        raise wrong(f"{file} is no YAML: {error}") from None
    if not isinstance(told, dict):
        raise wrong(f"{file} holds no schema.")
    return told


def _ref(name: str) -> str:
    return f"dataset/{bare(name, 'dataset')}"


def _size(version: Version) -> str:
    rows, columns = version.meta.get("rows"), _contract(version)
    return f"{rows} rows × {len(columns)} columns"


def _contract(version: Version) -> list[Mapping[str, object]]:
    return _rows(version.meta.get("contract"))


def _rows(told: object) -> list[Mapping[str, object]]:
    columns = told.get("columns") if isinstance(told, Mapping) else None
    return [column for column in columns if isinstance(column, Mapping)] if isinstance(columns, list) else []


def _column(column: Mapping[str, object], profile: Mapping[str, object]) -> list[object]:
    return [
        column.get("name"),
        column.get("dtype"),
        bool(column.get("nullable")),
        bool(column.get("unique")),
        _allowed(column),
        profile.get("nulls"),
        profile.get("distinct"),
        profile.get("min"),
        profile.get("mean"),
        profile.get("max"),
    ]


def _allowed(column: Mapping[str, object]) -> str:
    categories = column.get("categories")
    if isinstance(categories, list):
        shown = ", ".join(str(category) for category in categories[:4])
        return f"{shown}, … ({len(categories)})" if len(categories) > 4 else shown
    low, high = column.get("low"), column.get("high")
    if low is None and high is None:
        return ""
    return f"{'' if low is None else f'{low:g}'} … {'' if high is None else f'{high:g}'}".strip()
