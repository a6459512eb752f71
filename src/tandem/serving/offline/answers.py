"""What a model says of one part of a dataset: a work in pieces, see `tandem.jobs.pieces`."""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from tandem.scorers.sample import Floats, Truths
from tandem.serving.columns import Answering
from tandem.serving.offline import check
from tandem.serving.signature import Signature

ROW, REASON = "_row", "_reasons"
"""Columns of the parts, under names that no dataset may use: which row it was, counted from 1, and why it was refused."""
GROUP = 12_500
"""Rows of a part that are read together: whoever reads all parts has many such groups in memory at one time."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part that is done."""

    content: bytes
    """A Parquet file: the rows with what the model says of each, `ROW` and `REASON`."""
    seconds: float
    """By the clock, that the model took."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """A model, as far as rows are asked of it. It holds no secret and, where others do its work, no path of the home."""

    signature: Signature
    threshold: float
    classes: tuple[str, ...]
    """As of `Score`."""
    names: tuple[str, ...]
    """Of the columns that the model adds."""
    trust: tuple[str, ...]
    members: Path | Mapping[str, bytes]
    """The directory of the model's files, or the files themselves where no other process sees it."""
    images: Path | None = None
    """Where the images of a dataset lie by digest."""

    def __call__(self, asked: tuple[int, pl.DataFrame]) -> Part:
        """Some rows, after so many others of the dataset."""
        start, frame = asked
        begun = time.perf_counter()
        scored = self._scored(frame, start)
        seconds, file = time.perf_counter() - begun, io.BytesIO()
        scored.write_parquet(file, compression="zstd", compression_level=1, row_group_size=GROUP)
        return Part(file.getvalue(), seconds)

    @cached_property
    def model(self) -> Answering:
        """The model, loaded when it is first asked."""
        if isinstance(self.members, Path):
            return Answering.load(self.members, self.signature, self.trust, self.images)
        with tempfile.TemporaryDirectory(prefix="tandem-model-") as folder:
            for name, content in self.members.items():
                path = Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            return Answering.load(Path(folder), self.signature, self.trust)

    @property
    def width(self) -> int:
        """Numbers that the model says of a row."""
        return len(self.classes) if len(self.classes) > 2 else sum(each.dtype == "float" for each in self.signature.outputs)

    def _scored(self, frame: pl.DataFrame, start: int) -> pl.DataFrame:
        """The rows with what the model says of each; nothing where it does not take one, and why."""
        rows = check.inputs(frame, self.signature)
        reasons = check.refused(rows, self.signature)
        taken = np.ones(rows.height, dtype=bool)
        taken[list(reasons)] = False
        if self.signature.lists:
            answers = self._lists(rows, taken)
        else:
            outputs = np.full((rows.height, self.width), np.nan)
            if taken.any():
                outputs[taken] = self.model.predict(rows.filter(pl.Series(taken)))
            answers = self._answers(outputs)
        why = [reasons.get(number) for number in range(rows.height)] if reasons else [None] * rows.height
        sampled = [field.name for field in self.signature.fields if field.dtype == "signal"]
        return frame.drop(sampled).with_columns(
            *answers,
            pl.Series(ROW, np.arange(start + 1, start + 1 + rows.height), dtype=pl.Int64),
            pl.Series(REASON, why, dtype=pl.String),
        )

    def _lists(self, rows: pl.DataFrame, taken: Truths) -> list[pl.Series]:
        """Items and scores as JSON lists, and what they were made from; nothing where a row is not taken."""
        told = iter(self.model.listed(rows.filter(pl.Series(taken))) if taken.any() else ())
        made = [next(told) if each else None for each in taken]
        cells = (
            [None if each is None else msgspec.json.encode(each.items).decode() for each in made],
            [None if each is None else msgspec.json.encode(each.scores).decode() for each in made],
            [None if each is None else each.by for each in made],
        )
        return [pl.Series(name, column, dtype=pl.String) for name, column in zip(self.names, cells, strict=True)]

    def _answers(self, outputs: Floats) -> list[pl.Series]:
        """The columns of those names: of two classes the probability of the positive one, of more that of the class answered."""
        number = pl.Series(self.names[0], outputs.max(axis=1), dtype=pl.Float64, nan_to_null=True)
        match self.classes:
            case ():
                pairs = zip(self.names, outputs.T, strict=True)
                return [pl.Series(name, column, dtype=pl.Float64, nan_to_null=True) for name, column in pairs]
            case (_, _):
                place = (outputs[:, 0] >= self.threshold).astype(np.int64)
            case _:
                place = np.nan_to_num(outputs).argmax(axis=1)
        label = pl.Series(self.names[1], self.classes, dtype=pl.String).gather(place)
        return [number, label.set(number.is_null(), None)]
