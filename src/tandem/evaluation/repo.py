"""Evaluations as they are kept: one per prompt version, suite version and asking; every statement that touches them.

What was answered is sealed under the key of whoever asked; grades, times and costs are not content and stay readable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    Row,
    Table,
    Text,
    insert,
    select,
    update,
)

from tandem.core.clock import Clock
from tandem.core.errors import NotFound
from tandem.core.ids import new_id
from tandem.governance.authorise import Scope
from tandem.store.sql import Sql, metadata

evaluations = Table(
    "evaluations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("prompt", Text, nullable=False),
    Column("prompt_digest", Text, nullable=False),
    Column("suite", Text, nullable=False),
    Column("suite_digest", Text, nullable=False),
    Column("repeats", Integer, nullable=False),
    Column("against", Text),
    Column("against_prompt", Text),
    Column("team", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("run", Text, nullable=False, index=True),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("done_at", BigInteger),
    Index("ix_evaluations_prompt_suite", "prompt", "suite"),
)

evaluation_rows = Table(
    "evaluation_rows",
    metadata,
    Column("evaluation", Text, primary_key=True),
    Column("place", Integer, primary_key=True, autoincrement=False),
    Column("row", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("sealed", LargeBinary),
    ForeignKeyConstraint(["evaluation"], ["evaluations.id"]),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What an evaluation is of: whoever asks the same again gets the same, unless they want it fresh."""

    prompt: str
    """`prompt/NAME@VERSION`."""
    prompt_digest: str
    suite: str
    """`suite/NAME@VERSION`."""
    suite_digest: str
    repeats: int
    against: str | None = None
    """The champion's evaluation, with whose answers a judge compares these."""
    against_prompt: str | None = None
    """The champion's version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One prompt version, asked all questions of one suite version."""

    id: str
    key: Key
    team: str
    subject: str
    """Under whose key its content is sealed."""
    run: str
    created_at: int
    created_by: str
    done_at: int | None = None
    """None while it is not whole; such a one is no evidence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer to one question, without a word of it."""

    trace: str = ""
    error: str = ""
    """The code of the error that came instead; every grade is then 0."""
    seconds: float = 0.0
    cost: int | None = None
    """Nano-dollars; None when nobody knows the price."""
    model: str = ""
    """What answered, as it said itself."""
    grades: dict[str, float] = field(default_factory=dict)
    """Metric → grade in [0, 1]."""
    labels: dict[str, str] = field(default_factory=dict)
    """Metric → a word beside the grade, such as `no-claims`."""
    orders: tuple[str, ...] = ()
    """What a judge said in the two orders."""
    longer: bool | None = None
    """Whether the longer of the two answers won."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One row of the dataset with all its answers."""

    place: int
    """The row's place among the rows that the suite asks about."""
    row: str
    """The row's id."""
    answers: tuple[Answer, ...]
    distinct: int = 1
    """How many different texts the repeats gave."""
    sealed: bytes = b""
    """The content: what was answered and why it was graded so; empty where none is kept."""


