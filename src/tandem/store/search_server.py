"""Where search lies on a PostgreSQL server: the connections of a process, and the tables. It asks nothing of them. [door]

What belongs to documents is kept as bytes: the server's texts cannot hold every character, and bytes sort alike everywhere.
Chunks, words and vectors of each corpus lie in tables of their own, so that leaving nothing of a deleted document in their
files makes nobody wait who asks another corpus.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from tandem.core.secret import Secret
from tandem.store.few import Few
from tandem.store.raw import PostgresRows, tables

WHAT = "The search store"
SCHEMA = "search"
READERS = 3
"""Connections of a process for questions; made when they are first needed."""
TABLES = """
CREATE TABLE corpora (
  id INT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name TEXT NOT NULL UNIQUE, tick BIGINT NOT NULL DEFAULT 0,
  removed BIGINT NOT NULL DEFAULT 0);
CREATE TABLE editions (
  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, corpus INT NOT NULL, name BYTEA NOT NULL, title BYTEA NOT NULL,
  digest BYTEA NOT NULL, readers BYTEA NOT NULL, embedder BYTEA NOT NULL, tick BIGINT NOT NULL, chunks INT NOT NULL,
  length BIGINT NOT NULL);
CREATE INDEX editions_by_name ON editions (corpus, name);
CREATE TABLE members (
  corpus INT NOT NULL, key TEXT NOT NULL, edition BIGINT NOT NULL, PRIMARY KEY (corpus, key, edition));
CREATE INDEX members_by_edition ON members (edition);
CREATE TABLE readers (edition BIGINT NOT NULL, reader BYTEA NOT NULL, PRIMARY KEY (edition, reader));
CREATE TABLE rights (
  corpus INT NOT NULL, name BYTEA NOT NULL, reader BYTEA NOT NULL, PRIMARY KEY (corpus, name, reader));
CREATE TABLE settled (
  corpus INT NOT NULL, name BYTEA NOT NULL, edition BIGINT NOT NULL, PRIMARY KEY (corpus, name));
CREATE TABLE tombstones (
  corpus INT NOT NULL, name BYTEA NOT NULL, tick BIGINT NOT NULL, PRIMARY KEY (corpus, name));
"""
"""`removed`: the tick of the last removal, while the files of tables may hold something of it; 0 afterwards."""
CORPUS = """
CREATE TABLE chunks_{n} (
  id BIGINT PRIMARY KEY, chunk TEXT NOT NULL, page INT, start INT NOT NULL, stop INT NOT NULL, heading BYTEA NOT NULL,
  text BYTEA NOT NULL);
CREATE TABLE words_{n} (term BYTEA NOT NULL, chunk BIGINT NOT NULL, times INT NOT NULL, length INT NOT NULL);
CREATE INDEX ON words_{n} (term);
CREATE INDEX ON words_{n} (chunk);
CREATE TABLE vectors_{n} (edition BIGINT NOT NULL, place INT NOT NULL, data BYTEA NOT NULL, PRIMARY KEY (edition, place));
"""
"""The tables of corpus `n`."""


class SearchServer:
    """The connections of a process to the search tables of a server, for all corpora. Safe for several threads."""

    def __init__(self, url: Secret) -> None:
        self._url = url
        self._few = Few(url, WHAT, READERS, schema=SCHEMA)
        self._made = False

    @contextmanager
    def reading(self) -> Iterator[PostgresRows]:
        """One state of all tables for the block.

        Raises:
            Unavailable: the server is away, or all connections are in use.
        """
        with self._few.lent() as rows:
            self._make(rows)
            with rows.reading():
                yield rows

    @contextmanager
    def line(self, corpus: str) -> Iterator[PostgresRows]:
        """A connection for what is written to a corpus, whose writers take turns.

        Raises:
            Unavailable: the server is away.
        """
        with self._few.lent() as rows:
            self._make(rows)
        with closing(PostgresRows(self._url, f"{WHAT} of {corpus}", schema=SCHEMA)) as rows:
            yield rows

    def number(self, rows: PostgresRows, corpus: str) -> int:
        """The number of a corpus, which is made where there is none; not inside `writing`."""
        known = "SELECT id FROM corpora WHERE name = ?"
        if rows.one(known, (corpus,)) is None:
            with rows.writing():
                made = "INSERT INTO corpora (name) VALUES (?) ON CONFLICT (name) DO NOTHING RETURNING id"
                for (number,) in rows.all(made, (corpus,)):
                    for statement in tables(CORPUS.format(n=number), server=True):
                        rows.run(statement)
        ((number,),) = rows.all(known, (corpus,))
        return int(number)

    def close(self) -> None:
        self._few.close()

    def _make(self, rows: PostgresRows) -> None:
        """Makes the tables, once in the life of a process."""
        if not self._made:
            with rows.writing():
                if rows.one("SELECT to_regclass('tombstones') IS NULL") == (True,):  # an index that is there would be waited for
                    for statement in tables(TABLES, server=True):
                        rows.run(statement)
            self._made = True
