"""The trace store within retention: written by the mover alone, but for scores, marks and corrections.

The day of a trace is in its id, so a trace with nested calls lies in one day; `days` knows where days lie. It does not
know who may read what beyond the team it is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import msgspec

from tandem.core.clock import iso
from tandem.core.errors import NotFound
from tandem.core.score import Score
from tandem.core.secret import Secret
from tandem.core.trace import Attempt, Corrected, Trace
from tandem.observability import counts
from tandem.observability.counts import Cell, Counts
from tandem.observability.days import days_at
from tandem.store import raw
from tandem.store.raw import Rows, Values

_CROCKFORD = {character: value for value, character in enumerate("0123456789abcdefghjkmnpqrstvwxyz")}
_DAY_MS = 86_400_000
LONGEST = 3_600_000_000
"""Microseconds: no call that a watcher needs lasts longer."""
SHADOW = b'"tandem.route.role":"shadow"'
"""How the record of a call says that nobody heard its answer."""
MARK = "review"
"""The attribute of a call that a person should look at."""
KNOWN = "SELECT 1 FROM calls WHERE call = ?"
THINNED = 10_000
"""Calls that one transaction deletes."""
WHOLE = (
    "SELECT 0, body, team, start, call FROM calls WHERE trace = ?"
    " UNION ALL SELECT 1, body, '', 0, call FROM attempts WHERE trace = ?"
    " UNION ALL SELECT 2, body, '', 0, call FROM corrections WHERE trace = ? ORDER BY 1, 4, 5"
)


class Subjects(Protocol):
    """The part of `observability.content.Subjects` that is needed here."""

    def reseal(self, name: str, sealed: bytes) -> tuple[str, bytes]: ...


def is_shadow(call: Trace) -> bool:
    """Whether nobody heard what was answered; what is judged of a shadow is judged by the call that it heard."""
    return call.attributes.get("tandem.route.role") == "shadow"


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
    counted: Sequence[tuple[Cell, Counts]] = ()
    """What it adds to the counts of a watched endpoint."""
    key: str = ""
    """The digest of the caller's own key, by which a label may come; empty without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hour:
    """What was counted of one segment in one hour."""

    segment: str
    hour: int
    counted: Counts


