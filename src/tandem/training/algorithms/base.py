"""What an algorithm is, and the table of those that come along."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import ClassVar, Protocol, cast

from tandem.core.errors import Invalid
from tandem.scorers.sample import Floats, Truths


class Trained(Protocol):
    """A fitted classifier."""

    def predict(self, features: Floats) -> Floats:
        """Probability of the positive class; rows x columns in, rows out."""
        ...

    def native(self) -> tuple[str, bytes]:
        """File name and bytes of the model in its own format; loading it executes nothing."""
        ...

    def onnx(self) -> bytes:
        """The model as ONNX; its last output holds the probability in its last column.

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


class Algorithm(Protocol):
    """A way to learn a classifier of two classes from numbers with gaps (NaN)."""

    runtime: ClassVar[str]
    """The native runtime that serves it, a name of `tandem.serving.base.RUNTIMES`."""
    params: ClassVar[Mapping[str, Param]]

    def fit(self, features: Floats, labels: Truths, *, params: Mapping[str, float], seed: int) -> Trained:
        """Fits on rows x columns; deterministic for the same input, parameters and seed.

        Raises:
            Invalid: it did not converge.
        """
        ...


ALGORITHMS: dict[str, str] = {"gradient-boosting": ".boosting:GradientBoosting", "logistic": ".logistic:Logistic"}
"""Name → `module:class`, imported when asked for."""


def load(name: str) -> Algorithm:
    """The algorithm of that name.

    Raises:
        Invalid: there is none.
    """
    if name not in ALGORITHMS:
        raise Invalid(f"There is no algorithm '{name}'.", field="algorithm", hint=f"Use one of: {', '.join(ALGORITHMS)}.")
    module, _, member = ALGORITHMS[name].partition(":")
    return cast(Algorithm, getattr(import_module(module, __package__), member)())


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
