"""An index version on its page: its documents as the reader may see them, the chunks of one, and a search with its ranks."""

from __future__ import annotations

from dataclasses import dataclass

from tandem.core.asset import Version
from tandem.core.errors import NotFound
from tandem.core.principal import Principal
from tandem.data.corpus.indexes import Indexes
from tandem.data.corpus.quote import extract
from tandem.store.search import Entry, Hit

HITS = 8
DOCUMENTS = 500
"""Documents that one page lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A hit, its text cut where it is marked."""

    hit: Hit
    pieces: tuple[tuple[str, bool], ...]
    """(text, whether it is marked)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What the page shows of an index version."""

    documents: tuple[Entry, ...]
    left_out: int
    query: str
    hits: tuple[Shown, ...]
    document: str
    chunks: tuple[Hit, ...]


def held(indexes: Indexes, version: Version, query: str, document: str, by: Principal) -> Held:
    """What `by` may see of the version; the search is asked as `by`."""
    _, documents = indexes.documents(version.ref, by=by)
    hits = indexes.search(version.ref, query, HITS, by=by).hits if query.strip() else ()
    marks = extract(query, hits)
    chunks: tuple[Hit, ...] = ()
    if document:
        try:
            chunks = indexes.chunks(version.ref, document, by=by)
        except NotFound:  # a name that its reader may not read has no chunks for this reader
            chunks = ()
    return Held(
        documents=documents[:DOCUMENTS],
        left_out=max(0, len(documents) - DOCUMENTS),
        query=query,
        hits=tuple(Shown(hit=hit, pieces=_pieces(hit, [(m.start, m.end) for m in marks if m.hit == hit])) for hit in hits),
        document=document,
        chunks=chunks,
    )


def _pieces(hit: Hit, marks: list[tuple[int, int]]) -> tuple[tuple[str, bool], ...]:
    pieces: list[tuple[str, bool]] = []
    at = 0
    for start, end in sorted((start - hit.start, end - hit.start) for start, end in marks):
        pieces += [(hit.text[at:start], False), (hit.text[start:end], True)]
        at = end
    return tuple(piece for piece in [*pieces, (hit.text[at:], False)] if piece[0])
