"""Values of rows in the forms that models of other frameworks take, and their answers in ours. Knows no framework."""

from __future__ import annotations

import math
from datetime import timedelta
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tandem.core.errors import Broken
from tandem.scorers.sample import Floats
from tandem.serving.base import Card
from tandem.serving.signature import EPOCH, WORDED, Cell, Field, Signature

Cells = NDArray[Any]
"""Rows x fields: numbers, texts, seconds since 1970 for times; NaN where a value is missing."""
SIGNATURE = "signature.json"
"""The member that tells the columns."""


def signature_in(members: Path) -> Signature:
    """The signature in a directory of members.

    Raises:
        Broken: there is none.
        Invalid: it is something else.
    """
    try:
        return Signature.from_json((members / SIGNATURE).read_bytes())
    except OSError as error:
        raise Broken(f"The model's file {SIGNATURE} cannot be read: {error}.", hint="Import it again.") from None


def records(rows: Cells, signature: Signature) -> list[dict[str, object]]:
    """One object per row: column → number, text, truth value, time, or None."""
    return [{field.name: value(cell, field) for field, cell in zip(signature.fields, row, strict=True)} for row in rows]


def frame(rows: Cells, signature: Signature) -> Any:
    """A frame with a column per field: of pandas where that is installed, else of Polars."""
    columns = {field.name: [value(cell, field) for cell in rows[:, at]] for at, field in enumerate(signature.fields)}
    if find_spec("pandas") is not None:
        return import_module("pandas").DataFrame(columns)
    polars = import_module("polars")
    kinds = {"float": polars.Float64, "int": polars.Int64, "bool": polars.Boolean, "datetime": polars.Datetime("us", "UTC")}
    return polars.DataFrame(columns, schema={field.name: kinds.get(field.dtype, polars.String) for field in signature.fields})


def value(cell: Cell, field: Field) -> object:
    """A cell as Python has it."""
    if isinstance(cell, str) or cell is None:
        return cell
    if math.isnan(cell):
        return None if field.dtype in WORDED or field.dtype in ("int", "bool", "datetime") else cell
    match field.dtype:
        case "int":
            return int(cell)
        case "bool":
            return bool(cell)
        case "datetime":
            return EPOCH + timedelta(seconds=float(cell))
        case _:
            return float(cell)


def shaped(found: object, card: Card, rows: int) -> Floats:
    """What a model said, as `Runtime.predict` says it: of two classes the positive one alone.

    Raises:
        Broken: it is no number, or not one per row, or not one per class.
    """
    try:
        told = np.asarray(found, dtype=np.float64).reshape(rows, -1)
    except (TypeError, ValueError) as error:
        raise Broken(f"The model did not answer with numbers: {error}.", hint="Look at what its file answers.") from None
    wide = len(card.classes) if len(card.classes) > 2 else 1
    if card.logits:
        told = _softmax(told) if told.shape[1] > 1 else 1 / (1 + np.exp(-told))
    if len(card.classes) == 2 and told.shape[1] == 2:
        told = told[:, 1:]
    if told.shape[1] != wide:
        raise Broken(
            f"The model answered {told.shape[1]} numbers a row; {wide} were expected of {len(card.classes) or 'no'} classes.",
            hint="Name its classes in models.toml.",
        )
    return told


def _softmax(scores: Floats) -> Floats:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
