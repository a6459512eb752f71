"""A formula over a whole frame: the same meaning as `rows` has for one, in Polars."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import polars as pl

from tandem.data.features.formula import LAX, NOW, Call, Column, Constant, Formula, Node, Type
from tandem.data.features.rows import DAY, HOUR

MICROS_UTC = pl.Datetime("us", "UTC")


def values(formula: Formula, frame: pl.DataFrame) -> pl.Series:
    """The formula for each row of a frame; times come out as UTC microseconds.

    Each operator is applied once to whole columns: nested as one expression they would double with every level, because
    what has no finite result is looked at twice. The moment of the question is the column `now()`, UTC microseconds.
    """
    return _series(formula.node, frame)


def _series(node: Node, frame: pl.DataFrame) -> pl.Series:
    match node:
        case Constant(value, type):
            return pl.Series([value], dtype=_DTYPES[type]).new_from_index(0, frame.height)
        case Column(name, type):
            return frame.select(_column(name, type)).to_series()
        case Call(name, args):
            parts = pl.DataFrame([_series(arg, frame).alias(str(place)) for place, arg in enumerate(args)])
            return parts.select(_applied(name, [pl.col(each) for each in parts.columns]).alias(name)).to_series()


def _column(name: str, type: Type) -> pl.Expr:
    if type == "time" and name != NOW:
        return pl.col(name).cast(MICROS_UTC).cast(pl.Int64)
    column = pl.col(name).cast(_DTYPES[type])
    return _finite(column) if type == "number" else column


def _applied(name: str, args: list[pl.Expr]) -> pl.Expr:
    match name:
        case "case":
            return _chosen(args)
        case "in":
            return reduce(lambda a, b: a | b, [args[0] == value for value in args[1:]])
        case "is null":
            return args[0].is_null()
    return (_LAX if name in LAX else _FRAMES)[name](*args)


_DTYPES = {"number": pl.Float64, "text": pl.String, "bool": pl.Boolean, "time": pl.Int64, "null": pl.Null}


def _finite(value: pl.Expr) -> pl.Expr:
    return pl.when(value.is_finite()).then(value)


def _chosen(parts: list[pl.Expr]) -> pl.Expr:
    chosen = parts[-1]
    for place in range(len(parts) - 3, -1, -2):
        chosen = pl.when(parts[place]).then(parts[place + 1]).otherwise(chosen)
    return chosen


def _divided(a: pl.Expr, b: pl.Expr) -> pl.Expr:
    return _finite(pl.when(b != 0).then(a / b))


def _least(*parts: pl.Expr) -> pl.Expr:
    return pl.min_horizontal(*parts)


def _greatest(*parts: pl.Expr) -> pl.Expr:
    return pl.max_horizontal(*parts)


_LAX: dict[str, Callable[..., pl.Expr]] = {
    "and": lambda *parts: reduce(lambda a, b: a & b, parts),
    "or": lambda *parts: reduce(lambda a, b: a | b, parts),
    "coalesce": lambda *parts: pl.coalesce(*parts),
    "least": _least,
    "greatest": _greatest,
}
_FRAMES: dict[str, Callable[..., pl.Expr]] = {
    "+": lambda a, b: _finite(a + b),
    "-": lambda a, b: _finite(a - b),
    "*": lambda a, b: _finite(a * b),
    "/": _divided,
    "%": lambda a, b: _finite(a - b * _divided(a, b).floor()),
    "negative": lambda a: -a,
    "abs": lambda a: a.abs(),
    "floor": lambda a: a.floor(),
    "ceil": lambda a: a.ceil(),
    "round": lambda a: (a + 0.5).floor(),
    "sqrt": lambda a: pl.when(a >= 0).then(a.sqrt()),
    "ln": lambda a: pl.when(a > 0).then(a.log()),
    "exp": lambda a: pl.when(a < 709.78).then(a.exp()),
    "length": lambda a: a.str.len_chars().cast(pl.Float64),
    "starts_with": lambda a, b: a.str.starts_with(b),
    "contains": lambda a, b: a.str.contains(b, literal=True),
    "||": lambda a, b: a + b,
    "not": lambda a: ~a,
    "hour": lambda a: (a // HOUR - 24 * (a // DAY)).cast(pl.Float64),
    "weekday": lambda a: (a // DAY + 3 - 7 * ((a // DAY + 3) // 7) + 1).cast(pl.Float64),
    "seconds_between": lambda a, b: (a - b).cast(pl.Float64) / 1_000_000,
    "=": lambda a, b: a == b,
    "<>": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
