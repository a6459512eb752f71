"""What a model takes and gives, and the check of every row against it. Light enough for the door: no numpy, no frame."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Literal, TypeAlias, cast

import msgspec

from tandem.core.errors import Invalid

FieldType = Literal["float", "int", "bool", "category", "text", "list", "datetime", "image", "signal"]
WORDED: frozenset[FieldType] = frozenset({"category", "text", "list", "image", "signal"})
"""Types whose values stand in a row as texts."""
NUMERIC: frozenset[FieldType] = frozenset({"float", "int", "bool"})
"""Types whose values are numbers on the wire too."""
Cell: TypeAlias = float | str
"""One value of a row: a number, a text (of a list or a signal its JSON), or whole seconds since 1970 (UTC) for a time."""
MISSING = math.nan
"""How a missing value stands in a row, of whatever type."""
LARGEST = sys.float_info.max
LONGEST = 20_000
"""Characters that one text may have, and a list as JSON."""
IMAGE = 28 << 20
"""Characters that one image may have in base64."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One input of a model."""

    name: str
    dtype: FieldType = "float"
    low: float | None = None
    """Smallest value taken, inclusive."""
    high: float | None = None
    """Largest value taken, inclusive."""
    nullable: bool = False
    """Whether the model can do without this value."""
    values: tuple[str, ...] = ()
    """Of a category: those it was trained on. Another one is taken, and counts as none of them."""
    size: int = 0
    """Of a signal: the samples of its window."""

    @property
    def column(self) -> str:
        """The column of a dataset that holds it; an image lies beside the rows, under its digest."""
        return "digest" if self.dtype == "image" else self.name

    def cell(self, value: object, where: str) -> Cell:
        """The value as it stands in a row; NaN for a missing one.

        Raises:
            Invalid: wrong type, not finite, missing, or out of range; `field` is `where`.
        """
        match value:
            case None:
                return self._missing(where)
            case bool():
                if self.dtype != "bool":
                    raise Invalid(f"{where} is a truth value, not {self._noun}.", field=where, hint=self._hint)
                return 1.0 if value else 0.0
            case int() | float():
                return self.checked(_float(value), where)
            case str() if self.dtype == "datetime":
                return seconds(value, where)
            case str():
                return self.checked(value, where)
            case list() if self.dtype == "list":
                return self.checked(msgspec.json.encode(value).decode(), where)
            case list() if self.dtype == "signal":
                return self.window(value, where)
            case _:
                raise Invalid(f"{where} is {_kind(value)}, not {self._noun}.", field=where, hint=self._hint)

    def checked(self, value: Cell, where: str) -> Cell:
        """The value itself if this field takes it (NaN stands for a missing value).

        Raises:
            Invalid: of another type, not finite, not whole, missing, too long, or out of range; `field` is `where`.
        """
        if value != value:
            return self._missing(where)
        if self.dtype == "signal":
            return self._signal(value, where)
        if isinstance(value, str) or self.dtype in WORDED:
            return self._text(value, where)
        if self.low is not None and value < self.low:
            raise Invalid(f"{where} is below the lowest value {self.low:g}.", words=f"It is {value:g}.", field=where, hint=_RANGE)
        if self.high is not None and value > self.high:
            raise Invalid(
                f"{where} is above the highest value {self.high:g}.", words=f"It is {value:g}.", field=where, hint=_RANGE
            )
        if value in (math.inf, -math.inf):
            raise Invalid(f"{where} is not a finite number.", field=where, hint="Leave infinities out.")
        if self.dtype == "int" and value != int(value):
            raise Invalid(f"{where} is not a whole number.", words=f"It is {value:g}.", field=where, hint="Send a whole number.")
        if self.dtype == "bool" and value not in (0.0, 1.0):
            raise Invalid(f"{where} is not true or false.", words=f"It is {value:g}.", field=where, hint="Send true or false.")
        return value

    def code(self, value: Cell) -> float:
        """A number for whoever counts values: of a category its place among the known ones, and after them for any other."""
        if isinstance(value, str):
            return float(self.values.index(value) if value in self.values else len(self.values))
        return value

    def _text(self, value: Cell, where: str) -> str:
        if not isinstance(value, str) or self.dtype not in WORDED:
            kind = "a text" if isinstance(value, str) else "a number"
            raise Invalid(f"{where} is {kind}, not {self._noun}.", field=where, hint=self._hint)
        longest = IMAGE if self.dtype == "image" else LONGEST
        if len(value) > longest:
            raise Invalid(f"{where} has {len(value):,} characters; {longest:,} are taken.", field=where, hint="Make it smaller.")
        if self.dtype == "list":
            _check_list(value, where)
        return value

    def window(self, samples: Sequence[object], where: str) -> str:
        """The samples of a signal as JSON, None where one is missing.

        Raises:
            Invalid: as many as a window does not have, or one that is no finite number, out of range, or missing where the model
                was trained without gaps; `field` is `where`, or `where[I]`.
        """
        if len(samples) != self.size:
            raise Invalid(f"{where} has {len(samples):,} samples; the model takes {self.size:,}.", field=where, hint=_WINDOW)
        low, high = -LARGEST if self.low is None else self.low, LARGEST if self.high is None else self.high
        if set(map(type, samples)) == {float}:
            numbers = cast(Sequence[float], samples)
            if all(map(math.isfinite, numbers)) and low <= min(numbers) and max(numbers) <= high:
                return msgspec.json.encode(numbers).decode()
        one = Field(name=self.name, low=self.low, high=self.high, nullable=self.nullable)
        found = [one.cell(sample, f"{where}[{place}]") for place, sample in enumerate(samples)]
        return msgspec.json.encode(found).decode()

    def _signal(self, value: Cell, where: str) -> str:
        try:
            return self.window(msgspec.json.decode(str(value), type=list[float | None]), where)
        except msgspec.DecodeError:
            raise Invalid(f"{where} is not {self._noun}.", field=where, hint=_WINDOW) from None

    def _missing(self, where: str) -> float:
        if self.dtype == "signal":
            raise Invalid(f"{where} is missing.", field=where, hint=_WINDOW)
        if not self.nullable:
            raise Invalid(f"{where} is missing.", field=where, hint="This model was trained without gaps in this column.")
        return MISSING

    @property
    def _noun(self) -> str:
        return _NOUNS[self.dtype]

    @property
    def _hint(self) -> str:
        if self.dtype == "datetime":
            return _TIME
        if self.dtype == "signal":
            return _WINDOW
        return "Send a JSON text." if self.dtype in WORDED else "Send a JSON number."


