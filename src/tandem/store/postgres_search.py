"""Search on a PostgreSQL server, for many machines: an inverted index of words, vectors compared exactly in this process.

BM25 is computed there, over the visible chunks alone. It knows no team and no model. [door]
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from tempfile import TemporaryFile

import msgspec

from tandem.core.errors import Unavailable
from tandem.core.secret import Secret
from tandem.store.latest import Latest
from tandem.store.raw import PostgresRows, Row
from tandem.store.room import translated
from tandem.store.search import POOL, Document, Entry, Hit, Query, Refresh, chunk_id
from tandem.store.search_rows import EDITION, edition_row, entry, hit, length, ranked
from tandem.store.search_server import WHAT, SearchServer
from tandem.store.search_statements import (
    BEST,
    BITS,
    CHUNKS,
    ENTRIES,
    HITS,
    MEMBERS,
    READABLE,
    ROOM,
    blobs,
    decoded,
    next_tick,
    numbers,
    remove,
    span,
    term_bytes,
)
from tandem.store.terms import Terms
from tandem.store.vectors import Matrix

MATRICES = 4
"""Versions whose vectors are held in memory."""
VIEWS = 16
"""Lists of what certain readers may read in a version that are held in memory."""
BATCH = 500
"""Chunks that are written by one statement."""
PIECE = 1024 * 1024
"""Bytes of vectors in one row."""
PAGE = 10_000
"""Chunks whose vectors are read by one statement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    """What certain readers may read in a version."""

    corpus: int
    tick: int
    editions: frozenset[int]
    listed: str
    """The editions, as the server reads an array."""
    chunks: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Vectors:
    """The vectors of a version."""

    blocks: Mapping[int, bytes]
    """Those of each edition."""
    matrix: Matrix


