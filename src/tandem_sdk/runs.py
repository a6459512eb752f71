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

    @property
    def asset(self) -> str:
        """The version it made, such as `model/tumor@1`; empty when it made none."""
        made = self.outputs.get("asset")
        return made if isinstance(made, str) else ""

    @property
    def metrics(self) -> dict[str, Estimate]:
        """Metrics with their intervals, by name."""
        return estimates(self.outputs.get("metrics"))


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
        target: str,
        algorithm: str = "gradient-boosting",
        params: Mapping[str, object] | None = None,
        seed: int = 7,
        folds: int = 5,
        positive: str | None = None,
        baseline: bool = True,
        exclude: Sequence[str] = (),
    ) -> Run:
        """Starts the training of `model/NAME`; returns at once.

        Args:
            name: the model's name.
            data: the dataset, `dataset/NAME[@VERSION]`.
            target: the column to predict.
            algorithm: `gradient-boosting` or `logistic`.
            params: the algorithm's own options.
            seed: of everything random.
            folds: of the cross-validation.
            positive: the label that counts as positive; None lets the platform choose.
            baseline: whether a logistic regression is trained beside it, as `model/NAME-baseline`.
            exclude: columns that are not learned from.

        Raises:
            Invalid, NotFound: the inputs make no sense.
        """
        inputs = {
            "data": data, "target": target, "algorithm": algorithm, "params": dict(params or {}), "seed": seed, "folds": folds,
            "positive": positive, "baseline": baseline, "exclude": list(exclude),
        }  # fmt: skip
        return self.start("train", name, inputs)

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

    def list(self, limit: int = 50) -> tuple[Run, ...]:
        """The newest runs first."""
        return read_replies(Run, self._wire.get(f"{API}/runs", {"limit": limit}))

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
