"""What a runtime is, and the table of those that come along. Imports no numpy, so that a base install can list them."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol, Self, cast

import msgspec

from tandem.core.errors import Broken, Invalid

if TYPE_CHECKING:
    from tandem.scorers.sample import Floats


class Runtime(Protocol):
    """A loaded model of two classes. Not safe for calls from two threads at once."""

    explains: ClassVar[bool]
    """Whether `explain` answers."""

    @classmethod
    def load(cls, members: Path) -> Self:
        """Loads the model's file from a directory of members; executes nothing of it.

        Raises:
            Broken: the file is missing or not what it should be.
        """
        ...

    def predict(self, rows: Floats) -> Floats:
        """Probability of the positive class; rows x columns in (NaN = missing), rows out."""
        ...

    def explain(self, rows: Floats) -> tuple[Floats, Floats]:
        """What each value adds to the log-odds (rows x columns), and where that starts (rows).

        A row's contributions and its base sum to the log-odds of its probability.

        Raises:
            Invalid: this runtime cannot explain.
        """
        ...


RUNTIMES: dict[str, str] = {
    "onnx": ".onnx:Onnx",
    "xgboost": ".xgboost:Booster",
    "linear": ".linear:Linear",
    "fake": ".fake:Fake",
}
"""Name → `module:class`, imported when asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """`model.json`: which runtimes serve a model's members, and what they were made from."""

    runtime: str
    """Answers predictions: `onnx` where its parity was proven."""
    native: str
    """Answers explanations."""
    threshold: float
    classes: tuple[str, str]
    """Negative, positive."""

    @classmethod
    def read(cls, members: Path) -> Card:
        """The card of a directory of members.

        Raises:
            Broken: it is missing or not one.
        """
        try:
            return msgspec.json.decode((members / "model.json").read_bytes(), type=cls)
        except (OSError, msgspec.DecodeError, msgspec.ValidationError) as error:
            raise Broken(f"The model's card model.json cannot be read: {error}.", hint="Train it again.") from None


def load(name: str, members: Path) -> Runtime:
    """The model in a directory of members, by the runtime of that name.

    Raises:
        Invalid: no such runtime.
        Broken: the members are not what they should be.
    """
    if name not in RUNTIMES:
        raise Invalid(f"There is no runtime '{name}'.", field="runtime", hint=f"Use one of: {', '.join(RUNTIMES)}.")
    module, _, member = RUNTIMES[name].partition(":")
    kind = cast(type[Runtime], getattr(import_module(module, __package__), member))
    return kind.load(members)