class PostgresSearch:
    """One corpus on a server; for any number of threads, processes and machines, one of which writes."""

    def __init__(self, place: Secret | SearchServer, corpus: str) -> None:
        """
        Args:
            place: the server's URL, or the connections that several corpora share.
        """
        self._server, self._lent = (place, True) if isinstance(place, SearchServer) else (SearchServer(place), False)
        self._corpus, self._terms = corpus, Terms()
        self._views: Latest[_View] = Latest(VIEWS)
        self._vectors: Latest[_Vectors] = Latest(MATRICES)

    def tick(self) -> int:
        with self._writing() as (rows, corpus):
            return next_tick(rows, corpus)

    def stage(self, refresh: Refresh) -> int:
        present = len(self.documents(refresh.key, None))
        if present:
            return present
        with _gathered(refresh.documents) as documents, self._writing() as (rows, corpus):
            held = rows.all("SELECT edition FROM members WHERE corpus = ? AND key = ?", (corpus, refresh.key))
            if held:  # another process was faster
                return len(held)
            dead: dict[bytes, int] = dict(rows.all("SELECT name, tick FROM tombstones WHERE corpus = ?", (corpus,)))
            for document in documents:
                if dead.get(document.name.encode(), -1) < refresh.tick:
                    edition = self._add(rows, corpus, document, refresh.tick)
                    rows.run("INSERT INTO members VALUES (?, ?, ?)", (corpus, refresh.key, edition))
            rows.run(
                "INSERT INTO members SELECT corpus, ?, id FROM editions WHERE corpus = ? AND id = ANY(?::bigint[])",
                (refresh.key, corpus, list(refresh.kept)),
            )
            next_tick(rows, corpus)
            return len(rows.all("SELECT edition FROM members WHERE corpus = ? AND key = ?", (corpus, refresh.key)))

    def settle(self, key: str) -> None:
        with self._writing() as (rows, corpus):
            fresh = rows.all(
                "INSERT INTO settled SELECT e.corpus, e.name, MAX(e.id) FROM members m JOIN editions e ON e.id = m.edition"
                " WHERE m.corpus = ? AND m.key = ? GROUP BY e.corpus, e.name"
                " ON CONFLICT (corpus, name) DO UPDATE SET edition = excluded.edition WHERE settled.edition < excluded.edition"
                " RETURNING name, edition",
                (corpus, key),
            )
            names, editions = [row[0] for row in fresh], [row[1] for row in fresh]
            rows.run("DELETE FROM rights WHERE corpus = ? AND name = ANY(?::bytea[])", (corpus, names))
            rows.run(
                "INSERT INTO rights SELECT e.corpus, e.name, r.reader FROM readers r JOIN editions e ON e.id = r.edition"
                " WHERE e.id = ANY(?::bigint[])",
                (editions,),
            )
            next_tick(rows, corpus)

    def search(self, key: str, query: Query, readers: frozenset[str]) -> tuple[Hit, ...]:
        with self._asking(key, readers) as (rows, view):
            if not view.editions:
                return ()
            by_words = self._by_words(rows, view, query.text) if query.lexical else []
            by_direction = self._matrix(rows, view, key).nearest(query.vector, view.editions, POOL) if query.vector else []
            best = ranked(by_words, by_direction, query)
            found = rows.all(f"{HITS.format(n=view.corpus)} WHERE c.id = ANY(?::bigint[])", ([chunk for chunk, _ in best],))
        told = {row[0]: decoded(row[1:]) for row in found}
        return tuple(hit(told[chunk], *ranks) for chunk, ranks in best)

    def documents(self, key: str, readers: frozenset[str] | None) -> tuple[Entry, ...]:
        with self._asking(key, readers) as (rows, view):
            found = rows.all(ENTRIES, (view.listed,))
        return tuple(entry(decoded(row)) for row in found)

    def chunks(self, key: str, document: str, readers: frozenset[str] | None) -> tuple[Hit, ...]:
        with self._asking(key, readers) as (rows, view):
            if not view.editions:
                return ()
            named = "SELECT id FROM editions WHERE corpus = ? AND name = ? AND id = ANY(?::bigint[]) ORDER BY id"
            found = [
                row
                for (edition,) in rows.all(named, (view.corpus, document.encode(), view.listed))
                for row in rows.all(f"{HITS.format(n=view.corpus)} WHERE c.id >= ? AND c.id < ? ORDER BY c.id", span(edition))
            ]
        return tuple(hit(decoded(row[1:]), place, None, None) for place, row in enumerate(found, start=1))

    def delete(self, document: str) -> int:
        name = document.encode()
        with self._writing() as (rows, corpus):
            tick = next_tick(rows, corpus)
            gone = [row[0] for row in rows.all("SELECT id FROM editions WHERE corpus = ? AND name = ?", (corpus, name))]
            if gone:
                remove(rows, corpus, gone, tick)
                rows.run(
                    "INSERT INTO tombstones VALUES (?, ?, ?) ON CONFLICT (corpus, name) DO UPDATE SET tick = excluded.tick",
                    (corpus, name, tick),
                )
                for table in ("rights", "settled"):
                    rows.run(f"DELETE FROM {table} WHERE corpus = ? AND name = ?", (corpus, name))
        self._views.clear()
        self._vectors.clear()
        return len(gone)

    def wipe(self) -> None:
        """As `Search.wipe`: the tables of this corpus are written anew into other files, and nobody asks it meanwhile.

        Rows that a transaction from before can still see stay until the next time. The server's write-ahead log, its
        backups and dumps keep what they have.
        """
        with self._line() as (rows, corpus):
            ((removed,),) = rows.all("SELECT removed FROM corpora WHERE id = ?", (corpus,))
            if removed:
                rows.wipe([f"chunks_{corpus}", f"words_{corpus}", f"vectors_{corpus}", "editions"])
                rows.run("UPDATE corpora SET removed = 0 WHERE id = ? AND removed = ?", (corpus, removed))

    def sweep(self, live: Mapping[str, object]) -> int:
        with self._writing() as (rows, corpus):
            tick = next_tick(rows, corpus)
            rows.run("DELETE FROM members WHERE corpus = ? AND NOT key = ANY(?::text[])", (corpus, list(live)))
            lost = "NOT EXISTS (SELECT 1 FROM members m WHERE m.edition = e.id)"
            orphans = [row[0] for row in rows.all(f"SELECT id FROM editions e WHERE corpus = ? AND {lost}", (corpus,))]
            remove(rows, corpus, orphans, tick)
        with suppress(Unavailable):  # what was swept is in no version any more; the next sweep wipes it
            self.wipe()
        return len(orphans)

    def close(self) -> None:
        """Gives the connections back, if no other corpus shares them."""
        if not self._lent:
            self._server.close()
        self._terms.close()

    def _by_words(self, rows: PostgresRows, view: _View, text: str) -> list[int]:
        """Chunk ids by BM25 over the visible chunks, best first."""
        terms = [term_bytes(term) for term in self._terms.asked(text)]
        if not terms or not view.chunks:
            return []
        values = (terms, view.listed, view.chunks, max(1.0, view.length / view.chunks))
        rows.run(ROOM)
        return [row[0] for row in rows.all(BEST.format(n=view.corpus), values)]

    def _matrix(self, rows: PostgresRows, view: _View, key: str) -> Matrix:
        """The vectors of a version; an edition never changes, so only those are read that are not in memory."""
        known = self._vectors.find((view.corpus, key), view.tick)
        if known is None:
            members = rows.all(MEMBERS, (view.corpus, key))
            held = self._vectors.values()
            editions = {edition for edition, _, _ in members}
            known = next((each for each in held if each.blocks.keys() == editions), None) or self._read(rows, view, members, held)
            self._vectors.keep((view.corpus, key), view.tick, known)
        return known.matrix

    def _read(self, rows: PostgresRows, view: _View, members: list[Row], held: list[_Vectors]) -> _Vectors:
        """The vectors of these members, of (edition, chunks, …), as far as they are held; the others from the server."""
        before = {edition: data for each in held for edition, data in each.blocks.items()}
        blocks = {edition: before[edition] for edition, _, _ in members if edition in before}
        for page in _pages([(edition, chunks) for edition, chunks, _ in members if edition not in before]):
            pieces: dict[int, list[bytes]] = {edition: [] for edition in page}
            stored = f"SELECT edition, data FROM vectors_{view.corpus} WHERE edition = ANY(?::bigint[]) ORDER BY edition, place"
            for edition, data in rows.all(stored, (page,)):
                pieces[edition].append(data)
            blocks |= {edition: b"".join(data) for edition, data in pieces.items()}
        ids = {edition: range(edition << BITS, (edition << BITS) + chunks) for edition, chunks, _ in members}
        return _Vectors(blocks=blocks, matrix=Matrix([(edition, ids[edition], blocks[edition]) for edition in ids]))

    @contextmanager
    def _asking(self, key: str, readers: frozenset[str] | None) -> Iterator[tuple[PostgresRows, _View]]:
        """One state of the corpus, with what these readers may read of a version; None: all."""
        with self._server.reading() as rows:
            corpus, tick = rows.one("SELECT id, tick FROM corpora WHERE name = ?", (self._corpus,)) or (0, 0)
            view = self._views.find((key, readers), tick)
            if view is None or view.corpus != corpus:
                view = _view(rows, corpus, tick, key, readers)
                self._views.keep((key, readers), tick, view)
            yield rows, view

    @contextmanager
    def _writing(self) -> Iterator[tuple[PostgresRows, int]]:
        """One transaction that is whole or did not happen, and the corpus' number."""
        with self._line() as (rows, corpus), rows.writing():
            yield rows, corpus

    @contextmanager
    def _line(self) -> Iterator[tuple[PostgresRows, int]]:
        """A connection to write by, and the corpus' number; its first writer makes the corpus."""
        with self._server.line(self._corpus) as rows:
            yield rows, self._server.number(rows, self._corpus)

    def _add(self, rows: PostgresRows, corpus: int, document: Document, tick: int) -> int:
        """Stores one content of a document and returns its edition."""
        lengths = list(map(length, document.chunks))
        row = [value.encode() if isinstance(value, str) else value for value in edition_row(document, lengths, tick)]
        made = f"INSERT INTO editions (corpus, {EDITION}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id"
        ((edition,),) = rows.all(made, (corpus, *row))
        assert isinstance(edition, int)
        readers = [reader.encode() for reader in set(document.readers)]
        rows.run("INSERT INTO readers SELECT ?, unnest(?::bytea[])", (edition, readers))
        for place, at in enumerate(range(0, len(document.vectors), PIECE)):
            piece = document.vectors[at : at + PIECE]
            rows.run(f"INSERT INTO vectors_{corpus} VALUES (?, ?, ?)", (edition, place, piece))
        for first in range(0, len(document.chunks), BATCH):
            self._add_chunks(rows, corpus, edition, document, lengths, range(first, min(first + BATCH, len(lengths))))
        return edition

    def _add_chunks(
        self, rows: PostgresRows, corpus: int, edition: int, document: Document, lengths: Sequence[int], places: range
    ) -> None:
        chunks = [document.chunks[place] for place in places]
        columns = (
            [(edition << BITS) + place for place in places],
            [chunk_id(document, place) for place in places],
            [chunk.page for chunk in chunks],
            [chunk.start for chunk in chunks],
            [chunk.end for chunk in chunks],
            [chunk.heading.encode() for chunk in chunks],
            [chunk.text.encode() for chunk in chunks],
        )
        rows.run(f"INSERT INTO chunks_{corpus} SELECT * FROM unnest({CHUNKS})", columns)
        counted = self._terms.counted([(chunk.heading, chunk.text) for chunk in chunks])
        found = (
            blobs(term_bytes(term) for term, _, _ in counted),
            numbers((edition << BITS) + places[place] for _, place, _ in counted),
            numbers(times for _, _, times in counted),
            numbers(lengths[places[place]] for _, place, _ in counted),
        )
        rows.run(f"INSERT INTO words_{corpus} SELECT * FROM unnest(?::bytea[], ?::bigint[], ?::int[], ?::int[])", found)


