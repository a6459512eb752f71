"""`tandem data`: datasets and their contracts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import click

from tandem.cli.options import as_json, bare, decoded, file_text, platform, wrong
from tandem.cli.progress import bar
from tandem.cli.show import emit, moment, pairs, short, table
from tandem_sdk import Invalid, Version
from tandem_sdk.assets import split


@click.group()
def data() -> None:
    """Datasets: rows under a contract."""


@data.command()
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--id", "id_column", metavar="COL", help="The column that names a row.")
@click.option("--time", "time_column", metavar="COL", help="The column that says when a row became true.")
@as_json
def add(name: str, file: Path, id_column: str | None, time_column: str | None, as_json: bool) -> None:
    """Store FILE (.csv, .jsonl, .parquet) as the next version of dataset NAME.

    The whole file is checked first. With an edited contract (`tandem data contract`) it must keep that;
    else types and ranges are inferred. Prints dataset/NAME@VERSION.
    """
    with platform() as tandem, bar(f"sending {file.name}", quiet=as_json) as advance:
        version = tandem.datasets.add(
            bare(name, "dataset"),
            file,
            id_column=id_column,
            time_column=time_column,
            on_progress=lambda sent, total: advance(sent / max(1, total), "checking" if sent == total else ""),
        )
    if as_json:
        emit(version)
        return
    click.echo(version.ref)
    click.echo(f"  {_size(version)}, {short(version.digest)}")


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
        ]
    )
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
@as_json
def contract(name: str, edit: Path | None, out: Path | None, as_json: bool) -> None:
    """Print the contract of dataset NAME, write it to a file, or store an edited one.

    The stored contract governs every later `tandem data add` of this dataset; versions that exist do not change.
    """
    if edit is not None and out is not None:
        raise wrong("--edit and --out exclude each other.")
    kind, bare_name, tail = split(_ref(name))
    with platform() as tandem:
        if edit is not None:
            told = decoded(file_text(edit), str(edit))
            if not isinstance(told, dict):
                raise wrong(f"{edit} is no JSON object.")
            stored = tandem.datasets.set_contract(bare_name, told)
            if as_json:
                emit(stored)
            else:
                click.echo(f"The contract of dataset/{bare_name} is stored; the next rows must keep it.")
            return
        found = tandem.datasets.contract(bare_name, tail or tandem.assets.version(f"{kind}/{bare_name}").version)
    if out is None:
        emit(found)
        return
    try:
        out.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", "utf-8")
    except OSError as error:
        raise Invalid(f"{out} cannot be written: {error.strerror}.") from None
    if as_json:
        emit({"file": str(out)})
        return
    click.echo(f"{out} holds the contract. Edit it, then: tandem data contract {bare_name} --edit {out}")


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
