"""Contract: what every column and every row of a dataset must be. Knows no file format and no frame library."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, Literal, get_args

import msgspec

from tandem.core.asset import Ref
from tandem.core.clock import MICROS
from tandem.core.errors import Invalid

Dtype = Literal["float", "int", "string", "bool", "datetime"]
DTYPES: tuple[Dtype, ...] = get_args(Dtype)
NUMBERS: frozenset[Dtype] = frozenset({"float", "int"})
Severity = Literal["refuse", "quarantine", "warn"]
"""What a fault does: refuses the whole file, keeps its row apart, or is only counted."""
Rule = Literal["type", "empty", "range", "categories", "unique", "references", "future", "fresh"]
"""The rules of a column, in the order in which they are looked at."""
SHARE = 0.05
"""Of a file's rows, the most that may be kept apart before the file is refused whole."""
_SPAN = re.compile(r"([1-9][0-9]{0,5})([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A column of another dataset, as `dataset/customers.id` or, pinned, `dataset/customers@3.id`."""

    dataset: Ref
    column: str

    @classmethod
    def parse(cls, text: str, where: str) -> Reference:
        """Reads such a text.

        Raises:
            Invalid: it names no column of a dataset; `field` is `where`.
        """
        found = re.fullmatch(r"(dataset/[a-z0-9._-]+@[a-z0-9._-]+?|dataset/[a-z0-9_-]+)\.(.+)", text)
        if found is None:
            raise Invalid(
                f"'{text[:80]}' names no column of a dataset.",
                field=where,
                hint="Write dataset/NAME.column or dataset/NAME@3.column.",
            )
        return cls(dataset=Ref.parse(found[1]), column=found[2])


def span(text: str, where: str) -> int:
    """Microseconds of a span such as `90s`, `15m`, `24h` or `7d`.

    >>> span("24h", "fresh")
    86400000000

    Raises:
        Invalid: it is none; `field` is `where`.
    """
    found = _SPAN.fullmatch(text)
    if found is None:
        raise Invalid(f"'{text[:40]}' is no span of time.", field=where, hint="Write 90s, 15m, 24h or 7d.")
    return int(found[1]) * _UNITS[found[2]] * MICROS


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
    references: str | None = None
    """The column of another dataset in which every value must stand; see `Reference`."""
    fresh: str | None = None
    """How old the newest value may be when the file comes in, such as `24h`; times only."""
    future: str | None = None
    """How far a value may lie ahead of the moment when the file comes in, such as `5m`; times only."""
    severity: Severity | dict[Rule, Severity] = "refuse"
    """What a fault does, for all rules or rule by rule; a rule that is not named refuses."""

    def of(self, rule: Rule) -> Severity:
        """What a fault of one rule does."""
        return self.severity.get(rule, "refuse") if isinstance(self.severity, dict) else _softened(rule, self.severity)

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
        if self.references is not None:
            Reference.parse(self.references, f"{where}.references")
        for key, limit in (("fresh", self.fresh), ("future", self.future)):
            if limit is not None and self.dtype != "datetime":
                raise Invalid(f"Column '{self.name}' is {self.dtype} and cannot be {key}.", field=where, hint=f"Remove {key}.")
            if limit is not None:
                span(limit, f"{where}.{key}")
        if isinstance(self.severity, dict):
            for rule, severity in self.severity.items():
                if severity != _softened(rule, severity):
                    raise Invalid(
                        f"Column '{self.name}' cannot {severity} for its {rule}.",
                        field=f"{where}.severity",
                        hint="A cell of another type cannot stay in; a file that is not fresh has no row to keep apart.",
                    )


def _softened(rule: Rule, severity: Severity) -> Severity:
    """What a severity that is given for all rules means for one that cannot have it."""
    if rule == "type" and severity == "warn":
        return "refuse"
    return "warn" if rule == "fresh" and severity == "quarantine" else severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Together:
    """Columns that name a row together: no combination of their values may occur twice."""

    columns: tuple[str, ...]
    severity: Severity = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class RowRule:
    """What must hold between the columns of each row. A row of which it says neither true nor false passes, as in SQL."""

    name: str
    expression: str
    """In SQL or in Polars' notation; see `tandem.data.expression`."""
    severity: Severity = "refuse"


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
    unique: tuple[Together, ...] = ()
    rows: tuple[RowRule, ...] = ()
    quarantine_share: float = SHARE
    """Of a file's rows, the most that may be kept apart, 0 to 1."""

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
        for together in self.unique:
            if len(set(together.columns)) < 2 or len(set(together.columns)) != len(together.columns):
                raise Invalid("Columns that are unique together are two or more.", field="unique", hint="Name each of them once.")
            for name in together.columns:
                self.column(name)
        called = [rule.name for rule in self.rows]
        for rule in self.rows:
            if not rule.name or called.count(rule.name) > 1 or not rule.expression.strip():
                raise Invalid(
                    f"The row rule '{rule.name}' needs a name of its own and an expression.", field="rows", hint="Give it both."
                )
        if not 0.0 <= self.quarantine_share <= 1.0:
            raise Invalid(
                "The share of rows to keep apart lies between 0 and 1.", field="quarantine_share", hint="0.05 is one in 20."
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
        return msgspec.json.format(msgspec.json.encode(self.to_builtins()), indent=2)

    def to_builtins(self) -> dict[str, Any]:
        """As JSON's own values. What a contract of before could not say is left out where it says nothing.

        So the contract of a dataset that uses none of it keeps its bytes, and the same rows stay the same version.
        """
        raw: dict[str, Any] = _told(msgspec.to_builtins(self), Contract, ("unique", "rows", "quarantine_share"))
        raw["columns"] = [_told(column, Column, ("references", "fresh", "future", "severity")) for column in raw["columns"]]
        return raw

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
    for key, kind in (("unique", Together), ("rows", RowRule)):
        for number, rule in enumerate(raw.get(key, [])):  # type: ignore[arg-type,var-annotated]  # msgspec has converted it
            _compare_keys(rule, {field.name for field in fields(kind)}, f"{key}[{number}]")


def _told(raw: Mapping[str, Any], kind: type[Column | Contract], later: tuple[str, ...]) -> dict[str, Any]:
    """A mapping without those keys that say what their default says."""
    silent = {field.name: field.default for field in fields(kind) if field.name in later and field.default is not MISSING}
    return {key: value for key, value in raw.items() if key not in silent or value not in (silent[key], [])}


def _compare_keys(given: dict[str, object], known: set[str], where: str) -> None:
    unknown = sorted(set(given) - known)
    if unknown:
        raise Invalid(
            f"The contract has an unknown key '{unknown[0]}' in {where}.",
            field=f"{where}.{unknown[0]}",
            hint=f"Known keys: {', '.join(sorted(known))}.",
        )
