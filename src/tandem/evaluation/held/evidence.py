"""Evidence on held-out rows: made by the server, or brought and checked. Whose rows the model has seen is found by content."""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from tandem.core.asset import Ref, Version
from tandem.core.errors import Blocked, Invalid
from tandem.core.principal import Principal
from tandem.data.versions import place
from tandem.evaluation.about.nouns import SLICES
from tandem.evaluation.evidence import OutOfFold
from tandem.evaluation.held.predict import Case, Outcome
from tandem.evaluation.held.repo import Held, HeldEvidence
from tandem.evaluation.table import Rows, rows_of
from tandem.governance.authorise import ALL, authorise, scope_of
from tandem.jobs.apart import ask, bare_environment
from tandem.registry.kinds.model import IMPORTED
from tandem.registry.registry import Registry
from tandem.scorers.base import TaskName
from tandem.serving.base import trusted
from tandem.serving.signature import Signature

MODULE = "tandem.evaluation.held.predict"
SECONDS, PICTURED = 300.0, 3_600.0
"""The longest evidence, of rows and of images."""
DEPTH = 100
"""Models that a model was made from, one from the other, before the search for its training rows ends."""


class Holdouts:
    """Makes and checks evidence on rows that a version was not trained on."""

    def __init__(
        self, registry: Registry, kept: HeldEvidence, *, lake: Path, python: str = sys.executable, trust: Collection[str] = ()
    ) -> None:
        """
        Args:
            kept: where evidence and looks are kept.
            lake: the lake's directory.
            python: the interpreter that has the `ml` extra.
            trust: what may be executed of models' files, as words of `serving.base.TRUST`.
        """
        self._registry, self.kept, self._lake, self._python, self._trust = registry, kept, str(lake), python, trust

    def add(
        self, ref: Ref, dataset: Ref, *, probabilities: Sequence[float] | None, by: Principal, fairness: Sequence[str] = ()
    ) -> Held:
        """Evidence of a model version on every row of a dataset version.

        Args:
            ref: the model.
            dataset: the rows, with the model's target among their columns.
            probabilities: of the positive class, one for each row in the dataset's order; of more classes, of each class, row by
                row; of a regression, the numbers. None lets the server predict. Where
                the server can ask the model, it does, and what was brought must be the same.
            by: needs the right to write in the model's team.
            fairness: columns of the dataset whose groups are judged too.

        A version that tells nothing of itself beyond metrics, as one that was imported, is told of by these rows.

        Raises:
            Blocked: the version was trained on some of these rows (`training_rows`), or nobody knows on which it was.
            Invalid: it is no model, a column is missing, or the predictions do not fit.
            TimedOut: it took longer than five minutes, or an hour of images.
        """
        version = self._registry.find(ref, scope_of(by))
        authorise(by, "write", version.team)
        rows = self._registry.find(dataset, scope_of(by))
        if version.kind != "model" or rows.kind != "dataset":
            raise Invalid(f"{version.ref} on {rows.ref} is no model on a dataset.", field="dataset", hint="Name dataset/NAME.")
        seen = self._seen(version)
        with tempfile.TemporaryDirectory(prefix="tandem-held-") as folder:
            members = self._materialise(version, Path(folder))
            case = self._case(version, rows, seen, members, probabilities)
            case = replace(case, about=SLICES not in version.members or bool(fairness), fairness=tuple(fairness))
            env = bare_environment() if case.trust else None
            seconds = PICTURED if case.signature.pictured else SECONDS
            outcome = ask(MODULE, case, Outcome, python=self._python, seconds=seconds, env=env)
        if outcome.seen:
            raise Blocked(
                f"{version.ref} was trained on {outcome.seen} of the rows of {rows.ref}, so they prove nothing about it.",
                hint="Evaluate it on a dataset without those rows.",
                code="training_rows",
            )
        assert outcome.evidence is not None  # what is not made is an error
        return self.kept.add(
            str(version.ref),
            outcome.evidence,
            about=outcome.about,
            latency=outcome.latency,
            given=not outcome.made,
            team=version.team,
            by=by.name,
        )

    def rows(self, dataset: str) -> Rows:
        """Where the rows of a dataset version lie."""
        return rows_of(self._registry, self._lake, dataset)

    def _seen(self, version: Version) -> tuple[Rows, ...]:
        """The datasets that the version and the models it was made from were trained on."""
        found: dict[str, Rows] = {}
        models, done = [version], set[str]()
        while models and len(done) < DEPTH:
            one = models.pop()
            done.add(str(one.ref))
            for parent in map(Ref.parse, one.parents):
                if parent.kind == "dataset":
                    found[str(parent)] = self.rows(str(parent))
                elif parent.kind == "model" and str(parent) not in done:
                    models.append(self._registry.find(parent, ALL))
        if not found:
            raise Blocked(
                f"Nobody knows which rows {version.ref} was trained on, so none can be held out from it.",
                hint="Publish it with its dataset among its parents.",
                code="no_evidence",
            )
        return tuple(found.values())

    def _case(
        self,
        version: Version,
        rows: Version,
        seen: tuple[Rows, ...],
        members: str,
        probabilities: Sequence[float] | None,
    ) -> Case:
        meta = version.meta
        try:
            signature = msgspec.convert(meta["signature"], Signature)
            classes = msgspec.convert(meta["classes"], tuple[str, ...])
            target = msgspec.convert(meta["target"], str)
            threshold = msgspec.convert(meta.get("threshold", 0.5), float)
        except (KeyError, msgspec.ValidationError):
            raise Invalid(
                f"{version.ref} does not say its inputs, its target and its classes.",
                field="meta",
                hint="Publish it with `signature`, `target` and `classes`; of a regression these are none.",
            ) from None
        if signature.pictured and not place(rows, "dataset").images:
            raise Invalid(f"{rows.ref} holds no images, and {version.ref} takes them.", field="dataset", hint="Name images.")
        return Case(
            dataset=str(rows.ref),
            digest=str(rows.meta.get("digest", rows.digest)),
            target=target,
            classes=classes,
            threshold=threshold,
            signature=signature,
            asked=self.rows(str(rows.ref)),
            seen=seen,
            members=members,
            probabilities=None if probabilities is None else tuple(probabilities),
            does=_does(meta),
            group=_group(meta),
            anomaly=self._anomaly(version) if meta.get("task") == "anomaly" else "",
            trust=trusted(meta, self._trust),
        )

    def _anomaly(self, version: Version) -> str:
        """The target's value that the training took for an anomaly; empty where none was known."""
        return OutOfFold.from_json(self._registry.member(version, "oof.json")).positive

    def _materialise(self, version: Version, folder: Path) -> str:
        for name in version.members:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self._registry.member(version, name))
        return str(folder)


def _does(meta: Mapping[str, object]) -> TaskName | None:
    """What a version says that it does; None where it says nothing that is known here."""
    try:
        told: TaskName = msgspec.convert(meta.get("task"), TaskName)
        return told
    except msgspec.ValidationError:
        return None


def _group(meta: Mapping[str, object]) -> str | None:
    """The column whose rows a ranking ranks together."""
    split = meta.get("split")
    group = split.get("group") if meta.get("task") == "ranking" and isinstance(split, Mapping) else None
    return group if isinstance(group, str) else None


def trained_here(version: Version) -> bool:
    """Whether a training of the platform made the version, so that its out-of-fold predictions are what they say."""
    return version.run is not None and version.meta.get("origin") != IMPORTED


def lost(before: OutOfFold, now: OutOfFold) -> int:
    """How many rows of an earlier look are missing from the present evidence; evidence may only grow."""
    return sum((Counter(before.contents) - Counter(now.contents)).values())
