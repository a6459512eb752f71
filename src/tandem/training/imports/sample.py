"""The rows that a model is compared on: from a file beside it, or made up where it takes numbers alone."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tandem.core.errors import Invalid
from tandem.scorers.sample import Floats
from tandem.serving.cells import Cells, frame, records
from tandem.serving.columns import rows_of
from tandem.serving.signature import Field, FieldType, Signature

ROWS = 1_000
"""Of a file that are taken."""
MADE_UP = 64
PROBES = 512
"""Rows of made-up numbers between those of the sample, on which a converted form is compared too."""
SEED = 7
_KINDS: tuple[tuple[Any, FieldType], ...] = ((pl.Boolean, "bool"), (pl.Datetime, "datetime"), (pl.Date, "datetime"))


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Rows in every form that a framework wants them in."""

    rows: pl.DataFrame
    fields: tuple[Field, ...]
    source: str
    """Where they are from, for people."""
    cells: bool = False
    """Whether the model gets values as they are."""

    @property
    def signature(self) -> Signature:
        return Signature(fields=self.fields)

    @cached_property
    def matrix(self) -> Floats:
        """Rows x columns; NaN where a value is missing.

        Raises:
            Invalid: a column is no number.
        """
        texts = [field.name for field in self.fields if field.dtype not in ("float", "bool")]
        if texts:
            raise Invalid(f"Column '{texts[0]}' is no number, and the model takes numbers alone.", field=texts[0])
        return np.array(rows_of(self.rows, self.fields), dtype=np.float64).reshape(self.rows.height, len(self.fields))

    @cached_property
    def values(self) -> Cells:
        """As a runtime that takes cells has them."""
        return np.array(rows_of(self.rows, self.fields), dtype=np.object_)

    @property
    def frame(self) -> Any:
        return frame(self.values, self.signature)

    @property
    def records(self) -> list[dict[str, object]]:
        return records(self.values, self.signature)

    def column(self, name: str) -> Cells:
        """The values of one column; a missing text is the empty one."""
        at = self.signature.names.index(name)
        worded = self.fields[at].dtype == "text"
        return np.array(["" if worded and cell != cell else cell for cell in self.values[:, at]], dtype=np.object_)

    def of(self, matrix: Floats) -> Sample:
        """Other rows of the same columns."""
        return replace(self, rows=pl.DataFrame(matrix, schema=list(self.signature.names)))

    @property
    def numeric(self) -> bool:
        return all(field.dtype in ("float", "bool") for field in self.fields)


def read(path: Path | None, names: tuple[str, ...], width: int | None, target: str) -> Sample:
    """The sample of a model.

    Args:
        path: a file of rows; None where there is none.
        names: the columns that the model takes, in its order; empty where nobody said.
        width: how many it takes; None where nobody said.
        target: a column that is none of the inputs.

    Raises:
        Invalid: the file cannot be read or lacks a column, or without one nobody knows what the model takes.
    """
    if path is None:
        return _made_up(names, width)
    rows = _rows(path, names).head(ROWS)
    if not rows.height:
        raise Invalid(f"{path.name} has no rows.", field="sample")
    names = names or tuple(name for name in rows.columns if name != target)
    missing = [name for name in names if name not in rows.columns]
    if missing:
        raise Invalid(
            f"{path.name} has no column '{missing[0]}', which the model takes.", field="sample", hint="Name another sample."
        )
    if width is not None and len(names) != width:
        raise Invalid(
            f"The model takes {width} columns, and {path.name} has {len(names)}.",
            field="columns",
            hint="Name them in models.toml.",
        )
    rows = rows.select(names)
    return Sample(rows=_typed(rows), fields=tuple(_field(rows[name]) for name in names), source=path.name)


def probes(sample: Sample) -> Floats:
    """Made-up rows between the least and largest numbers of the sample's columns."""
    known = np.where(np.isfinite(sample.matrix), sample.matrix, 0.0)
    low, high = known.min(axis=0), known.max(axis=0)
    return np.random.default_rng(SEED).uniform(low, np.maximum(high, low + 1e-9), (PROBES, len(sample.fields)))


def _made_up(names: tuple[str, ...], width: int | None) -> Sample:
    names = names or tuple(f"x{number}" for number in range(width or 0))
    if not names:
        raise Invalid(
            "Nobody says which columns the model takes.",
            field="columns",
            hint="Put some rows beside it, named like it: NAME.csv.",
        )
    drawn = np.random.default_rng(SEED).normal(size=(MADE_UP, len(names)))
    return Sample(
        rows=pl.DataFrame(drawn, schema=list(names)), fields=tuple(Field(name=name) for name in names), source="made-up numbers"
    )


def _rows(path: Path, names: tuple[str, ...]) -> pl.DataFrame:
    try:
        match path.suffix:
            case ".csv":
                return pl.read_csv(path, infer_schema_length=None, n_rows=ROWS, try_parse_dates=True)
            case ".parquet":
                return pl.read_parquet(path, n_rows=ROWS)
            case ".jsonl":
                return pl.read_ndjson(path, infer_schema_length=None)
            case _:
                return _json(json.loads(path.read_bytes()), names)
    except (pl.exceptions.PolarsError, OSError, ValueError, TypeError, KeyError) as error:
        raise Invalid(f"The sample {path.name} cannot be read: {str(error)[:200]}.", field="sample") from None


def _json(told: Any, names: tuple[str, ...]) -> pl.DataFrame:
    """Rows as objects or lists, or as MLflow writes examples."""
    if isinstance(told, dict) and "data" in told:
        return pl.DataFrame(told["data"], schema=told.get("columns") or None, orient="row", infer_schema_length=None)
    if isinstance(told, dict):
        told = next((told[key] for key in ("dataframe_records", "instances", "inputs", "rows") if key in told), told)
    if isinstance(told, list) and told and isinstance(told[0], list):
        return pl.DataFrame(told, schema=list(names) or [f"x{at}" for at in range(len(told[0]))], orient="row")
    return pl.DataFrame(told, infer_schema_length=None)


def _typed(rows: pl.DataFrame) -> pl.DataFrame:
    numbers = [pl.col(name).cast(pl.Float64) for name, kind in rows.schema.items() if kind.is_numeric()]
    return rows.with_columns(
        numbers + [pl.col(name).cast(pl.Datetime("us")) for name, kind in rows.schema.items() if kind == pl.Date]
    )


def _field(cells: pl.Series) -> Field:
    """Numbers are of double precision, whole or not: a sample does not tell what else a column may hold."""
    if cells.dtype.is_numeric():
        return Field(name=cells.name)
    dtype: FieldType = next((kind for polars, kind in _KINDS if cells.dtype == polars), "text")
    return Field(name=cells.name, dtype=dtype)
