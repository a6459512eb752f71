"""From the values of a row to the numbers that a model learns from, in plain Python: the door and a host use it alike.

A number stays what it is. A category becomes one column per known value, a time four numbers (year, month, weekday, hour,
UTC), a text one column per known word: TF-IDF with smoothed weights, of length one (Salton & Buckley 1988). What is not
known adds nothing: an unseen category and an unseen word leave every column 0. `columns.py` learns an encoding, and does
the same to whole tables at once; a test keeps the two equal.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Self

import msgspec

from tandem.serving.base import member
from tandem.serving.signature import EPOCH, MISSING, Cell, Signature

FILE = "encoding.json"
"""The member that holds it; a model of numbers alone has none."""
PARTS_OF_TIME = ("year", "month", "weekday", "hour")
MOST_TOKENS = 5_000
"""Words of one text that count; the rest is not read."""
_WORD = re.compile(r"\w\w+")


class Number(msgspec.Struct, frozen=True, tag="number", tag_field="is"):
    """A number or a truth value: itself."""

    def names(self, field: str) -> list[str]:
        return [field]

    def encode(self, value: Cell) -> list[float]:
        return [float(value)]


class Category(msgspec.Struct, frozen=True, tag="category", tag_field="is"):
    """One column per value, 1 where the row has it."""

    values: tuple[str, ...]

    def names(self, field: str) -> list[str]:
        return [f"{field}={value}" for value in self.values]

    def encode(self, value: Cell) -> list[float]:
        return [1.0 if known == value else 0.0 for known in self.values]


class Time(msgspec.Struct, frozen=True, tag="datetime", tag_field="is"):
    """Year, month (1 to 12), weekday (Monday is 0) and hour of a time, UTC."""

    def names(self, field: str) -> list[str]:
        return [f"{field}.{part}" for part in PARTS_OF_TIME]

    def encode(self, value: Cell) -> list[float]:
        if value != value:
            return [MISSING] * len(PARTS_OF_TIME)
        moment = EPOCH + timedelta(seconds=float(value))
        return [float(moment.year), float(moment.month), float(moment.weekday()), float(moment.hour)]


class Words(msgspec.Struct, frozen=True, tag="text", tag_field="is", dict=True):
    """One column per word: how often it occurs, times its weight, the row brought to length one."""

    words: tuple[str, ...]
    weights: tuple[float, ...]
    """Inverse document frequency of each word."""

    @cached_property
    def places(self) -> dict[str, int]:
        return {word: place for place, word in enumerate(self.words)}

    def names(self, field: str) -> list[str]:
        return [f"{field}~{word}" for word in self.words]

    def encode(self, value: Cell) -> list[float]:
        row = [0.0] * len(self.words)
        for place, weight in self.weigh(tokens(value) if isinstance(value, str) else ()):
            row[place] = weight
        return row

    def weigh(self, words: Iterable[str]) -> list[tuple[int, float]]:
        """The columns of known words and their values, which do not depend on the order of words."""
        places = self.places
        counts = Counter(places[word] for word in words if word in places)
        found = [(place, count * self.weights[place]) for place, count in counts.items()]
        length = math.sqrt(math.fsum(weight * weight for _, weight in found))
        return [(place, weight / length) for place, weight in found]


def tokens(text: str) -> list[str]:
    """The words of a text in lower case: two or more letters, digits or underscores."""
    return _WORD.findall(text.lower())[:MOST_TOKENS]


class Encoding(msgspec.Struct, frozen=True):
    """How every field of a signature is encoded, in its order."""

    parts: tuple[Number | Category | Time | Words, ...]

    @classmethod
    def load(cls, members: Path) -> Self | None:
        """The encoding in a directory of members; None for a model of numbers.

        Raises:
            Broken: the file is not one.
        """
        return member(members, FILE, cls)

    def to_json(self) -> bytes:
        return msgspec.json.encode(self)

    @property
    def plain(self) -> bool:
        """Whether every value is a number already."""
        return all(isinstance(part, Number) for part in self.parts)

    def names(self, signature: Signature) -> list[str]:
        """The encoded columns, such as `colour=red`, `paid.hour` and `note~late`."""
        return [name for part, field in zip(self.parts, signature.fields, strict=True) for name in part.names(field.name)]

    def owners(self) -> list[int]:
        """For each encoded column the field that it is of."""
        return [place for place, part in enumerate(self.parts) for _ in part.names("")]

    def rows(self, rows: Sequence[Sequence[Cell]]) -> list[list[float]]:
        """Checked rows as numbers; a missing number or time is NaN."""
        parts = [part.encode for part in self.parts]
        return [[number for encode, value in zip(parts, row, strict=True) for number in encode(value)] for row in rows]
