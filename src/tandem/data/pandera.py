"""A Pandera schema as a contract: what `pandera.io` wrote as YAML or JSON, read without Pandera.

Both forms are read, that of 0.2x with `checks` and the flat one since. What a contract cannot say is refused by its
name; what has no effect here, or is so in any case, is told. Method: the built-in checks of pandera.api.checks.Check.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from tandem.core.errors import Invalid
from tandem.data.contract import NUMBERS, Column, Contract, Dtype, RowRule, Severity, Together

Raw = Mapping[str, object]
_SCHEMA = frozenset({"schema_type", "api", "version", "columns", "strict", "unique"})
_SILENT = frozenset({"title", "description", "name", "metadata", "coerce", "report_duplicates", "unique_column_names"})
"""What says nothing about values, or asks for what is done in any case."""
_COLUMN = frozenset({"dtype", "nullable", "unique", "checks", "required", "regex", "default", "drop_invalid_rows"})
_COMPARED = {
    "greater_than": ">",
    "greater_than_or_equal_to": ">=",
    "less_than": "<",
    "less_than_or_equal_to": "<=",
    "equal_to": "=",
    "not_equal_to": "<>",
}
_CHECKS = frozenset(
    {*_COMPARED, "in_range", "isin", "notin", "str_matches", "str_contains", "str_startswith", "str_endswith", "str_length"}
)
_BOUNDS = frozenset({"min_value", "max_value", "exact_value"})
_OPTIONS = frozenset({"raise_warning", "ignore_na", "error", "name", "title", "description", "n_failure_cases", "check_name"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """A contract, and what a reader should know of how it came about."""

    contract: Contract
    notes: tuple[str, ...]


def imported(schema: object) -> Imported:
    """The contract that a Pandera schema asks for.

    Raises:
        Invalid: it is no schema of a data frame, or holds what a contract cannot say; `field` names where.
    """
    if not isinstance(schema, Mapping) or not isinstance(schema.get("columns"), Mapping):
        raise Invalid(
            "This is no Pandera schema of a data frame.", field="columns", hint="Write it with pandera's to_yaml() or to_json()."
        )
    reader = _Reader()
    reader.whole(schema)
    columns = tuple(reader.column(str(name), raw) for name, raw in schema["columns"].items())
    return Imported(
        contract=Contract(columns=columns, unique=reader.together, rows=tuple(reader.rules)), notes=tuple(reader.notes)
    )


@dataclass(slots=True)
class _Reader:
    rules: list[RowRule] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    together: tuple[Together, ...] = ()
    single: frozenset[str] = frozenset()
    """Columns that are unique because the schema says so as a whole."""

    def whole(self, schema: Raw) -> None:
        if schema.get("schema_type", "dataframe") != "dataframe":
            _refuse("schema_type", f"a schema of a {schema['schema_type']}")
        for key, value in schema.items():
            if key not in _SCHEMA and not self._silent(key, value, "the schema"):
                _refuse(key, f"'{key}' of the whole schema")
        if schema.get("strict") == "filter":
            _refuse("strict", "strict: filter, which drops columns")
        if schema.get("strict") is not True:
            self.notes.append("Columns that the schema does not name are refused here.")
        unique = schema.get("unique") or []
        names = [unique] if isinstance(unique, str) else list(unique) if isinstance(unique, list) else []
        if len(names) > 1:
            self.together = (Together(columns=tuple(map(str, names))),)
        self.single = frozenset(map(str, names)) if len(names) == 1 else frozenset()

    def column(self, name: str, raw: object) -> Column:
        where = f"columns.{name}"
        if not isinstance(raw, Mapping):
            _refuse(where, "a column that is no mapping")
        dtype = _dtype(raw.get("dtype"), where)
        for key, value in raw.items():
            if key in _COLUMN | _CHECKS or self._silent(key, value, where):
                continue
            _refuse(f"{where}.{key}", f"the check '{key}'")
        for key, meant in (("required", True), ("regex", False), ("default", None), ("drop_invalid_rows", False)):
            if raw.get(key) not in (None, meant):
                _refuse(f"{where}.{key}", f"{key}: {raw[key]}")
        unique = bool(raw.get("unique")) or name in self.single
        found = _Found(name=name, dtype=dtype, nullable=bool(raw.get("nullable")), unique=unique)
        for check, value, severity in _checks(raw, where):
            self._check(found, check, value, severity, f"{where}.{check}")
        return found.column()

    def _silent(self, key: str, value: object, where: str) -> bool:
        """Whether a key may be passed over; what it said is told."""
        if value in (None, False, [], {}):
            return True
        if key not in _SILENT:
            return False
        if key == "coerce":
            self.notes.append(
                f"coerce of {where}: text of a CSV or JSON file is read in the column's type, other types are refused."
            )
        elif key != "unique_column_names":
            self.notes.append(f"{key} of {where} is left out.")
        return True

    def _check(self, found: _Found, check: str, value: object, severity: Severity, where: str) -> None:
        if found.bounded(check, value, severity):
            return
        self.rules.append(
            RowRule(name=f"{found.name} {check}", expression=_expression(found, check, value, where), severity=severity)
        )


@dataclass(slots=True)
class _Found:
    """A column while its checks are read."""

    name: str
    dtype: Dtype
    nullable: bool
    unique: bool
    low: float | None = None
    high: float | None = None
    categories: tuple[str, ...] | None = None
    softer: dict[str, Severity] = field(default_factory=dict)

    def bounded(self, check: str, value: object, severity: Severity) -> bool:
        """Whether a check is one that a column has itself; it has it then."""
        if check == "isin" and self.dtype == "string" and isinstance(value, list) and self._take("categories", severity):
            self.categories = tuple(str(text) for text in value)
            return True
        if self.dtype not in NUMBERS:
            return False
        low, high = None, None
        if check == "greater_than_or_equal_to":
            low = value
        elif check == "less_than_or_equal_to":
            high = value
        elif check == "in_range" and isinstance(value, Mapping) and value.get("include_min") and value.get("include_max"):
            low, high = value.get("min_value"), value.get("max_value")
        bounds = [bound for bound in (low, high) if bound is not None]
        plain = all(isinstance(bound, int | float) and not isinstance(bound, bool) for bound in bounds)
        free = (low is None or self.low is None) and (high is None or self.high is None)
        if not bounds or not plain or not free or not self._take("range", severity):
            return False
        self.low = self.low if low is None else float(low)  # type: ignore[arg-type]  # a number, as was looked at
        self.high = self.high if high is None else float(high)  # type: ignore[arg-type]  # a number, as was looked at
        return True

    def _take(self, rule: str, severity: Severity) -> bool:
        """Takes the severity of a rule, unless it has another one already."""
        return self.softer.setdefault(rule, severity) == severity

    def column(self) -> Column:
        softer = {rule: severity for rule, severity in self.softer.items() if severity != "refuse"}
        return Column(
            name=self.name,
            dtype=self.dtype,
            nullable=self.nullable,
            unique=self.unique,
            low=self.low,
            high=self.high,
            categories=self.categories,
            severity=softer or "refuse",  # type: ignore[arg-type]  # its keys are rules
        )


def _checks(raw: Raw, where: str) -> Iterator[tuple[str, object, Severity]]:
    """Every check of a column, in either form, with what it compares and how strict it is."""
    listed = raw.get("checks") or {}
    items: list[tuple[str, object]] = [(key, value) for key, value in raw.items() if key in _CHECKS]
    if isinstance(listed, Mapping):
        items += list(listed.items())
    elif isinstance(listed, list):
        for each in listed:
            options = each.get("options") if isinstance(each, Mapping) else None
            named = options.get("check_name") if isinstance(options, Mapping) else None
            if not isinstance(each, Mapping) or not isinstance(named, str):
                _refuse(f"{where}.checks", "a check without a name")
            items.append((named, each))
    for check, value in items:
        if check not in _CHECKS:
            _refuse(f"{where}.{check}", f"the check '{check}'")
        yield check, *_read(value, f"{where}.{check}")


def _read(value: object, where: str) -> tuple[object, Severity]:
    """What a check compares with, and its options."""
    if not isinstance(value, Mapping):
        return value, "refuse"
    options = dict(value.get("options") or {})
    plain = {key: each for key, each in value.items() if key != "options"}
    options |= {key: plain.pop(key) for key in _OPTIONS & set(plain)}
    for key, told in options.items():
        if key not in _OPTIONS or (key == "ignore_na" and told is False):
            _refuse(f"{where}.{key}", f"the option '{key}'")
    compared = next(iter(plain.values())) if len(plain) == 1 and not _BOUNDS & set(plain) else plain
    return compared, "warn" if options.get("raise_warning") else "refuse"


def _expression(found: _Found, check: str, value: object, where: str) -> str:
    """A check between a column and fixed values, in SQL."""
    column = '"' + found.name.replace('"', '""') + '"'
    match check, value:
        case (_, _) if check in _COMPARED:
            return f"{column} {_COMPARED[check]} {_literal(found, value, where)}"
        case "in_range", {"min_value": low, "max_value": high, **rest}:
            least = ">=" if rest.get("include_min", True) else ">"
            most = "<=" if rest.get("include_max", True) else "<"
            return f"{column} {least} {_literal(found, low, where)} AND {column} {most} {_literal(found, high, where)}"
        case (("isin" | "notin"), [*values]) if values:
            listed = ", ".join(_literal(found, each, where) for each in values)
            return f"{column} {'IN' if check == 'isin' else 'NOT IN'} ({listed})"
        case "str_matches", str(pattern):
            return f"{column} ~ {_quoted(f'^(?:{pattern})')}"
        case "str_contains", str(pattern):
            return f"{column} ~ {_quoted(pattern)}"
        case "str_startswith", str(text):
            return f"starts_with({column}, {_quoted(text)})"
        case "str_endswith", str(text):
            return f"ends_with({column}, {_quoted(text)})"
        case "str_length", {**bounds}:
            return _length(column, bounds, where)
    return _refuse(where, f"the check '{check}' with {value!r}")


def _length(column: str, bounds: Mapping[object, object], where: str) -> str:
    signs = {"min_value": ">=", "max_value": "<=", "exact_value": "="}
    parts = [f"length({column}) {signs[key]} {size}" for key, size in bounds.items() if key in signs and isinstance(size, int)]
    if not parts or set(bounds) - set(signs):
        _refuse(where, "a length without bounds")
    return " AND ".join(parts)


def _literal(found: _Found, value: object, where: str) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str() if found.dtype == "datetime":
            return f"TIMESTAMP {_quoted(value)}"
        case str():
            return _quoted(value)
    return _refuse(where, f"the value {value!r}")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _dtype(told: object, where: str) -> Dtype:
    name = str(told).lower()
    known: tuple[tuple[str, Dtype], ...] = (
        ("datetime", "datetime"),
        ("date", "datetime"),
        ("float", "float"),
        ("uint", "int"),
        ("int", "int"),
        ("bool", "bool"),
        ("str", "string"),
    )
    for prefix, dtype in known:
        if isinstance(told, str) and name.startswith(prefix):
            return dtype
    return _refuse(f"{where}.dtype", f"the type {told}")


def _refuse(where: str, what: str) -> NoReturn:
    raise Invalid(
        f"The Pandera schema has {what} at {where}, which a contract cannot say.",
        field=where,
        hint="Take it out of the schema, or write a row rule in the contract instead.",
    )
