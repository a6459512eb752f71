"""What is to be trained: data, target, algorithm, seed. Imports no numeric library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from tandem.core.errors import Invalid
from tandem.data.contract import Contract
from tandem.scorers.base import TaskName

AlgorithmName = Literal[
    "gradient-boosting",
    "lightgbm",
    "hist-gradient-boosting",
    "random-forest",
    "logistic",
    "linear",
    "seasonal-naive",
    "isolation-forest",
    "ecod",
    "popularity",
    "neighbours",
    "als",
    "cnn",
]
Pixels = Literal["imagenet", "unit"]
"""As `tandem.serving.images.Scale`."""

MOST_TRIALS = 500
LONGEST = 1_000
"""Steps of the longest horizon."""
MOST_SEASONS = 4
SHORTEST_WINDOW, LONGEST_WINDOW = 8, 10_000
"""Samples of a window."""
Split = Literal["random", "group", "time"]
Leaks = Literal["warn", "refuse"]
Calibrate = Literal["none", "platt", "isotonic", "auto"]
SPLITS: Mapping[TaskName, Split] = {"forecasting": "time", "ranking": "group", "anomaly": "random"}
"""Tasks that have one way to split."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One training, complete: the same task on the same data gives the same bytes."""

    name: str
    """The model's name."""
    dataset: str
    """The dataset version it is trained on, as `dataset/NAME@N`."""
    target: str
    """The column to predict, of a recommendation that of the items; empty where anomalies are looked for and none are known."""
    task: TaskName | None = None
    """What is asked of it; None: two values are a classification, up to twenty texts or whole numbers multiclass, numbers
    a regression. The others have to be asked for."""
    algorithm: AlgorithmName = "gradient-boosting"
    params: Mapping[str, float | int] = field(default_factory=dict)
    """The algorithm's own; what is left out has its default, what it does not know is refused."""
    positive: str | None = None
    """Of two classes, the one whose probability is predicted; by default 1, true, or the last in text order."""
    threshold: float = 0.5
    """At or above it the positive class is predicted."""
    seed: int = 0
    """Of folds and algorithm; not negative."""
    folds: int = 5
    split: Split = "random"
    """How rows come into folds: at random, whole groups, or forward in time."""
    group: str | None = None
    """The column whose rows of one value stay together; no feature."""
    time: str | None = None
    """The column that orders rows; no feature. None: the contract's time column."""
    leaks: Leaks = "warn"
    """What to do about columns and rows that make a score too good to be true."""
    balance: bool = False
    """Whether rows of rarer classes count more, so that all classes weigh the same."""
    calibrate: Calibrate = "none"
    """How scores of two classes become probabilities."""
    cost_false_positive: float | None = None
    cost_false_negative: float | None = None
    """What a wrong answer costs, in any unit; with both, the threshold is the one of the least expected cost."""
    exclude: tuple[str, ...] = ()
    """Columns that are no features, besides the contract's id and time columns and the target."""
    baseline: bool = False
    """Whether the simplest algorithm of the task is trained, whichever that is, instead of `algorithm`."""
    contract: Contract | None = None
    """Of the dataset: its ranges become the model's; inferred from the data when missing."""

    tune: int = 0
    """Trials of each search for parameters; 0: none."""
    horizon: int = 0
    """Of a forecast: steps that are told."""
    season: tuple[int, ...] = ()
    """Of a forecast: steps after which things repeat; none: a day and a week or a year, as the frequency has them."""
    series: str | None = None
    """Of a forecast: the column that names the series; None: there is one."""
    known: tuple[str, ...] = ()
    """Of a forecast: columns whose values are known for the moments that are told."""
    frequency: str = "auto"
    """Of a forecast: how far moments are apart, such as `1h`; `auto` takes the smallest distance."""
    false_alarms: float = 0.01
    """Of anomalies: the share of ordinary rows that may be called so."""
    user: str | None = None
    """Of a recommendation: the column of who behaved."""
    weight: str | None = None
    """Of a recommendation: the column of how much a row counts; None: each counts 1."""
    embed: str | None = None
    """Of images: the model whose network makes numbers of them, as `model/NAME@N`."""
    pixels: Pixels = "imagenet"
    """Of images: how the network wants pixels."""
    signal: str | None = None
    """Of signals: the column of the units that were measured; rows of one in the order of time become windows."""
    window: int = 0
    """Of signals: samples of a window."""
    stride: int = 0
    """Of signals: samples from the beginning of one window to that of the next; 0: a window's, so that none overlap."""
    fairness: tuple[str, ...] = ()
    """Columns whose groups of rows the model is judged by, whether it learns from them or not."""

    def __post_init__(self) -> None:
        self._check_task()
        if not (self.tune == 0 or 2 <= self.tune <= MOST_TRIALS):
            raise Invalid(f"{self.tune} trials are not possible.", field="tune", hint=f"Use 2 to {MOST_TRIALS}, or 0 for none.")
        if not 2 <= self.folds <= 20:
            raise Invalid(f"{self.folds} folds are not possible.", field="folds", hint="Use 2 to 20.")
        if not 0 <= self.seed < 2**31:
            raise Invalid(f"The seed {self.seed} is not possible.", field="seed", hint="Use 0 to 2147483647.")
        if self.tune and self.split == "group" and self.folds < 3:
            raise Invalid("Tuning by groups needs folds within folds.", field="folds", hint="Use 3 folds or more.")
        costs = (self.cost_false_positive, self.cost_false_negative)
        if any(cost is not None for cost in costs) and not all(cost is not None and 0 < cost < 1e12 for cost in costs):
            raise Invalid(
                "Costs of wrong answers are two numbers above 0.",
                field="cost_false_positive",
                hint="Name both: --cost-false-positive and --cost-false-negative.",
            )
        if not 0 < self.threshold < 1:
            raise Invalid(
                f"The threshold {self.threshold} is not possible.", field="threshold", hint="Use a number between 0 and 1."
            )

    def _check_task(self) -> None:
        """Raises:
        Invalid: the task lacks what it needs, or is given what another one needs.
        """
        if not self.target and self.task != "anomaly":
            raise Invalid("A training needs the column to predict.", field="target", hint="Name it: --target COLUMN.")
        for name in ("horizon", "season", "series", "known"):
            if getattr(self, name) and self.task != "forecasting":
                raise Invalid(f"The option {name} is of forecasts.", field=name, hint="Say --task forecasting, or leave it out.")
        for name in ("user", "weight"):
            if getattr(self, name) and self.task != "recommendation":
                raise Invalid(
                    f"The option {name} is of recommendations.", field=name, hint="Say --task recommendation, or leave it out."
                )
        if self.task == "recommendation" and self.user is None:
            raise Invalid("A recommendation needs the column of the users.", field="user", hint="Name it: --user COLUMN.")
        if self.task == "forecasting" and not 1 <= self.horizon <= LONGEST:
            raise Invalid(
                f"A horizon of {self.horizon} steps is not possible.",
                field="horizon",
                hint=f"Say how many steps are to be told, 1 to {LONGEST:,}: --horizon 24.",
            )
        if len(self.season) > MOST_SEASONS or any(not 1 <= each <= 10 * LONGEST for each in self.season):
            raise Invalid(
                "Seasons are whole numbers of steps.", field="season", hint=f"Name up to {MOST_SEASONS}: --season 24,168."
            )
        if self.task == "ranking" and self.group is None:
            raise Invalid(
                "A ranking needs the column whose rows are ranked together.", field="group", hint="Name it: --group COLUMN."
            )
        self._check_signal()
        if not 1e-4 <= self.false_alarms <= 0.5:
            raise Invalid(
                f"A share of {self.false_alarms} false alarms is not possible.", field="false_alarms", hint="Use 0.0001 to 0.5."
            )

    def _check_signal(self) -> None:
        """Raises:
        Invalid: windows are asked for without what they need, or of a task that has none.
        """
        if self.signal is None:
            for name in ("window", "stride"):
                if getattr(self, name):
                    raise Invalid(
                        f"The option {name} is of signals.", field=name, hint="Name the column of the units: --signal COLUMN."
                    )
            return
        if self.task not in (None, "classification", "multiclass", "regression"):
            raise Invalid("Of signals, classes or numbers are learned.", field="task", hint="Leave --task or --signal out.")
        if not SHORTEST_WINDOW <= self.window <= LONGEST_WINDOW or not 0 <= self.stride <= LONGEST_WINDOW:
            raise Invalid(
                f"Windows of {self.window} samples, {self.stride or self.window} apart, are not possible.",
                field="window",
                hint=f"Say --window {SHORTEST_WINDOW} to {LONGEST_WINDOW}, and --stride from 1.",
            )
        if self.moment is None:
            raise Invalid("Samples need an order.", field="at", hint="Name the column of their time or number: --at COLUMN.")
        if self.fairness:
            raise Invalid(
                "Groups of windows are not compared: those of one unit go wrong together.", field="fairness", hint="Leave it out."
            )
        if self.split != "random" or self.group is not None:
            raise Invalid(
                "All windows of a unit lie in one fold; there is no other split of signals.",
                field="split",
                hint="Leave --split and --group out, or name a wider unit: --signal COLUMN.",
            )

    @property
    def by(self) -> Split:
        """How rows come into folds."""
        if self.signal is not None:
            return "group"
        if self.task == "recommendation":
            return "time" if self.moment else "random"
        return self.split if self.task is None else SPLITS.get(self.task, self.split)

    @property
    def moment(self) -> str | None:
        """The column that orders rows."""
        return self.time or (None if self.contract is None else self.contract.time_column)

    @property
    def cut(self) -> float:
        """The threshold: of costs that of Elkan (2001), which supposes that probabilities are right."""
        if self.task == "anomaly":
            return 1 - self.false_alarms
        if self.cost_false_positive is None or self.cost_false_negative is None:
            return self.threshold
        return self.cost_false_positive / (self.cost_false_positive + self.cost_false_negative)
