"""`tandem predict`, `tandem decide`, `tandem chat`: calls to endpoints."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import cast

import click

from tandem.cli.options import as_json, bare, content, decoded, platform, wrong
from tandem.cli.show import clean, emit, table
from tandem_sdk import Chat, Message, Piece, Prediction
from tandem_sdk.calls import Row

TOP = 10
"""Columns of an explanation that people are shown."""

given = click.option("--input", "given", required=True, metavar="JSON|@FILE", help="JSON, or @FILE, or @- for standard input.")


@click.command()
@click.argument("model")
@given
@click.option("--explain", is_flag=True, help="Also tell how much each column added.")
@as_json
def predict(model: str, given: str, explain: bool, as_json: bool) -> None:
    """Ask MODEL (an endpoint, or NAME@VERSION) about one row {"column": value} or a list of rows."""
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
        click.echo(f"\nrow {index}: what each column added (log-odds){base}")
        largest = sorted(added.items(), key=lambda item: -abs(item[1]))
        table(("column", "added"), [(name, value) for name, value in largest[:TOP]])
        if len(largest) > TOP:
            click.echo(f"… and {len(largest) - TOP} more, {sum(value for _, value in largest[TOP:]):+.4f} together")


def _at(values: Sequence[object], index: int) -> object:
    return values[index] if index < len(values) else None


def _trace(trace: str | None) -> None:
    if trace:
        click.echo(f"trace {trace}", err=True)