class Evaluations:
    """All evaluations."""

    def __init__(self, sql: Sql, clock: Clock) -> None:
        self._sql, self._clock = sql, clock

    def begin(self, key: Key, *, run: str, team: str, subject: str, by: str, fresh: bool) -> Evaluation:
        """The evaluation that a Run works on: its own; else, unless `fresh`, one of the same key and subject; else a new one.

        One that is whole stays so and is returned; one that was left unfinished becomes this Run's.
        """
        with self._sql.write() as conn:
            own = self._first(conn, evaluations.c.run == run)
            if own is not None:
                return own
            same = None if fresh else self._same(conn, key, team, subject)
            if same is not None:
                if same.done_at is None:
                    conn.execute(update(evaluations).where(evaluations.c.id == same.id).values(run=run))
                return same
            made = Evaluation(
                id=new_id("evl"), key=key, team=team, subject=subject, run=run, created_at=self._clock.now(), created_by=by
            )
            conn.execute(insert(evaluations).values(_flat(made)))
            return made

    def add(self, evaluation: str, rows: Sequence[Answered]) -> None:
        """Keeps answered rows, all or none; one that is there already stays as it is."""
        with self._sql.write() as conn:
            known = set(conn.execute(select(evaluation_rows.c.place).where(evaluation_rows.c.evaluation == evaluation)).scalars())
            for row in rows:
                if row.place not in known:
                    conn.execute(insert(evaluation_rows).values(_row(evaluation, row)))

    def change(self, evaluation: str, rows: Sequence[Answered]) -> None:
        """Replaces rows by what is known of them now."""
        with self._sql.write() as conn:
            for row in rows:
                here = (evaluation_rows.c.evaluation == evaluation) & (evaluation_rows.c.place == row.place)
                conn.execute(update(evaluation_rows).where(here).values(_row(evaluation, row)))

    def done(self, evaluation: str) -> None:
        """The evaluation is whole."""
        with self._sql.write() as conn:
            here = (evaluations.c.id == evaluation) & evaluations.c.done_at.is_(None)
            conn.execute(update(evaluations).where(here).values(done_at=self._clock.now()))

    def rows(self, evaluation: str) -> tuple[Answered, ...]:
        """The answered rows, in the suite's order."""
        query = select(evaluation_rows).where(evaluation_rows.c.evaluation == evaluation).order_by(evaluation_rows.c.place)
        with self._sql.read() as conn:
            return tuple(_answered(row) for row in conn.execute(query))

    def newest(self, prompt: str, suite: str, scope: Scope) -> Evaluation | None:
        """The last whole evaluation of a prompt version with a suite version."""
        found = self.of(prompt, scope, suite=suite)
        return next((evaluation for evaluation in found if evaluation.done_at is not None), None)

    def of(self, prompt: str, scope: Scope, *, suite: str | None = None) -> tuple[Evaluation, ...]:
        """The evaluations of a prompt version, newest first."""
        query = select(evaluations).where(evaluations.c.prompt == prompt)
        newest = (evaluations.c.done_at.desc().nulls_last(), evaluations.c.created_at.desc(), evaluations.c.id.desc())
        query = query.order_by(*newest)
        if scope.team is not None:
            query = query.where(evaluations.c.team == scope.team)
        if suite is not None:
            query = query.where(evaluations.c.suite == suite)
        with self._sql.read() as conn:
            return tuple(_evaluation(row) for row in conn.execute(query))

    def find(self, identifier: str, scope: Scope) -> Evaluation:
        """One evaluation, by its own id or by that of the Run that made it.

        Raises:
            NotFound: there is none in the scope.
        """
        with self._sql.read() as conn:
            found = self._first(conn, (evaluations.c.id == identifier) | (evaluations.c.run == identifier))
        if found is None or not scope.admits(found.team):
            raise NotFound(f"{identifier} is no evaluation.", hint="`tandem run list` shows the runs of the kind evaluate.")
        return found

    def _first(self, conn: Connection, where: Any) -> Evaluation | None:
        row = conn.execute(select(evaluations).where(where).order_by(evaluations.c.created_at.desc())).first()
        return None if row is None else _evaluation(row)

    def _same(self, conn: Connection, key: Key, team: str, subject: str) -> Evaluation | None:
        columns = evaluations.c
        query = select(evaluations).where(
            columns.prompt == key.prompt,
            columns.prompt_digest == key.prompt_digest,
            columns.suite == key.suite,
            columns.suite_digest == key.suite_digest,
            columns.repeats == key.repeats,
            columns.team == team,
            columns.subject == subject,
        )
        found = [_evaluation(row) for row in conn.execute(query.order_by(columns.created_at.desc(), columns.id.desc()))]
        return next((evaluation for evaluation in found if evaluation.key == key), None)


def _flat(evaluation: Evaluation) -> dict[str, object]:
    told = {name: getattr(evaluation, name) for name in ("id", "team", "subject", "run", "created_at", "created_by", "done_at")}
    key = evaluation.key
    return told | {
        "prompt": key.prompt,
        "prompt_digest": key.prompt_digest,
        "suite": key.suite,
        "suite_digest": key.suite_digest,
        "repeats": key.repeats,
        "against": key.against,
        "against_prompt": key.against_prompt,
    }


def _row(evaluation: str, row: Answered) -> dict[str, object]:
    body = msgspec.json.encode({"answers": row.answers, "distinct": row.distinct}).decode()
    return {"evaluation": evaluation, "place": row.place, "row": row.row, "body": body, "sealed": row.sealed or None}


class _Body(msgspec.Struct):
    answers: tuple[Answer, ...]
    distinct: int


def _answered(row: Row[Any]) -> Answered:
    body = msgspec.json.decode(row.body, type=_Body)
    return Answered(place=row.place, row=row.row, answers=body.answers, distinct=body.distinct, sealed=row.sealed or b"")


def _evaluation(row: Row[Any]) -> Evaluation:
    return Evaluation(
        id=row.id,
        key=Key(
            prompt=row.prompt,
            prompt_digest=row.prompt_digest,
            suite=row.suite,
            suite_digest=row.suite_digest,
            repeats=row.repeats,
            against=row.against,
            against_prompt=row.against_prompt,
        ),
        team=row.team,
        subject=row.subject,
        run=row.run,
        created_at=row.created_at,
        created_by=row.created_by,
        done_at=row.done_at,
    )
