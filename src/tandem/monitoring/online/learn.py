"""The arithmetic of learning online, in a process of its own: each row is predicted before it is learned.

`python -m tandem.monitoring.online.learn` reads a `Learn` or a `Convert` and says what came of it; see `tandem.jobs.apart`.

A row moves the coefficients by normalised least mean squares (Nagumo & Noda 1967), for classes with the error of the
probabilities in the place of the number's, which is a step of stochastic gradient descent whose length is bounded: the score
of the row itself changes by at most the rate times its error, however large its values are. What prepares a row (encoding,
means, scales) stays as it was trained. The same rows in the same order give the same coefficients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tandem.core.errors import Broken
from tandem.jobs.apart import Progress, serve, silent
from tandem.serving.signature import Cell

if TYPE_CHECKING:
    from tandem.scorers.sample import Floats
    from tandem.serving.linear import Linear

MODULE = "tandem.monitoring.online.learn"
SECONDS = 120.0
LEARNER = "learner"
"""The model that goes on learning, among the models of an order."""
TOLERANCE = 1e-9
ROWS, SEED = 200, 1
"""Of the comparison of a model with its ONNX form."""


class Learn(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Rows to predict and then to learn."""

    members: str
    """A directory with the encoding that all models share."""
    models: Mapping[str, str]
    """Name → directory with its coefficients; that of `LEARNER` is continued."""
    rows: list[list[Cell]]
    """As the signature has them; NaN where a value is missing."""
    truths: list[float]
    """The class's number, or the number."""
    threshold: float
    """Of two classes: at or above this probability the answer is the second."""
    rate: float
    out: str
    """The directory that the learner's new coefficients are written into."""


class Convert(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A model that shall be served by ONNX."""

    folder: str
    """Holds its coefficients; its ONNX form is written beside them."""


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the rows, by model."""

    losses: dict[str, list[float]] = {}
    """Of classes 1 where the answer was wrong, of numbers the absolute error."""
    told: dict[str, list[list[float]]] = {}
    """What each model answered, row by row."""
    largest: float = 0.0
    """Of a conversion: the largest difference between the two forms."""


def learn(order: Learn) -> Done:
    """Predicts every row by every model, the learner before it learns the row, and writes the learner.

    Raises:
        Broken: a model's file is missing or not one.
    """
    import numpy as np

    from tandem.serving.encoding import Encoding
    from tandem.serving.linear import Linear

    encoding = Encoding.load(Path(order.members))
    models = {name: Linear.load(Path(folder)) for name, folder in order.models.items()}
    numbers = order.rows if encoding is None else encoding.rows(order.rows)
    rows = np.array(numbers, dtype=np.float64).reshape(len(numbers), len(models[LEARNER].means))
    truths = np.array(order.truths)
    told = {name: model.predict(rows) for name, model in models.items() if name != LEARNER}
    told[LEARNER], learner = learned(models[LEARNER], rows, truths, order.rate)
    (Path(order.out) / "linear.json").write_bytes(msgspec.json.encode(learner.weights))
    losses = {name: _losses(said, truths, models[LEARNER].link, order.threshold) for name, said in told.items()}
    return Done(
        losses={name: found.tolist() for name, found in losses.items()},
        told={name: said.tolist() for name, said in told.items()},
    )


def learned(model: Linear, rows: Floats, truths: Floats, rate: float) -> tuple[Floats, Linear]:
    """What a model says of each row before it learns it (rows x outputs), and the model after all of them.

    Args:
        rows: encoded, rows x columns.
        truths: the class's number, or the number.
    """
    import numpy as np

    outputs = len(model.intercepts)
    wanted = truths[:, None] if outputs == 1 else np.eye(outputs)[truths.astype(np.int64)]
    said = np.empty((len(rows), outputs))
    now = replace(model, coefficients=model.coefficients.copy(), intercepts=model.intercepts.copy())
    scaled = model.scaled(rows)
    for place, row in enumerate(scaled):
        said[place] = now.answer(row[None])[0]
        step = rate * (wanted[place] - said[place]) / (1.0 + row @ row)
        now.coefficients[:] += np.outer(step, row)
        now.intercepts[:] += step
    return said, now


def _losses(said: Floats, truths: Floats, link: str, threshold: float) -> Floats:
    import numpy as np

    match link:
        case "logistic":
            return np.asarray((said[:, 0] >= threshold) != (truths == 1), dtype=np.float64)
        case "softmax":
            return np.asarray(said.argmax(axis=1) != truths, dtype=np.float64)
        case _:
            return np.asarray(np.abs(said[:, 0] - truths))


def convert(order: Convert) -> Done:
    """Writes a model's ONNX form, once it was seen to say the same.

    Raises:
        Broken: it says something else.
    """
    import numpy as np

    from tandem.serving.linear import Linear
    from tandem.serving.onnx import Onnx

    folder = Path(order.folder)
    model = Linear.load(folder)
    (folder / "model.onnx").write_bytes(model.onnx())
    draw = np.random.default_rng(SEED)
    rows = model.means + model.scales * draw.normal(size=(ROWS, len(model.means)))
    largest = float(np.abs(Onnx.load(folder).predict(rows) - model.predict(rows)).max())
    if not largest <= TOLERANCE:
        raise Broken(f"The model and its ONNX form differ by {largest:g}.", hint="Report this fault.")
    return Done(largest=largest)


def carry_out(order: Learn | Convert, progress: Progress = silent) -> Done:
    return learn(order) if isinstance(order, Learn) else convert(order)


if __name__ == "__main__":
    raise SystemExit(serve(Learn | Convert, carry_out))  # type: ignore[arg-type]  # a union is decoded like a type
