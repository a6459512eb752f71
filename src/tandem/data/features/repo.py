"""Where features are kept: the log of what was pushed, and of each entity what tells its features. A file, or PostgreSQL.

A view's online values have a generation. A new one is built beside the one that answers and takes its place at once; what
is pushed meanwhile goes into both.

Where a copy is kept, what changed of the generations that answer is noted in the transaction that changed it, for whoever
brings the copy up to date. Each such transaction has a number, one more than the one before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tandem.core.clock import Clock, SystemClock
from tandem.core.errors import Conflict
from tandem.core.secret import Secret
from tandem.store.raw import PostgresRows, Rows, SqliteRows, tables

WHAT = "The feature store"
SCHEMA = """
CREATE TABLE IF NOT EXISTS log (
  seq INTEGER PRIMARY KEY, source TEXT NOT NULL, known INTEGER NOT NULL, pushed_by TEXT NOT NULL,
  data BLOB NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS log_by_source ON log (source, seq);
CREATE TABLE IF NOT EXISTS batches (source TEXT NOT NULL, batch TEXT NOT NULL, seq INTEGER NOT NULL, size INTEGER NOT NULL,
  PRIMARY KEY (source, batch)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS online (entity BLOB NOT NULL, feature_view TEXT NOT NULL, generation INTEGER NOT NULL,
  data BLOB NOT NULL, PRIMARY KEY (entity, feature_view, generation)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS generations (feature_view TEXT NOT NULL, generation INTEGER NOT NULL, live INTEGER NOT NULL,
  dataset TEXT NOT NULL, through INTEGER NOT NULL, at INTEGER NOT NULL, entities INTEGER NOT NULL,
  PRIMARY KEY (feature_view, generation)) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS online_by_view ON online (feature_view, generation, entity);
CREATE TABLE IF NOT EXISTS copy (one INTEGER PRIMARY KEY, epoch TEXT NOT NULL, kept INTEGER NOT NULL, last INTEGER NOT NULL)
  STRICT;
CREATE TABLE IF NOT EXISTS outbox (entity BLOB NOT NULL, feature_view TEXT NOT NULL, generation INTEGER NOT NULL,
  change INTEGER NOT NULL, PRIMARY KEY (entity, feature_view, generation)) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS outbox_by_change ON outbox (change);
"""
READ = """
SELECT o.feature_view, o.entity, o.data FROM online o
JOIN generations g ON g.feature_view = o.feature_view AND g.generation = o.generation
WHERE g.live = 1 AND o.entity IN ({entities}) AND o.feature_view IN ({views})
"""
MERGE = """
INSERT INTO online (entity, feature_view, generation, data) VALUES (?,?,?,?)
ON CONFLICT (entity, feature_view, generation) DO UPDATE SET data = excluded.data
"""
NOTE = """
INSERT INTO outbox (entity, feature_view, generation, change) VALUES (?,?,?,?)
ON CONFLICT (entity, feature_view, generation) DO UPDATE SET change = excluded.change
"""
NOTED = """
SELECT c.epoch, c.last, x.feature_view, x.generation, x.entity, COALESCE(g.live, 0), o.data FROM outbox x CROSS JOIN copy c
LEFT JOIN generations g ON g.feature_view = x.feature_view AND g.generation = x.generation
LEFT JOIN online o ON o.entity = x.entity AND o.feature_view = x.feature_view AND o.generation = x.generation
WHERE x.entity {sign} ? ORDER BY x.change LIMIT ?
"""
KEPT = """
SELECT o.entity, o.data, c.last FROM online o CROSS JOIN copy c
WHERE o.feature_view = ? AND o.generation = ? AND o.entity > ? ORDER BY o.entity LIMIT ?
"""
WHOLE = b""
"""In the outbox instead of an entity: all of the generation."""
ALL = 2**62
OVERTAKEN = -1
"""Instead of live: another one was begun before this one was done."""
CHUNK = 2_000
"""Entities that are written, or dropped, in one transaction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One computation of a view's online values."""

    view: str
    """`name@version`."""
    number: int
    live: bool
    """Whether it answers."""
    dataset: str
    """The version whose rows it was made of; empty: of none."""
    through: int
    """The last pushed row that was in the log when it began."""
    at: int
    """UTC microseconds."""
    entities: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """One row of the log."""

    seq: int
    known: int
    """When it arrived, UTC microseconds; never less than of the row before."""
    data: bytes
    """The row as JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """What the store knows of its copy."""

    epoch: str
    """The copy that is kept, or was kept last: another one after that was lost."""
    kept: bool
    """Whether changes are noted for it."""
    last: int
    """The number of the last change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """Something of which the copy may be behind, as it is now."""

    epoch: str
    view: str
    generation: int
    entity: bytes
    """`WHOLE` is the whole generation."""
    data: bytes | None
    """What is kept of the entity; None: nothing, or its generation answers no more."""
    live: bool
    as_of: int
    """The last change when this was read: it is in here, and no later one is."""


Change = Callable[[bytes | None], bytes]
"""From what is kept of an entity to what shall be."""


class Store:
    """One store of features. Safe for several threads; of several processes, writers take turns."""

    def __init__(self, place: Path | Secret, clock: Clock | None = None) -> None:
        """
        Args:
            place: a file, or the address of a PostgreSQL server.
            clock: instead of the machine's or the server's.
        """
        if isinstance(place, Secret):
            self._rows: Rows = PostgresRows(place, WHAT, clock, schema="features")
        else:
            self._rows = SqliteRows(place, clock or SystemClock(), WHAT)
        self._made = False

    def now(self) -> int:
        """The store's own UTC microseconds."""
        return self._rows.now()

    def read(self, views: Sequence[str], entities: Sequence[bytes]) -> dict[tuple[str, bytes], bytes]:
        self._make()
        sql = READ.format(entities=_marks(entities), views=_marks(views))
        return {(view, bytes(entity)): bytes(data) for view, entity, data in self._rows.all(sql, [*entities, *views])}

    def push(
        self,
        source: str,
        rows: Sequence[bytes],
        batch: str | None,
        by: str,
        change: Callable[[int, int], Mapping[tuple[str, bytes], Change]],
    ) -> tuple[int, bool]:
        """Adds rows to the log and puts what they say into every generation, all or nothing.

        Args:
            source: the view's name.
            batch: names these rows: the same name again changes nothing.
            by: who pushed them.
            change: given the number of the first row and the moment of arrival, what becomes of which view's entities.

        Returns:
            How many rows are in the log under this batch, and whether they were there already.
        """
        self._make()
        with self._rows.writing():
            if batch is not None:
                known = self._rows.one("SELECT size FROM batches WHERE source = ? AND batch = ?", (source, batch))
                if known is not None:
                    return int(known[0]), True
            (last, latest) = self._rows.one("SELECT COALESCE(MAX(seq), 0), COALESCE(MAX(known), 0) FROM log") or (0, 0)
            first, moment = int(last) + 1, max(self._rows.now(), int(latest))
            self._rows.many(
                "INSERT INTO log (seq, source, known, pushed_by, data) VALUES (?,?,?,?,?)",
                [(first + place, source, moment, by, data) for place, data in enumerate(rows)],
            )
            if batch is not None:
                self._rows.run("INSERT INTO batches VALUES (?,?,?,?)", (source, batch, first, len(rows)))
            self._change(change(first, moment))
        return len(rows), False

    def merge(self, view: str, generation: int, changes: Mapping[bytes, Change]) -> None:
        """Changes what one generation keeps of entities, in one transaction."""
        with self._rows.writing():
            live = any(each.live for each in self.generations(view) if each.number == generation)
            self._put(view, {generation: live}, changes)

    def begin(self, view: str, dataset: str) -> Generation:
        """Begins a generation, into which pushed rows go from now on; one that was begun and not finished is dropped."""
        self._make()
        with self._rows.writing():
            self._rows.run("UPDATE generations SET live = ? WHERE feature_view = ? AND live = 0", (OVERTAKEN, view))
            highest = "SELECT COALESCE(MAX(generation), 0) FROM generations WHERE feature_view = ?"
            (kept,) = self._rows.one(highest, (view,)) or (0,)
            (through,) = self._rows.one("SELECT COALESCE(MAX(seq), 0) FROM log") or (0,)
            found = Generation(
                view=view, number=int(kept) + 1, live=False, dataset=dataset, through=int(through), at=self.now(), entities=0
            )
            self._rows.run(
                "INSERT INTO generations VALUES (?,?,?,?,?,?,?)", (view, found.number, 0, dataset, found.through, found.at, 0)
            )
        return found

    def finish(self, view: str, number: int) -> Generation:
        """Has a generation answer; the one before goes.

        Raises:
            Conflict: another one was begun meanwhile.
        """
        with self._rows.writing():
            if all(each.number != number for each in self.generations(view)):
                raise Conflict(f"Another load of {view} was begun meanwhile.", hint="Wait for that one.")
            (entities,) = self._rows.one(
                "SELECT COUNT(*) FROM online WHERE feature_view = ? AND generation = ?", (view, number)
            ) or (0,)
            self._rows.run(
                "UPDATE generations SET live = ? WHERE feature_view = ? AND generation <> ?", (OVERTAKEN, view, number)
            )
            self._rows.run(
                "UPDATE generations SET live = 1, entities = ? WHERE feature_view = ? AND generation = ?",
                (int(entities), view, number),
            )
            self._rows.run("DELETE FROM generations WHERE feature_view = ? AND live <> 1", (view,))
            self._note(view, [(WHOLE, number)])
        self.sweep(view)
        return next(each for each in self.generations(view) if each.number == number)

    def sweep(self, view: str) -> None:
        """Drops what belongs to no generation, some at a time, so that who pushes need not wait."""
        stale = """
        DELETE FROM online WHERE (entity, feature_view, generation) IN (
          SELECT o.entity, o.feature_view, o.generation FROM online o WHERE o.feature_view = ? AND NOT EXISTS (
            SELECT 1 FROM generations g WHERE g.feature_view = o.feature_view AND g.generation = o.generation) LIMIT ?)
        """
        while True:
            with self._rows.writing():
                gone = self._rows.run(stale, (view, CHUNK))
            if gone < CHUNK:
                return

    def generations(self, view: str | None = None) -> list[Generation]:
        """Of a view `name@version`, or of all: those that answer and those that are being made."""
        self._make()
        where, values = ("", ()) if view is None else (" AND feature_view = ?", (view,))
        sql = f"""SELECT feature_view, generation, live, dataset, through, at, entities FROM generations
        WHERE live >= 0{where} ORDER BY 1, 2"""
        return [
            Generation(view=row[0], number=row[1], live=bool(row[2]), dataset=row[3], through=row[4], at=row[5], entities=row[6])
            for row in self._rows.all(sql, values)
        ]

    def log(self, source: str, through: int | None = None) -> Iterator[Pushed]:
        """What was pushed into a view, oldest first."""
        self._make()
        at = 0
        while True:
            rows = self._rows.all(
                "SELECT seq, known, data FROM log WHERE source = ? AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?",
                (source, at, ALL if through is None else through, CHUNK),
            )
            for seq, known, data in rows:
                yield Pushed(seq=seq, known=known, data=bytes(data))
            if len(rows) < CHUNK:
                return
            at = rows[-1][0]

    def pushed(self, source: str) -> tuple[int, int]:
        """How many rows were pushed into a view, and the number of the last."""
        self._make()
        count, last = self._rows.one("SELECT COUNT(*), COALESCE(MAX(seq), 0) FROM log WHERE source = ?", (source,)) or (0, 0)
        return int(count), int(last)

    # --- for a copy

    def copy(self) -> Copy | None:
        """What is known of the copy; None where there never was one."""
        self._make()
        row = self._rows.one("SELECT epoch, kept, last FROM copy")
        return None if row is None else Copy(epoch=row[0], kept=bool(row[1]), last=row[2])

    def begin_copy(self, epoch: str, instead: str | None) -> bool:
        """Has changes noted for another copy than before, which is still empty.

        Args:
            instead: the epoch of the one before.

        Returns:
            Whether this was done; not where the one before was another.
        """
        self._make()
        with self._rows.writing():
            before = self.copy()
            if (None if before is None else before.epoch) != instead:
                return False
            if before is None:
                self._rows.run("INSERT INTO copy (one, epoch, kept, last) VALUES (1, ?, 1, 0)", (epoch,))
            self._rows.run("UPDATE copy SET epoch = ?, kept = 1, last = last + 1", (epoch,))
            self._rows.run("DELETE FROM outbox")
            for each in self.generations():
                if each.live:
                    self._note(each.view, [(WHOLE, each.number)])
        return True

    def end_copy(self) -> None:
        """No copy is kept any more: nothing is noted, and the next one begins anew."""
        before = self.copy()
        if before is not None and before.kept:
            with self._rows.writing():
                self._rows.run("UPDATE copy SET kept = 0")
                self._rows.run("DELETE FROM outbox")

    def noted(self, limit: int = ALL, *, whole: bool = False) -> list[Noted]:
        """What was noted and not copied yet, as it is now, in the order of its last changes.

        Args:
            whole: of whole generations, instead of entities.
        """
        self._make()
        rows = self._rows.all(NOTED.format(sign="=" if whole else "<>"), (WHOLE, limit))
        return [
            Noted(
                epoch=row[0],
                as_of=row[1],
                view=row[2],
                generation=row[3],
                entity=bytes(row[4]),
                live=row[5] == 1,
                data=bytes(row[6]) if row[6] is not None and row[5] == 1 else None,
            )
            for row in rows
        ]

    def copied(self, done: Sequence[Noted]) -> None:
        """Takes off the list what was copied; what has changed since stays on it."""
        with self._rows.writing():
            self._rows.many(
                "DELETE FROM outbox WHERE entity = ? AND feature_view = ? AND generation = ? AND change <= ?",
                [(each.entity, each.view, each.generation, each.as_of) for each in done],
            )

    def page(self, view: str, generation: int, after: bytes, limit: int) -> list[tuple[bytes, bytes, int]]:
        """Some of a generation by entity: entity, what is kept of it, and the last change when this was read."""
        rows = self._rows.all(KEPT, (view, generation, after, limit))
        return [(bytes(entity), bytes(data), as_of) for entity, data, as_of in rows]

    def copy_again(self, view: str) -> None:
        """Notes all that answers of a view."""
        with self._rows.writing():
            self._note(view, [(WHOLE, each.number) for each in self.generations(view) if each.live])

    def close(self) -> None:
        self._rows.close()

    def _change(self, changes: Mapping[tuple[str, bytes], Change]) -> None:
        by_view: dict[str, dict[bytes, Change]] = {}
        for (view, entity), change in changes.items():
            by_view.setdefault(view, {})[entity] = change
        for view, each in by_view.items():
            self._put(view, {generation.number: generation.live for generation in self.generations(view)}, each)

    def _put(self, view: str, generations: Mapping[int, bool], changes: Mapping[bytes, Change]) -> None:
        """
        Args:
            generations: which, and whether it answers.
        """
        entities = list(changes)
        for begin in range(0, len(entities), CHUNK // 4):
            some = entities[begin : begin + CHUNK // 4]
            for generation in generations:
                sql = f"SELECT entity, data FROM online WHERE feature_view = ? AND generation = ? AND entity IN ({_marks(some)})"
                kept = {bytes(entity): bytes(data) for entity, data in self._rows.all(sql, [view, generation, *some])}
                self._rows.many(MERGE, [(entity, view, generation, changes[entity](kept.get(entity))) for entity in some])
            self._note(view, [(entity, generation) for generation, live in generations.items() if live for entity in some])

    def _note(self, view: str, changed: Sequence[tuple[bytes, int]]) -> None:
        """Within the transaction that changed them: notes entities of generations for the copy, if one is kept."""
        if not changed:
            return
        for (number,) in self._rows.all("UPDATE copy SET last = last + 1 WHERE kept = 1 RETURNING last"):
            self._rows.many(NOTE, [(entity, view, generation, number) for entity, generation in changed])

    def _make(self) -> None:
        if self._made:
            return
        with self._rows.writing():
            for statement in tables(SCHEMA, server=not isinstance(self._rows, SqliteRows)):
                self._rows.run(statement)
        self._made = True


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))
