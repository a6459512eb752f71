"""A model's contract for many rows at once: which of them it takes, and why not the others. The rules are the signature's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from tandem.core.errors import Invalid
from tandem.data.contract import Dtype
from tandem.data.dtypes import POLARS, of_frame
from tandem.scorers.sample import Truths
from tandem.serving.columns import rows_of
from tandem.serving.signature import LONGEST, NUMERIC, Field, FieldType, Signature

TAKEN: Mapping[FieldType, Sequence[Dtype]] = {
    "float": ("float", "int"),
    "int": ("float", "int"),
    "bool": ("float", "int", "bool"),
    "category": ("string",),
    "text": ("string",),
    "list": ("string",),
    "datetime": ("datetime",),
    "image": ("string",),
}
"""Type of a field → types of columns that it is asked with; whether each value fits is looked at row by row."""


def columns(schema: Mapping[str, pl.DataType], signature: Signature) -> tuple[str, ...]:
    """The columns of a dataset that the model is asked with; those it lacks are left out, where the model can do without.

    Raises:
        Invalid: a column is missing, or holds something else than the model takes.
    """
    for field in signature.fields:
        if field.column not in schema:
            if not field.nullable:
                raise Invalid(f"The dataset has no column '{field.column}'.", field=field.column, hint=signature.hint)
            continue
        kind = of_frame(schema[field.column])
        if kind not in TAKEN[field.dtype]:
            raise Invalid(
                f"The column '{field.column}' holds {kind}, and the model takes {field.dtype}.",
                field=field.column,
                hint="Score a dataset with the columns that the model was trained on.",
            )
    return tuple(field.column for field in signature.fields if field.column in schema)


def inputs(frame: pl.DataFrame, signature: Signature) -> pl.DataFrame:
    """The columns that the model reads, in the order of the signature's fields; one that the dataset lacks is empty."""
    return frame.select(
        pl.col(field.column) if field.column in frame.columns else pl.lit(None, POLARS[TAKEN[field.dtype][0]]).alias(field.column)
        for field in signature.fields
    )


def refused(rows: pl.DataFrame, signature: Signature) -> dict[int, str]:
    """Row → why the model does not take it; rows are counted from 0.

    The suspects are found column by column; what a suspect is told, the signature says as it says it to a call.

    Args:
        rows: as `inputs` gives them.
    """
    suspects = np.zeros(rows.height, dtype=bool)
    for field in signature.fields:
        suspects |= _odd(rows[field.column], field)
    reasons: dict[int, str] = {}
    numbers = np.flatnonzero(suspects)
    for number, row in zip(numbers, rows_of(rows[numbers], signature.fields), strict=True):
        try:
            signature.check_values([row])
        except Invalid as error:
            reasons[int(number)] = error.message.removeprefix("rows[0].")
    return reasons


def _odd(cells: pl.Series, field: Field) -> Truths:
    """Which cells the field might refuse: at least all that it does."""
    if field.dtype == "signal":
        samples = np.asarray(cells.to_numpy())
        low, high = -np.inf if field.low is None else field.low, np.inf if field.high is None else field.high
        odd = ~((samples >= low) & (samples <= high)) & ~np.isnan(samples)
        return np.asarray((odd | (np.isnan(samples) & (not field.nullable)) | np.isinf(samples)).any(axis=1))
    if field.dtype == "list":
        return np.asarray(cells.is_not_null().to_numpy())
    if field.dtype not in NUMERIC:
        odd = np.asarray(cells.is_null().to_numpy()) & (not field.nullable)
        return odd if field.dtype == "datetime" else odd | (cells.str.len_chars() > LONGEST).fill_null(value=False).to_numpy()
    numbers = cells.cast(pl.Float64).fill_null(np.nan).to_numpy()
    missing = np.isnan(numbers)
    odd = np.isinf(numbers) | (missing if not field.nullable else False)
    if field.low is not None:
        odd |= numbers < field.low
    if field.high is not None:
        odd |= numbers > field.high
    if field.dtype != "float":
        with np.errstate(invalid="ignore"):
            odd |= ~missing & (numbers != np.trunc(numbers) if field.dtype == "int" else ~np.isin(numbers, (0.0, 1.0)))
    return np.asarray(odd)
