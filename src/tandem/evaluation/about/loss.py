"""How wrong an answer was, row by row: the loss that slices are found by and that shuffled columns make larger."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tandem.scorers.base import TaskName
from tandem.scorers.sample import Floats

LOSS: Mapping[TaskName, str] = {"classification": "log_loss", "multiclass": "log_loss", "regression": "mae"}
"""Task → the metric that is the mean of this loss."""
CAP = 7.0
"""Nats that a log loss counts at most: below a probability of 1 in 1,000 an answer is wrong for certain."""


def row_losses(task: TaskName, truth: NDArray[Any], said: Floats) -> Floats:
    """The loss of each row.

    Args:
        truth: of two classes whether it is the positive one, of more the number of the class, else the number.
        said: rows x outputs, as of `tandem.serving.base.Runtime`.

    Returns:
        Nats, at most `CAP`; of numbers the size of the error.
    """
    match task:
        case "regression":
            return np.asarray(np.abs(said[:, 0] - truth))
        case "classification":
            chance = np.where(truth.astype(np.bool_), said[:, 0], 1 - said[:, 0])
        case "multiclass":
            chance = said[np.arange(len(said)), truth.astype(np.int64)]
    return np.asarray(-np.log(np.clip(chance, math.exp(-CAP), 1.0)))
