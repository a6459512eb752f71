"""Asks a champion about the rows that a candidate was judged on, so that two models of different data can be paired.

A model that was trained on newer rows has no rows in common with the evidence of the champion, so its gate could
never pass. Here the champion answers the candidate's rows: a row that it was trained on keeps its out-of-fold
prediction (found by content: the champion's inputs and the target), every other row is new to it and is predicted.
So no row is judged by a model that had seen it, on either side.

`python -m tandem.evaluation.replay` reads a `Case` and says the evidence; see `tandem.jobs.apart`.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tandem.core.asset import Ref, Version
from tandem.core.errors import Invalid
from tandem.data.versions import Place, place
from tandem.evaluation.evidence import OutOfFold
from tandem.governance.authorise import ALL
from tandem.jobs.apart import Progress, ask, bare_environment, serve, silent
from tandem.registry.registry import Registry
from tandem.serving.base import trusted
from tandem.serving.signature import Signature

if TYPE_CHECKING:
    import polars as pl

MODULE = "tandem.evaluation.replay"
SECONDS, PICTURED = 300.0, 3_600.0
"""The longest replay, of rows and of images."""
CHANCE = "tandem:chance"
"""The column that carries out-of-fold predictions through a join; no dataset's column has a colon from us in it."""


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
    trust: tuple[str, ...] = ()
    """What may be executed of the champion's files, as words of `serving.base.TRUST`."""


