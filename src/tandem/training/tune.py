"""Searches an algorithm's parameters by trials (TPE of Optuna, Bergstra et al. 2011), pruned fold by fold, resumable.

Nested: the parameters of each outer fold are searched among the rows that it learns from, by inner folds of those rows; the
rows that it judges have no part in the search. So a reported metric is that of searching and learning together, and is
not the best of many looks at the same rows. The parameters of the model that is kept come from one more search, over all
rows. Every finished trial is one line of a file; what a killed process leaves is taken up from there, and ends as if
nothing had happened.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

from tandem.core.errors import Invalid, Unavailable
from tandem.evaluation.evidence import CLASSED
from tandem.jobs.pieces import Crew, together
from tandem.scorers.base import TaskName
from tandem.scorers.losses import EPSILON
from tandem.scorers.ranking import Ndcg10
from tandem.scorers.sample import Floats, Ranked, Truths
from tandem.training.algorithms.base import Algorithm, Param
from tandem.training.manifest import Searched, Trial
from tandem.training.split import Splits
from tandem.training.table import Table, stratified
from tandem.training.task import Task

INNER = 3
"""Folds of a search."""
WARM = 4
"""Trials that are never pruned."""
LOSSES: Mapping[TaskName, str] = {
    "classification": "log_loss",
    "regression": "rmse",
    "multiclass": "log_loss",
    "forecasting": "rmse",
    "ranking": "1 - ndcg@10",
}
"""What a search makes small."""
Piece = tuple[Mapping[str, float], Truths, Truths]
"""Parameters, the rows that are learned from, and those that are judged."""


class _Line(msgspec.Struct, frozen=True):
    """One finished trial as it is kept."""

    study: str
    params: dict[str, float]
    losses: tuple[float, ...]
    """The mean loss after each inner fold; fewer than all where it was pruned."""
    pruned: bool


@dataclass(frozen=True, slots=True)
class Log:
    """The finished trials of a training."""

    path: Path | None
    lines: list[_Line] = field(default_factory=list)

    @classmethod
    def open(cls, path: Path | None, key: str) -> Log:
        """What a former attempt at the same training left; of another one nothing is taken."""
        if path is None:
            return cls(None)
        first, *rest = path.read_bytes().split(b"\n") if path.exists() else [b""]
        if first != key.encode():
            path.write_bytes(key.encode() + b"\n")
            return cls(path)
        lines = []
        for line in rest[:-1]:  # what stands after the last line break is a line that was cut
            lines.append(msgspec.json.decode(line, type=_Line))
        path.write_bytes(b"\n".join([first, *rest[: len(lines)], b""]))
        return cls(path, lines)

    def add(self, line: _Line) -> None:
        self.lines.append(line)
        if self.path is not None:
            with self.path.open("ab") as file:
                file.write(msgspec.json.encode(line) + b"\n")
                file.flush()
                os.fsync(file.fileno())


@dataclass(frozen=True, slots=True)
class Trying:
    """Learns from some rows and judges others: all that a trial needs, wherever it is done."""

    table: Table
    algorithm: Algorithm
    balance: bool
    seed: int

    def __call__(self, piece: Piece) -> float:
        """The loss of one set of parameters in one inner fold."""
        params, seen, held = piece
        with threadpool_limits(1):  # one thread sums in one order
            encoding = self.table.columns.at(seen).learn()
            model = self.algorithm.fit(self.table.examples(encoding, seen, balance=self.balance), params=params, seed=self.seed)
            asked = self.table.examples(encoding, held)
            return loss(self.table.aim.task, asked.target, model.predict(asked.features), asked.groups)


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """How parameters are searched."""

    task: Task
    table: Table
    algorithm: Algorithm
    params: Mapping[str, float]
    """All of the algorithm's; those that the task itself names are not searched."""
    log: Log
    splits: Splits
    """The outer folds, which inner ones follow in their way."""

    @classmethod
    def of(
        cls,
        task: Task,
        table: Table,
        algorithm: Algorithm,
        params: Mapping[str, float],
        digest: str,
        splits: Splits,
        path: Path | None,
    ) -> Search:
        """A search for one training; `digest` is that of its rows.

        Raises:
            Invalid: the algorithm has nothing left that could be searched.
            Unavailable: the library is not installed.
        """
        free = [name for name, param in algorithm.params.items() if param.search is not None and name not in task.params]
        if not free:
            raise Invalid(f"{task.algorithm} has no parameters left to search.", field="tune", hint="Name fewer with --param.")
        try:
            import optuna
        except ModuleNotFoundError:
            raise Unavailable(
                "Tuning needs the library 'optuna', which is not installed.", hint="Install it with: pip install 'tandem-ai[ml]'."
            ) from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        key = hashlib.sha256(msgspec.json.encode((task, digest, params))).hexdigest()
        return cls(task=task, table=table, algorithm=algorithm, params=params, log=Log.open(path, key), splits=splits)

    @property
    def trying(self) -> Trying:
        """What is done with each set of parameters."""
        return Trying(self.table, self.algorithm, balance=self.task.balance, seed=self.task.seed)

    def best(
        self, crew: Crew[str, Piece, float], studies: Mapping[str, Truths], tell: Callable[[float, str], None]
    ) -> tuple[Searched, ...]:
        """The parameters of the least loss over inner folds of each study's rows.

        Args:
            crew: does what `trying` says.
            studies: name of a search → the rows that may be learned from; the same name continues.
            tell: is told the share done and a sentence after each trial.
        """
        total = self.task.tune * len(studies)
        searches = {
            study: self._search(study, rows, lambda stage: tell(len(self.log.lines) / total, stage))
            for study, rows in studies.items()
        }
        return tuple(together(crew, searches).values())

    def _search(self, study: str, rows: Truths, tell: Callable[[str], None]) -> Generator[Piece, float, Searched]:
        """One search: asks for losses, returns what it came to."""
        import optuna

        inner = self._inner(rows)
        made = optuna.create_study(direction="minimize", pruner=optuna.pruners.MedianPruner(WARM, n_warmup_steps=0))
        for line in self.log.lines:
            if line.study == study:
                made.add_trial(self._known(line))
        while len(made.trials) < self.task.tune:
            number = len(made.trials)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # optuna tells of what is experimental in it
                made.sampler = optuna.samplers.TPESampler(seed=_seed(self.task.seed, study, number), n_startup_trials=WARM)
            trial = made.ask()
            line = yield from self._try(study, trial, inner)
            state = optuna.trial.TrialState.PRUNED if line.pruned else optuna.trial.TrialState.COMPLETE
            made.tell(trial, None if line.pruned else line.losses[-1], state=state)
            self.log.add(line)
            least = f"best {LOSSES[self.table.aim.task]} {made.best_value:.4f}"
            tell(f"{study}: trial {number + 1} of {self.task.tune}, {least}")
        trials = tuple(
            Trial(number=number, params=line.params, loss=line.losses[-1], folds=len(line.losses), pruned=line.pruned)
            for number, line in enumerate(line for line in self.log.lines if line.study == study)
        )
        return Searched(study=study, params=self._whole(made.best_params), loss=made.best_value, trials=trials)

    def _inner(self, rows: Truths) -> list[tuple[Truths, Truths]]:
        """Learned from and judged, for each inner fold; outer folds that keep groups or time are inner ones too."""
        if self.task.by == "random":
            aim = self.table.aim
            strata = aim.target if aim.task in CLASSED else np.zeros(len(aim.target))
            fold = np.full(len(rows), -1)
            fold[rows] = stratified(strata[rows], folds=INNER, seed=self.task.seed)
            return [(rows & (fold != number), fold == number) for number in range(INNER)]
        known = [number for number in range(self.splits.count) if (self.splits.held(number) & rows).any()]
        if not known and self.splits.rank is not None:  # the first fold of time learns from one block, which its middle halves
            late = self.splits.rank > np.median(self.splits.rank[rows])
            return [(rows & ~late, rows & late)]
        return [(self.splits.seen(number) & rows, self.splits.held(number) & rows) for number in known[-INNER:]]

    def _try(self, study: str, trial: Any, inner: list[tuple[Truths, Truths]]) -> Generator[Piece, float, _Line]:
        params = self._suggest(trial)
        losses: list[float] = []
        total = 0.0
        for step, (seen, held) in enumerate(inner):
            total += yield params, seen, held
            losses.append(total / (step + 1))
            trial.report(losses[-1], step)
            if step + 1 < len(inner) and trial.should_prune():
                return _Line(study, dict(trial.params), tuple(losses), True)
        return _Line(study, dict(trial.params), tuple(losses), False)

    def _space(self) -> dict[str, Param]:
        return {
            name: param
            for name, param in self.algorithm.params.items()
            if param.search is not None and name not in self.task.params
        }

    def _suggest(self, trial: Any) -> dict[str, float]:
        found: dict[str, float] = {}
        for name, param in self._space().items():
            assert param.search is not None  # as `_space` says
            low, high = param.search
            if param.whole:
                found[name] = trial.suggest_int(name, int(low), int(high), log=param.log)
            else:
                found[name] = trial.suggest_float(name, low, high, log=param.log)
        return self._whole(found)

    def _whole(self, found: Mapping[str, float]) -> dict[str, float]:
        return {**self.params, **found}

    def _known(self, line: _Line) -> Any:
        import optuna

        kinds: dict[str, Any] = {}
        for name, param in self._space().items():
            assert param.search is not None  # as `_space` says
            low, high = param.search
            kind = optuna.distributions
            kinds[name] = (
                kind.IntDistribution(int(low), int(high), log=param.log)
                if param.whole
                else kind.FloatDistribution(low, high, log=param.log)
            )
        return optuna.trial.create_trial(
            state=optuna.trial.TrialState.PRUNED if line.pruned else optuna.trial.TrialState.COMPLETE,
            value=line.losses[-1],
            params={name: int(value) if self.algorithm.params[name].whole else value for name, value in line.params.items()},
            distributions=kinds,
            intermediate_values=dict(enumerate(line.losses)),
        )


def loss(task: TaskName, target: NDArray[Any], outputs: Floats, groups: NDArray[np.int64] | None = None) -> float:
    """What a search makes small: mean log loss in nats, the root of the mean squared error, or 1 - ndcg@10."""
    match task:
        case "regression" | "forecasting":
            return float(np.sqrt(((outputs[:, 0] - target) ** 2).mean()))
        case "classification":
            kept = np.clip(outputs[:, 0], EPSILON, 1 - EPSILON)
            return float(-np.log(np.where(target, kept, 1 - kept)).mean())
        case "multiclass":
            return float(-np.log(np.clip(outputs[np.arange(len(target)), target], EPSILON, 1.0)).mean())
        case "ranking":
            assert groups is not None  # as of every table of a ranking
            sample = Ranked.of(list(target), list(outputs[:, 0]), groups=list(map(str, groups)))
            return float(1 - Ndcg10().each(sample).mean())
        case "anomaly" | "recommendation":
            raise Invalid("A search for anomalies has nothing to make small.", field="tune", hint="Leave it out: --tune 0.")


def _seed(seed: int, study: str, number: int) -> int:
    """Of one trial: the same after a restart."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{study}/{number}".encode()).digest()[:4], "big")
