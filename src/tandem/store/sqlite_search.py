"""Search in one SQLite file per corpus: FTS5 is the index of words, vectors are blobs that are compared exactly.

BM25 is computed from FTS5's own index (`fts5vocab`) over the visible chunks alone, because FTS5's `bm25()` counts
every row of the table, and so would tell from the order of what a caller sees what stands in documents that the
caller does not see. All of it runs inside SQLite, which lets other threads go on.
"""

from __future__ import annotations

import json
import math
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from tandem.core.errors import Broken, Unavailable
from tandem.store.latest import Latest
from tandem.store.search import BM25_B, BM25_K1, POOL, Document, Entry, Hit, Query, Refresh, chunk_id
from tandem.store.search_rows import EDITION, ENTRY, SCALE, edition_row, entry, hit, length, ranked
from tandem.store.terms import ASKED, TOKENS, asked_terms
from tandem.store.vectors import Matrix

BUSY_SECONDS = 10.0
MATRICES = 4
"""Versions whose vectors are held in memory."""
SEATS = 16
"""Connections that are kept, each with what its readers may read; one is made in milliseconds."""
SCHEMA = f"""
PRAGMA journal_mode=WAL;
CREATE TABLE IF NOT EXISTS clock (id INTEGER PRIMARY KEY CHECK (id = 1), tick INTEGER NOT NULL) STRICT;
INSERT OR IGNORE INTO clock VALUES (1, 0);
CREATE TABLE IF NOT EXISTS editions (
  id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, title TEXT NOT NULL, digest TEXT NOT NULL, readers TEXT NOT NULL,
  embedder TEXT NOT NULL, tick INTEGER NOT NULL, chunks INTEGER NOT NULL, length INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS vectors (edition INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS editions_by_name ON editions (name);
CREATE TABLE IF NOT EXISTS members (key TEXT NOT NULL, edition INTEGER NOT NULL, PRIMARY KEY (key, edition))
  STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS readers (edition INTEGER NOT NULL, reader TEXT NOT NULL, PRIMARY KEY (edition, reader))
  STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rights (name TEXT NOT NULL, reader TEXT NOT NULL, PRIMARY KEY (name, reader)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS settled (name TEXT PRIMARY KEY, edition INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tombstones (name TEXT PRIMARY KEY, tick INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS chunks (
  id INTEGER PRIMARY KEY AUTOINCREMENT, edition INTEGER NOT NULL, length INTEGER NOT NULL, chunk TEXT NOT NULL, page INTEGER,
  start INTEGER NOT NULL, stop INTEGER NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS chunks_by_edition ON chunks (edition, id);
CREATE TABLE IF NOT EXISTS texts (id INTEGER PRIMARY KEY, heading TEXT NOT NULL, text TEXT NOT NULL) STRICT;
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(
  heading, text, content='texts', content_rowid='id', tokenize="{TOKENS}");
CREATE VIRTUAL TABLE IF NOT EXISTS terms USING fts5vocab(words, instance);
"""
ASKING = f"""
PRAGMA temp_store=MEMORY;
{ASKED}
CREATE TEMP TABLE mine (reader TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TEMP TABLE visible (edition INTEGER PRIMARY KEY);
CREATE TEMP TABLE found (term INTEGER, chunk INTEGER, tf INTEGER, length INTEGER, PRIMARY KEY (term, chunk)) WITHOUT ROWID;
CREATE TEMP TABLE weights (term INTEGER PRIMARY KEY, idf REAL);
"""
VISIBLE = """
INSERT INTO visible SELECT e.id FROM members m JOIN editions e ON e.id = m.edition
WHERE m.key = ?
  AND NOT EXISTS (SELECT 1 FROM tombstones t WHERE t.name = e.name AND e.tick <= t.tick)
  AND EXISTS (SELECT 1 FROM readers r JOIN mine USING (reader) WHERE r.edition = e.id)
  AND (NOT EXISTS (SELECT 1 FROM settled s WHERE s.name = e.name)
       OR EXISTS (SELECT 1 FROM rights g JOIN mine USING (reader) WHERE g.name = e.name))
"""
FOUND = """
INSERT INTO found SELECT ?, c.id, COUNT(*), c.length FROM terms t
CROSS JOIN chunks c ON c.id = t.doc JOIN visible v ON v.edition = c.edition WHERE t.term = ? GROUP BY c.id
"""
BEST = f"""
SELECT f.chunk FROM found f JOIN weights w USING (term) GROUP BY f.chunk
ORDER BY
  ROUND({SCALE} * SUM(w.idf * f.tf * {BM25_K1 + 1} / (f.tf + {BM25_K1} * ({1 - BM25_B} + {BM25_B} * f.length / ?)))) DESC, f.chunk
LIMIT {POOL}
"""
HIT = """
SELECT c.chunk, e.name, e.title, t.heading, c.page, c.start, c.stop, t.text
FROM chunks c JOIN visible v ON v.edition = c.edition JOIN editions e ON e.id = c.edition JOIN texts t ON t.id = c.id
"""
HELD = ("chunks", "vectors", "readers", "members")
"""Tables whose rows belong to an edition."""
ENTRIES = f"SELECT {ENTRY} FROM visible v JOIN editions e ON e.id = v.edition ORDER BY e.name"


