"""Runs: one execution each. Training, evaluating, and waiting for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tandem_sdk.assets import split
from tandem_sdk.errors import RunFailed, TimedOut
from tandem_sdk.verdicts import Estimate, estimates
from tandem_sdk.wire import API, Wire, read_replies, read_reply, segment

ENDED = frozenset({"succeeded", "failed", "cancelled"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One execution, with what went in, how far it is and what came out."""

    id: str
    kind: str = ""
    name: str = ""
    state: str = "queued"
    """`queued`, `running`, `succeeded`, `failed` or `cancelled`."""
    progress: float = 0.0
    """Between 0 and 1."""
    stage: str = ""
    """What it is doing now, for people."""
    reason: str | None = None
    """Why it failed or was cancelled."""
    inputs: Mapping[str, object] = field(default_factory=dict)
    outputs: Mapping[str, object] = field(default_factory=dict)
    team: str = ""
    created_by: str = ""
    created_at: int = 0
    started_at: int | None = None
    ended_at: int | None = None
    parent: str | None = None
    """The run that started it."""

    @property
    def asset(self) -> str:
        """The version it made, such as `model/tumor@1`; empty when it made none."""
        made = self.outputs.get("asset")
        return made if isinstance(made, str) else ""

    @property
    def cost(self) -> int | None:
        """Nano-dollars of its own work; None where an hour of it has no price, or before its end."""
        told = self.outputs.get("cost")
        return told if isinstance(told, int) else None

    @property
    def metrics(self) -> dict[str, Estimate]:
        """Metrics with their intervals, by name."""
        return estimates(self.outputs.get("metrics"))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences about what may make the metrics too good to be true."""
        told = self.outputs.get("warnings")
        return tuple(map(str, told)) if isinstance(told, list) else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GradedAnswer:
    """One answer of an evaluation."""

    trace: str = ""
    error: str = ""
    """The code of the error that came instead; every grade is then 0."""
    grades: Mapping[str, float] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    """Metric → a word beside the grade, such as `no-claims`."""
    seconds: float = 0.0
    cost: int | None = None
    """Nano-dollars; None when nobody knows the price."""
    orders: tuple[str, ...] = ()
    """What a judge said when the answer stood first, and when it stood second."""
    text: str | None = None
    """What was answered, where it is kept and was asked for."""
    why: Mapping[str, object] | None = None
    """Metric → why it was graded so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GradedRow:
    """One row of the dataset with its answers."""

    row: str
    grade: float
    """The mean over the repeats."""
    answers: tuple[GradedAnswer, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GradedRows:
    """The worst rows of an evaluation."""

    evaluation: str
    prompt: str
    suite: str
    metric: str
    whole: bool = True
    """False while rows are missing."""
    total: int = 0
    lines: tuple[GradedRow, ...] = ()


class Runs:
    """`client.runs`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def train(
        self,
        name: str,
        *,
        data: str,
        target: str = "",
        task: str | None = None,
        algorithm: str | None = None,
        params: Mapping[str, object] | None = None,
        seed: int = 7,
        folds: int = 5,
        split: str = "random",
        group: str | None = None,
        time: str | None = None,
        leaks: str = "warn",
        balance: bool = False,
        calibrate: str = "none",
        cost_false_positive: float | None = None,
        cost_false_negative: float | None = None,
        tune: int = 0,
        fairness: Sequence[str] = (),
        purpose: str = "",
        positive: str | None = None,
        horizon: int = 0,
        season: Sequence[int] = (),
        series: str | None = None,
        known: Sequence[str] = (),
        frequency: str = "auto",
        false_alarms: float = 0.01,
        user: str | None = None,
        weight: str | None = None,
        embed: str | None = None,
        pixels: str = "imagenet",
        signal: str | None = None,
        window: int = 0,
        stride: int = 0,
        baseline: bool = True,
        exclude: Sequence[str] = (),
    ) -> Run:
        """Starts the training of `model/NAME`; returns at once.

        Args:
            name: the model's name.
            data: the dataset, `dataset/NAME[@VERSION]`.
            target: the column to predict, of a recommendation that of the items; only `anomaly` does without one.
            task: `classification`, `regression` or `multiclass`; None takes what the target's values are. Or `forecasting`,
                `ranking`, `recommendation` or `anomaly`.
            algorithm: `gradient-boosting`, `lightgbm`, `hist-gradient-boosting`, `random-forest`, `logistic`, `linear`,
                `seasonal-naive`, `isolation-forest` or `ecod`; of recommendations `popularity`, `neighbours` or `als`; of images
                `cnn`. None takes gradient boosting, of anomalies the forest, of recommendations neighbours, of images the network
                `cnn`, or with `embed` logistic regression.
            params: the algorithm's own options.
            seed: of everything random.
            folds: of the cross-validation.
            split: how rows come into folds: `random`, `group` (whole groups of the column `group`) or `time` (forward in
                the column `time`, by default the dataset's own).
            leaks: `warn` or `refuse` columns that tell the target, columns that name rows, and rows that occur twice.
            balance: lets all classes weigh the same.
            calibrate: how scores of two classes become probabilities: `none`, `platt`, `isotonic` or `auto`.
            cost_false_positive, cost_false_negative: what a wrong answer costs; both together choose the threshold.
            tune: trials of each search for parameters; 0 searches none.
            fairness: columns whose groups of rows the model is judged by, whether it learns from them or not.
            purpose: what the model is for, as its card quotes it.
            positive: the label that counts as positive; None lets the platform choose.
            horizon: of a forecast, how many steps are told.
            season: of a forecast, after how many steps things repeat; none takes a day and a week, or a year.
            series: of a forecast, the column that names the series; None where there is one.
            known: of a forecast, columns whose values are known for the moments that are told.
            frequency: of a forecast, how far moments are apart, such as `1h`; `auto` takes the smallest distance.
            false_alarms: of anomalies, the share of ordinary rows that may be called so.
            user: of a recommendation, the column of who behaved.
            weight: of a recommendation, the column of how much a row counts; None: each counts 1.
            embed: of images, the model whose network makes numbers of them, `model/NAME[@VERSION]`.
            pixels: of images, how that network wants pixels: `imagenet` (by its means and deviations) or `unit` (0 to 1).
            signal: of signals, the column of the units: their rows in the order of `time` become windows.
            window: of signals, the samples of a window.
            stride: of signals, the samples from one window to the next; 0: as many as a window has.
            baseline: whether the simplest model of the task is trained beside it, as `model/NAME-baseline`.
            exclude: columns that are not learned from.

        Raises:
            Invalid, NotFound: the inputs make no sense.
        """
        inputs = {
            "data": data, "target": target, "task": task, "algorithm": algorithm, "params": dict(params or {}),
            "seed": seed, "folds": folds, "split": split, "group": group, "time": time, "leaks": leaks, "balance": balance,
            "calibrate": calibrate, "cost_false_positive": cost_false_positive, "cost_false_negative": cost_false_negative,
            "tune": tune, "fairness": list(fairness), "purpose": purpose, "horizon": horizon, "season": list(season),
            "series": series, "known": list(known), "frequency": frequency, "false_alarms": false_alarms,
            "user": user, "weight": weight, "embed": embed, "pixels": pixels,
            "signal": signal, "window": window, "stride": stride,
            "positive": positive, "baseline": baseline, "exclude": list(exclude),
        }  # fmt: skip
        return self.start("train", name, inputs)

    def predict(
        self,
        model: str,
        *,
        name: str,
        data: str = "",
        sql: str = "",
        database: str = "",
        key: str = "",
        into: str = "",
        into_database: str = "",
    ) -> Run:
        """Starts to score a whole dataset, or what a database answers; returns at once.

        The Run makes `dataset/NAME`: every row of the data, in its order, with `probability` and `label`. A row that the model
        does not take has neither, and is kept apart with the reason, as `tandem data quarantine` shows it.

        Args:
            model: `NAME` for the version in production, or `model/NAME[@VERSION]`.
            name: of the dataset that is made.
            data: `dataset/NAME[@VERSION]`; or leave it out and give the next three.
            sql: one statement that reads.
            database: `env:NAME` or `file:PATH`, as the platform's settings list it.
            key: a column of the answer that names its rows: whole numbers or texts, none empty, none twice.
            into: where the scored rows are put beside the dataset: `TABLE`, `SCHEMA.TABLE`, or `parquet:PLACE/FOLDER`.
            into_database: of the table, by default `database`.

        Raises:
            Invalid, NotFound, Forbidden: the inputs make no sense, or are not for this key.
        """
        given = {
            "model": model, "data": data, "sql": sql, "database": database, "key": key, "into": into,
            "into_database": into_database,
        }  # fmt: skip
        return self.start("predict", name, {word: value for word, value in given.items() if value})

    def evaluate(
        self,
        prompt: str,
        *,
        suite: str,
        repeats: int | None = None,
        fresh: bool = False,
        against: str | None = None,
    ) -> Run:
        """Starts to ask a prompt version the questions of a suite; returns at once.

        Args:
            prompt: `prompt/NAME[@VERSION]`.
            suite: `suite/NAME[@VERSION]`.
            repeats: how often each question is asked; None takes the suite's number.
            fresh: asks everything again; else rows that this key had answered before are taken as they are.
            against: the version whose answers a judge compares with; None takes the champion's.

        Raises:
            Invalid, NotFound: the inputs make no sense.
        """
        inputs = {"prompt": prompt, "suite": suite, "repeats": repeats, "fresh": fresh, "against": against}
        return self.start("evaluate", split(prompt)[1], inputs)

    def rows(self, id: str, *, metric: str | None = None, limit: int = 20, content: bool = False) -> GradedRows:
        """The worst rows of an evaluating run.

        Args:
            id: the run.
            metric: None takes the suite's own.
            limit: how many, the worst first.
            content: also what was answered, and why it was graded so.

        Raises:
            NotFound: the run evaluated nothing.
        """
        query = {"metric": metric, "limit": limit, "content": "true" if content else None}
        return read_reply(GradedRows, self._wire.get(f"{API}/runs/{segment(id)}/rows", query))

    def start(self, kind: str, name: str, inputs: Mapping[str, object]) -> Run:
        """Starts a Run of any kind the platform knows."""
        body = {"kind": kind, "name": name, "inputs": dict(inputs)}
        return read_reply(Run, self._wire.send("POST", f"{API}/runs", body, once=True))

    def list(self, limit: int = 50, *, parent: str | None = None) -> tuple[Run, ...]:
        """The newest runs first; with `parent`, those that this run started."""
        return read_replies(Run, self._wire.get(f"{API}/runs", {"limit": limit, "parent": parent}))

    def show(self, id: str) -> Run:
        """One run.

        Raises:
            NotFound: there is none.
        """
        return read_reply(Run, self._wire.get(f"{API}/runs/{segment(id)}"))

    def cancel(self, id: str) -> Run:
        """Asks a run to stop.

        Raises:
            Conflict: it has ended.
        """
        return read_reply(Run, self._wire.send("POST", f"{API}/runs/{segment(id)}/cancel"))

    def wait(
        self, id: str, on_progress: Callable[[Run], None] | None = None, *, seconds: float | None = None, every: float = 0.25
    ) -> Run:
        """Waits until a run has ended well.

        Args:
            id: the run.
            on_progress: called with the run each time it was looked at.
            seconds: the longest wait; None waits as long as it takes.
            every: seconds between two looks.

        Raises:
            RunFailed: it failed or was cancelled; the message says why.
            TimedOut: it has not ended in `seconds`; it goes on.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            run = self.show(id)
            if on_progress is not None:
                on_progress(run)
            if run.state == "succeeded":
                return run
            if run.state in ENDED:
                raise RunFailed(
                    f"The run {run.id} ({run.kind} {run.name}) {_past(run.state)}: {run.reason or 'no reason was given'}",
                    hint=f"`tandem run show {run.id}` tells what went in.",
                )
            if deadline is not None and time.monotonic() >= deadline:
                raise TimedOut(f"The run {id} is still {run.state}; it goes on.", hint=f"`tandem run wait {id}` waits again.")
            time.sleep(every)


def _past(state: str) -> str:
    return "failed" if state == "failed" else f"was {state}"