class Replay:
    """Makes the evidence of a champion on a candidate's rows."""

    def __init__(self, registry: Registry, *, lake: Path, python: str = sys.executable, trust: Collection[str] = ()) -> None:
        """
        Args:
            lake: the lake's directory.
            python: the interpreter that has the `ml` extra.
            trust: what may be executed of models' files, as words of `serving.base.TRUST`.
        """
        self._registry, self._lake, self._python, self._trust = registry, lake, python, trust

    def evidence(self, candidate: bytes, champion: Version, theirs: bytes) -> bytes:
        """The champion's predictions on the candidate's rows, as `OutOfFold.to_json` writes them.

        Args:
            candidate: the candidate's own evidence.
            champion: the version that is asked.
            theirs: the champion's own evidence.

        Raises:
            Invalid: the champion cannot answer these rows: a column it needs is missing, or the data are gone.
            TimedOut: it took longer than five minutes, or an hour of images.
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
                trust=trusted(champion.meta, self._trust),
            )
            env = bare_environment() if case.trust else None
            seconds = PICTURED if case.signature.pictured else SECONDS
            return ask(MODULE, case, OutOfFold, python=self._python, seconds=seconds, env=env).to_json()

    def _place(self, dataset: str) -> Place:
        version = self._registry.find(Ref.parse(dataset), ALL)  # the lineage of a version that the caller may promote
        return place(version, "dataset")


def replay(case: Case) -> OutOfFold:
    """What the champion says about the candidate's rows; rows that it was trained on keep their out-of-fold prediction.

    Raises:
        Invalid: a column is missing, or the rows are not those of the evidence.
    """
    from tandem.serving.columns import predict
    from tandem.store.lake import IMAGES, Lake

    if case.signature.whole or case.signature.lists:  # it answers no single rows, or rows that it has seen otherwise
        does = "recommends" if case.signature.lists else "tells series"
        raise Invalid(
            f"A champion that {does} is not asked about the rows of newer training data.",
            field="rows",
            hint="Compare both on rows that neither was trained on: tandem gate evidence.",
        )
    if case.signature.sampled:
        return _answered(case, _windowed(case))
    lake, members = Lake(Path(case.lake)), Path(case.members)
    asked, seen = lake.read(case.asked.table, case.asked.version), lake.read(case.seen.table, case.seen.version)
    if case.candidate.places:
        asked = asked[list(case.candidate.places)]
    told = len(case.champion.places) or seen.height
    if asked.height != len(case.candidate.rows) or told != len(case.champion.rows):
        raise Invalid("The datasets do not hold the rows of the evidence.", field="rows", hint="Train again.")
    _check_columns(asked, case.signature)
    _refuse_unjudged(asked, seen, case)
    known = _known(asked, seen, case)
    new = asked.filter([old is None for old in known])
    fresh = iter(predict(members, new, case.signature, case.trust, Path(case.lake, IMAGES)) if new.height else ())
    return _answered(case, [map(float, next(fresh)) if old is None else old for old in known])


def _answered(case: Case, answers: Iterable[Iterable[float]]) -> OutOfFold:
    """The candidate's evidence with the champion's answers, one for each row."""
    return OutOfFold(
        dataset=case.candidate.dataset,
        digest=case.candidate.digest,
        target=case.champion.target,
        positive=case.champion.positive,
        rows=case.candidate.rows,
        places=case.candidate.places,
        labels=case.candidate.labels,
        probabilities=tuple(number for answer in answers for number in answer),
        seed=case.champion.seed,
        folds=case.champion.folds,
        threshold=case.champion.threshold,
        task=case.champion.task,
        classes=case.champion.classes,
        contents=case.candidate.contents,
        groups=case.candidate.groups,
    )


def _windowed(case: Case) -> list[Iterable[float]]:
    """What the champion says of each window; one that it was trained on keeps its out-of-fold prediction, wherever it stands now.

    Raises:
        Invalid: the candidate's windows are others, or some are cut out of what the champion learned from in another place.
    """
    import numpy as np

    from tandem.serving.columns import Answering
    from tandem.serving.signals import Signals
    from tandem.serving.windows import cut
    from tandem.store.lake import Lake

    lake, signals = Lake(Path(case.lake)), Signals.load(Path(case.members))
    if signals is None:
        raise Invalid("The champion is no model of signals that was trained here.", field="rows", hint="Train again.")
    asked = cut(lake.read(case.asked.table, case.asked.version), signals.plan)
    seen = cut(lake.read(case.seen.table, case.seen.version), signals.plan)
    stands = {int(place): number for number, place in enumerate(asked.rows[asked.ends])}
    ended = {int(place): number for number, place in enumerate(seen.rows[seen.ends])}
    if not (stands.keys() >= set(case.candidate.places) and ended.keys() >= set(case.champion.places)):
        raise Invalid(
            "The candidate's windows are not those of the champion.",
            field="rows",
            hint="Train it with the champion's --signal, --at, --window and --stride.",
        )
    asked = replace(asked, starts=asked.starts[[stands[place] for place in case.candidate.places]])
    width, told, (learned, runs) = case.champion.width, case.champion.probabilities, seen.prints()
    judged = {
        int(learned[ended[place]]): told[number * width : (number + 1) * width]
        for number, place in enumerate(case.champion.places)
    }
    prints = asked.prints()[0]
    known = [judged.get(int(each)) for each in prints]
    new = np.array([old is None for old in known])
    met = int(np.isin(prints[new], runs).sum())
    if met:
        raise Invalid(
            f"{met} of the candidate's windows lie in what the champion learned from, and begin elsewhere.",
            field="rows",
            hint="Append new samples, so that the windows of a unit stay where they were; or name new units.",
        )
    model = Answering.load(Path(case.members), case.signature, case.trust)
    fresh = iter(model.predict(replace(asked, starts=asked.starts[new]).frame(slice(None))) if new.any() else ())
    return [map(float, next(fresh)) if old is None else old for old in known]


def _check_columns(frame: pl.DataFrame, signature: Signature) -> None:
    missing = [name for name in signature.contents if name not in frame.columns]
    if missing:
        raise Invalid(
            f"The champion needs the column '{missing[0]}', which the newer data do not have.",
            field=missing[0],
            hint="Promote the first version on the new columns under another name.",
        )


def _refuse_unjudged(asked: pl.DataFrame, seen: pl.DataFrame, case: Case) -> None:
    """The champion learned from rows that it was never judged on, where it was judged forward in time: none may be asked."""
    columns = [*case.signature.contents, case.champion.target]
    if not case.champion.places or any(name not in asked.columns or name not in seen.columns for name in columns):
        return
    judged = set(case.champion.places)
    unjudged = seen[[place for place in range(seen.height) if place not in judged]].select(columns)
    unjudged = unjudged.cast({name: asked.schema[name] for name in columns}, strict=False)
    met = asked.select(columns).join(unjudged, on=columns, how="semi", nulls_equal=True).height
    if met:
        raise Invalid(
            f"{met} of the candidate's rows are rows that the champion learned from and was never judged on.",
            field="rows",
            hint="Judge the candidate on later rows: split both by time.",
        )


def _known(asked: pl.DataFrame, seen: pl.DataFrame, case: Case) -> list[Sequence[float] | None]:
    """For each row that was asked, the out-of-fold prediction if the champion was trained on a row of that content."""
    import polars as pl

    columns = [*case.signature.contents, case.champion.target]
    if any(name not in asked.columns or name not in seen.columns for name in columns):
        return [None] * asked.height
    if case.champion.places:
        seen = seen[list(case.champion.places)]
    width = case.champion.width
    told = [f"{CHANCE}{place}" for place in range(width)]
    old = seen.select(columns).with_columns(
        pl.Series(name, case.champion.probabilities[place::width], dtype=pl.Float64) for place, name in enumerate(told)
    )
    old = old.cast({name: asked.schema[name] for name in columns}, strict=False)
    old = old.group_by(columns).agg(pl.col(told).mean())
    found = asked.select(columns).join(old, on=columns, how="left", nulls_equal=True, maintain_order="left")
    return [None if row[0] is None else row for row in found.select(told).iter_rows()]


def carry_out(case: Case, progress: Progress = silent) -> OutOfFold:
    return replay(case)


if __name__ == "__main__":
    raise SystemExit(serve(Case, carry_out))