class Traces:
    """Reads and writes the traces of every day. Safe for several threads; several processes share a server."""

    def __init__(self, place: Path | Secret) -> None:
        """Opens nothing yet.

        Args:
            place: a folder with a file per day, or the URL of a PostgreSQL database with a schema per day.
        """
        self._days = days_at(place)

    def adopt(self, subjects: Subjects) -> list[str]:
        """Takes names of subjects out of the days that an earlier version wrote; returns these days.

        Raises:
            Unavailable: the disk is full; the next start goes on.
        """
        return self._days.adopt(lambda rows: _rename(rows, subjects))

    def days(self) -> list[str]:
        """Days that hold traces, newest first."""
        return self._days.names()

    def read(self, day: str, sql: str, values: Values = ()) -> list[raw.Row]:
        """The rows of one statement in the tables of a day (`2026-11-22`); none where there is no such day."""
        return self._days.read(day, sql, values)

    def aside(self, day: str, sql: str, values: Values = ()) -> list[raw.Row]:
        """As `read`, for what takes long: nobody waits for it."""
        return self._days.aside(day, sql, values)

    def writing(self, day: str) -> AbstractContextManager[Rows | None]:
        """One transaction in the tables of a day, and no other writer beside it; None where there is no such day.

        Raises:
            Unavailable: the store is full or away; nothing was written.
        """
        return self._days.writing(day)

    def kept_of(self, subject: str) -> dict[str, Kept]:
        """How much there is of a subject (`sub_…`), by day; days without anything are left out."""
        sql = (
            "SELECT count(*), CAST(coalesce(sum(length(sealed)), 0) AS BIGINT), count(DISTINCT calls.trace)"
            " FROM content JOIN calls USING (call) WHERE subject = ?"
        )
        found = {}
        for day in self.days():
            for contents, size, traces in self.read(day, sql, (subject,)):
                if contents:
                    found[day] = Kept(contents=contents, traces=traces, size=size)
        return found

    def store(self, entries: Sequence[Entry], attempts: Sequence[tuple[str, Attempt, tuple[str, ...]]]) -> None:
        """Writes closed calls and ended attempts (with their trace id and scopes); a second time changes nothing.

        Raises:
            Unavailable: the disk is full, or the store is away or held by somebody else. Earlier days may be written.
        """
        days: dict[str, tuple[list[Entry], list[tuple[str, Attempt, tuple[str, ...]]]]] = {}
        for entry in entries:
            days.setdefault(day_of(entry.trace.id), ([], []))[0].append(entry)
        for attempt in attempts:
            days.setdefault(day_of(attempt[0]), ([], []))[1].append(attempt)
        for day in sorted(days):
            with self._days.writing(day, make=True) as rows:
                assert rows is not None
                self._insert(rows, *days[day])

    @staticmethod
    def _insert(rows: Rows, entries: Sequence[Entry], attempts: Iterable[tuple[str, Attempt, tuple[str, ...]]]) -> None:
        encode = msgspec.json.Encoder().encode
        calls, sealed, marks = list[Values](), list[Values](), list[Values]()
        for entry in entries:
            t = entry.trace
            own = (t.call, t.id, t.parent, t.start, t.end, t.team, t.principal, t.endpoint, t.kind, t.outcome, t.status, t.cost)
            calls.append((*own, encode(t)))
            if entry.sealed:
                sealed.append((t.call, entry.subject, entry.sealed))
            if t.attributes.get(MARK):
                marks.append((t.call, t.call))
        tries = [
            (a.call, a.attempt, trace, a.target, a.cost, a.reserved, a.outcome, a.usage.source, encode(a), "\n".join(scopes))
            for trace, a, scopes in attempts
        ]
        fresh = [entry for entry in entries if entry.counted and not rows.all(KNOWN, (entry.trace.call,))]
        counts.write(rows, (each for entry in fresh for each in entry.counted))
        unseen = "WHERE NOT EXISTS (SELECT 1 FROM calls WHERE call = ?)"
        rows.many(f"INSERT INTO marks SELECT CAST(? AS TEXT) {unseen} ON CONFLICT DO NOTHING", marks)
        keys = [(entry.key, entry.trace.call, entry.trace.id) for entry in entries if entry.key]
        rows.many("INSERT INTO keys VALUES (?,?,?) ON CONFLICT DO NOTHING", keys)
        rows.many("INSERT INTO calls VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING", calls)
        rows.many("INSERT INTO content VALUES (?,?,?) ON CONFLICT DO NOTHING", sealed)
        rows.many("INSERT INTO attempts VALUES (?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING", tries)

    def find(self, trace: str, *, team: str | None) -> Found:
        """A trace with all its calls.

        Args:
            team: only calls of this team are seen; None sees all.

        Raises:
            NotFound: there is none, or it belongs to somebody else.
        """
        calls, ended, corrections = list[Trace](), list[Attempt](), list[Corrected]()
        for what, body, owner, _, _ in self.read(day_of(trace), WHOLE, (trace, trace, trace)):
            if what == 2:
                corrections.append(msgspec.json.decode(body, type=Corrected))
            elif what == 1:
                ended.append(msgspec.json.decode(body, type=Attempt))
            elif team is None or owner == team:
                calls.append(msgspec.json.decode(body, type=Trace))
        known = {call.call for call in calls}
        orphans = [attempt for attempt in ended if attempt.call not in known]
        if not calls and (not orphans or team is not None):
            raise NotFound(
                f"There is no trace {trace}.",
                hint="It is readable within a second of its call; older ones leave with the retention period.",
            )
        calls.sort(key=lambda call: (call.parent is not None, call.start))
        return Found(calls=calls, orphans=orphans, corrections=corrections)

    def sealed(self, call: str, trace: str) -> tuple[str, bytes] | None:
        """Subject and sealed content of a call, if any was recorded."""
        rows = self.read(day_of(trace), "SELECT subject, sealed FROM content WHERE call = ?", (call,))
        return (rows[0][0], rows[0][1]) if rows else None

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
            'SELECT call, trace, parent, start, "end", team, principal, endpoint, kind, outcome, status,'
            " (SELECT CASE WHEN count(*) = count(a.cost) THEN CAST(coalesce(sum(a.cost), 0) AS BIGINT) END"
            " FROM attempts a WHERE a.trace = calls.trace) FROM calls WHERE "
            + " AND ".join(clauses)
            + " ORDER BY start DESC LIMIT ?"
        )
        found: list[Row] = []
        names = list(Row.__slots__)
        for day in self.days():
            rows = self.read(day, sql, (*values, limit - len(found)))
            found += [Row(**dict(zip(names, row, strict=True))) for row in rows]
            if len(found) >= limit:
                break
        return found

    def window(
        self, *, team: str | None, endpoint: str, since: int, until: int, limit: int, shadows: bool = False
    ) -> Sequence[Seen]:
        """The calls of one team at one endpoint that ended after `since` and not after `until`, nested ones too.

        Args:
            team: None: of all teams.
            since: UTC microseconds, as `until`.
            limit: the most calls; the newest come first and are kept.
            shadows: those that nobody heard, in the place of those that were answered.
        """
        sql = (
            "SELECT c.body, k.subject, k.sealed FROM calls c LEFT JOIN content k ON k.call = c.call"
            f" WHERE {'' if team is None else 'c.team = ? AND '}c.endpoint = ?"
            ' AND c."end" > ? AND c."end" <= ? AND c.start > ? AND (instr(c.body, ?) > 0) = ? ORDER BY c.start DESC LIMIT ?'
        )
        whose = () if team is None else (team,)
        began = since - LONGEST  # bounds the walk along the index of starts
        first = _date(max(0, since // 1000 // _DAY_MS - 1))  # a call lies in the day it began
        found: list[Seen] = []
        for day in self.days():
            if day < first or len(found) >= limit:
                break
            asked = (*whose, endpoint, since, until, began, SHADOW, shadows, limit - len(found))
            for body, subject, sealed in self.read(day, sql, asked):
                kept = None if sealed is None else (str(subject), bytes(sealed))
                found.append(Seen(trace=msgspec.json.decode(body, type=Trace), kept=kept))
        return found

    def judged(self, *, team: str, endpoint: str, since: int, scorer: str, without: str, limit: int) -> Sequence[Seen]:
        """The calls of one team at one endpoint that one scorer judged and another did not, the oldest first.

        Args:
            since: UTC microseconds: calls that began later.
            limit: the most calls.
        """
        by = "EXISTS (SELECT 1 FROM scores s WHERE s.trace = c.trace AND s.call = c.call AND instr(s.body, ?) > 0)"
        sql = (
            "SELECT c.body, k.subject, k.sealed FROM calls c LEFT JOIN content k ON k.call = c.call"
            f" WHERE c.team = ? AND c.endpoint = ? AND c.start > ? AND {by} AND NOT {by} ORDER BY c.start, c.call LIMIT ?"
        )
        first = _date(max(0, since // 1000 // _DAY_MS))
        found: list[Seen] = []
        for day in reversed([day for day in self.days() if day >= first]):
            asked = (team, endpoint, since, _named(scorer), _named(without), limit - len(found))
            for body, subject, sealed in self.read(day, sql, asked) if len(found) < limit else ():
                kept = None if sealed is None else (str(subject), bytes(sealed))
                found.append(Seen(trace=msgspec.json.decode(body, type=Trace), kept=kept))
        return found

    def counted(self, *, team: str, endpoint: str, model: str, since: int, until: int) -> Sequence[Hour]:
        """What was counted in the hours from `since` on and before `until`, segment by segment.

        Args:
            model: the version, as `model/NAME@N`.
            since: hours since 1970, as `until`.
        """
        sql = (
            "SELECT segment, hour, body FROM counts"
            " WHERE team = ? AND endpoint = ? AND model = ? AND hour >= ? AND hour < ? ORDER BY hour, segment"
        )
        first = _date(max(0, since // 24 - 1))  # a call lies in the day it began
        found: list[Hour] = []
        for day in self.days():
            if first <= day:
                rows = self.read(day, sql, (team, endpoint, model, since, until))
                found += [Hour(segment=row[0], hour=row[1], counted=msgspec.json.decode(row[2], type=Counts)) for row in rows]
        return found

    def marked(self, day: str, limit: int) -> Sequence[Trace]:
        """Calls of a day that bear a mark nobody has taken off yet; the mover sets one on each call that asks for a review."""
        rows = self.read(day, "SELECT body FROM calls JOIN marks USING (call) LIMIT ?", (limit,))
        return [msgspec.json.decode(body, type=Trace) for (body,) in rows]

    def unmark(self, day: str, calls: Iterable[str]) -> None:
        """Takes the marks off: whoever does so has written down elsewhere what they ask for.

        Raises:
            Unavailable: the disk is full.
        """
        with self.writing(day) as rows:
            if rows is not None:
                rows.many("DELETE FROM marks WHERE call = ?", [(call,) for call in calls])

    def score(self, call: str, score: Score) -> bool:
        """Keeps a Score of a call; one of the same id is replaced. False where the trace is kept no more.

        Args:
            score: its subject is the trace.

        Raises:
            Unavailable: the disk is full.
        """
        with self.writing(day_of(score.subject)) as rows:
            if rows is None or rows.one(KNOWN, (call,)) is None:
                return False
            rows.run(
                "INSERT INTO scores VALUES (?,?,?,?) ON CONFLICT (id)"
                " DO UPDATE SET call = excluded.call, trace = excluded.trace, body = excluded.body",
                (score.id, call, score.subject, msgspec.json.encode(score)),
            )
        return True

    def keyed(self, digest: str) -> str | None:
        """The newest trace that was given the key of this digest; None where none was, or it is kept no more."""
        for day in self.days():
            rows = self.read(day, "SELECT trace FROM keys WHERE digest = ? ORDER BY call DESC LIMIT 1", (digest,))
            if rows:
                return str(rows[0][0])
        return None

    def unscore(self, trace: str, score: str) -> None:
        """Takes a Score back.

        Raises:
            Unavailable: the disk is full.
        """
        with self.writing(day_of(trace)) as rows:
            if rows is not None:
                rows.run("DELETE FROM scores WHERE id = ?", (score,))

    def scores(self, trace: str) -> Sequence[Score]:
        """What was judged of a trace, oldest first; whoever asks has found the trace in their scope."""
        rows = self.read(day_of(trace), "SELECT body FROM scores WHERE trace = ?", (trace,))
        return sorted((msgspec.json.decode(body, type=Score) for (body,) in rows), key=lambda score: (score.created_at, score.id))

    def thin(self, before: int, *, kind: str | None, team: str | None) -> int:
        """Deletes calls that ended before a UTC time, with content and attempts; returns how many.

        Args:
            kind: of this kind only; None means every kind.
            team: of this team only; None means every team.

        Raises:
            Unavailable: the disk is full.
        """
        fits = 'WHERE "end" < ? AND (CAST(? AS TEXT) IS NULL OR kind = ?) AND (CAST(? AS TEXT) IS NULL OR team = ?)'
        values = (before, kind, kind, team, team)
        last, gone = iso(before)[:10], 0
        for day in self.days():
            while day <= last and self.read(day, f"SELECT 1 FROM calls {fits} LIMIT 1", values):
                gone += self._thin(day, f"SELECT call FROM calls {fits} ORDER BY call LIMIT {THINNED}", values)
        return gone

    def _thin(self, day: str, old: str, values: Values) -> int:
        with self.writing(day) as rows:
            if rows is None:
                return 0
            for table in ("content", "attempts", "corrections", "marks", "scores", "keys"):
                rows.run(f"DELETE FROM {table} WHERE call IN ({old})", values)
            return rows.run(f"DELETE FROM calls WHERE call IN ({old})", values)

    def drop(self, before: str) -> Sequence[str]:
        """Deletes the days (`2026-11-22`) before that one; returns the days that went."""
        gone = [day for day in self.days() if day < before]
        for day in gone:
            self._days.drop(day)
        return gone

    def every_attempt(self) -> Iterator[tuple[str, int, int | None]]:
        """Call, number and cost (nano-dollars) of every attempt, day by day."""
        for day in self.days():
            yield from ((row[0], row[1], row[2]) for row in self.read(day, "SELECT call, attempt, cost FROM attempts"))

    def counts(self) -> dict[str, int]:
        """Number of calls and attempts over all days."""
        sql = "SELECT (SELECT count(*) FROM calls), (SELECT count(*) FROM attempts)"
        found = [row for day in self.days() for row in self.read(day, sql)]
        return {"calls": sum(calls for calls, _ in found), "attempts": sum(attempts for _, attempts in found)}

    def close(self) -> None:
        self._days.close()


def _named(scorer: str) -> bytes:
    """How a Score's body names its scorer."""
    return b'"scorer":' + msgspec.json.encode(scorer)


def _rename(rows: Rows, subjects: Subjects) -> None:
    """Puts `sub_…` in the place of names; what nobody has the key of becomes nobody's."""
    known: dict[str, str] = {}
    for call, name, sealed in rows.all("SELECT call, subject, sealed FROM content"):
        identifier, again = subjects.reseal(name, sealed)
        known.setdefault(name, identifier)
        rows.run("UPDATE content SET subject = ?, sealed = ? WHERE call = ?", (known[name], again, call))
    for call, body in rows.all("SELECT call, body FROM calls WHERE instr(body, ?) > 0", (b'"subject":"',)):
        trace = msgspec.json.decode(body, type=Trace)
        if trace.subject is not None:
            if trace.subject not in known:
                known[trace.subject] = subjects.reseal(trace.subject, b"")[0]
            body = msgspec.json.encode(replace(trace, subject=known[trace.subject]))
            rows.run("UPDATE calls SET body = ? WHERE call = ?", (body, call))
