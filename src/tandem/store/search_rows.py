"""What the forms of search in SQL have in common: how their rows become nouns, and nouns rows. It knows no database."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tandem.store.search import Chunk, Document, Entry, Hit, Query, fuse

EDITION = "name, title, digest, readers, embedder, tick, chunks, length"
"""The columns of `edition_row`."""
ENTRY = "e.id, e.name, e.title, e.digest, e.readers, e.chunks, e.embedder"
"""The columns that `entry` takes."""
SCALE = 1e9
"""Of a score, nine decimals count: sums in another order differ behind them, and ties go by id."""


def hit(row: Sequence[Any], rank: int, bm25: int | None, vector: int | None) -> Hit:
    """The hit of (chunk, name, title, heading, page, start, stop, text)."""
    chunk, name, title, heading, page, start, stop, text = row
    return Hit(
        chunk=chunk,
        document=name,
        title=title,
        heading=heading,
        page=page,
        start=start,
        end=stop,
        text=text,
        rank=rank,
        bm25=bm25,
        vector=vector,
    )


def entry(row: Sequence[Any]) -> Entry:
    """The entry of a row of `ENTRY`."""
    return Entry(
        edition=row[0],
        name=row[1],
        title=row[2],
        digest=row[3],
        readers=tuple(json.loads(row[4])),
        chunks=row[5],
        embedder=row[6],
    )


def edition_row(document: Document, lengths: Sequence[int], tick: int) -> tuple[str | int, ...]:
    """The values of `EDITION` for one content of a document."""
    readers = json.dumps(document.readers)
    return document.name, document.title, document.digest, readers, document.embedder, tick, len(lengths), sum(lengths)


def length(chunk: Chunk) -> int:
    """Words of a chunk and of its headings, as BM25 counts them."""
    return len(chunk.text.split()) + len(chunk.heading.split())


Ranks = tuple[int, int | None, int | None]
"""In the whole, by words, by direction."""


def ranked(by_words: list[int], by_direction: list[int], query: Query) -> list[tuple[int, Ranks]]:
    """The best chunks with their ranks, best first."""
    words = {chunk: place for place, chunk in enumerate(by_words, start=1)}
    directions = {chunk: place for place, chunk in enumerate(by_direction, start=1)}
    order = fuse([by_words, by_direction], [1.0, query.weight])[: query.limit]
    return [(chunk, (rank, words.get(chunk), directions.get(chunk))) for rank, chunk in enumerate(order, start=1)]
