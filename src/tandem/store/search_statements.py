"""What is asked of the search tables of a PostgreSQL server. A chunk's id is its edition and its place there. [door]"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from tandem.store.raw import PostgresRows, Row
from tandem.store.search import BM25_B, BM25_K1, POOL
from tandem.store.search_rows import ENTRY, SCALE

BITS = 24
"""Bits of a chunk's id for its place in the document; the rest is the edition."""
STRIDE = 5_000
"""Chunks that are removed by one statement."""
LONG = 256
"""Bytes of a term beyond which its digest stands for it: an index of the server takes no longer ones than some thousand."""
CHUNKS = "?::bigint[], ?::text[], ?::int[], ?::int[], ?::int[], ?::bytea[], ?::bytea[]"
"""The columns of chunks, as arrays."""
MEMBERS = """
SELECT e.id, e.chunks, e.length FROM members m JOIN editions e ON e.id = m.edition WHERE m.corpus = ? AND m.key = ? ORDER BY e.id
"""
READABLE = """
SELECT e.id, e.chunks, e.length FROM members m JOIN editions e ON e.id = m.edition
WHERE m.corpus = ? AND m.key = ?
  AND NOT EXISTS (SELECT 1 FROM tombstones t WHERE t.corpus = e.corpus AND t.name = e.name AND e.tick <= t.tick)
  AND EXISTS (SELECT 1 FROM readers r WHERE r.edition = e.id AND r.reader = ANY(?::bytea[]))
  AND (NOT EXISTS (SELECT 1 FROM settled s WHERE s.corpus = e.corpus AND s.name = e.name)
       OR EXISTS (SELECT 1 FROM rights g WHERE g.corpus = e.corpus AND g.name = e.name AND g.reader = ANY(?::bytea[])))
"""
BEST = f"""
WITH found AS MATERIALIZED (
  SELECT term, chunk, times, length FROM words_{{n}} WHERE term = ANY(?::bytea[]) AND chunk >> {BITS} = ANY(?::bigint[])),
weights AS (
  SELECT term, ln(1 + (?::float8 - COUNT(*) + 0.5::float8) / (COUNT(*) + 0.5::float8)) AS idf FROM found GROUP BY term)
SELECT f.chunk FROM found f JOIN weights w USING (term) GROUP BY f.chunk
ORDER BY round({SCALE}::float8 * SUM(w.idf * f.times * {BM25_K1 + 1}::float8
  / (f.times + {BM25_K1}::float8 * ({1 - BM25_B}::float8 + {BM25_B}::float8 * f.length / ?::float8)))) DESC, f.chunk
LIMIT {POOL}
"""
ROOM = "SET LOCAL work_mem = '64MB'"
"""Said before `BEST`: what it finds for a common word in some hundred thousand chunks then needs no file."""
HITS = f"""
SELECT c.id, c.chunk, e.name, e.title, c.heading, c.page, c.start, c.stop, c.text
FROM chunks_{{n}} c JOIN editions e ON e.id = c.id >> {BITS}
"""
ENTRIES = f"SELECT {ENTRY} FROM editions e WHERE e.id = ANY(?::bigint[]) ORDER BY e.name"


def remove(rows: PostgresRows, corpus: int, editions: list[int], tick: int) -> None:
    """Removes contents with their text, words, vectors and memberships; nothing where there are none."""
    for edition, chunks in rows.all("SELECT id, chunks FROM editions WHERE id = ANY(?::bigint[])", (editions,)):
        first, end = span(edition)
        for low in range(first, first + chunks, STRIDE):
            for table, column in ((f"chunks_{corpus}", "id"), (f"words_{corpus}", "chunk")):
                rows.run(f"DELETE FROM {table} WHERE {column} >= ? AND {column} < ?", (low, min(low + STRIDE, end)))
    held = (f"vectors_{corpus}", "edition"), ("readers", "edition"), ("members", "edition"), ("editions", "id")
    for table, column in held:
        rows.run(f"DELETE FROM {table} WHERE {column} = ANY(?::bigint[])", (editions,))
    if editions:
        rows.run("UPDATE corpora SET removed = ? WHERE id = ?", (tick, corpus))


def next_tick(rows: PostgresRows, corpus: int) -> int:
    ((tick,),) = rows.all("UPDATE corpora SET tick = tick + 1 WHERE id = ? RETURNING tick", (corpus,))
    return int(tick)


def span(edition: int) -> tuple[int, int]:
    """The ids of its chunks: from the first, below the second."""
    return edition << BITS, (edition + 1) << BITS


def numbers(values: Iterable[int]) -> str:
    """An array of numbers as the server reads it: the driver, which looks at each value twice, takes as long as the rest.

    >>> numbers([1, 2])
    '{1,2}'
    """
    return "{" + ",".join(map(str, values)) + "}"


def blobs(values: Iterable[bytes]) -> str:
    """Likewise an array of bytes.

    >>> blobs([b"ab", b""])
    '{"\\\\\\\\x6162","\\\\\\\\x"}'
    """
    return "{" + ",".join(f'"\\\\x{value.hex()}"' for value in values) + "}"


def term_bytes(term: str) -> bytes:
    """A term as it is kept: what is too long for the server's index, by its digest."""
    data = term.encode()
    return data if len(data) <= LONG else b"\0" + hashlib.sha256(data).digest()


def decoded(row: Row) -> list[object]:
    """A row with its bytes as text."""
    return [value.decode() if isinstance(value, bytes) else value for value in row]
