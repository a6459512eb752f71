"""The content digest of a dataset: the same values give the same digest, whatever file they came in.

The digest is `sha256:` over, in this order: the line `tandem-dataset-1`; per column in order its name and
type, each as an 8-byte little-endian length and UTF-8 bytes; the row count as 8 bytes; then per column one
byte per row (1 = has a value) followed by the values, nulls as zero: numbers and times (UTC microseconds)
as 8 bytes little-endian, with minus zero as zero; truth values as one byte; texts as all their 8-byte
lengths in UTF-8 bytes, then all their bytes. Row order and column order count; quoting, line ends,
compression and the way a number was written do not.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

import numpy as np
import polars as pl

from tandem.core.errors import Invalid
from tandem.data.dtypes import of_frame

CHUNK = 100_000
"""Rows turned into bytes at one time; does not change the digest."""
Chunks = Callable[[], Iterable[pl.Series]]
"""The cells of a column, some rows at a time; from the beginning whenever it is called."""


def content_digest(frame: pl.DataFrame) -> str:
    """`sha256:…` over the schema and all values of a frame (see above).

    Raises:
        Invalid: a column has a type that a dataset cannot hold.
    """
    return digest_of(frame.schema, frame.height, [partial(_slices, cells) for cells in frame.iter_columns()])


def _slices(cells: pl.Series) -> Iterator[pl.Series]:
    return (cells.slice(start, CHUNK) for start in range(0, len(cells), CHUNK))


def digest_of(schema: Mapping[str, pl.DataType], height: int, columns: Iterable[Chunks]) -> str:
    """The same of columns that come one after the other, in the order of the schema, and chunk after chunk.

    Raises:
        Invalid: a column has a type that a dataset cannot hold.
    """
    state = hashlib.sha256(b"tandem-dataset-1\n")
    for name, dtype in schema.items():
        kind = of_frame(dtype)
        if kind is None:
            raise Invalid(f"Column '{name}' has the type {dtype}, which a dataset cannot hold.", field=name)
        for text in (name, kind):
            state.update(struct.pack("<Q", len(text.encode())) + text.encode())
    state.update(struct.pack("<Q", height))
    for dtype, chunks in zip(schema.values(), columns, strict=True):
        for cells in chunks():
            state.update(cells.is_not_null().cast(pl.UInt8).to_numpy().tobytes())
        if isinstance(dtype, pl.String):
            for cells in chunks():
                state.update(cells.fill_null("").str.len_bytes().to_numpy().astype(np.dtype("<u8")).tobytes())
            for cells in chunks():
                state.update("".join(cells.fill_null("").to_list()).encode())
        else:
            for cells in chunks():
                state.update(_fixed(cells))
    return f"sha256:{state.hexdigest()}"


def _fixed(cells: pl.Series) -> bytes:
    if isinstance(cells.dtype, pl.Boolean):
        return cells.fill_null(value=False).cast(pl.UInt8).to_numpy().tobytes()
    if cells.dtype.is_float():
        return (cells.cast(pl.Float64).fill_null(0.0).to_numpy() + 0.0).astype("<f8").tobytes()
    return cells.cast(pl.Int64).fill_null(0).to_numpy().astype("<i8").tobytes()