_NOUNS: dict[FieldType, str] = {
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "category": "a text",
    "text": "a text",
    "list": "a list of texts",
    "datetime": "a time",
    "image": "an image file in base64",
    "signal": "a list of numbers",
}
_WINDOW = "Send one whole window of the channel, the oldest sample first."
_TIME = "Send a time by ISO 8601, such as 2026-01-31T12:00:00Z."


def seconds(text: str, where: str) -> float:
    """Whole seconds from 1970 (UTC) to an ISO 8601 time; one without an offset is UTC.

    Raises:
        Invalid: it is no such time; `field` is `where`.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Invalid(f"{where} is no time.", words=f"It is '{text[:40]}'.", field=where, hint=_TIME) from None
    return float((moment - EPOCH) // timedelta(seconds=1))


_RANGE = "The range is the dataset contract's; check the unit, or train with a wider contract."


MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "I", "I;16", "F")
"""Pillow's: how an image holds its pixels."""
LOOKED = (
    *(Field(name=name) for name in ("width", "height", "bytes", "brightness", "contrast")),
    Field(name="mode", dtype="category", values=MODES),
)
"""What is noted of an image that a model is asked about, by the names of a dataset's columns; see `data.pixels.look`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One output of a model, per row."""

    name: str
    dtype: Literal["float", "int", "string"]
    width: int = 1
    """Values per row."""


