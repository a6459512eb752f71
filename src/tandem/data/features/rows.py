"""A formula over one row, in plain Python: light enough for the door. The same meaning as `frames` has for many."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from tandem.data.features.formula import LAX, Call, Column, Constant, Formula, Node, Value

Row: TypeAlias = Mapping[str, object]
Closure: TypeAlias = Callable[[Row], Value]
DAY, HOUR = 86_400_000_000, 3_600_000_000
"""Microseconds."""


def compiled(formula: Formula) -> Closure:
    """A function from a row (column → value, times as UTC microseconds) to the formula's value."""
    return _closure(formula.node)


def _closure(node: Node) -> Closure:
    match node:
        case Constant(value):
            return lambda row: value
        case Column(name, "number"):
            return lambda row: _number(row.get(name))
        case Column(name):
            return lambda row: row.get(name)  # type: ignore[return-value]  # of the column's type
        case Call("case", args):
            return _chosen([_closure(arg) for arg in args])
        case Call("in", args):
            within, values = _closure(args[0]), frozenset(arg.value for arg in args[1:] if isinstance(arg, Constant))
            return lambda row: None if (value := within(row)) is None else value in values
        case Call("is null", args):
            inner = _closure(args[0])
            return lambda row: inner(row) is None
        case Call(name, args) if name in LAX:
            return _lax_closure(name, [_closure(arg) for arg in args])
        case Call(name, args):
            return _strict_closure(_ROWS[name], [_closure(arg) for arg in args])


def _number(value: object) -> float | None:
    if value is None:
        return None
    number = float(value)  # type: ignore[arg-type]  # the column is a number
    return number if math.isfinite(number) else None


def _chosen(parts: Sequence[Closure]) -> Closure:
    branches = [(parts[place], parts[place + 1]) for place in range(0, len(parts) - 1, 2)]

    def choose(row: Row) -> Value:
        for condition, value in branches:
            if condition(row) is True:
                return value(row)
        return parts[-1](row)

    return choose


def _lax_closure(name: str, parts: Sequence[Closure]) -> Closure:
    def join(row: Row) -> Value:
        values = [part(row) for part in parts]
        match name:
            case "and":
                return False if False in values else None if None in values else True
            case "or":
                return True if True in values else None if None in values else False
        known = [value for value in values if value is not None]
        if not known:
            return None
        return known[0] if name == "coalesce" else min(known) if name == "least" else max(known)

    return join


def _strict_closure(act: Callable[..., Value], parts: Sequence[Closure]) -> Closure:
    if len(parts) == 1:
        (only,) = parts
        return lambda row: None if (value := only(row)) is None else act(value)
    left, right = parts

    def both(row: Row) -> Value:
        first = left(row)
        if first is None:
            return None
        second = right(row)
        return None if second is None else act(first, second)

    return both


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _exp(value: float) -> float | None:
    return math.exp(value) if value < 709.78 else None


_ROWS: dict[str, Callable[..., Value]] = {
    "+": lambda a, b: _finite(a + b),
    "-": lambda a, b: _finite(a - b),
    "*": lambda a, b: _finite(a * b),
    "/": lambda a, b: _finite(a / b) if b else None,
    "%": lambda a, b: _finite(a - b * math.floor(a / b)) if b and math.isfinite(a / b) else None,
    "negative": lambda a: -a,
    "abs": abs,
    "floor": lambda a: float(math.floor(a)),
    "ceil": lambda a: float(math.ceil(a)),
    "round": lambda a: float(math.floor(a + 0.5)),
    "sqrt": lambda a: math.sqrt(a) if a >= 0 else None,
    "ln": lambda a: math.log(a) if a > 0 else None,
    "exp": _exp,
    "length": lambda a: float(len(a)),
    "starts_with": lambda a, b: a.startswith(b),
    "contains": lambda a, b: b in a,
    "||": lambda a, b: a + b,
    "not": lambda a: not a,
    "hour": lambda a: float(a // HOUR - 24 * (a // DAY)),
    "weekday": lambda a: float(a // DAY + 3 - 7 * ((a // DAY + 3) // 7) + 1),
    "seconds_between": lambda a, b: (a - b) / 1_000_000,
    "=": lambda a, b: a == b,
    "<>": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
