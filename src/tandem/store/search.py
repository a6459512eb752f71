"""Search over the chunks of documents: what is kept, what is asked, and what every implementation promises.

    add:     tick -> stage (invisible) -> [a version names the key] -> settle
    ask:     search(key, query, readers): rights, tombstones and version are conditions of the search itself
    delete:  one document, out of every version, at once and for good -> wipe

A document without readers is visible to nobody. Nothing that a caller may not read has any influence on what the
caller is told: statistics, ranks and counts are taken over the visible chunks alone. It knows no team, no principal
and no model: readers are plain words, vectors are numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

RRF_K = 60
"""Reciprocal rank fusion: a rank r counts 1/(60 + r); Cormack, Clarke and Büttcher, SIGIR 2009."""
POOL = 100
"""The ranks of each side that are fused."""
BM25_K1, BM25_B = 1.2, 0.75
"""Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond, 2009."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """One piece of a document; `document text[start:end] == text`."""

    text: str
    start: int
    """Characters from the beginning of the document's text."""
    end: int
    page: int | None = None
    """From 1; None where a document has no pages."""
    heading: str = ""
    """The headings above it, outermost first, joined by ` › `."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One document as it is handed in. Its name is its identity in the corpus; its digest says which content."""

    name: str
    title: str
    digest: str
    """`sha256:…` of the file."""
    readers: tuple[str, ...]
    """Words such as `team/claims`; empty: nobody."""
    chunks: tuple[Chunk, ...]
    vectors: bytes
    """float32, little endian, chunks × dimensions, each of length 1 or 0."""
    embedder: str
    """What made the vectors, with whatever their meaning depends on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One document of a version, as it is listed."""

    edition: int
    """Names this content of the document inside its corpus."""
    name: str
    title: str
    digest: str
    readers: tuple[str, ...]
    chunks: int
    embedder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is looked for, by words and by direction."""

    text: str
    vector: bytes
    """float32, little endian; empty: by words alone."""
    limit: int = 8
    lexical: bool = True
    """False: by direction alone."""
    weight: float = 1.0
    """What a rank by direction counts beside the same rank by words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A chunk that was found. Of its scores only ranks are told."""

    chunk: str
    """Names the chunk for good: the same content of the same document has the same id in every version."""
    document: str
    title: str
    heading: str
    page: int | None
    start: int
    end: int
    text: str
    rank: int
    """From 1."""
    bm25: int | None = None
    """Its rank by words; None: not among the first hundred."""
    vector: int | None = None
    """Its rank by direction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refresh:
    """What a new version is made of."""

    key: str
    """Names the new version's set of documents; never used before."""
    tick: int
    """From `tick`, taken before the first file was read: what is deleted since then does not come in."""
    documents: Iterable[Document] = ()
    """New content; gone through once."""
    kept: Sequence[int] = field(default=())
    """Editions that stay as they are."""


class Search(Protocol):
    """One corpus. `sqlite_search` keeps it in a file; `memory_search` is the plain reference that it is measured by."""

    def tick(self) -> int:
        """A number that grows with every call and every deletion: the moment a refresh begins."""
        ...

    def stage(self, refresh: Refresh) -> int:
        """Stores a version's documents, all or none, and returns how many it holds; nobody sees them before it is named.

        A key that is there already stays as it is, so that a workflow may repeat this step.
        """
        ...

    def settle(self, key: str) -> None:
        """Makes the readers of this version's documents hold for all older contents of the same documents too.

        An older content is then visible to whoever may read both it and the newest one: taking a right away
        works at once in every version, giving one opens nothing that was closed.
        """
        ...

    def search(self, key: str, query: Query, readers: frozenset[str]) -> tuple[Hit, ...]:
        """The best chunks that one of `readers` may read, best first; an unknown key has none."""
        ...

    def documents(self, key: str, readers: frozenset[str] | None) -> tuple[Entry, ...]:
        """The documents of a version that one of `readers` may read, by name; None: all, for the platform's own work."""
        ...

    def chunks(self, key: str, document: str, readers: frozenset[str] | None) -> tuple[Hit, ...]:
        """All chunks of one document in their order, where one of `readers` may read it; None: for the platform's own work."""
        ...

    def delete(self, document: str) -> int:
        """Removes every content of a document from every version, at once; returns how many contents there were.

        The name is remembered, so that a refresh that began before cannot bring it back.
        """
        ...

    def wipe(self) -> None:
        """Leaves nothing in any file of what was deleted or swept before; quick where there is nothing to do.

        Raises:
            Unavailable: the store is away, or others keep it busy; whoever asks again finishes it.
        """
        ...

    def sweep(self, live: Mapping[str, object]) -> int:
        """Removes versions whose key is not among `live`, and contents of no version; returns how many contents."""
        ...


def chunk_id(document: Document, place: int) -> str:
    """Names a chunk for good: by its document's name and content, and its place there."""
    return "chk_" + hashlib.sha256(f"{document.name}\0{document.digest}\0{place}".encode()).hexdigest()[:20]


def fuse(ranked: Sequence[Sequence[int]], weights: Sequence[float], *, k: int = RRF_K) -> list[int]:
    """Ids by weighted reciprocal rank fusion of several rankings, best first; ties by id.

    >>> fuse([[1, 2, 3], [3, 1]], [1.0, 1.0])
    [1, 3, 2]
    """
    scores: dict[int, float] = {}
    for ranking, weight in zip(ranked, weights, strict=True):
        for place, item in enumerate(ranking, start=1):
            scores[item] = scores.get(item, 0.0) + weight / (k + place)
    return sorted(scores, key=lambda item: (-scores[item], item))


def document_id(name: str) -> str:
    """How records name a document whose name they do not hold; the same in every version and index.

    >>> document_id("leave.md")
    'doc_cc965f9fd191dc14b4a7'
    """
    return "doc_" + hashlib.sha256(name.encode()).hexdigest()[:20]