def _view(rows: PostgresRows, corpus: int, tick: int, key: str, readers: frozenset[str] | None) -> _View:
    """Finds out what these readers may read of a version; None: all."""
    if readers is None:
        found = rows.all(MEMBERS, (corpus, key))
    else:
        words = [reader.encode() for reader in readers]
        found = rows.all(READABLE, (corpus, key, words, words))
    return _View(
        corpus=corpus,
        tick=tick,
        editions=frozenset(row[0] for row in found),
        listed=numbers(row[0] for row in found),
        chunks=sum(row[1] for row in found),
        length=sum(row[2] for row in found),
    )


@contextmanager
def _gathered(documents: Iterable[Document]) -> Iterator[Iterator[Document]]:
    """The documents from a file without a name: while they are stored, others wait, and for their reading nobody shall."""
    with TemporaryFile() as file:
        with translated(WHAT):
            for document in documents:
                data = msgspec.msgpack.encode(document)
                file.write(len(data).to_bytes(8, "big") + data)
        file.seek(0)
        yield (
            msgspec.msgpack.decode(file.read(int.from_bytes(size, "big")), type=Document)
            for size in iter(lambda: file.read(8), b"")
        )


def _pages(editions: Sequence[tuple[int, int]]) -> Iterator[list[int]]:
    """Editions, of (edition, chunks), in lists of at most `PAGE` chunks, or of one edition."""
    page, size = list[int](), 0
    for edition, chunks in editions:
        if page and size + chunks > PAGE:
            yield page
            page, size = [], 0
        page.append(edition)
        size += chunks
    if page:
        yield page
