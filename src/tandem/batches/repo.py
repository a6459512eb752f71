"""Files and batches as they are kept: every statement that touches them. What the files hold lies beside the database."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Integer,
    Row,
    Select,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
    update,
)

from tandem.batches.lines import Problem
from tandem.core.errors import NotFound
from tandem.core.principal import Principal
from tandem.governance.authorise import Scope
from tandem.store.canonical import canonical
from tandem.store.sql import Sql, metadata

files = Table(
    "files",
    metadata,
    Column("id", Text, primary_key=True),
    Column("team", Text, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("filename", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Index("ix_files_team", "team"),
)

batches = Table(
    "batches",
    metadata,
    Column("id", Text, primary_key=True),
    Column("run", Text, nullable=False),
    Column("team", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("input_file", Text, nullable=False),
    Column("output_file", Text, nullable=False),
    Column("error_file", Text, nullable=False),
    Column("metadata", Text),
    Column("kept_seconds", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("in_progress_at", BigInteger),
    Column("finalizing_at", BigInteger),
    Column("cancelling_at", BigInteger),
    Column("ended_at", BigInteger),
    Column("end", Text),
    Column("total", Integer, nullable=False),
    Column("completed", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("problems", Text, nullable=False),
    Index("ix_batches_team", "team"),
    Index("ix_batches_input_file", "input_file"),
)

Purpose = Literal["batch", "batch_output"]
End = Literal["completed", "failed", "expired", "cancelled"]
Status = Literal["validating", "in_progress", "finalizing", "cancelling", "completed", "failed", "expired", "cancelled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """Lines that were sent, or answers to such."""

    id: str
    team: str
    created_by: str
    created_at: int
    """UTC microseconds, as all times here."""
    expires_at: int
    filename: str
    purpose: Purpose
    size: int
    """Bytes; fewer are read once a subject named in it was erased."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Requests of one file for one endpoint, asked in a Run."""

    id: str
    run: str
    team: str
    by: Principal
    """Who asked, and who pays."""
    endpoint: str
    input_file: str
    output_file: str
    """Where answers go; a row of `files` once the batch has ended, if there are any."""
    error_file: str
    """The same for what failed."""
    metadata: Mapping[str, str] | None
    kept_seconds: int
    """How long the files of answers are kept."""
    created_at: int
    expires_at: int
    """When what was not asked yet is given up."""
    in_progress_at: int | None = None
    finalizing_at: int | None = None
    cancelling_at: int | None = None
    ended_at: int | None = None
    end: End | None = None
    total: int = 0
    completed: int = 0
    failed: int = 0
    problems: Sequence[Problem] = field(default_factory=tuple)
    """Why it failed as a whole."""

    @property
    def status(self) -> Status:
        """As OpenAI calls it."""
        if self.end is not None:
            return self.end
        if self.cancelling_at is not None:
            return "cancelling"
        if self.finalizing_at is not None:
            return "finalizing"
        return "validating" if self.in_progress_at is None else "in_progress"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Where a list begins and how long it is; ids tell the order of age."""

    after: str | None = None
    """The last id of the page before."""
    limit: int = 20
    newest_first: bool = True


class FileRows:
    """All files."""

    def __init__(self, sql: Sql) -> None:
        self._sql = sql

    def add(self, file: File) -> None:
        """Keeps a file; one of this id that is there already stays as it is."""
        with self._sql.write() as conn:
            add_file(conn, file)

    def find(self, identifier: str, scope: Scope, now: int) -> File:
        """One file that has not expired.

        Raises:
            NotFound: there is none in the scope.
        """
        with self._sql.read() as conn:
            row = conn.execute(select(files).where(files.c.id == identifier)).first()
        found = None if row is None else _file(row)
        if found is None or not scope.admits(found.team) or found.expires_at <= now:
            raise NotFound(f"There is no file '{identifier}'.", hint="It may have expired; GET /v1/files lists yours.")
        return found

    def list(self, scope: Scope, page: Page, now: int, purpose: str | None = None) -> tuple[File, ...]:
        """Files of the scope that have not expired, and one more than the page holds if there are more."""
        query = _paged(select(files).where(files.c.expires_at > now), files, scope, page)
        if purpose is not None:
            query = query.where(files.c.purpose == purpose)
        with self._sql.read() as conn:
            return tuple(_file(row) for row in conn.execute(query))

    def count(self, team: str) -> int:
        with self._sql.read() as conn:
            return conn.execute(select(func.count()).select_from(files).where(files.c.team == team)).scalar_one()

    def delete(self, identifier: str) -> None:
        with self._sql.write() as conn:
            conn.execute(delete(files).where(files.c.id == identifier))

    def expired(self, now: int) -> tuple[str, ...]:
        """The ids of files that nobody may read any more and no batch is reading."""
        busy = select(batches.c.input_file).where(batches.c.ended_at.is_(None))
        query = select(files.c.id).where(files.c.expires_at <= now, files.c.id.not_in(busy)).limit(1000)
        with self._sql.read() as conn:
            return tuple(conn.execute(query).scalars())

    def known(self) -> frozenset[str]:
        """Every id that a file on the disk may have: those of files, and of batches that are under way."""
        working = select(batches.c.output_file, batches.c.error_file).where(batches.c.ended_at.is_(None))
        with self._sql.read() as conn:
            own = set(conn.execute(select(files.c.id)).scalars())
            return frozenset(own.union(*[set(row) for row in conn.execute(working)]))


class BatchRows:
    """All batches."""

    def __init__(self, sql: Sql) -> None:
        self._sql = sql

    def add(self, batch: Batch) -> None:
        with self._sql.write() as conn:
            conn.execute(insert(batches).values(_flat(batch)))

    def find(self, identifier: str, scope: Scope) -> Batch:
        """One batch.

        Raises:
            NotFound: there is none in the scope.
        """
        with self._sql.read() as conn:
            row = conn.execute(select(batches).where(batches.c.id == identifier)).first()
        found = None if row is None else _batch(row)
        if found is None or not scope.admits(found.team):
            raise NotFound(f"There is no batch '{identifier}'.", hint="GET /v1/batches lists yours.")
        return found

    def list(self, scope: Scope, page: Page) -> tuple[Batch, ...]:
        """Batches of the scope, and one more than the page holds if there are more."""
        with self._sql.read() as conn:
            return tuple(_batch(row) for row in conn.execute(_paged(select(batches), batches, scope, page)))

    def open(self) -> tuple[Batch, ...]:
        """Those that have not ended."""
        with self._sql.read() as conn:
            return tuple(_batch(row) for row in conn.execute(select(batches).where(batches.c.ended_at.is_(None))))

    def reading(self, file: str) -> str | None:
        """The id of a batch that has not ended and reads this file."""
        query = select(batches.c.id).where(batches.c.input_file == file, batches.c.ended_at.is_(None))
        with self._sql.read() as conn:
            return conn.execute(query).scalars().first()

    def begin(self, identifier: str, now: int, total: int) -> None:
        """Its lines are right, and are being asked."""
        self._change(identifier, {"in_progress_at": now, "total": total})

    def refuse(self, identifier: str, problems: Sequence[Problem], total: int) -> None:
        """Notes why it fails as a whole."""
        self._change(identifier, {"problems": _told(problems), "total": total})

    def progress(self, identifier: str, completed: int, failed: int) -> None:
        self._change(identifier, {"completed": completed, "failed": failed})

    def finalize(self, identifier: str, now: int) -> None:
        self._change(identifier, {"finalizing_at": now})

    def cancel(self, identifier: str, now: int) -> None:
        """Notes that it is to end; the first time counts."""
        with self._sql.write() as conn:
            here = (batches.c.id == identifier) & batches.c.ended_at.is_(None) & batches.c.cancelling_at.is_(None)
            conn.execute(update(batches).where(here).values(cancelling_at=now))

    def finish(self, batch: Batch, made: Sequence[File]) -> Batch:
        """Ends a batch, with its files of answers; one that has ended stays as it is.

        Returns:
            The batch as it is now.
        """
        with self._sql.write() as conn:
            here = (batches.c.id == batch.id) & batches.c.ended_at.is_(None)
            values = {
                "ended_at": batch.ended_at,
                "end": batch.end,
                "completed": batch.completed,
                "failed": batch.failed,
                "problems": _told(batch.problems),
            }
            if conn.execute(update(batches).where(here).values(values)).rowcount:
                for file in made:
                    add_file(conn, file)
            row = conn.execute(select(batches).where(batches.c.id == batch.id)).one()
            return _batch(row)

    def _change(self, identifier: str, values: Mapping[str, object]) -> None:
        with self._sql.write() as conn:
            here = (batches.c.id == identifier) & batches.c.ended_at.is_(None)
            conn.execute(update(batches).where(here).values(dict(values)))


def add_file(conn: Connection, file: File) -> None:
    """Keeps a file; one of this id that is there already stays as it is."""
    if conn.execute(select(files.c.id).where(files.c.id == file.id)).first() is None:
        names = ("id", "team", "created_by", "created_at", "expires_at", "filename", "purpose", "size")
        conn.execute(insert(files).values({name: getattr(file, name) for name in names}))


def _paged(query: Select[Any], table: Table, scope: Scope, page: Page) -> Select[Any]:
    if scope.team is not None:
        query = query.where(table.c.team == scope.team)
    if page.after is not None:
        query = query.where(table.c.id < page.after if page.newest_first else table.c.id > page.after)
    return query.order_by(table.c.id.desc() if page.newest_first else table.c.id).limit(page.limit + 1)


def _told(problems: Sequence[Problem]) -> str:
    return msgspec.json.encode(problems).decode()


def _file(row: Row[Any]) -> File:
    return File(
        id=row.id,
        team=row.team,
        created_by=row.created_by,
        created_at=row.created_at,
        expires_at=row.expires_at,
        filename=row.filename,
        purpose=row.purpose,
        size=row.size,
    )


_PLAIN: tuple[str, ...] = (
    "id",
    "run",
    "team",
    "endpoint",
    "input_file",
    "output_file",
    "error_file",
    "kept_seconds",
    "created_at",
    "expires_at",
)
_PLAIN += ("in_progress_at", "finalizing_at", "cancelling_at", "ended_at", "end", "total", "completed", "failed")


def _flat(batch: Batch) -> dict[str, object]:
    return {name: getattr(batch, name) for name in _PLAIN} | {
        "by": msgspec.json.encode(batch.by).decode(),
        "metadata": None if batch.metadata is None else canonical(batch.metadata),
        "problems": _told(batch.problems),
    }


def _batch(row: Row[Any]) -> Batch:
    return Batch(
        **{name: getattr(row, name) for name in _PLAIN},
        by=msgspec.json.decode(row.by, type=Principal),
        metadata=None if row.metadata is None else json.loads(row.metadata),
        problems=msgspec.json.decode(row.problems, type=tuple[Problem, ...]),
    )
