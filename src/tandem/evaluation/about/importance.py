"""Which columns a model answers by: what each adds to answers (SHAP), and what is lost where it is shuffled.

Contributions come from whoever explains the model exactly; here they are only summed up. Shuffling needs nothing but
predictions, and measures what the model needs of a column in rows that it had not seen (Breiman 2001; Fisher et al. 2019).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import stdtrit

from tandem.core.score import Estimate
from tandem.evaluation.about.columns import coded
from tandem.evaluation.about.nouns import Feature, Importance, Point
from tandem.scorers.auc import midranks
from tandem.scorers.sample import Floats

POINTS = 8
"""Columns of which contributions are told by value: those that count most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contributions:
    """What each column of some rows added to the answer."""

    frame: pl.DataFrame
    """The rows, as the dataset has them."""
    added: Floats
    """Rows x columns of the frame."""
    unit: str


def importance(names: Sequence[str], explained: Contributions | None, lost: Floats | None, *, loss: str) -> Importance:
    """Sums up what is known of every column.

    Args:
        names: the columns.
        explained: their contributions to some answers; None where the algorithm does not explain itself.
        lost: rows x columns: how much the loss of a row grew when the column was shuffled; None where nobody looked.
        loss: what that is measured in.
    """
    sizes = [None if explained is None else _mean(np.abs(explained.added[:, place])) for place in range(len(names))]
    losses = [None if lost is None else _mean(lost[:, place]) for place in range(len(names))]
    ranked = sorted(range(len(names)), key=lambda place: (-_value(sizes[place]), -_value(losses[place]), names[place]))
    features = [
        Feature(
            name=names[place],
            added=sizes[place],
            direction=None if explained is None else _direction(explained.frame[names[place]], explained.added[:, place]),
            lost=losses[place],
            points=() if explained is None or rank >= POINTS else _points(explained, names[place], place),
        )
        for rank, place in enumerate(ranked)
    ]
    return Importance(
        explained=0 if explained is None else len(explained.added),
        unit="" if explained is None else explained.unit,
        shuffled=0 if lost is None else len(lost),
        loss=loss,
        features=tuple(features),
    )


def shuffled(
    predict: Callable[[Floats], Floats], losses: Callable[[Floats], Floats], rows: Floats, owners: NDArray[np.int64], seed: int
) -> Floats:
    """How much the loss of each row grows when a column is shuffled among the rows.

    Args:
        predict: the model's answers to encoded rows.
        losses: the loss of each row by those answers.
        rows: rows x encoded columns.
        owners: of each encoded column the column that it is of.
        seed: of the order.

    Returns:
        Rows x columns.
    """
    n, width = len(rows), int(owners.max()) + 1
    draw = np.random.default_rng(seed)
    asked = np.tile(rows, (width + 1, 1, 1))  # in one batch: many small ones cost a forest more than one large one
    for column in range(width):
        own = owners == column
        asked[column][:, own] = rows[draw.permutation(n)][:, own]
    said = predict(asked.reshape(-1, rows.shape[1])).reshape(width + 1, n, -1)
    found = np.array([losses(each) for each in said])
    return np.asarray((found[:-1] - found[-1]).T)


def _mean(values: Floats) -> Estimate:
    """The mean over rows with Student's interval (95 %)."""
    n, middle = len(values), float(values.mean())
    half = float(stdtrit(n - 1, 0.975)) * float(values.std(ddof=1)) / math.sqrt(n) if n > 1 else 0.0
    return Estimate(value=middle, low=middle - half, high=middle + half, n=n)


def _value(estimate: Estimate | None) -> float:
    return 0.0 if estimate is None else estimate.value


def _direction(cells: pl.Series, added: Floats) -> float | None:
    """Spearman's rank correlation of a number and what it adds; None of other values, or where either never changes."""
    if not (cells.dtype.is_numeric() or cells.dtype == pl.Boolean):
        return None
    values = cells.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    known = ~np.isnan(values)
    ranks = [midranks(each[known]) for each in (values, added)]
    if known.sum() < 2 or any(each.min() == each.max() for each in ranks):
        return None
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _points(explained: Contributions, name: str, place: int) -> tuple[Point, ...]:
    """The mean contribution in each cell of the column's values."""
    found = coded(explained.frame[name])
    if found is None:
        return ()
    single = [(part, holds.astype(np.bool_)) for part, holds in zip(found.parts, found.holds, strict=True) if holds.sum() == 1]
    masks = [(part, holds[found.codes]) for part, holds in single]
    added = explained.added[:, place]
    return tuple(Point(where=part, n=int(mask.sum()), mean=float(added[mask].mean())) for part, mask in masks if mask.any())
