"""What a model takes and gives, and the check of every row against it. Light enough for the door: no numpy, no frame."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from tandem.core.errors import Invalid

FieldType = Literal["float", "int", "bool"]
MISSING = math.nan
"""How a missing value stands in a row of numbers."""


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

    def number(self, value: object, where: str) -> float:
        """The value as the model's number; NaN for a missing one.

        Raises:
            Invalid: wrong type, not finite, missing, or out of range; `field` is `where`.
        """
        match value:
            case None:
                return self._missing(where)
            case bool():
                if self.dtype != "bool":
                    raise Invalid(f"{where} is a truth value, not {self._noun}.", field=where, hint="Send a JSON number.")
                return 1.0 if value else 0.0
            case int() | float():
                return self.checked(_float(value), where)
            case _:
                raise Invalid(f"{where} is {_kind(value)}, not {self._noun}.", field=where, hint="Send a JSON number.")

    def checked(self, value: float, where: str) -> float:
        """The number itself if this field takes it (NaN stands for a missing value).

        Raises:
            Invalid: not finite, not whole, missing, or out of range; `field` is `where`.
        """
        if value != value:
            return self._missing(where)
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

    def _missing(self, where: str) -> float:
        if not self.nullable:
            raise Invalid(f"{where} is missing.", field=where, hint="This model was trained without gaps in this column.")
        return MISSING

    @property
    def _noun(self) -> str:
        return {"float": "a number", "int": "a whole number", "bool": "true or false"}[self.dtype]


_RANGE = "The range is the dataset contract's; check the unit, or train with a wider contract."


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One output of a model, per row."""

    name: str
    dtype: Literal["float", "string"]
    width: int = 1
    """Values per row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What a model takes and gives. Rows of numbers have the order of `fields`.

    >>> signature = Signature(fields=(Field(name="age", low=0, high=120),))
    >>> signature.values([{"age": 41}])
    [[41.0]]
    """

    fields: tuple[Field, ...]
    outputs: tuple[Output, ...] = (Output(name="probability", dtype="float"), Output(name="label", dtype="string"))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(field.name for field in self.fields)

    def check(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Refuses rows that the model was not made for.

        Raises:
            Invalid: an unknown or missing column, a wrong type, a value out of range; `field` is `rows[I].COLUMN`.
        """
        self.values(rows)

    def values(self, rows: Sequence[Mapping[str, object]]) -> list[list[float]]:
        """Checked rows as numbers in the order of `fields`; a missing value is NaN.

        Raises:
            Invalid: as `check`.
        """
        known = set(self.names)
        found = []
        for number, row in enumerate(rows):
            for name in row:
                if name not in known:
                    raise Invalid(
                        f"rows[{number}] has a column that the model does not take.",
                        words=f"It is '{name}'.",
                        field=f"rows[{number}]",
                        hint=self.hint,
                    )
            found.append([field.number(row.get(field.name), f"rows[{number}].{field.name}") for field in self.fields])
        return found

    def check_values(self, rows: Sequence[Sequence[float]]) -> None:
        """Refuses rows of numbers that the model was not made for; NaN stands for a missing value.

        Raises:
            Invalid: a row of another length, a value out of range; `field` is `rows[I].COLUMN`.
        """
        fields = self.fields
        for number, row in enumerate(rows):
            if len(row) != len(fields):
                raise Invalid(
                    f"rows[{number}] has {len(row)} values; the model takes {len(fields)}.",
                    field=f"rows[{number}]",
                    hint=self.hint,
                )
            for field, value in zip(fields, row, strict=True):
                low, high = field.low, field.high
                # The common case costs two comparisons; whatever fails them is looked at closely.
                if low is None or high is None or field.dtype != "float" or not low <= value <= high:
                    field.checked(value, f"rows[{number}].{field.name}")

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


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # a JSON integer may have any length
        return math.inf if value > 0 else -math.inf


def _kind(value: object) -> str:
    known: dict[type, str] = {str: "a text", list: "a list", dict: "an object"}
    return known.get(type(value), f"a {type(value).__name__}")
