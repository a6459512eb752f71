"""`tandem predict`, `tandem decide`, `tandem chat`: calls to endpoints."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import click

from tandem.cli.options import as_json, bare, content, decoded, file_text, platform, wrong
from tandem.cli.run import follow
from tandem.cli.show import clean, emit, table
from tandem_sdk import Chat, Message, Piece, Prediction
from tandem_sdk.calls import Row

TOP = 10
"""Columns of an explanation that people are shown."""
BAR = 20
"""Characters of the longest bar of an explanation."""

given = click.option("--input", "given", required=True, metavar="JSON|@FILE", help="JSON, or @FILE, or @- for standard input.")


@click.command()
@click.argument("model")
@click.option("--input", "given", metavar="JSON|@FILE", help="JSON, or @FILE, or @- for standard input.")
@click.option("--explain", is_flag=True, help="Also tell how much each column added.")
@click.option("--data", metavar="DATASET", help="Score a whole dataset instead: dataset/NAME, or dataset/NAME@VERSION.")
@click.option(
    "--sql", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), help="Score what a database answers to FILE."
)
@click.option("--table", "whole", metavar="TABLE", help="Score all rows of a table of a database.")
@click.option("--database", metavar="REF", help="The database: env:NAME or file:PATH, as the platform's settings list it.")
@click.option("--key", metavar="COL", help="Of --sql and --table: the column that names a row.")
@click.option("--as", "name", metavar="NAME", help="The dataset that is made of the scored rows.")
@click.option("--into", metavar="TABLE|ADDRESS", help="Put them there too: TABLE, SCHEMA.TABLE, or parquet:PLACE/FOLDER.")
@click.option("--into-database", metavar="REF", help="The database of the --into table, if not --database.")
@click.option("--no-wait", is_flag=True, help="With --as: print the run's id and leave it running.")
@as_json
def predict(
    model: str,
    given: str | None,
    explain: bool,
    data: str | None,
    sql: Path | None,
    whole: str | None,
    database: str | None,
    key: str | None,
    name: str | None,
    into: str | None,
    into_database: str | None,
    no_wait: bool,
    as_json: bool,
) -> None:
    """Ask MODEL (an endpoint, or NAME@VERSION) about one row {"column": value} or a list of rows.

    With --data, --sql or --table, a Run scores every row of a dataset, of an answer or of a table, and makes the dataset --as.
    It goes on when its process dies; `tandem run cancel` ends it.
    """
    sources = [each for each in (data, sql, whole) if each is not None]
    if sources or name is not None:
        if len(sources) != 1 or name is None or given is not None or explain:
            raise wrong("Many rows are scored with one of --data, --sql and --table, and --as, without --input and --explain.")
        if data is None and (database is None or key is None):
            raise wrong("A database is asked with --database and --key.")
        asked = {"database": database or "", "key": key or "", "into": into or "", "into_database": into_database or ""}
        if data is not None:
            asked["data"] = data if "/" in data else f"dataset/{data}"
        else:
            asked["sql"] = f"SELECT * FROM {whole}" if sql is None else file_text(sql)
        _score(model, bare(name, "dataset"), asked, no_wait=no_wait, as_json=as_json)
        return
    if given is None:
        raise wrong("Give --input, or --data and --as.")
    told = decoded(content(given), "--input")
    rows = told if isinstance(told, list) else [told]
    if not all(isinstance(row, dict) for row in rows):
        raise wrong("Give a JSON object, or a list of them.")
    with platform() as tandem:
        said = tandem.predict(bare(model, "model"), cast(Sequence[Row], rows), explain)
    if as_json:
        emit(said)
        return
    _prediction(said)
    _trace(said.trace)


@click.command()
@click.argument("name")
@given
@as_json
def decide(name: str, given: str, as_json: bool) -> None:
    """Ask the decision NAME about one case, a JSON object. Prints its answer as JSON."""
    told = decoded(content(given), "--input")
    if not isinstance(told, dict):
        raise wrong("Give a JSON object.")
    with platform() as tandem:
        said = tandem.decide(bare(name, "decision"), told)
    if as_json:
        emit(said)
        return
    emit(said.output)
    _trace(said.trace)


@click.command()
@click.argument("endpoint")
@click.argument("text")
@click.option("--stream", is_flag=True, help="Print the answer while it is written.")
@click.option("--system", metavar="TEXT", help="What the model is told first.")
@click.option("--max-tokens", type=click.IntRange(1), help="The longest answer.")
@click.option("--temperature", type=click.FloatRange(0, 2))
@as_json
def chat(
    endpoint: str, text: str, stream: bool, system: str | None, max_tokens: int | None, temperature: float | None, as_json: bool
) -> None:
    """Ask the language model behind ENDPOINT. TEXT may be @FILE, or @- for standard input."""
    messages = [] if system is None else [Message(role="system", content=system)]
    messages.append(Message(role="user", content=content(text)))
    with platform() as tandem:
        if not stream:
            said = tandem.chat(endpoint, messages, max_tokens=max_tokens, temperature=temperature)
        else:
            pieces = tandem.stream(endpoint, messages, max_tokens=max_tokens, temperature=temperature)
            said = whole([_written(piece, quiet=as_json) for piece in pieces])
    if as_json:
        emit(said)
        return
    click.echo("" if stream else _shown(said.text))
    for cited in said.citations:
        heading = f" › {cited.heading}" if cited.heading else ""
        page = "" if cited.page is None else f", page {cited.page}"
        click.echo(_shown(f"[{cited.number}] {cited.document}{heading}{page}, characters {cited.start} to {cited.end}"))
    _trace(said.trace)


def whole(pieces: Sequence[Piece]) -> Chat:
    """A streamed answer as if it had come at once."""
    last = pieces[-1] if pieces else Piece()
    return Chat(
        text="".join([piece.text for piece in pieces]),
        model=last.model,
        finish=next((piece.finish for piece in reversed(pieces) if piece.finish), None),
        tokens=next((piece.tokens for piece in reversed(pieces) if piece.tokens), None),
        citations=next((piece.citations for piece in reversed(pieces) if piece.citations), ()),
        trace=last.trace,
    )


def _written(piece: Piece, *, quiet: bool) -> Piece:
    if not quiet:
        click.echo(_shown(piece.text), nl=False)
        sys.stdout.flush()
    return piece


def _shown(text: str) -> str:
    """What a model wrote: as it is for a file, without what steers a terminal for a terminal."""
    return clean(text) if sys.stdout.isatty() else text


def _prediction(said: Prediction) -> None:
    names = list(said.outputs)
    count = max((len(values) for values in said.outputs.values()), default=0)
    rows = [(index, *[_at(said.outputs[name], index) for name in names]) for index in range(count)]
    click.echo(f"model/{clean(said.model)}" + (f"@{clean(said.version)}" if said.version else ""))
    table(("row", *names), rows)
    for index, added in enumerate(said.contributions):
        base = f", base {said.base[index]:+.4f}" if index < len(said.base) else ""
        click.echo(f"\nrow {index}: what each column added, in the model's own unit{base}")
        largest = sorted(added.items(), key=lambda item: -abs(item[1]))
        table(("column", "added", "it", ""), [(name, value, *_drawn(value, largest[0][1])) for name, value in largest[:TOP]])
        if len(largest) > TOP:
            click.echo(f"… and {len(largest) - TOP} more, {sum(value for _, value in largest[TOP:]):+.4f} together")


def _drawn(value: float, largest: float) -> tuple[str, str]:
    """Which way a contribution goes, in a word and as a bar."""
    length = round(BAR * abs(value / largest)) if largest else 0
    return ("raises", "█" * length) if value > 0 else ("lowers", "░" * length) if value < 0 else ("adds nothing", "")


def _score(model: str, name: str, asked: Mapping[str, str], *, no_wait: bool, as_json: bool) -> None:
    """Scores many rows in a Run."""
    with platform() as tandem:
        run = tandem.runs.predict(model, name=name, **asked)
        run = run if no_wait else follow(tandem, run.id, quiet=as_json)
    if as_json:
        emit({"run": run.id, "state": run.state, **run.outputs})
        return
    if no_wait:
        click.echo(run.id)
        return
    said = run.outputs
    took = f"{said.get('seconds')} s of processor time"
    click.echo(f"{said.get('asset')}\n  {said.get('rows')} rows by {said.get('model')}, {took}")
    if said.get("delivered"):
        click.echo(f"  also in {said.get('delivered')}")
    if said.get("quarantined"):
        click.echo(f"  {said.get('quarantined')} rows were kept apart; `tandem data quarantine {name}` tells why")


def _at(values: Sequence[object], index: int) -> object:
    return values[index] if index < len(values) else None


def _trace(trace: str | None) -> None:
    if trace:
        click.echo(f"trace {trace}", err=True)