@dataclass(frozen=True, kw_only=True)
class Signature:
    """What a model takes and gives. Rows of numbers have the order of `fields`. What every call asks of it is made once.

    >>> signature = Signature(fields=(Field(name="age", low=0, high=120),))
    >>> signature.values([{"age": 41}])
    [[41.0]]
    """

    fields: tuple[Field, ...]
    outputs: tuple[Output, ...] = (Output(name="probability", dtype="float"), Output(name="label", dtype="string"))
    history: str | None = None
    """Of a forecast: the column of the target, which only rows of the past have."""
    options: tuple[str, ...] = ()
    """Fields that a call may also give once for all its rows, as its parameters."""

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(field.name for field in self.fields)

    @cached_property
    def by_name(self) -> Mapping[str, Field]:
        return {field.name: field for field in self.fields}

    @cached_property
    def contents(self) -> tuple[str, ...]:
        """Columns of a dataset by which two of its rows are alike: the inputs; of an image what is seen, however it is kept."""
        return tuple("pixels" if field.dtype == "image" else field.name for field in self.fields)

    @property
    def whole(self) -> bool:
        """Whether the rows of a call belong together, so that they are neither joined with others nor parted."""
        return self.history is not None

    @cached_property
    def lists(self) -> bool:
        """Whether a row is answered with a list of texts."""
        return any(output.dtype == "string" and output.width > 1 for output in self.outputs)

    @cached_property
    def pictured(self) -> bool:
        """Whether a row is an image, which is opened outside of the door."""
        return any(field.dtype == "image" for field in self.fields)

    @cached_property
    def sampled(self) -> bool:
        """Whether a row is a window of signals, of which a host makes the model's numbers."""
        return any(field.dtype == "signal" for field in self.fields)

    @cached_property
    def alone(self) -> bool:
        """Whether each call is answered by a host by itself, never in the door and never joined with another."""
        return self.whole or self.lists or self.pictured

    @cached_property
    def numeric(self) -> bool:
        """Whether every value is a number on the wire."""
        return all(field.dtype in NUMERIC for field in self.fields)

    @cached_property
    def usual(self) -> tuple[str, ...]:
        """Names of the outputs that an answer has unless others are asked for."""
        return tuple(output.name for output in self.outputs)

    @cached_property
    def _categories(self) -> tuple[tuple[int, frozenset[str]], ...]:
        """Places of categories, with the values that the model knows."""
        return tuple((at, frozenset(field.values)) for at, field in enumerate(self.fields) if field.dtype == "category")

    @cached_property
    def _spans(self) -> tuple[tuple[float, float] | None, ...]:
        """Between which finite numbers a value is taken without a closer look; None: each is looked at."""
        return tuple(
            (-LARGEST if field.low is None else field.low, LARGEST if field.high is None else field.high)
            if field.dtype == "float"
            else None
            for field in self.fields
        )

    def check(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Refuses rows that the model was not made for.

        Raises:
            Invalid: an unknown or missing column, a wrong type, a value out of range; `field` is `rows[I].COLUMN`.
        """
        self.values(rows)

    def values(self, rows: Sequence[Mapping[str, object]]) -> list[list[Cell]]:
        """Checked rows in the order of `fields`; a missing value is NaN.

        Raises:
            Invalid: as `check`.
        """
        found = []
        for number, row in enumerate(rows):
            for name in row:
                if name not in self.by_name:
                    raise Invalid(
                        f"rows[{number}] has a column that the model does not take.",
                        words=f"It is '{name}'.",
                        field=f"rows[{number}]",
                        hint=self.hint,
                    )
            found.append([field.cell(row.get(field.name), f"rows[{number}].{field.name}") for field in self.fields])
        return found

    def filled(self, rows: list[list[Cell]], parameters: Mapping[str, object]) -> list[list[Cell]]:
        """Rows with the options that a call gives for all of them, where a row gives none itself.

        Raises:
            Invalid: an option of another type; `field` is `parameters.NAME`.
        """
        for name in self.options:
            if name in parameters:
                cell, place = self.by_name[name].cell(parameters[name], f"parameters.{name}"), self.names.index(name)
                rows = [[*row[:place], cell if row[place] != row[place] else row[place], *row[place + 1 :]] for row in rows]
        return rows

    def check_values(self, rows: Sequence[Sequence[Cell]]) -> None:
        """Refuses rows that the model was not made for; NaN stands for a missing value.

        Raises:
            Invalid: a row of another length, a value out of range; `field` is `rows[I].COLUMN`.
        """
        fields, spans = self.fields, self._spans
        for number, row in enumerate(rows):
            if len(row) != len(fields):
                raise Invalid(
                    f"rows[{number}] has {len(row)} values; the model takes {len(fields)}.",
                    field=f"rows[{number}]",
                    hint=self.hint,
                )
            for field, span, value in zip(fields, spans, row, strict=True):
                # The common case costs two comparisons; whatever fails them is looked at closely.
                if span is None or type(value) is not float or not span[0] <= value <= span[1]:
                    field.checked(value, f"rows[{number}].{field.name}")

    def unseen(self, rows: Sequence[Sequence[Cell]]) -> int:
        """How many values of categories the model was not trained on."""
        return sum(isinstance(row[at], str) and row[at] not in values for at, values in self._categories for row in rows)

    @property
    def hint(self) -> str:
        names = self.names
        more = ", …" if len(names) > 10 else ""
        return f"The model takes {len(names)} columns: {', '.join(names[:10])}{more}."

    def to_json(self) -> bytes:
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, text: bytes) -> Signature:
        """Reads what `to_json` wrote.

        Raises:
            Invalid: it is something else.
        """
        try:
            return msgspec.json.decode(text, type=cls)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise Invalid(f"This is no signature: {error}.", field="signature.json", hint="Train again.") from None


def _check_list(text: str, where: str) -> None:
    """Raises:
    Invalid: it is no JSON list of texts.
    """
    try:
        msgspec.json.decode(text, type=list[str])
    except (msgspec.DecodeError, msgspec.ValidationError):
        raise Invalid(f"{where} is no list of texts.", field=where, hint='Send a list such as ["a", "b"].') from None


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # a JSON integer may have any length
        return math.inf if value > 0 else -math.inf


def _kind(value: object) -> str:
    known: dict[type, str] = {str: "a text", list: "a list", dict: "an object"}
    return known.get(type(value), f"a {type(value).__name__}")