class _Seat:
    """A connection for certain readers to one version, which knows what they may read as long as nothing changes."""

    def __init__(self, db: sqlite3.Connection, key: str, readers: frozenset[str] | None) -> None:
        self.db, self.key, self.readers = db, key, readers
        self.tick = -1
        self.editions: frozenset[int] = frozenset()
        self.chunks, self.length = 0, 0.0

    def fill(self, tick: int) -> None:
        """Finds out anew what is visible."""
        db = self.db
        for table in ("mine", "visible"):
            db.execute(f"DELETE FROM {table}")
        if self.readers is None:
            db.execute("INSERT INTO visible SELECT edition FROM members WHERE key = ?", (self.key,))
        else:
            db.executemany("INSERT INTO mine VALUES (?)", [(reader,) for reader in self.readers])
            db.execute(VISIBLE, (self.key,))
        self.editions = frozenset(row[0] for row in db.execute("SELECT edition FROM visible"))
        totals = "SELECT COALESCE(SUM(chunks), 0), COALESCE(SUM(length), 0) FROM visible JOIN editions ON id = edition"
        self.chunks, self.length = db.execute(totals).fetchone()
        self.tick = tick


class SqliteSearch:
    """One corpus in one file; for any number of threads and processes, one of which writes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._matrices: Latest[Matrix] = Latest(MATRICES)
        self._seats: list[_Seat] = []
        """Connections that nobody uses, the one that was used last at the end."""

    def tick(self) -> int:
        with self._write() as db:
            return _tick(db)

    def stage(self, refresh: Refresh) -> int:
        with self._write() as db:
            held = "SELECT COUNT(*) FROM members WHERE key = ?"
            (present,) = db.execute(held, (refresh.key,)).fetchone()
            if present:
                return int(present)
            for document in refresh.documents:
                row = db.execute("SELECT tick FROM tombstones WHERE name = ?", (document.name,)).fetchone()
                if row is None or row[0] < refresh.tick:
                    edition = _add(db, document, refresh.tick)
                    db.execute("INSERT INTO members VALUES (?, ?)", (refresh.key, edition))
            db.executemany(
                "INSERT INTO members SELECT ?, id FROM editions WHERE id = ?", [(refresh.key, kept) for kept in refresh.kept]
            )
            _tick(db)
            return int(db.execute(held, (refresh.key,)).fetchone()[0])

    def settle(self, key: str) -> None:
        with self._write() as db:
            rows = db.execute(
                "SELECT e.id, e.name, e.readers FROM members m JOIN editions e ON e.id = m.edition WHERE m.key = ?", (key,)
            ).fetchall()
            for edition, name, readers in rows:
                newest = db.execute("SELECT edition FROM settled WHERE name = ?", (name,)).fetchone()
                if newest is not None and newest[0] >= edition:
                    continue
                db.execute("DELETE FROM rights WHERE name = ?", (name,))
                db.executemany("INSERT OR IGNORE INTO rights VALUES (?, ?)", [(name, reader) for reader in json.loads(readers)])
                db.execute("INSERT OR REPLACE INTO settled VALUES (?, ?)", (name, edition))
            _tick(db)

    def search(self, key: str, query: Query, readers: frozenset[str]) -> tuple[Hit, ...]:
        if not self._path.exists():
            return ()
        with self._asking(key, readers) as seat:
            by_words = _by_words(seat, query.text) if query.lexical else []
            by_direction = self._matrix(seat).nearest(query.vector, seat.editions, POOL) if query.vector else []
            return tuple(
                hit(seat.db.execute(f"{HIT} WHERE c.id = ?", (chunk,)).fetchone(), *ranks)
                for chunk, ranks in ranked(by_words, by_direction, query)
            )

    def documents(self, key: str, readers: frozenset[str] | None) -> tuple[Entry, ...]:
        if not self._path.exists():
            return ()
        with self._asking(key, readers) as seat:
            rows = seat.db.execute(ENTRIES).fetchall()
        return tuple(map(entry, rows))

    def chunks(self, key: str, document: str, readers: frozenset[str] | None) -> tuple[Hit, ...]:
        if not self._path.exists():
            return ()
        with self._asking(key, readers) as seat:
            rows = seat.db.execute(f"{HIT} WHERE e.name = ? ORDER BY c.id", (document,)).fetchall()
        return tuple(hit(row, place, None, None) for place, row in enumerate(rows, start=1))

    def delete(self, document: str) -> int:
        with self._write() as db:
            rows = db.execute("SELECT id FROM editions WHERE name = ?", (document,)).fetchall()
            for (edition,) in rows:
                _remove(db, edition)
            tick = _tick(db)
            if rows:
                db.execute("INSERT OR REPLACE INTO tombstones VALUES (?, ?)", (document, tick))
                db.execute("DELETE FROM rights WHERE name = ?", (document,))
                db.execute("DELETE FROM settled WHERE name = ?", (document,))
                # FTS5 before 3.42 only marks a row as gone; merging the whole index takes its words out of the file.
                db.execute("INSERT INTO words(words) VALUES ('optimize')")
        if rows:
            self._forget()
        return len(rows)

    def wipe(self) -> None:
        """Whoever removes here overwrites."""

    def sweep(self, live: Mapping[str, object]) -> int:
        if not self._path.exists():
            return 0
        with self._write() as db:
            keys = [row[0] for row in db.execute("SELECT DISTINCT key FROM members")]
            db.executemany("DELETE FROM members WHERE key = ?", [(key,) for key in keys if key not in live])
            orphans = db.execute("SELECT id FROM editions WHERE id NOT IN (SELECT edition FROM members)").fetchall()
            for (edition,) in orphans:
                _remove(db, edition)
            if orphans:
                _tick(db)
        return len(orphans)

    def _matrix(self, seat: _Seat) -> Matrix:
        """The vectors of a version, read again after every change of the file."""
        key, db = seat.key, seat.db
        known = self._matrices.find(key, seat.tick)
        if known is not None:
            return known
        ids: dict[int, list[int]] = {}
        for edition, chunk in db.execute(
            "SELECT c.edition, c.id FROM members m JOIN chunks c ON c.edition = m.edition WHERE m.key = ? ORDER BY c.id", (key,)
        ):
            ids.setdefault(edition, []).append(chunk)
        rows = db.execute(
            "SELECT v.edition, v.data FROM members m JOIN vectors v ON v.edition = m.edition WHERE m.key = ?", (key,)
        )
        matrix = Matrix([(edition, ids.get(edition, []), data) for edition, data in rows])
        self._matrices.keep(key, seat.tick, matrix)
        return matrix

    def close(self) -> None:
        """Gives the kept connections back."""
        with self._lock:
            seats, self._seats = self._seats, []
        for seat in seats:
            seat.db.close()

    def _forget(self) -> None:
        self._matrices.clear()
        with closing(self._connect()) as db:  # the log still holds pages with what was removed
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    @contextmanager
    def _asking(self, key: str, readers: frozenset[str] | None) -> Iterator[_Seat]:
        """A consistent view of one version, with the editions that these readers may read in `visible`; None: all."""
        with _translated(self._path):
            seat = self._take(key, readers)
            try:
                seat.db.execute("BEGIN")
                (tick,) = seat.db.execute("SELECT tick FROM clock").fetchone()
                if seat.tick != tick:
                    seat.fill(tick)
                yield seat
                for table in ("found", "weights"):
                    seat.db.execute(f"DELETE FROM {table}")
                seat.db.execute("COMMIT")
            except BaseException:
                seat.db.close()
                raise
            with self._lock:
                self._seats.append(seat)
                surplus = self._seats.pop(0) if len(self._seats) > SEATS else None
            if surplus is not None:
                surplus.db.close()

    def _take(self, key: str, readers: frozenset[str] | None) -> _Seat:
        """A kept connection of these readers to this version, else a new one."""
        with self._lock:
            for place, seat in enumerate(self._seats):
                if seat.key == key and seat.readers == readers:
                    return self._seats.pop(place)
        db = self._connect()
        try:
            db.executescript(ASKING)
        except BaseException:
            db.close()
            raise
        return _Seat(db, key, readers)

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        """One transaction that is whole or did not happen; removed content is overwritten with zeros."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with closing(self._connect()) as db, _translated(self._path):
            db.executescript(SCHEMA)
            self._path.chmod(0o600)
            db.execute("PRAGMA secure_delete=ON")
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                db.execute("ROLLBACK")
                raise

    def _connect(self) -> sqlite3.Connection:
        # A seat goes from thread to thread, one at a time.
        return sqlite3.connect(self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)


