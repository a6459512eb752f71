"""Search in memory, as plain as it can be: the reference that other implementations are measured by, and a fake for tests.

Every question looks at every chunk. It stems nothing, so that a word is found by exactly itself.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from tandem.store.search import BM25_B, BM25_K1, POOL, Chunk, Document, Entry, Hit, Query, Refresh, chunk_id, fuse
from tandem.store.search_rows import SCALE, length
from tandem.store.vectors import FAINT, similarity, unpack
from tandem.store.words import STOP

_WORD = re.compile(r"[^\W_]+")


@dataclass(slots=True)
class _Edition:
    number: int
    tick: int
    document: Document


@dataclass(slots=True)
class _Row:
    """One visible chunk."""

    id: int
    edition: _Edition
    place: int

    @property
    def chunk(self) -> Chunk:
        return self.edition.document.chunks[self.place]


class MemorySearch:
    """One corpus in memory."""

    def __init__(self) -> None:
        self._now = 0
        self._editions: dict[int, _Edition] = {}
        self._versions: dict[str, list[int]] = {}
        self._settled: dict[str, tuple[int, frozenset[str]]] = {}
        self._tombstones: dict[str, int] = {}
        self._made = 0

    def tick(self) -> int:
        self._now += 1
        return self._now

    def stage(self, refresh: Refresh) -> int:
        if refresh.key in self._versions:
            return len(self._versions[refresh.key])
        editions: list[int] = []
        for document in list(refresh.documents):
            if self._tombstones.get(document.name, 0) < refresh.tick:
                self._made += 1
                self._editions[self._made] = _Edition(self._made, refresh.tick, document)
                editions.append(self._made)
        editions += [number for number in refresh.kept if number in self._editions]
        self._versions[refresh.key] = editions
        return len(editions)

    def settle(self, key: str) -> None:
        for number in self._versions.get(key, ()):
            document = self._editions[number].document
            if number > self._settled.get(document.name, (0, frozenset()))[0]:
                self._settled[document.name] = (number, frozenset(document.readers))

    def search(self, key: str, query: Query, readers: frozenset[str]) -> tuple[Hit, ...]:
        rows = self._rows(key, readers)
        by_words = _by_words(rows, query.text) if query.lexical else []
        by_direction = _by_direction(rows, query.vector) if query.vector else []
        known = {row.id: row for row in rows}
        return tuple(
            _hit(known[identifier], rank, _place(by_words, identifier), _place(by_direction, identifier))
            for rank, identifier in enumerate(fuse([by_words, by_direction], [1.0, query.weight])[: query.limit], start=1)
        )

    def documents(self, key: str, readers: frozenset[str] | None) -> tuple[Entry, ...]:
        found = [
            Entry(
                edition=edition.number,
                name=edition.document.name,
                title=edition.document.title,
                digest=edition.document.digest,
                readers=edition.document.readers,
                chunks=len(edition.document.chunks),
                embedder=edition.document.embedder,
            )
            for edition in self._visible(key, readers)
        ]
        return tuple(sorted(found, key=lambda entry: entry.name))

    def chunks(self, key: str, document: str, readers: frozenset[str] | None) -> tuple[Hit, ...]:
        rows = [row for row in self._rows(key, readers) if row.edition.document.name == document]
        return tuple(_hit(row, rank, None, None) for rank, row in enumerate(rows, start=1))

    def delete(self, document: str) -> int:
        gone = [number for number, edition in self._editions.items() if edition.document.name == document]
        for number in gone:
            del self._editions[number]
        for key, numbers in self._versions.items():
            self._versions[key] = [number for number in numbers if number not in gone]
        now = self.tick()
        if gone:
            self._tombstones[document] = now
            self._settled.pop(document, None)
        return len(gone)

    def wipe(self) -> None:
        """There are no files."""

    def sweep(self, live: Mapping[str, object]) -> int:
        self._versions = {key: numbers for key, numbers in self._versions.items() if key in live}
        held = {number for numbers in self._versions.values() for number in numbers}
        gone = [number for number in self._editions if number not in held]
        for number in gone:
            del self._editions[number]
        return len(gone)

    def _visible(self, key: str, readers: frozenset[str] | None) -> list[_Edition]:
        found = []
        for number in self._versions.get(key, ()):
            edition = self._editions[number]
            document = edition.document
            if readers is not None:
                if edition.tick <= self._tombstones.get(document.name, 0) or not readers & set(document.readers):
                    continue
                settled = self._settled.get(document.name)
                if settled is not None and not readers & settled[1]:
                    continue
            found.append(edition)
        return found

    def _rows(self, key: str, readers: frozenset[str] | None) -> list[_Row]:
        return [
            _Row(edition.number * 100_000 + place, edition, place)
            for edition in sorted(self._visible(key, readers), key=lambda edition: edition.number)
            for place in range(len(edition.document.chunks))
        ]


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _by_words(rows: list[_Row], text: str) -> list[int]:
    asked = sorted(set(_words(text)))
    asked = [word for word in asked if word not in STOP] or asked
    counts = {row.id: Counter(_words(f"{row.chunk.heading} {row.chunk.text}")) for row in rows}
    lengths = {row.id: length(row.chunk) for row in rows}
    mean = max(1.0, sum(lengths.values()) / max(1, len(rows)))
    scores: dict[int, float] = {}
    for word in asked:
        having = [identifier for identifier, count in counts.items() if count[word]]
        idf = math.log(1 + (len(rows) - len(having) + 0.5) / (len(having) + 0.5))
        for identifier in having:
            tf = counts[identifier][word]
            share = tf + BM25_K1 * (1 - BM25_B + BM25_B * lengths[identifier] / mean)
            scores[identifier] = scores.get(identifier, 0.0) + idf * tf * (BM25_K1 + 1) / share
    return sorted(scores, key=lambda identifier: (-round(SCALE * scores[identifier]), identifier))[:POOL]


def _by_direction(rows: list[_Row], vector: bytes) -> list[int]:
    wanted = unpack(vector)
    scores: dict[int, float] = {}
    for row in rows:
        numbers = unpack(row.edition.document.vectors)
        if len(numbers) == len(wanted) * len(row.edition.document.chunks):
            own = numbers[row.place * len(wanted) : (row.place + 1) * len(wanted)]
            scores[row.id] = similarity(own, wanted)
    near = [identifier for identifier, score in scores.items() if score > FAINT]
    return sorted(near, key=lambda identifier: (-scores[identifier], identifier))[:POOL]


def _place(ranking: list[int], identifier: int) -> int | None:
    return ranking.index(identifier) + 1 if identifier in ranking else None


def _hit(row: _Row, rank: int, bm25: int | None, vector: int | None) -> Hit:
    document, chunk = row.edition.document, row.chunk
    return Hit(
        chunk=chunk_id(document, row.place),
        document=document.name,
        title=document.title,
        heading=chunk.heading,
        page=chunk.page,
        start=chunk.start,
        end=chunk.end,
        text=chunk.text,
        rank=rank,
        bm25=bm25,
        vector=vector,
    )
