"""The trace store within retention: one SQLite file per day, raw driver, written by the mover alone.

The day of a trace is in its id, so a trace with nested calls lies in one file. It does not know who
may read what beyond the team it is told.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import msgspec

from tandem.core.clock import iso
from tandem.core.errors import NotFound
from tandem.core.score import Score
from tandem.core.trace import Attempt, Corrected, Trace
from tandem.store.room import transaction, translated

SCHEMA = """
PRAGMA journal_mode=WAL;
PRAGMA synchronous=FULL;
PRAGMA busy_timeout=10000;
PRAGMA secure_delete=ON;
CREATE TABLE IF NOT EXISTS calls (
    call TEXT PRIMARY KEY, trace TEXT NOT NULL, parent TEXT, start INTEGER NOT NULL, end INTEGER NOT NULL,
    team TEXT NOT NULL, principal TEXT NOT NULL, endpoint TEXT NOT NULL, kind TEXT NOT NULL,
    outcome TEXT NOT NULL, status INTEGER NOT NULL, cost INTEGER, body BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS calls_by_trace ON calls (trace);
CREATE INDEX IF NOT EXISTS calls_by_start ON calls (start);
CREATE TABLE IF NOT EXISTS attempts (
    call TEXT NOT NULL, attempt INTEGER NOT NULL, trace TEXT NOT NULL, target TEXT NOT NULL, cost INTEGER,
    reserved INTEGER NOT NULL, outcome TEXT NOT NULL, source TEXT NOT NULL, body BLOB NOT NULL,
    scopes TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (call, attempt)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS attempts_by_trace ON attempts (trace);
CREATE TABLE IF NOT EXISTS corrections (
    call TEXT NOT NULL, attempt INTEGER NOT NULL, trace TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (call, attempt)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS corrections_by_trace ON corrections (trace);
CREATE TABLE IF NOT EXISTS content (
    call TEXT PRIMARY KEY, subject TEXT NOT NULL, sealed BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS marks (call TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS scores (
    id TEXT PRIMARY KEY, call TEXT NOT NULL, trace TEXT NOT NULL, body BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS scores_by_trace ON scores (trace);
"""

SCOPES = "ALTER TABLE attempts ADD COLUMN scopes TEXT NOT NULL DEFAULT ''"
"""What a day that an earlier version wrote lacks."""
_CROCKFORD = {character: value for value, character in enumerate("0123456789abcdefghjkmnpqrstvwxyz")}
_DAY_MS = 86_400_000
LONGEST = 3_600_000_000
"""Microseconds: no call that a watcher needs lasts longer."""
MARK = "review"
"""The attribute of a call that a person should look at."""
OPEN_DAYS = 8
"""Day files that are open at once."""
RENAMED, NAMELESS = 1, 2
"""What a day file says of itself in `user_version`: its rows name nobody; nor does any gap between them. Before: names."""


class Subjects(Protocol):
    """The part of `observability.content.Subjects` that is needed here."""

    def reseal(self, name: str, sealed: bytes) -> tuple[str, bytes]: ...


@lru_cache(maxsize=64)
def _date(day: int) -> str:
    """Days since 1970 as `2026-11-22`."""
    return datetime.fromtimestamp(day * 86_400, UTC).strftime("%Y-%m-%d")


def day_of(identifier: str) -> str:
    """The UTC day (`2026-11-22`) that a typed id was made on.

    Raises:
        NotFound: the text is no such id.
    """
    _, _, body = identifier.partition("_")
    try:
        value = 0
        for character in body[:10]:
            value = value * 32 + _CROCKFORD[character]
        if len(body) != 26:
            raise KeyError(body)
        return _date(value // _DAY_MS)
    except (KeyError, ValueError, OverflowError, OSError):
        raise NotFound(
            f"'{identifier}' is no trace id.", hint="Trace ids look like trc_01k…; every reply bears one in x-tandem-trace-id."
        ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One call in a list."""

    call: str
    trace: str
    parent: str | None
    start: int
    end: int
    team: str
    principal: str
    endpoint: str
    kind: str
    outcome: str
    status: int
    cost: int | None
    """Nano-dollars of the whole trace, nested calls included; None when one of them has no known price."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A whole trace: its calls, the opening one first, and attempts whose call never closed."""

    calls: list[Trace]
    orphans: list[Attempt]
    corrections: Sequence[Corrected] = ()
    """Attempts whose cost was corrected after they were booked; the calls say what was booked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One call with its content, as a watcher reads it."""

    trace: Trace
    kept: tuple[str, bytes] | None
    """Subject and sealed content; None where none was recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """How much one day holds of a subject."""

    contents: int
    """Calls whose prompt and answer are kept."""
    traces: int
    size: int
    """Bytes, sealed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What the mover hands over for one closed call."""

    trace: Trace
    subject: str
    """`sub_…`."""
    sealed: bytes
    """Content under the subject's key; empty when not recorded."""


class Traces:
    """Reads and writes the day files in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._open: dict[str, sqlite3.Connection] = {}

    def _day(self, day: str, *, make: bool) -> sqlite3.Connection | None:
        path = self.folder / f"traces-{day}.db"
        connection = self._open.get(day)
        if connection is not None:
            return connection
        if not make and not path.exists():
            return None
        fresh = not path.exists()
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        with translated("The trace store"):
            connection.executescript(SCHEMA)
            if not fresh and "scopes" not in [row[1] for row in connection.execute("PRAGMA table_info(attempts)")]:
                connection.execute(SCOPES)
            if fresh:
                connection.execute(f"PRAGMA user_version = {NAMELESS}")
        for old in sorted(self._open)[: 1 - OPEN_DAYS]:
            self._open.pop(old).close()
        self._open[day] = connection
        return connection

    def adopt(self, subjects: Subjects) -> list[str]:
        """Takes names of subjects out of the days that an earlier version wrote; returns these days.

        Raises:
            Unavailable: the disk is full; the next start goes on.
        """
        done = []
        for day in self.days():
            with self._lock, translated("The trace store"):
                db = self._day(day, make=False)
                if db is None or (version := db.execute("PRAGMA user_version").fetchone()[0]) == NAMELESS:
                    continue
                if version < RENAMED:
                    with transaction(db, "The trace store"):
                        _rename(db, subjects)
                        db.execute(f"PRAGMA user_version = {RENAMED}")
                db.execute("VACUUM")  # what was replaced stands in gaps of pages still
                db.execute(f"PRAGMA user_version = {NAMELESS}")
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                done.append(day)
        return done

    def kept_of(self, subject: str) -> dict[str, Kept]:
        """How much there is of a subject (`sub_…`), by day; days without anything are left out."""
        found = {}
        for day in self.days():
            with self._lock:
                db = self._day(day, make=False)
                if db is None:
                    continue
                contents, size, traces = db.execute(
                    "SELECT count(*), coalesce(sum(length(sealed)), 0), count(DISTINCT calls.trace)"
                    " FROM content JOIN calls USING (call) WHERE subject = ?",
                    (subject,),
                ).fetchone()
            if contents:
                found[day] = Kept(contents=contents, traces=traces, size=size)
        return found

    def days(self) -> list[str]:
        """Days that hold traces, newest first."""
        return sorted((path.stem[7:] for path in self.folder.glob("traces-*.db")), reverse=True)

    def store(self, entries: Sequence[Entry], attempts: Sequence[tuple[str, Attempt, tuple[str, ...]]]) -> None:
        """Writes closed calls and ended attempts (with their trace id and scopes); a second time changes nothing.

        Raises:
            Unavailable: the disk is full, or somebody else holds the file.
        """
        with self._lock:
            days: dict[str, tuple[list[Entry], list[tuple[str, Attempt, tuple[str, ...]]]]] = {}
            for entry in entries:
                days.setdefault(day_of(entry.trace.id), ([], []))[0].append(entry)
            for attempt in attempts:
                days.setdefault(day_of(attempt[0]), ([], []))[1].append(attempt)
            for day in sorted(days):
                db = self._day(day, make=True)
                assert db is not None
                with transaction(db, "The trace store"):
                    self._insert(db, *days[day])

    @staticmethod
    def _insert(
        db: sqlite3.Connection, entries: Iterable[Entry], attempts: Iterable[tuple[str, Attempt, tuple[str, ...]]]
    ) -> None:
        encode = msgspec.json.Encoder().encode
        rows, sealed, marks = [], [], []
        for entry in entries:
            t = entry.trace
            own = (t.call, t.id, t.parent, t.start, t.end, t.team, t.principal, t.endpoint, t.kind, t.outcome, t.status, t.cost)
            rows.append((*own, encode(t)))
            if entry.sealed:
                sealed.append((t.call, entry.subject, entry.sealed))
            if t.attributes.get(MARK):
                marks.append((t.call,))
        tries = [
            (a.call, a.attempt, trace, a.target, a.cost, a.reserved, a.outcome, a.usage.source, encode(a), "\n".join(scopes))
            for trace, a, scopes in attempts
        ]
        db.executemany("INSERT OR IGNORE INTO marks SELECT ?1 WHERE NOT EXISTS (SELECT 1 FROM calls WHERE call = ?1)", marks)
        db.executemany("INSERT OR IGNORE INTO calls VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)", rows)
        db.executemany("INSERT OR IGNORE INTO content VALUES (?,?,?)", sealed)
        db.executemany("INSERT OR IGNORE INTO attempts VALUES (?,?,?,?,?,?,?,?,?,?)", tries)

    def find(self, trace: str, *, team: str | None) -> Found:
        """A trace with all its calls.

        Args:
            team: only calls of this team are seen; None sees all.

        Raises:
            NotFound: there is none, or it belongs to somebody else.
        """
        with self._lock:
            db = self._day(day_of(trace), make=False)
            rows = (
                []
                if db is None
                else db.execute("SELECT body, team FROM calls WHERE trace = ? ORDER BY start, call", (trace,)).fetchall()
            )
            ended = [] if db is None else db.execute("SELECT body FROM attempts WHERE trace = ?", (trace,)).fetchall()
            better = [] if db is None else db.execute("SELECT body FROM corrections WHERE trace = ?", (trace,)).fetchall()
        calls = [msgspec.json.decode(body, type=Trace) for body, owner in rows if team is None or owner == team]
        known = {call.call for call in calls}
        orphans = [a for a in (msgspec.json.decode(body, type=Attempt) for (body,) in ended) if a.call not in known]
        if not calls and (not orphans or team is not None):
            raise NotFound(
                f"There is no trace {trace}.",
                hint="It is readable within a second of its call; older ones leave with the retention period.",
            )
        calls.sort(key=lambda call: (call.parent is not None, call.start))
        corrections = [msgspec.json.decode(body, type=Corrected) for (body,) in better]
        return Found(calls=calls, orphans=orphans, corrections=corrections)

    def sealed(self, call: str, trace: str) -> tuple[str, bytes] | None:
        """Subject and sealed content of a call, if any was recorded."""
        with self._lock:
            db = self._day(day_of(trace), make=False)
            row = None if db is None else db.execute("SELECT subject, sealed FROM content WHERE call = ?", (call,)).fetchone()
        return None if row is None else (row[0], row[1])

    def list(
        self,
        *,
        team: str | None,
        limit: int = 50,
        before: int | None = None,
        endpoint: str | None = None,
        outcome: str | None = None,
    ) -> list[Row]:
        """The newest opening calls, newest first, at most `limit`, older than `before` (UTC microseconds)."""
        clauses, values = ["parent IS NULL"], []
        for clause, value in (("team = ?", team), ("start < ?", before), ("endpoint = ?", endpoint), ("outcome = ?", outcome)):
            if value is not None:
                clauses.append(clause)
                values.append(value)
        sql = (
            "SELECT call, trace, parent, start, end, team, principal, endpoint, kind, outcome, status,"
            " (SELECT CASE WHEN count(*) = count(a.cost) THEN coalesce(sum(a.cost), 0) END"
            " FROM attempts a WHERE a.trace = calls.trace) FROM calls WHERE "
            + " AND ".join(clauses)
            + " ORDER BY start DESC LIMIT ?"
        )
        found: list[Row] = []
        names = list(Row.__slots__)
        for day in self.days():
            with self._lock:
                db = self._day(day, make=False)
                rows = [] if db is None else db.execute(sql, (*values, limit - len(found))).fetchall()
            found += [Row(**dict(zip(names, row, strict=True))) for row in rows]
            if len(found) >= limit:
                break
        return found

    def window(self, *, team: str, endpoint: str, since: int, until: int, limit: int) -> Sequence[Seen]:
        """The calls of one team at one endpoint that ended after `since` and not after `until`, nested ones too.

        Args:
            since: UTC microseconds, as `until`.
            limit: the most calls; the newest come first and are kept.
        """
        sql = (
            "SELECT c.body, k.subject, k.sealed FROM calls c LEFT JOIN content k ON k.call = c.call"
            " WHERE c.team = ? AND c.endpoint = ? AND c.end > ? AND c.end <= ? AND c.start > ? ORDER BY c.start DESC LIMIT ?"
        )
        began = since - LONGEST  # bounds the walk along the index of starts
        first = _date(max(0, since // 1000 // _DAY_MS - 1))  # a call lies in the day it began
        found: list[Seen] = []
        for day in self.days():
            if day < first or len(found) >= limit:
                break
            with self._lock:
                db = self._day(day, make=False)
                rows = [] if db is None else db.execute(sql, (team, endpoint, since, until, began, limit - len(found))).fetchall()
            for body, subject, sealed in rows:
                kept = None if sealed is None else (str(subject), bytes(sealed))
                found.append(Seen(trace=msgspec.json.decode(body, type=Trace), kept=kept))
        return found

    def marked(self, day: str, limit: int) -> Sequence[Trace]:
        """Calls of a day that bear a mark nobody has taken off yet; the mover sets one on each call that asks for a review."""
        sql = "SELECT body FROM calls JOIN marks USING (call) LIMIT ?"
        with self._lock:
            db = self._day(day, make=False)
            rows = [] if db is None else db.execute(sql, (limit,)).fetchall()
        return [msgspec.json.decode(body, type=Trace) for (body,) in rows]

    def unmark(self, day: str, calls: Iterable[str]) -> None:
        """Takes the marks off: whoever does so has written down elsewhere what they ask for.

        Raises:
            Unavailable: the disk is full.
        """
        with self._lock:
            db = self._day(day, make=False)
            if db is not None:
                with transaction(db, "The trace store"):
                    db.executemany("DELETE FROM marks WHERE call = ?", [(call,) for call in calls])

    def score(self, call: str, score: Score) -> bool:
        """Keeps a Score of a call; one of the same id is replaced. False where the trace is kept no more.

        Args:
            score: its subject is the trace.

        Raises:
            Unavailable: the disk is full.
        """
        with self._lock:
            db = self._day(day_of(score.subject), make=False)
            if db is None or db.execute("SELECT 1 FROM calls WHERE call = ?", (call,)).fetchone() is None:
                return False
            with transaction(db, "The trace store"):
                row = (score.id, call, score.subject, msgspec.json.encode(score))
                db.execute("INSERT OR REPLACE INTO scores VALUES (?,?,?,?)", row)
        return True

    def unscore(self, trace: str, score: str) -> None:
        """Takes a Score back.

        Raises:
            Unavailable: the disk is full.
        """
        with self._lock:
            db = self._day(day_of(trace), make=False)
            if db is not None:
                with transaction(db, "The trace store"):
                    db.execute("DELETE FROM scores WHERE id = ?", (score,))

    def scores(self, trace: str) -> Sequence[Score]:
        """What was judged of a trace, oldest first; whoever asks has found the trace in their scope."""
        with self._lock:
            db = self._day(day_of(trace), make=False)
            rows = [] if db is None else db.execute("SELECT body FROM scores WHERE trace = ?", (trace,)).fetchall()
        return sorted((msgspec.json.decode(body, type=Score) for (body,) in rows), key=lambda score: (score.created_at, score.id))

    def thin(self, before: int, *, kind: str | None, team: str | None) -> int:
        """Deletes calls that ended before a UTC time, with content and attempts; returns how many.

        Args:
            kind: of this kind only; None means every kind.
            team: of this team only; None means every team.

        Raises:
            Unavailable: the disk is full.
        """
        fits = "end < ? AND (? IS NULL OR kind = ?) AND (? IS NULL OR team = ?)"
        values = (before, kind, kind, team, team)
        last, gone = iso(before)[:10], 0
        for day in self.days():
            if day > last:
                continue
            with self._lock:
                db = self._day(day, make=False)
                if db is None or db.execute(f"SELECT 1 FROM calls WHERE {fits} LIMIT 1", values).fetchone() is None:
                    continue
                with transaction(db, "The trace store"):
                    for table in ("content", "attempts", "corrections", "marks", "scores"):
                        db.execute(f"DELETE FROM {table} WHERE call IN (SELECT call FROM calls WHERE {fits})", values)
                    gone += db.execute(f"DELETE FROM calls WHERE {fits}", values).rowcount
        return gone

    def drop(self, before: str) -> Sequence[str]:
        """Deletes the files of days (`2026-11-22`) before that one; returns the days that went."""
        gone = [day for day in self.days() if day < before]
        with self._lock:
            for day in gone:
                connection = self._open.pop(day, None)
                if connection is not None:
                    connection.close()
                for tail in ("", "-wal", "-shm"):
                    (self.folder / f"traces-{day}.db{tail}").unlink(missing_ok=True)
        return gone

    @contextmanager
    def opened(self, day: str) -> Iterator[sqlite3.Connection | None]:
        """The file of one day (`2026-11-22`), nobody else's for as long as the block lasts; None where there is none."""
        with self._lock:
            yield self._day(day, make=False)

    def every_attempt(self) -> Iterator[tuple[str, int, int | None]]:
        """Call, number and cost (nano-dollars) of every attempt, day by day."""
        for day in self.days():
            with self._lock:
                db = self._day(day, make=False)
                rows = [] if db is None else db.execute("SELECT call, attempt, cost FROM attempts").fetchall()
            yield from rows

    def counts(self) -> dict[str, int]:
        """Number of calls and attempts over all days."""
        calls = attempts = 0
        with self._lock:
            for day in self.days():
                db = self._day(day, make=False)
                if db is not None:
                    calls += db.execute("SELECT count(*) FROM calls").fetchone()[0]
                    attempts += db.execute("SELECT count(*) FROM attempts").fetchone()[0]
        return {"calls": calls, "attempts": attempts}

    def close(self) -> None:
        with self._lock:
            for connection in self._open.values():
                connection.close()
            self._open.clear()


def _rename(db: sqlite3.Connection, subjects: Subjects) -> None:
    """Puts `sub_…` in the place of names; what nobody has the key of becomes nobody's."""
    known: dict[str, str] = {}
    for call, name, sealed in db.execute("SELECT call, subject, sealed FROM content").fetchall():
        identifier, again = subjects.reseal(name, sealed)
        known.setdefault(name, identifier)
        db.execute("UPDATE content SET subject = ?, sealed = ? WHERE call = ?", (known[name], again, call))
    for call, body in db.execute('SELECT call, body FROM calls WHERE CAST(body AS TEXT) LIKE \'%"subject":"%\'').fetchall():
        trace = msgspec.json.decode(body, type=Trace)
        if trace.subject is not None:
            if trace.subject not in known:
                known[trace.subject] = subjects.reseal(trace.subject, b"")[0]
            body = msgspec.json.encode(replace(trace, subject=known[trace.subject]))
            db.execute("UPDATE calls SET body = ? WHERE call = ?", (body, call))
