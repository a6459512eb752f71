"""`tandem features`: views and services, facts that are pushed, vectors that are read, datasets that are joined."""

from __future__ import annotations

import csv
import hashlib
import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from tandem.cli.options import as_json, bare, decoded, file_text, platform, wrong
from tandem.cli.progress import bar
from tandem.cli.run import follow
from tandem.cli.show import emit, moment, pairs, table
from tandem_sdk import Client, Run

ROWS = 5_000
"""Facts in one request."""


@click.group()
def features() -> None:
    """Features: written once, the same for training and for serving."""


@features.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--no-load", is_flag=True, help="Do not compute the views now.")
@as_json
def define(file: Path, no_load: bool, as_json: bool) -> None:
    """Publish the views and services that FILE (.toml or .json) describes, and load the views.

    FILE has tables [views.NAME] with source, entity, time, ttl, features, and [services.NAME] with features, inputs,
    computed. What has not changed stays the version it is.
    """
    told = _described(file)
    made: list[dict[str, object]] = []
    with platform() as tandem:
        for name, definition in told.get("views", {}).items():
            version = tandem.features.define_view(name, definition)
            made.append({"asset": version.ref})
            if not as_json:
                click.echo(version.ref)
            if not no_load and "source" in definition:
                run = follow(tandem, tandem.features.load(name).id, quiet=as_json)
                made[-1] |= {"run": run.id, "entities": run.outputs.get("entities")}
                if not as_json:
                    click.echo(f"  {run.outputs.get('entities')} entities answer, from {run.outputs.get('dataset')}")
        for name, definition in told.get("services", {}).items():
            version = tandem.features.define_service(name, definition)
            made.append({"asset": version.ref})
            if not as_json:
                click.echo(version.ref)
    if as_json:
        emit(made)


@features.command("list")
@as_json
def list_features(as_json: bool) -> None:
    """List views and services."""
    with platform() as tandem:
        found = [asset for kind in ("view", "service") for asset in tandem.assets.list(kind)]
    if as_json:
        emit(found)
        return
    table(
        ("asset", "newest", "aliases"),
        [(f"{each.kind}/{each.name}", each.newest and each.newest.version, each.aliases) for each in found],
    )


@features.command()
@click.argument("view")
@as_json
def show(view: str, as_json: bool) -> None:
    """Show VIEW: its features, what was pushed into it, and what is kept of it online."""
    with platform() as tandem:
        found = tandem.features.view(bare(view, "view"))
    if as_json:
        emit(found)
        return
    definition = found.meta.get("definition")
    told = definition if isinstance(definition, Mapping) else {}
    click.echo(found.ref)
    pairs([(word, told.get(word)) for word in ("source", "entity", "time", "ttl", "created", "known", "id") if told.get(word)])
    pairs([("pushed", found.pushed)])
    click.echo()
    listed = found.meta.get("features")
    rows = [each for each in listed if isinstance(each, Mapping)] if isinstance(listed, list) else []
    table(("feature", "type", "of"), [(each.get("name"), each.get("type"), each.get("expression")) for each in rows])
    click.echo()
    online = [
        (
            each.view,
            each.number,
            "answers" if each.live else "being made",
            each.entities,
            each.dataset or "pushed",
            moment(each.at),
        )
        for each in found.online
    ]
    table(("online", "generation", "state", "entities", "from", "begun"), online)


@features.command()
@click.argument("view")
@click.option("--no-wait", is_flag=True, help="Print the run's id and leave it running.")
@as_json
def load(view: str, no_wait: bool, as_json: bool) -> None:
    """Compute VIEW from all its facts and have it answer, at once for all entities."""
    with platform() as tandem:
        run = tandem.features.load(bare(view, "view"))
        run = run if no_wait else follow(tandem, run.id, quiet=as_json)
    _told(run, no_wait, as_json, f"{run.outputs.get('entities')} entities answer, from {run.outputs.get('dataset')}")


@features.command()
@click.argument("view")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@as_json
def push(view: str, file: Path, as_json: bool) -> None:
    """Push the facts in FILE (.jsonl or .csv) into VIEW; they answer at once.

    They are sent in parts that are named by their content, so that after an error the same command goes on.
    """
    name = bare(view, "view")
    sent = again = 0
    with platform() as tandem, bar(f"pushing {file.name}", quiet=as_json) as advance:
        size = max(1, file.stat().st_size) if file.is_file() else 1
        for rows, at in _parts(tandem, name, file):
            batch = hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()[:32]
            pushed = tandem.features.push(name, rows, batch=f"{file.name[:60]}-{batch}")
            sent += pushed.rows
            again += pushed.rows if pushed.again else 0
            advance(min(1.0, at / size), f"{sent} facts")
    if as_json:
        emit({"rows": sent, "again": again})
        return
    click.echo(f"{sent} facts are in view/{name}" + (f", {again} of them from before" if again else ""))


