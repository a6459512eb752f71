"""What a runtime is, and the table of those that come along. Imports no numpy, so that a base install can list them."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, Self, TypeVar, cast

import msgspec

from tandem.core.errors import Broken, Forbidden, Invalid

if TYPE_CHECKING:
    from tandem.scorers.sample import Floats


class Runtime(Protocol):
    """A loaded model. Not safe for calls from two threads at once."""

    explains: ClassVar[bool]
    """Whether `explain` answers."""
    cells: ClassVar[bool]
    """Whether it takes the values of a row as they are, texts included, in an array of objects; else float64."""

    @classmethod
    def load(cls, members: Path) -> Self:
        """Loads the model's file from a directory of members; one that is not in `TRUST` executes nothing of it.

        Raises:
            Broken: the file is missing or not what it should be.
        """
        ...

    def predict(self, rows: Floats) -> Floats:
        """Rows x columns in (NaN = missing), rows x outputs out.

        Of two classes the probability of the positive one, of more classes the probability of each, else the number.
        """
        ...

    def explain(self, rows: Floats) -> tuple[Floats, Floats]:
        """What each value adds to the answer (rows x columns), and where that starts (rows).

        A row's contributions and its base sum to the log-odds of its probability; of more than two classes to the score
        of the likeliest one, before scores become probabilities; else to the number. Of a forest whose trees vote they sum to
        the probability.

        Raises:
            Invalid: this runtime cannot explain, or not so many rows of so large a model.
        """
        ...


RUNTIMES: dict[str, str] = {
    "onnx": ".onnx:Onnx",
    "xgboost": ".xgboost:Booster",
    "lightgbm": ".lightgbm:Light",
    "linear": ".linear:Linear",
    "forest": ".forest:Forest",
    "isolation": ".forest:Isolation",
    "ecod": ".ecod:Ecod",
    "recommender": ".recommender:Recommender",
    "fake": ".fake:Fake",
    "lightgbm-double": ".lightgbm:Double",
    "onnx-columns": ".columnar:OnnxColumns",
    "skops": ".sklearn:Sklearn",
    "skops-cells": ".sklearn:SklearnCells",
    "sklearn": ".sklearn:Sklearn",
    "sklearn-cells": ".sklearn:SklearnCells",
    "torch": ".torch:Torch",
    "pyfunc": ".pyfunc:Pyfunc",
    "python": ".python:Python",
}
"""Name → `module:class`, imported when asked for."""

Trust = Literal["pickle", "torch", "mlflow", "python"]
"""What may be executed: pickles, programs of PyTorch, directories of MLflow, Python of the user's own."""
TRUST: dict[str, Trust] = {
    "sklearn": "pickle",
    "sklearn-cells": "pickle",
    "torch": "torch",
    "pyfunc": "mlflow",
    "python": "python",
}
"""Runtimes that execute what is in a model's files → the word by which settings trust that."""


Embed = Literal["embed.onnx", "embed.pt", "embed.pt2"]
EMBEDS: dict[Embed, Trust | None] = {"embed.onnx": None, "embed.pt": "torch", "embed.pt2": "torch"}
"""Members with a network that makes numbers of images → the word by which settings trust it; None: it executes nothing."""


IMAGES = "images.json"
"""The member that says how images become numbers."""
CARD = "model.json"
"""The member that says which runtimes know a model's files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """`model.json`: which runtimes serve a model's members, and what they were made from."""

    runtime: str
    """Answers predictions: `onnx` where its parity was proven."""
    native: str
    """Answers explanations."""
    threshold: float
    classes: tuple[str, ...]
    """Negative, positive; or all of more than two, by number; or none where the answer is a number."""
    file: str = ""
    """Of a model that was imported, the member that its native runtime loads; of one of images, a network that is executed."""
    pins: Mapping[str, str] = field(default_factory=dict)
    """Members that a runtime executes → `sha256:…` of what they must hold."""
    logits: bool = False
    """Whether what the native runtime says of classes are log-odds, not yet probabilities."""

    @classmethod
    def read(cls, members: Path) -> Card:
        """The card of a directory of members.

        Raises:
            Broken: it is missing or not one.
        """
        found = member(members, CARD, cls)
        if found is None:
            raise Broken(f"The model's card {CARD} is missing.", hint="Train it again.")
        return found


T = TypeVar("T")


def member(members: Path, name: str, kind: type[T]) -> T | None:
    """What a file of JSON in a directory of members says; None where there is no such file.

    Raises:
        Broken: it is not what it should be.
    """
    try:
        return msgspec.json.decode((members / name).read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, msgspec.ValidationError) as error:
        raise Broken(f"The model's file {name} cannot be read: {error}.", hint="Train it again.") from None


def runtime(name: str) -> type[Runtime]:
    """The runtime of that name.

    Raises:
        Invalid: there is none.
    """
    if name not in RUNTIMES:
        raise Invalid(f"There is no runtime '{name}'.", field="runtime", hint=f"Use one of: {', '.join(RUNTIMES)}.")
    module, _, attribute = RUNTIMES[name].partition(":")
    return cast(type[Runtime], getattr(import_module(module, __package__), attribute))


def load(name: str, members: Path, trust: Collection[str] = ()) -> Runtime:
    """The model in a directory of members, by the runtime of that name.

    Args:
        trust: words of `TRUST`: what may be executed. The files of such a model are compared with their digests first.

    Raises:
        Invalid: no such runtime.
        Forbidden: it executes what is not trusted.
        Broken: the members are not what they should be.
        Unavailable: a library that it needs is not installed.
    """
    if name in TRUST:
        if TRUST[name] not in trust:
            raise untrusted(TRUST[name])
        check_pins(members)
    return runtime(name).load(members)


def trusted(meta: Mapping[str, object], trust: Collection[str]) -> tuple[str, ...]:
    """What a child process may execute of the files of the model that says this of itself: its runtime's, its network's."""
    words = (TRUST.get(str(meta.get("runtime"))), meta.get("executes"))
    return tuple(str(word) for word in words if word in trust)


def untrusted(word: str) -> Forbidden:
    """The refusal of a model whose files would be executed, and the settings do not trust that."""
    return Forbidden(
        f"To load it executes what is in its files, and the settings do not trust '{word}'.",
        hint=f'Put trust = ["{word}"] under [serving] in tandem.toml and start the platform again.',
        code="untrusted",
    )


def check_pins(members: Path) -> None:
    """Every file that may be executed is the one that was imported.

    Raises:
        Broken: one is missing, more, or another.
    """
    card = Card.read(members)
    if card.file not in card.pins:
        raise Broken(f"The model's card pins no digest of its file '{card.file}'.", hint="Import it again.")
    for name, digest in card.pins.items():
        if digest_of(members / name) != digest:
            raise Broken(f"The model's file {name} is not the one that was imported.", hint="Import it again.")


def digest_of(path: Path) -> str | None:
    """`sha256:…` of a file; None where it cannot be read."""
    try:
        with path.open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    except OSError:
        return None
