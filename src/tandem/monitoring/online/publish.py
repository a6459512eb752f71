"""A candidate becomes a version: the champion's files with other coefficients, and what was said of rows not learned yet."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from tandem.core.asset import Version
from tandem.core.principal import Principal
from tandem.core.score import Estimate
from tandem.evaluation.evidence import OutOfFold
from tandem.governance.authorise import ALL
from tandem.jobs.apart import ask
from tandem.monitoring.online.learn import MODULE, ROWS, SECONDS, TOLERANCE, Convert, Done
from tandem.registry.registry import Registry
from tandem.scorers.proportions import padded, wilson

FILE = "linear.json"
ONNX = "model.onnx"
CARRIED = ("model.json", "signature.json", "encoding.json", "oof.json")
"""Members that stay as they are: how a row is prepared, and what the first training said of rows that it had not seen."""
OTHERS = ("metrics", "latency", "seconds", "importances", "tuning", "baseline", "plots")
"""What a version says of itself alone."""
MOST = 5_000
"""The newest rows that are kept as evidence."""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What candidate and champion said of the same rows, that neither had learned."""

    rows: list[str] = []
    truths: list[float] = []
    candidate: list[list[float]] = []
    """Row by row, one number or one per class."""
    champion: list[list[float]] = []

    @classmethod
    def read(cls, path: Path) -> Evidence:
        return msgspec.json.decode(path.read_bytes(), type=cls)

    def followed_by(self, later: Evidence) -> Evidence:
        """Both, the newest rows of them."""
        return Evidence(
            rows=(self.rows + later.rows)[-MOST:],
            truths=(self.truths + later.truths)[-MOST:],
            candidate=(self.candidate + later.candidate)[-MOST:],
            champion=(self.champion + later.champion)[-MOST:],
        )

    def held(self, version: Version, told: list[list[float]], dataset: str) -> OutOfFold:
        """What one of them said, as a gate judges it.

        Args:
            version: says what is predicted.
        """
        task, classes = str(version.meta["task"]), msgspec.convert(version.meta.get("classes", ()), tuple[str, ...])
        contents = tuple(
            hashlib.sha256(f"{row} {truth}".encode()).hexdigest() for row, truth in zip(self.rows, self.truths, strict=True)
        )
        return OutOfFold(
            dataset=dataset,
            digest=hashlib.sha256("".join(contents).encode()).hexdigest(),
            target=str(version.meta["target"]),
            positive=classes[1] if task == "classification" else "",
            rows=tuple(self.rows),
            labels=tuple(self.truths),
            probabilities=tuple(number for row in told for number in row),
            seed=0,
            folds=0,
            threshold=msgspec.convert(version.meta.get("threshold", 0.5), float),
            task=task,  # type: ignore[arg-type]  # the task of a model that learns online
            classes=classes if task == "multiclass" else (),
            contents=contents,
        )

    def metrics(self, version: Version) -> dict[str, Estimate]:
        """How right the candidate was on them."""
        if version.meta["task"] == "regression":
            errors = [abs(said[0] - truth) for said, truth in zip(self.candidate, self.truths, strict=True)]
            low, high = padded(errors, ())
            return {"mae": Estimate(value=sum(errors) / len(errors), low=low, high=high, n=len(errors))}
        cut = msgspec.convert(version.meta.get("threshold", 0.5), float)
        answers = [said.index(max(said)) if len(said) > 1 else int(said[0] >= cut) for said in self.candidate]
        right = sum(answer == truth for answer, truth in zip(answers, self.truths, strict=True))
        return {"accuracy": wilson(right, len(answers))}


def publish(
    registry: Registry,
    champion: Version,
    folder: Path,
    pairs: Evidence,
    *,
    lineage: Mapping[str, object],
    run: str,
    by: Principal,
    cancelled: Callable[[], bool],
) -> Version:
    """Publishes the coefficients in a folder as the champion's next version; the same Run again finds the version it made.

    Raises:
        Broken: its ONNX form says something else.
    """
    for version in registry.versions("model", champion.name, ALL):
        if version.run == run:
            return version
    meta = {name: value for name, value in champion.meta.items() if name not in OTHERS}
    members: dict[str, bytes | Path] = {name: registry.member(champion, name) for name in CARRIED if name in champion.members} | {
        FILE: folder / FILE
    }
    if ONNX in champion.members:
        done = ask(MODULE, Convert(folder=str(folder)), Done, cancelled=cancelled, seconds=SECONDS)
        members[ONNX] = folder / ONNX
        meta["parity"] = {
            "held": True, "reason": "The ONNX form says the same.", "rows": ROWS, "tolerance": TOLERANCE, "largest": done.largest,
        }  # fmt: skip
    datasets = tuple(parent for parent in champion.parents if parent.startswith("dataset/"))
    return registry.publish(
        "model",
        champion.name,
        members=members,
        meta={**meta, "metrics": msgspec.to_builtins(pairs.metrics(champion)), "online": dict(lineage)},
        parents=(*datasets, str(champion.ref)),
        run=run,
        by=by,
    )