@features.command()
@click.argument("service")
@click.argument("values", nargs=-1, metavar="COLUMN=VALUE...")
@click.option("--file", type=click.Path(path_type=Path, dir_okay=False), help="Entities as JSON lines, instead of COLUMN=VALUE.")
@as_json
def read(service: str, values: tuple[str, ...], file: Path | None, as_json: bool) -> None:
    """Read the vector of an entity: tandem features read credit customer=17 amount=99.5."""
    name, _, version = bare(service, "service").partition("@")
    if (file is None) == (not values):
        raise wrong("Give COLUMN=VALUE, or --file.")
    entities = [_entity(values)] if file is None else [row for row in map(_object, file_text(file).splitlines()) if row]
    with platform() as tandem:
        found = tandem.features.read(name, entities, version=version or None)
    if as_json:
        emit(found)
        return
    for entity, vector in zip(entities, found.vectors, strict=True):
        click.echo(f"{found.service} for {', '.join(f'{key}={value}' for key, value in entity.items())}")
        rows = [
            (key, cell.value, cell.state, "" if cell.event is None else _ago(found.at - cell.event))
            for key, cell in vector.items()
        ]
        table(("value", "is", "state", "age"), rows)


@features.command()
@click.argument("service")
@click.argument("data")
@click.option("--as", "name", required=True, metavar="NAME", help="The dataset to make.")
@click.option("--time", metavar="COL", help="The column that says when each row asks; else the dataset's own.")
@click.option("--states", is_flag=True, help="Put NAME__state beside each feature: ok, null, expired, not-found.")
@click.option("--no-wait", is_flag=True, help="Print the run's id and leave it running.")
@as_json
def join(service: str, data: str, name: str, time: str | None, states: bool, no_wait: bool, as_json: bool) -> None:
    """Put beside each row of dataset DATA the vector of SERVICE as it was at that row's moment."""
    bare_name, _, version = bare(service, "service").partition("@")
    with platform() as tandem:
        run = tandem.features.join(
            bare_name,
            data if "/" in data else f"dataset/{data}",
            bare(name, "dataset"),
            time=time,
            version=version or None,
            states=states,
        )
        run = run if no_wait else follow(tandem, run.id, quiet=as_json)
    _told(run, no_wait, as_json, f"{run.outputs.get('asset')}\n  {run.outputs.get('rows')} rows, as many as asked")
    missing = run.outputs.get("missing")
    if not as_json and not no_wait and isinstance(missing, Mapping) and any(missing.values()):
        table(("feature", "without a value"), [(key, f"{share:.1%}") for key, share in missing.items() if share])


def _told(run: Run, no_wait: bool, as_json: bool, words: str) -> None:
    if as_json:
        emit({"run": run.id, "state": run.state, **run.outputs})
    else:
        click.echo(run.id if no_wait else words)


def _described(file: Path) -> dict[str, dict[str, dict[str, object]]]:
    text = file_text(file)
    try:
        told = tomllib.loads(text) if file.suffix == ".toml" else decoded(text, str(file))
    except tomllib.TOMLDecodeError as error:
        raise wrong(f"{file} is no TOML: {error}.") from None
    if not isinstance(told, dict) or set(told) - {"views", "services"} or not told:
        raise wrong(f"{file} describes no views or services: write [views.NAME] and [services.NAME].")
    for word in ("views", "services"):
        entries = told.get(word, {})
        if not isinstance(entries, dict) or not all(isinstance(each, dict) for each in entries.values()):
            raise wrong(f"{file}: {word} holds tables by name.")
    return told


def _parts(tandem: Client, view: str, file: Path) -> Iterator[tuple[list[dict[str, object]], int]]:
    """Rows of a file in parts, each with how many bytes were read by then."""
    at = 0
    some: list[dict[str, object]] = []
    if file.suffix == ".csv":
        columns = tandem.features.view(view).meta.get("columns")
        kinds = dict(columns) if isinstance(columns, Mapping) else {}
        for row in csv.DictReader(file_text(file).splitlines()):
            some.append({key: _cell(value, str(kinds.get(key, "string"))) for key, value in row.items() if key is not None})
            at += sum(len(value or "") + 1 for value in row.values())
            if len(some) == ROWS:
                yield some, at
                some = []
    else:
        for line in file_text(file).splitlines():
            at += len(line.encode()) + 1
            if line.strip():
                some.append(_object(line))
            if len(some) == ROWS:
                yield some, at
                some = []
    if some:
        yield some, at


def _cell(text: str | None, dtype: str) -> object:
    """A cell of a CSV file as JSON has it; what cannot be is left for the platform to refuse by its row."""
    if text is None or text == "":
        return None
    try:
        match dtype:
            case "float":
                return float(text)
            case "int":
                return int(text)
            case "bool":
                return {"true": True, "false": False, "1": True, "0": False}.get(text.lower(), text)
    except ValueError:
        return text
    return text


def _object(line: str) -> dict[str, object]:
    found = decoded(line, "A line") if line.strip() else {}
    if not isinstance(found, dict):
        raise wrong(f"A line is no JSON object: {line[:60]}")
    return found


def _entity(values: tuple[str, ...]) -> dict[str, object]:
    found: dict[str, object] = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not equals:
            raise wrong(f"'{text}' is not COLUMN=VALUE.")
        try:
            found[name] = json.loads(value)
        except json.JSONDecodeError:
            found[name] = value
    return found


def _ago(micros: int) -> str:
    seconds = micros / 1e6
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
