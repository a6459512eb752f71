"""Contract: what every column of a dataset must be. Knows no file format and no frame library."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal, get_args

import msgspec

from tandem.core.errors import Invalid

Dtype = Literal["float", "int", "string", "bool", "datetime"]
DTYPES: tuple[Dtype, ...] = get_args(Dtype)
NUMBERS: frozenset[Dtype] = frozenset({"float", "int"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column: its type, and which values it may hold."""

    name: str
    dtype: Dtype
    nullable: bool = False
    """Whether a cell may be empty."""
    low: float | None = None
    """Smallest value allowed, inclusive; numbers only."""
    high: float | None = None
    """Largest value allowed, inclusive; numbers only."""
    categories: tuple[str, ...] | None = None
    """The only texts allowed; strings only."""
    unique: bool = False
    """Whether no value may occur twice."""
    inferred: bool = False
    """True while the bounds were guessed from data; a person who edits them sets it to false."""

    def __post_init__(self) -> None:
        where = f"columns.{self.name}"
        if not self.name:
            raise Invalid("A column of the contract has no name.", field="columns", hint="Name every column.")
        if (self.low is not None or self.high is not None) and self.dtype not in NUMBERS:
            raise Invalid(
                f"Column '{self.name}' is {self.dtype} and cannot have a range.", field=where, hint="Remove low and high."
            )
        if any(bound is not None and not math.isfinite(bound) for bound in (self.low, self.high)):
            raise Invalid(f"The range of column '{self.name}' is not finite.", field=where, hint="Leave a bound out to lift it.")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise Invalid(
                f"Column '{self.name}' has low {self.low:g} above high {self.high:g}.", field=where, hint="Swap the bounds."
            )
        if self.categories is not None and self.dtype != "string":
            raise Invalid(
                f"Column '{self.name}' is {self.dtype} and cannot have categories.",
                field=where,
                hint="Make it a string, or remove the categories.",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """What every column of a dataset must be, in file order.

    >>> contract = Contract(columns=(Column(name="id", dtype="string", unique=True),), id_column="id")
    >>> Contract.from_json(contract.to_json()) == contract
    True
    """

    columns: tuple[Column, ...]
    id_column: str | None = None
    """The column that names a row; unique and never empty."""
    time_column: str | None = None
    """The column that says when a row became true."""

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        if not names:
            raise Invalid("The contract has no columns.", field="columns", hint="List at least one column.")
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise Invalid(f"The contract names column '{doubled[0]}' twice.", field="columns", hint="Keep one of them.")
        for role, wanted in (("id_column", self.id_column), ("time_column", self.time_column)):
            if wanted is not None and wanted not in names:
                raise Invalid(
                    f"The contract's {role} '{wanted}' is not among its columns.",
                    field=role,
                    hint=f"Use one of: {', '.join(names[:10])}.",
                )
        if self.time_column is not None and self.column(self.time_column).dtype != "datetime":
            raise Invalid(
                f"The time column '{self.time_column}' is {self.column(self.time_column).dtype}, not datetime.",
                field="time_column",
                hint="Times are ISO 8601, such as 2026-01-31T12:00:00Z.",
            )

    def column(self, name: str) -> Column:
        """The column of that name.

        Raises:
            Invalid: there is none.
        """
        for column in self.columns:
            if column.name == name:
                return column
        known = ", ".join(column.name for column in self.columns[:10])
        raise Invalid(f"There is no column '{name}'.", field=name, hint=f"Columns are: {known}.")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    def to_json(self) -> bytes:
        """Indented JSON that a person can edit and `from_json` reads back."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2)

    @classmethod
    def from_json(cls, text: bytes | str) -> Contract:
        """Reads what `to_json` wrote, after a person edited it.

        Raises:
            Invalid: not JSON, a wrong type, an unknown key, or bounds that contradict each other; names where.
        """
        try:
            raw = msgspec.json.decode(text)
            contract = msgspec.convert(raw, cls)
        except msgspec.ValidationError as error:
            raise Invalid(
                f"The contract does not have its form: {error}.", field="contract", hint="Compare it with an inferred contract."
            ) from None
        except msgspec.DecodeError as error:
            raise Invalid(f"The contract is not JSON: {error}.", field="contract", hint="Check commas and quotes.") from None
        _refuse_unknown_keys(raw)
        return contract


def _refuse_unknown_keys(raw: dict[str, object]) -> None:
    """A misspelt bound must not be silently without effect."""
    _compare_keys(raw, {field.name for field in fields(Contract)}, "contract")
    columns = raw["columns"]
    assert isinstance(columns, list)  # msgspec has converted it
    for number, column in enumerate(columns):
        _compare_keys(column, {field.name for field in fields(Column)}, f"columns[{number}]")


def _compare_keys(given: dict[str, object], known: set[str], where: str) -> None:
    unknown = sorted(set(given) - known)
    if unknown:
        raise Invalid(
            f"The contract has an unknown key '{unknown[0]}' in {where}.",
            field=f"{where}.{unknown[0]}",
            hint=f"Known keys: {', '.join(sorted(known))}.",
        )
