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

import numpy as np
import polars as pl

from tandem.core.errors import Invalid
from tandem.data.dtypes import of_frame

CHUNK = 100_000
"""Rows turned into bytes at one time; does not change the digest."""


def content_digest(frame: pl.DataFrame) -> str:
    """`sha256:…` over the schema and all values of a frame (see above).

    Raises:
        Invalid: a column has a type that a dataset cannot hold.
    """
    state = hashlib.sha256(b"tandem-dataset-1\n")
    for name, dtype in frame.schema.items():
        kind = of_frame(dtype)
        if kind is None:
            raise Invalid(f"Column '{name}' has the type {dtype}, which a dataset cannot hold.", field=name)
        for text in (name, kind):
            state.update(struct.pack("<Q", len(text.encode())) + text.encode())
    state.update(struct.pack("<Q", frame.height))
    for cells in frame.iter_columns():
        for start in range(0, frame.height, CHUNK):
            state.update(cells.slice(start, CHUNK).is_not_null().cast(pl.UInt8).to_numpy().tobytes())
        if isinstance(cells.dtype, pl.String):
            _texts(state, cells)
        else:
            for start in range(0, frame.height, CHUNK):
                state.update(_fixed(cells.slice(start, CHUNK)))
    return f"sha256:{state.hexdigest()}"


def _fixed(cells: pl.Series) -> bytes:
    if isinstance(cells.dtype, pl.Boolean):
        return cells.fill_null(value=False).cast(pl.UInt8).to_numpy().tobytes()
    if cells.dtype.is_float():
        return (cells.cast(pl.Float64).fill_null(0.0).to_numpy() + 0.0).astype("<f8").tobytes()
    return cells.cast(pl.Int64).fill_null(0).to_numpy().astype("<i8").tobytes()


def _texts(state: hashlib._Hash, cells: pl.Series) -> None:
    filled = cells.fill_null("")
    for start in range(0, len(filled), CHUNK):
        lengths = filled.slice(start, CHUNK).str.len_bytes().to_numpy()
        state.update(lengths.astype(np.dtype("<u8")).tobytes())
    for start in range(0, len(filled), CHUNK):
        state.update("".join(filled.slice(start, CHUNK).to_list()).encode())
