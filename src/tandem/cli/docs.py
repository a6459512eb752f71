"""`tandem docs`: documents that are searched and answered from."""

from __future__ import annotations

from pathlib import Path

import click

from tandem.cli.options import as_json, bare, platform
from tandem.cli.progress import bar
from tandem.cli.run import follow
from tandem.cli.show import clean, emit, table
from tandem_sdk import Hit
from tandem_sdk.indexes import documents_in

at = click.option("--version", "version", metavar="VERSION", help="A version or an alias.  [default: the newest]")


@click.group()
def docs() -> None:
    """Indexes: documents, searched by their readers."""


@docs.command()
@click.argument("name")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--readers", metavar="WORDS", help="team/T, person/P, key/N, role/R or everyone, joined by commas; nobody.")
@click.option("--embed", metavar="ENDPOINT", help="An embed endpoint for the vectors, or hashed.")
@click.option("--replace", is_flag=True, help="PATH is all there is: other documents leave the index.")
@click.option("--no-wait", is_flag=True, help="Print the run's id and leave it running.")
@as_json
def add(name: str, path: Path, readers: str | None, embed: str | None, replace: bool, no_wait: bool, as_json: bool) -> None:
    """Make the documents at PATH (.md, .txt, .html, .pdf, or a folder of them) the next version of index NAME.

    Documents are known by their paths below PATH: changed ones are read again, others stay. Without --readers a new
    document is for the team of your key, and a known one keeps its readers. Prints index/NAME@VERSION.
    """
    words = None if readers is None else [word for word in readers.split(",") if word and word != "nobody"]
    count = len(documents_in(path))
    with platform() as tandem:
        with bar(f"sending {count} documents", quiet=as_json) as advance:
            run = tandem.indexes.add(
                bare(name, "index"), path, readers=words, embed=embed, replace=replace,
                on_progress=lambda sent, total: advance(sent / max(1, total), ""),
            )  # fmt: skip
        if no_wait:
            if as_json:
                emit({"run": run.id, "state": run.state})
            else:
                click.echo(run.id)
            return
        run = follow(tandem, run.id, quiet=as_json)
    if as_json:
        emit({"run": run.id, **run.outputs})
        return
    told = run.outputs
    click.echo(str(told.get("asset")))
    changes = ", ".join(f"{told.get(word)} {word}" for word in ("added", "changed", "unchanged", "removed"))
    click.echo(f"  {told.get('documents')} documents, {told.get('chunks')} chunks, {told.get('embedder')}: {changes}")


@docs.command("list")
@click.argument("name")
@at
@as_json
def list_documents(name: str, version: str | None, as_json: bool) -> None:
    """List the documents of index NAME that your key may read; admins see the names of all."""
    with platform() as tandem:
        found = tandem.indexes.documents(bare(name, "index"), version)
    if as_json:
        emit(found)
        return
    click.echo(found.index)
    rows = [(each.name, each.title, ", ".join(each.readers) or "nobody", each.chunks) for each in found.documents]
    table(("document", "title", "readers", "chunks"), rows)


@docs.command()
@click.argument("name")
@click.argument("document")
@as_json
def delete(name: str, document: str, as_json: bool) -> None:
    """Remove DOCUMENT from every version of index NAME, at once and for good."""
    with platform() as tandem:
        tandem.indexes.delete(bare(name, "index"), document)
    if as_json:
        emit({"document": document, "deleted": True})
        return
    click.echo(f"'{clean(document)}' is gone from every version of index/{bare(name, 'index')}.")


@docs.command()
@click.argument("name")
@click.argument("query")
@click.option("--limit", type=click.IntRange(1, 50), default=5, show_default=True, help="How many, best first.")
@at
@as_json
def search(name: str, query: str, limit: int, version: str | None, as_json: bool) -> None:
    """Show the chunks of index NAME that fit QUERY best, of those that your key may read."""
    with platform() as tandem:
        found = tandem.indexes.search(bare(name, "index"), query, limit=limit, version=version)
    if as_json:
        emit(found)
        return
    click.echo(found.index)
    for hit in found.hits:
        click.echo(f"\n{hit.rank}. {_place(hit)}  (by words {hit.bm25 or '—'}, by direction {hit.vector or '—'})")
        click.echo("   " + clean(" ".join(hit.text.split()))[:400])
    if not found.hits:
        click.echo("Nothing that your key may read fits.")


def _place(hit: Hit) -> str:
    """Where a chunk stands, for people."""
    page = "" if hit.page is None else f", page {hit.page}"
    heading = f" › {hit.heading}" if hit.heading else ""
    return clean(f"{hit.document}{heading}{page}")
