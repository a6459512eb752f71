"""Terms: the words of a text as they are compared, by SQLite's FTS5 wherever the index lies.

Whoever asks and whoever stores must cut and stem alike. It knows no index.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence

from tandem.store.words import STOP

TOKENS = "porter unicode61 remove_diacritics 2"
"""Words of any script, without accents, stemmed by Porter's rules for English."""
TERMS = 64
"""Different words of a query that are looked for."""
ASKED = f"""
CREATE VIRTUAL TABLE temp.asked USING fts5(text, tokenize="{TOKENS}");
CREATE VIRTUAL TABLE temp.asked_terms USING fts5vocab(asked, row);
"""
_TOLD = f"""
CREATE VIRTUAL TABLE temp.told USING fts5(heading, text, content='', tokenize="{TOKENS}");
CREATE VIRTUAL TABLE temp.told_terms USING fts5vocab(told, instance);
"""


def asked_terms(db: sqlite3.Connection, text: str) -> list[str]:
    """The terms of a query that are looked for, the most telling first; `db` has run `ASKED`."""
    db.execute("INSERT INTO asked VALUES (?)", (text,))
    terms = [row[0] for row in db.execute("SELECT term FROM asked_terms ORDER BY cnt DESC, LENGTH(term) DESC, term")]
    db.execute("DELETE FROM asked")
    return ([term for term in terms if term not in STOP] or terms)[:TERMS]


class Terms:
    """FTS5 in memory, for an index that lies elsewhere. Safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._db.executescript(ASKED + _TOLD)

    def asked(self, text: str) -> list[str]:
        """As `asked_terms`."""
        with self._lock:
            return asked_terms(self._db, text)

    def counted(self, texts: Sequence[tuple[str, str]]) -> list[tuple[str, int, int]]:
        """(term, place, times) for each term of each (heading, text); places count from 0."""
        with self._lock:
            self._db.execute("BEGIN")
            self._db.executemany(
                "INSERT INTO told (rowid, heading, text) VALUES (?, ?, ?)",
                [(place, heading, text) for place, (heading, text) in enumerate(texts)],
            )
            found = self._db.execute("SELECT term, doc, COUNT(*) FROM told_terms GROUP BY term, doc").fetchall()
            self._db.execute("INSERT INTO told (told) VALUES ('delete-all')")
            self._db.execute("COMMIT")
            return found

    def close(self) -> None:
        self._db.close()
