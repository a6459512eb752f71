"""Asks a champion about the rows that a candidate was judged on, so that two models of different data can be paired.

A model that was trained on newer rows has no rows in common with the evidence of the champion, so its gate could
never pass. Here the champion answers the candidate's rows: a row that it was trained on keeps its out-of-fold
prediction (found by content: the champion's inputs and the target), every other row is new to it and is predicted.
So no row is judged by a model that had seen it, on either side.

`python -m tandem.evaluation.replay` reads a `Case` on stdin and writes the evidence, or the error, on stdout.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tandem.core.asset import Ref, Version
from tandem.core.errors import Broken, Invalid, TandemError, TimedOut
from tandem.evaluation.evidence import OutOfFold
from tandem.governance.authorise import ALL
from tandem.registry.registry import Registry
from tandem.serving.signature import Signature

if TYPE_CHECKING:
    import polars as pl

    from tandem.scorers.sample import Floats

SECONDS = 300.0
CHANCE = "tandem:chance"
"""The column that carries out-of-fold predictions through a join; no dataset's column has a colon from us in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the rows of a dataset version lie."""

    table: str
    version: int
    """Of the Delta table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is to be replayed."""

    lake: str
    members: str
    """The directory of the champion's members."""
    signature: Signature
    """The champion's."""
    seen: Place
    """What the champion was trained on."""
    asked: Place
    """What the candidate was trained on."""
    candidate: OutOfFold
    champion: OutOfFold


class _Outcome(msgspec.Struct, frozen=True):
    evidence: OutOfFold | None = None
    error: str | None = None


class Replay:
    """Makes the evidence of a champion on a candidate's rows."""

    def __init__(self, registry: Registry, *, lake: Path, python: str = sys.executable) -> None:
        """
        Args:
            lake: the lake's directory.
            python: the interpreter that has the `ml` extra.
        """
        self._registry, self._lake, self._python = registry, lake, python

    def evidence(self, candidate: bytes, champion: Version, theirs: bytes) -> bytes:
        """The champion's predictions on the candidate's rows, as `OutOfFold.to_json` writes them.

        Args:
            candidate: the candidate's own evidence.
            champion: the version that is asked.
            theirs: the champion's own evidence.

        Raises:
            Invalid: the champion cannot answer these rows: a column it needs is missing, or the data are gone.
            TimedOut: it took longer than five minutes.
            Broken: the child died.
        """
        ours, known = OutOfFold.from_json(candidate), OutOfFold.from_json(theirs)
        with tempfile.TemporaryDirectory(prefix="tandem-replay-") as folder:
            for name in champion.members:
                path = Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self._registry.member(champion, name))
            case = Case(
                lake=str(self._lake),
                members=folder,
                signature=msgspec.convert(champion.meta["signature"], Signature),
                seen=self._place(known.dataset),
                asked=self._place(ours.dataset),
                candidate=ours,
                champion=known,
            )
            return self._apart(case).to_json()

    def _place(self, dataset: str) -> Place:
        version = self._registry.find(Ref.parse(dataset), ALL)  # the lineage of a version that the caller may promote
        match version.meta:
            case {"lake": {"table": str() as table, "version": int() as number}}:
                return Place(table=table, version=number)
        raise Invalid(f"{dataset} has no rows in the lake, so the champion cannot be asked about them.", field="dataset")

    def _apart(self, case: Case) -> OutOfFold:
        try:
            done = subprocess.run(
                [self._python, "-m", "tandem.evaluation.replay"],
                input=msgspec.json.encode(case),
                capture_output=True,
                timeout=SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise TimedOut(f"The champion did not answer the candidate's rows within {SECONDS:g} s.") from None
        if done.returncode != 0:
            raise Broken(f"The replay's process ended with {done.returncode}: {done.stderr.decode(errors='replace')[-500:]}")
        outcome = msgspec.json.decode(done.stdout, type=_Outcome)
        if outcome.evidence is None:
            raise Invalid(outcome.error or "The champion could not be asked.")
        return outcome.evidence


def replay(case: Case) -> OutOfFold:
    """What the champion says about the candidate's rows; rows that it was trained on keep their out-of-fold prediction.

    Raises:
        Invalid: a column is missing, or the rows are not those of the evidence.
    """
    from tandem.serving.base import Card, load
    from tandem.store.lake import Lake

    lake, members = Lake(Path(case.lake)), Path(case.members)
    asked, seen = lake.read(case.asked.table, case.asked.version), lake.read(case.seen.table, case.seen.version)
    if asked.height != len(case.candidate.rows) or seen.height != len(case.champion.rows):
        raise Invalid("The datasets do not hold the rows of the evidence.", field="rows", hint="Train again.")
    fresh = load(Card.read(members).runtime, members).predict(_matrix(asked, case.signature))
    known = _known(asked, seen, case)
    chances = tuple(float(new) if old is None else old for new, old in zip(fresh, known, strict=True))
    return OutOfFold(
        dataset=case.candidate.dataset,
        digest=case.candidate.digest,
        target=case.champion.target,
        positive=case.champion.positive,
        rows=case.candidate.rows,
        labels=case.candidate.labels,
        probabilities=chances,
        seed=case.champion.seed,
        folds=case.champion.folds,
        threshold=case.champion.threshold,
    )


def _matrix(frame: pl.DataFrame, signature: Signature) -> Floats:
    """Rows x fields of the signature, NaN where a value is missing."""
    import numpy as np
    import polars as pl

    missing = [name for name in signature.names if name not in frame.columns]
    if missing:
        raise Invalid(
            f"The champion needs the column '{missing[0]}', which the newer data do not have.",
            field=missing[0],
            hint="Promote the first version on the new columns under another name.",
        )
    cells = [frame[name].cast(pl.Float64).fill_null(float("nan")).to_numpy() for name in signature.names]
    return np.ascontiguousarray(np.column_stack(cells), dtype=np.float64)


def _known(asked: pl.DataFrame, seen: pl.DataFrame, case: Case) -> list[float | None]:
    """For each row that was asked, the out-of-fold prediction if the champion was trained on a row of that content."""
    import polars as pl

    columns = [*case.signature.names, case.champion.target]
    if any(name not in asked.columns or name not in seen.columns for name in columns):
        return [None] * asked.height
    old = seen.select(columns).with_columns(pl.Series(CHANCE, case.champion.probabilities, dtype=pl.Float64))
    old = old.cast({name: asked.schema[name] for name in columns}, strict=False)
    old = old.group_by(columns).agg(pl.col(CHANCE).mean())
    found = asked.select(columns).join(old, on=columns, how="left", nulls_equal=True, maintain_order="left")
    return list(found[CHANCE].to_list())


def main() -> int:
    try:
        outcome = _Outcome(evidence=replay(msgspec.json.decode(sys.stdin.buffer.read(), type=Case)))
    except TandemError as error:
        outcome = _Outcome(error=str(error))
    sys.stdout.buffer.write(msgspec.json.encode(outcome))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
