"""What an algorithm is, and the table of those that come along."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from tandem.core.errors import Invalid
from tandem.scorers.base import TaskName
from tandem.scorers.sample import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """What is learned from."""

    features: Floats
    """Rows x columns, NaN where a value is missing."""
    target: NDArray[Any]
    """A truth per row, of more classes the class's number, or a number."""
    task: TaskName = "classification"
    classes: int = 2
    """How many there are, also where rows of one are missing here; 0 of a regression."""
    weights: Floats | None = None
    """How much each row counts; None: all alike."""
    naive: int = 0
    """Of a forecast: how many of the first columns are forecasts by themselves."""
    groups: NDArray[np.int64] | None = None
    """Of a ranking: the number of each row's group."""

    def grouped(self) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
        """The rows in an order in which those of a group stand together, and the size of each group; None without groups."""
        if self.groups is None:
            return np.arange(len(self.target)), None
        return np.argsort(self.groups, kind="stable"), np.unique(self.groups, return_counts=True)[1]


class Trained(Protocol):
    """A fitted model."""

    def predict(self, features: Floats) -> Floats:
        """Rows x columns in, rows x outputs out, as of `tandem.serving.base.Runtime`."""
        ...

    def native(self) -> tuple[str, bytes]:
        """File name and bytes of the model in its own format; loading it executes nothing."""
        ...

    def onnx(self) -> bytes:
        """The model as ONNX; its last output is that of `predict`, of two classes also with a column per class.

        Raises:
            Unconvertible: the converter cannot.
        """
        ...

    def importances(self) -> Floats:
        """What each column matters: columns, not negative, sum 1 (or all 0)."""
        ...


class Unconvertible(Exception):
    """A model that ONNX cannot hold; it is then served natively."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Param:
    """One setting of an algorithm."""

    default: float
    low: float
    high: float
    whole: bool = False
    search: tuple[float, float] | None = None
    """The bounds within which tuning tries values; None: it leaves this one alone."""
    log: bool = False
    """Whether it tries as many values between 0.01 and 0.1 as between 0.1 and 1."""


class Algorithm(Protocol):
    """A way to learn from numbers with gaps (NaN)."""

    tasks: ClassVar[tuple[TaskName, ...]]
    """What it can learn."""
    runtime: ClassVar[str]
    """The native runtime that serves it, a name of `tandem.serving.base.RUNTIMES`."""
    params: ClassVar[Mapping[str, Param]]

    def fit(self, examples: Examples, *, params: Mapping[str, float], seed: int) -> Trained:
        """Deterministic for the same examples, parameters and seed.

        Raises:
            Invalid: it did not converge.
        """
        ...


ALGORITHMS: dict[str, str] = {
    "gradient-boosting": ".boosting:GradientBoosting",
    "lightgbm": ".light:LightGbm",
    "hist-gradient-boosting": ".hist:HistGradientBoosting",
    "random-forest": ".forest:RandomForest",
    "logistic": ".logistic:Logistic",
    "linear": ".linear:Ridge",
    "seasonal-naive": ".naive:SeasonalNaive",
    "isolation-forest": ".odd:IsolationForest",
    "ecod": ".odd:EmpiricalTails",
    "cnn": ".cnn:Cnn",
}
"""Name → `module:class`, imported when asked for."""
TABULAR = tuple(name for name in ALGORITHMS if name != "cnn")
"""Those that learn from any columns; the other takes the pixels of images."""


def load(name: str) -> Algorithm:
    """The algorithm of that name.

    Raises:
        Invalid: there is none.
    """
    if name not in ALGORITHMS:
        raise Invalid(f"There is no algorithm '{name}'.", field="algorithm", hint=f"Use one of: {', '.join(ALGORITHMS)}.")
    module, _, member = ALGORITHMS[name].partition(":")
    return cast(Algorithm, getattr(import_module(module, __package__), member)())


def learns(algorithm: Algorithm, task: TaskName) -> bool:
    """Whether it can learn that: a forecast is learned as a number."""
    return task in algorithm.tasks or (task == "forecasting" and "regression" in algorithm.tasks)


def settings(name: str, known: Mapping[str, Param], given: Mapping[str, float]) -> dict[str, float]:
    """The given parameters over the defaults, checked.

    Raises:
        Invalid: an unknown parameter, or a value out of its range.
    """
    for key, value in given.items():
        if key not in known:
            raise Invalid(f"{name} has no parameter '{key}'.", field=f"params.{key}", hint=f"It has: {', '.join(known)}.")
        param = known[key]
        if isinstance(value, bool) or not param.low <= value <= param.high or (param.whole and value != int(value)):
            kind = "a whole number" if param.whole else "a number"
            raise Invalid(
                f"Parameter '{key}' of {name} cannot be {value}.",
                field=f"params.{key}",
                hint=f"Use {kind} from {param.low:g} to {param.high:g}.",
            )
    merged = {key: float(given.get(key, param.default)) for key, param in known.items()}
    return {key: int(value) if known[key].whole else value for key, value in merged.items()}