def _by_words(seat: _Seat, text: str) -> list[int]:
    """Chunk ids by BM25 over the visible chunks, best first."""
    if not seat.chunks:
        return []
    db = seat.db
    for number, term in enumerate(asked_terms(db, text)):
        db.execute(FOUND, (number, term))
    for term, matches in db.execute("SELECT term, COUNT(*) FROM found GROUP BY term").fetchall():
        db.execute("INSERT INTO weights VALUES (?, ?)", (term, math.log(1 + (seat.chunks - matches + 0.5) / (matches + 0.5))))
    return [row[0] for row in db.execute(BEST, (max(1.0, seat.length / seat.chunks),))]


def _add(db: sqlite3.Connection, document: Document, tick: int) -> int:
    """Stores one content of a document and returns its edition."""
    lengths = list(map(length, document.chunks))
    row = edition_row(document, lengths, tick)
    cursor = db.execute(f"INSERT INTO editions ({EDITION}) VALUES (?,?,?,?,?,?,?,?)", row)
    edition = cursor.lastrowid
    assert edition is not None
    db.execute("INSERT INTO vectors VALUES (?, ?)", (edition, document.vectors))
    db.executemany("INSERT OR IGNORE INTO readers VALUES (?, ?)", [(edition, reader) for reader in document.readers])
    for place, (chunk, words) in enumerate(zip(document.chunks, lengths, strict=True)):
        identifier = db.execute(
            "INSERT INTO chunks (edition, length, chunk, page, start, stop) VALUES (?,?,?,?,?,?)",
            (edition, words, chunk_id(document, place), chunk.page, chunk.start, chunk.end),
        ).lastrowid
        db.execute("INSERT INTO texts VALUES (?, ?, ?)", (identifier, chunk.heading, chunk.text))
        db.execute("INSERT INTO words (rowid, heading, text) VALUES (?, ?, ?)", (identifier, chunk.heading, chunk.text))
    return edition


def _remove(db: sqlite3.Connection, edition: int) -> None:
    """Removes one content with its text, words, vectors and memberships."""
    chunks = "SELECT id FROM chunks WHERE edition = ?"
    db.execute(
        f"INSERT INTO words (words, rowid, heading, text) SELECT 'delete', id, heading, text FROM texts WHERE id IN ({chunks})",
        (edition,),
    )
    db.execute(f"DELETE FROM texts WHERE id IN ({chunks})", (edition,))
    for table, column in (*((table, "edition") for table in HELD), ("editions", "id")):
        db.execute(f"DELETE FROM {table} WHERE {column} = ?", (edition,))


def _tick(db: sqlite3.Connection) -> int:
    row = db.execute("UPDATE clock SET tick = tick + 1 RETURNING tick").fetchone()
    return int(row[0])


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """SQLite's errors as ours."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise Unavailable(f"The search file {path.name} cannot be used: {error}.", hint="Try again in a moment.") from error
    except sqlite3.DatabaseError as error:
        raise Broken(
            f"The search file {path.name} is damaged: {error}.",
            hint="Remove it and add the documents again, or restore a backup.",
        ) from error
