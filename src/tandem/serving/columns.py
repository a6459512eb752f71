"""Whole tables as the numbers a model learns from: learns an encoding from rows, and applies it to many rows at once."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np
import polars as pl

from tandem.core.errors import Invalid
from tandem.scorers.sample import Floats, Truths
from tandem.serving.base import Card, Runtime, load
from tandem.serving.calibration import Calibration
from tandem.serving.encoding import Category, Encoding, Number, Time, Words, tokens
from tandem.serving.images import Images
from tandem.serving.recommender import Recommender, Told
from tandem.serving.series import Series
from tandem.serving.signals import Signals
from tandem.serving.signature import MISSING, WORDED, Cell, Field, Signature
from tandem.store.blobs import Blobs

MOST_WORDS = 200
"""Words of one text column that become columns: the most frequent."""
RAREST = 2
"""Rows that a word must occur in."""
PICTURES = 1_000
"""Images whose numbers are in memory at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Rows of a dataset, as far as a model reads them."""

    fields: tuple[Field, ...]
    frame: pl.DataFrame
    words: Mapping[str, np.ndarray[Any, np.dtype[np.object_]]]
    """Text column → the words of each row."""

    @classmethod
    def of(cls, frame: pl.DataFrame, fields: tuple[Field, ...]) -> Self:
        """Keeps the columns of those fields.

        Raises:
            Invalid: a column is missing; `field` names it.
        """
        _check(frame, fields)
        words = {field.name: _words(frame[field.name]) for field in fields if field.dtype == "text"}
        return cls(fields=fields, frame=frame.select([field.name for field in fields]), words=words)

    @property
    def height(self) -> int:
        return self.frame.height

    def at(self, rows: Truths) -> Columns:
        """Those rows, in order."""
        words = {name: values[rows] for name, values in self.words.items()}
        return Columns(fields=self.fields, frame=self.frame.filter(pl.Series(rows)), words=words)

    def learn(self) -> Encoding:
        """An encoding that knows the values and words of these rows, and of no others."""
        return Encoding(tuple(self._part(field) for field in self.fields))

    def matrix(self, encoding: Encoding) -> Floats:
        """Rows x encoded columns, float64, NaN where a number or time is missing."""
        blocks = [self._block(part, field) for part, field in zip(encoding.parts, self.fields, strict=True)]
        return np.ascontiguousarray(np.concatenate(blocks, axis=1), dtype=np.float64)

    def _part(self, field: Field) -> Number | Category | Time | Words:
        match field.dtype:
            case "category":
                return Category(tuple(sorted(map(str, self.frame[field.name].drop_nulls().unique().to_list()))))
            case "text":
                return _weighted(self.words[field.name])
            case "datetime":
                return Time()
            case _:
                return Number()

    def _block(self, part: Number | Category | Time | Words, field: Field) -> Floats:
        cells = self.frame[field.name]
        match part:
            case Number():
                return _floats(cells)[:, None]
            case Time():
                hours = (cells.dt.year(), cells.dt.month(), cells.dt.weekday() - 1, cells.dt.hour())
                return np.column_stack([_floats(one) for one in hours])
            case Category(values):
                found = np.zeros((self.height, len(values)))
                for place, value in enumerate(values):
                    found[:, place] = (cells == value).fill_null(value=False).to_numpy()
                return found
            case Words():
                found = np.zeros((self.height, len(part.words)))
                for row, words in enumerate(self.words[field.name]):
                    for place, weight in part.weigh(words):
                        found[row, place] = weight
                return found


@dataclass(frozen=True, slots=True)
class Answering:
    """A model with all that stands between the columns of a dataset and its answers."""

    runtime: Runtime
    signature: Signature
    encoding: Encoding
    calibration: Calibration | None
    series: Series | None = None
    images: Images | None = None
    signals: Signals | None = None
    files: Path | None = None

    @classmethod
    def load(cls, members: Path, signature: Signature, trust: Collection[str] = (), files: Path | None = None) -> Self:
        """The model in a directory of members.

        Args:
            trust: as of `base.load`.
            files: where the images of a dataset lie by digest.

        Raises:
            Forbidden: it executes what is not trusted.
            Broken: they are not what they should be.
        """
        encoding = Encoding.load(members) or Encoding(tuple(Number() for _ in signature.fields))
        runtime = load(Card.read(members).runtime, members, trust)
        calibration, series, images = Calibration.load(members), Series.load(members), Images.load(members, trust)
        return cls(runtime, signature, encoding, calibration, series, images, Signals.load(members), files)

    def predict(self, frame: pl.DataFrame) -> Floats:
        """What the model says of the rows of a frame, calibrated; of a series, the rows of one call.

        Raises:
            Invalid: a column is missing; `field` names it. Of a series, as `Series.ask`.
            Broken: an image is gone.
        """
        if self.series is not None:
            asked = self.series.ask(rows_of(frame, self.signature.fields))
            return asked.answers(self.runtime.predict(np.array(self.encoding.rows(asked.rows), dtype=np.float64)))
        if self.images is not None:
            outputs = self._pictured(self.images, frame)
        elif self.signals is not None:
            outputs = self.runtime.predict(self.signals.numbers(windows_of(frame, self.signature.fields)))
        elif self.runtime.cells:
            outputs = self.runtime.predict(self._cells(frame))
        else:
            outputs = self.runtime.predict(Columns.of(frame, self.signature.fields).matrix(self.encoding))
        if self.calibration is None:
            return outputs
        return np.array(self.calibration.rows(outputs.tolist()), dtype=np.float64).reshape(outputs.shape)

    def listed(self, frame: pl.DataFrame) -> list[Told]:
        """What a recommender answers the rows of a frame.

        Raises:
            Invalid: a column is missing, or the model answers with numbers.
        """
        return self._recommender.told(self._recommender.predict(self._cells(frame)))

    def ranks(self, users: Sequence[str], items: Sequence[str]) -> Floats:
        """As of `Recommender.ranks`.

        Raises:
            Invalid: the model is none.
        """
        return self._recommender.ranks(users, items)

    @property
    def _recommender(self) -> Recommender:
        if not isinstance(self.runtime, Recommender):
            raise Invalid("The model answers with no lists.", field="model", hint="Train it with --task recommendation.")
        return self.runtime

    def _pictured(self, images: Images, frame: pl.DataFrame) -> Floats:
        """What the model says of images, a part of them at a time: each becomes thousands of numbers."""
        _check(frame, self.signature.fields)
        if self.files is None:
            raise Invalid("There are no files of images.", field="data", hint="Name a dataset of images.")
        files, digests = Blobs(self.files), frame[self.signature.fields[0].column]
        parts = (map(files.read, digests[at : at + PICTURES]) for at in range(0, len(digests), PICTURES))
        return np.concatenate([self.runtime.predict(images.seen(part)) for part in parts])

    def _cells(self, frame: pl.DataFrame) -> Any:
        _check(frame, self.signature.fields)
        return np.array(rows_of(frame, self.signature.fields), dtype=np.object_)


def windows_of(frame: pl.DataFrame, fields: Sequence[Field]) -> Floats:
    """The windows of a frame whose cells hold the samples of one: windows x channels x samples, NaN where one is missing."""
    return np.stack([frame[field.name].to_numpy() for field in fields], axis=1)


def _check(frame: pl.DataFrame, fields: Sequence[Field]) -> None:
    missing = [field.column for field in fields if field.column not in frame.columns]
    if missing:
        raise Invalid(f"There is no column '{missing[0]}'.", field=missing[0])


def predict(
    members: Path, frame: pl.DataFrame, signature: Signature, trust: Collection[str] = (), files: Path | None = None
) -> Floats:
    """What the model in a directory of members says of the rows of a frame: outputs as of its runtime, calibrated.

    Args:
        trust: as of `base.load`.
        files: as of `Answering.load`.

    Raises:
        Invalid: a column is missing; `field` names it.
        Forbidden, Broken: as `Answering.load`.
    """
    return Answering.load(members, signature, trust, files).predict(frame)


def rows_of(frame: pl.DataFrame, fields: Sequence[Field]) -> list[list[Cell]]:
    """The rows of a frame as a host takes them: in the order of the fields, times as seconds, signals as JSON, NaN where one
    is missing."""
    columns = [_cells(frame[field.column], field) for field in fields]
    return [list(row) for row in zip(*columns, strict=True)]


def _cells(cells: pl.Series, field: Field) -> list[Cell]:
    if field.dtype == "signal":
        return [msgspec.json.encode(samples).decode() for samples in cells.to_list()]
    if field.dtype in WORDED:
        return [MISSING if value is None else str(value) for value in cells.to_list()]
    if field.dtype == "datetime":
        cells = cells.dt.epoch("s")
    return list(map(float, _floats(cells)))


def _floats(cells: pl.Series) -> Floats:
    return np.asarray(cells.cast(pl.Float64).fill_null(math.nan).to_numpy(), dtype=np.float64)


def _words(cells: pl.Series) -> np.ndarray[Any, np.dtype[np.object_]]:
    found = np.empty(len(cells), dtype=np.object_)
    for row, text in enumerate(cells.to_list()):
        found[row] = () if text is None else tuple(tokens(text))
    return found


def _weighted(rows: np.ndarray[Any, np.dtype[np.object_]]) -> Words:
    """The words of most rows, by their smoothed inverse document frequency: ln((1 + n) / (1 + rows with it)) + 1."""
    counts = Counter(word for words in rows for word in set(words))
    often = sorted((-count, word) for word, count in counts.items() if count >= RAREST)[:MOST_WORDS]
    kept = sorted(word for _, word in often)
    return Words(tuple(kept), tuple(math.log((1 + len(rows)) / (1 + counts[word])) + 1 for word in kept))
