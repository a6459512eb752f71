"""`tandem batch`: files of requests, asked in their own time."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from tandem.cli.options import as_json, platform, wrong
from tandem.cli.progress import bar
from tandem.cli.show import emit, moment, pairs, table
from tandem_sdk import Batch, Client
from tandem_sdk.batches import CHAT

SHOWN = 20
"""Faults of lines that are printed."""


@click.group()
def batch() -> None:
    """Batches: many requests in one file, asked in their own time."""


@batch.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--endpoint", default=CHAT, show_default=True, metavar="PATH", help="Where the requests go, such as /v1/embeddings."
)
@click.option("--metadata", multiple=True, metavar="NAME=TEXT", help="A text that is kept with the batch; may be repeated.")
@click.option("--wait/--no-wait", default=False, show_default=True, help="Wait for the end, or print the batch's id.")
@as_json
def create(file: Path, endpoint: str, metadata: tuple[str, ...], wait: bool, as_json: bool) -> None:
    """Send FILE and ask every line of it, in your name and on your budget.

    Each line is {"custom_id": "1", "method": "POST", "url": PATH, "body": {…}}, as OpenAI's batches have it.
    Ctrl-C stops the waiting, not the batch.
    """
    named = dict(map(_named, metadata)) or None
    with platform() as tandem:
        with bar(f"sending {file.name}", quiet=as_json) as advance:
            made = tandem.batches.create(
                file, endpoint=endpoint, metadata=named, on_progress=lambda sent, total: advance(sent / max(1, total), "")
            )
        if wait:
            made = _follow(tandem, made.id, quiet=as_json)
    if as_json:
        emit(made)
    elif wait:
        _tell(made)
    else:
        click.echo(made.id)


@batch.command("list")
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True, help="How many, newest first.")
@as_json
def list_batches(limit: int, as_json: bool) -> None:
    """List the newest batches."""
    with platform() as tandem:
        found = tandem.batches.list(limit)
    if as_json:
        emit(found)
        return
    rows = [
        (
            each.id,
            each.endpoint,
            each.status,
            each.request_counts.total,
            each.request_counts.completed,
            each.request_counts.failed,
            moment(each.created_at * 1_000_000),
        )
        for each in found
    ]
    table(("batch", "endpoint", "status", "requests", "answered", "failed", "made"), rows)


@batch.command()
@click.argument("id")
@as_json
def show(id: str, as_json: bool) -> None:
    """Show one batch: how far it is, what is wrong with it, where its answers are."""
    with platform() as tandem:
        found = tandem.batches.show(id)
    if as_json:
        emit(found)
        return
    _tell(found)


@batch.command()
@click.argument("id")
@as_json
def cancel(id: str, as_json: bool) -> None:
    """End a batch; what was answered by then is kept."""
    with platform() as tandem:
        found = tandem.batches.cancel(id)
    if as_json:
        emit(found)
        return
    click.echo(f"{found.id} is {found.status}.")


@batch.command()
@click.argument("id")
@click.option("--errors", is_flag=True, help="The requests that failed, instead of the answers.")
@click.option("--to", "to", type=click.Path(path_type=Path), metavar="FILE", help="Write a file instead of printing.")
@as_json
def output(id: str, errors: bool, to: Path | None, as_json: bool) -> None:
    """Print the answers of a batch as JSONL; the order is that in which they came."""
    if as_json and to is None:
        raise wrong("The answers are JSON lines already; --json goes with --to.")
    with platform() as tandem:
        if to is None:
            sys.stdout.flush()
            tandem.batches.output(id, sys.stdout.buffer, errors=errors)
            return
        part = to.with_name(f"{to.name}.part")
        try:
            with part.open("wb") as file:
                count = tandem.batches.output(id, file, errors=errors)
            part.replace(to)
        except OSError as error:
            raise wrong(f"'{to}' cannot be written: {error.strerror}.") from None
        finally:
            part.unlink(missing_ok=True)
    if as_json:
        emit({"file": str(to), "bytes": count})
        return
    click.echo(f"{to}: {count} bytes")


def _named(word: str) -> tuple[str, str]:
    name, equals, text = word.partition("=")
    if not equals or not name:
        raise wrong(f"'{word}' is no assignment; write it like NAME=TEXT.")
    return name, text


def _follow(tandem: Client, id: str, *, quiet: bool) -> Batch:
    try:
        with bar(id, quiet=quiet) as advance:
            return tandem.batches.wait(id, lambda look: advance(look.done, look.status))
    except KeyboardInterrupt:
        click.echo(f"\n{id} goes on; `tandem batch show {id}` looks again, `tandem batch cancel {id}` stops it.", err=True)
        raise


def _tell(found: Batch) -> None:
    counts = found.request_counts
    pairs(
        [
            ("batch", found.id),
            ("run", found.run),
            ("endpoint", found.endpoint),
            ("status", found.status),
            ("requests", f"{counts.total}: {counts.completed} answered, {counts.failed} failed"),
            ("input", found.input_file_id),
            ("answers", found.output_file_id),
            ("failures", found.error_file_id),
            ("made", moment(found.created_at * 1_000_000)),
            *[(f"metadata {name}", value) for name, value in (found.metadata or {}).items()],
        ]
    )
    wrong_lines = found.errors.data if found.errors is not None else ()
    if wrong_lines:
        click.echo()
        table(("line", "code", "field", "message"), [(e.line, e.code, e.param, e.message) for e in wrong_lines[:SHOWN]])
