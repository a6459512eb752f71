"""An expression over the columns of one row, written in SQL or in Polars' own notation. Knows no contract and no files.

`amount >= 0 AND (ended IS NULL OR ended > started)` and `pl.col("amount") >= 0` are the two notations; text in which
`pl.` stands is read as the second, which is parsed and never evaluated. Whatever the notation, the tree that comes
out is compared with the list of what is allowed (`NODES`, `FUNCTIONS`): what looks at other rows (an aggregate, a
window, a sub-select), at other tables or at files is on no list, nor is anything that a later library may add.

Times are UTC and compared as times without a zone: `started >= TIMESTAMP '2026-01-31 12:00:00'`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import polars as pl

from tandem.core.errors import Invalid
from tandem.data.notation import build

LENGTH = 2_000
"""Characters of the longest expression."""
NODES = frozenset({"Column", "Literal", "BinaryExpr", "Cast", "Ternary", "Function", "Alias"})
"""Kinds of node that look at one row only."""
FUNCTIONS = frozenset(
    {
        *("Abs", "Ceil", "Clip", "Coalesce", "Exp", "FillNull", "Floor", "Log", "Log1p", "Negate", "Round", "Sign"),
        *("MaxHorizontal", "MinHorizontal", "Pow", "Trigonometry", "Sql.Binary", "Sql.IsIn", "Sql.Round", "Sql.ToFloat"),
        *(f"Boolean.{name}" for name in ("Not", "IsBetween", "IsClose", "IsFinite", "IsIn", "IsInfinite", "IsNan")),
        *(f"Boolean.{name}" for name in ("IsNotNan", "IsNotNull", "IsNull", "AllHorizontal", "AnyHorizontal")),
        *(f"StringExpr.{name}" for name in ("ConcatHorizontal", "Contains", "CountMatches", "EndsWith", "Extract", "Find")),
        *(f"StringExpr.{name}" for name in ("Head", "LenBytes", "LenChars", "Lowercase", "Replace", "Reverse", "Slice")),
        *(f"StringExpr.{name}" for name in ("StartsWith", "StripChars", "StripCharsEnd", "StripCharsStart", "StripPrefix")),
        *(f"StringExpr.{name}" for name in ("StripSuffix", "Strptime", "Tail", "Titlecase", "ToInteger", "Uppercase")),
        *(f"TemporalExpr.{name}" for name in ("Date", "Day", "Hour", "IsLeapYear", "IsoYear", "Microsecond", "Millisecond")),
        *(f"TemporalExpr.{name}" for name in ("Minute", "Month", "MonthStart", "OrdinalDay", "Quarter", "Second", "TimeStamp")),
        *(f"TemporalExpr.Total{unit}" for unit in ("Days", "Hours", "Microseconds", "Milliseconds", "Minutes", "Seconds")),
        *(f"TemporalExpr.{name}" for name in ("ToString", "Truncate", "Week", "WeekDay", "Year", "OffsetBy", "CastTimeUnit")),
    }
)
"""Functions of one row, by the names that the library writes into a tree; one without a dot stands for all its forms."""
_GROUPS = frozenset({"Boolean", "Sql", "StringExpr", "TemporalExpr"})
"""Names under which a tree lists the function one level deeper."""
_QUOTED = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*\"""")
_CLOCKS = re.compile(
    r"(?i)\b(?:now\s*\(|current_date\b|current_time(?:stamp)?\b|localtime(?:stamp)?\b|today\s*\(|get_current_time)"
)


def compile(text: str) -> pl.Expr:
    """The expression that a text says.

    >>> pl.DataFrame({"amount": [1, -1, None]}).select(compile("amount >= 0")).to_series().to_list()
    [True, False, None]

    Raises:
        Invalid: it is no expression, or asks for what an expression of one row may not have; the message names the place.
    """
    if not text.strip():
        raise Invalid("The expression is empty.", field="expression", hint="Write one, such as: amount >= 0")
    if len(text) > LENGTH:
        raise Invalid(
            f"The expression has {len(text):,} characters; at most {LENGTH:,} are read.", field="expression", hint="Split it."
        )
    try:
        expression = build(text) if is_polars(text) else _sql(text)
        _allow(msgspec.json.decode(expression.meta.serialize(format="json")), text)
    except (RecursionError, MemoryError):
        raise Invalid("The expression is nested too deep.", field="expression", hint="Split it into several.") from None
    return expression


def columns(text: str) -> tuple[str, ...]:
    """The columns that an expression reads, each once, in the order in which they stand.

    >>> columns("amount >= 0 AND (ended IS NULL OR ended > started)")
    ('amount', 'ended', 'started')

    Raises:
        Invalid: see `compile`.
    """
    return tuple(dict.fromkeys(compile(text).meta.root_names()))


def evaluate(frame: pl.DataFrame, text: str) -> pl.Series:
    """What an expression says of every row of a frame: one value per row, null where it cannot be said.

    Raises:
        Invalid: see `compile`; or a column is missing, or the types do not fit, or a value cannot be computed.
    """
    wanted = _there(frame.columns, text)
    held = frame.select(wanted) if wanted else pl.DataFrame({"row": pl.zeros(frame.height, pl.Int8, eager=True)})
    with computing(text):
        plain = held.with_columns(pl.col(_times(held.schema)).dt.replace_time_zone(None))
        return plain.with_columns(compile(text).alias("value")).to_series(-1)


def keep(rows: pl.LazyFrame, text: str) -> pl.LazyFrame:
    """The rows of which a condition says true; read them inside `computing`.

    Raises:
        Invalid: see `compile`; or a column is missing.
    """
    schema = rows.collect_schema()
    wanted = _there(schema.names(), text)
    times = [name for name in _times(schema) if name in wanted]
    plain = rows.with_columns(pl.col(times).dt.replace_time_zone(None)).filter(compile(text))
    return plain.with_columns(pl.col(times).dt.replace_time_zone("UTC"))


@contextmanager
def computing(text: str) -> Iterator[None]:
    """Tells the library's own complaints as ours.

    Raises:
        Invalid: the types do not fit, or a value cannot be computed.
    """
    try:
        yield
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise Invalid(
            f"The expression cannot be computed: {text}: {_first_line(error)}",
            field="expression",
            hint="Compare numbers with numbers, texts with texts and times with times.",
        ) from None


def _there(known: list[str], text: str) -> tuple[str, ...]:
    """The columns that an expression reads, all of which must be known."""
    wanted = columns(text)
    missing = [name for name in wanted if name not in known]
    if missing:
        raise Invalid(
            f"The expression reads a column '{missing[0]}', which there is not: {text}",
            field=missing[0],
            hint=f"Columns are: {', '.join(known[:10])}.",
        )
    return wanted


def _times(schema: pl.Schema) -> list[str]:
    return [name for name, dtype in schema.items() if isinstance(dtype, pl.Datetime)]


def is_polars(text: str) -> bool:
    """Whether a text is in Polars' notation; else it is SQL."""
    return re.search(r"\bpl\s*\.", _QUOTED.sub("''", text)) is not None


def _sql(text: str) -> pl.Expr:
    bare = _QUOTED.sub("''", text)
    if re.search(r"--|/\*|[`$;]", bare):
        raise Invalid("The expression has a comment or a statement in it.", field="expression", hint="Write the condition only.")
    clock = _CLOCKS.search(bare)
    if clock:
        raise Invalid(
            f"The expression asks for the time of day ('{clock[0]}'), so that it would say another thing tomorrow.",
            field="expression",
            hint="Compare columns with each other or with fixed times; a contract's `fresh` knows the time.",
        )
    try:
        return pl.sql_expr(text)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise Invalid(
            f"The expression is not understood: {text}: {_first_line(error)}",
            field="expression",
            hint="Write an SQL condition such as: amount >= 0 AND kind IN ('a', 'b')",
        ) from None


def _allow(node: object, text: str) -> None:
    """Walks a tree, as the library writes it, and refuses whatever is on no list."""
    if not isinstance(node, dict) or len(node) != 1:
        raise _stranger(str(node), text)
    ((kind, held),) = node.items()
    if kind not in NODES:
        raise _stranger(kind, text)
    match kind, held:
        case "BinaryExpr", {"left": left, "right": right}:
            parts = [left, right]
        case "Ternary", {"predicate": predicate, "truthy": truthy, "falsy": falsy}:
            parts = [predicate, truthy, falsy]
        case "Cast", {"expr": inner}:
            parts = [inner]
        case "Alias", [inner, str()]:
            parts = [inner]
        case "Function", {"input": list() as parts, "function": function}:
            _allow_function(function, parts, text)
        case (("Column" | "Literal"), _):
            parts = []
        case _:
            raise _stranger(kind, text)
    for part in parts:
        _allow(part, text)


def _allow_function(function: object, inputs: list[object], text: str) -> None:
    name = _named(function)
    if name not in FUNCTIONS:
        raise _stranger(name, text)
    if name in ("Boolean.IsIn", "Sql.IsIn") and not (len(inputs) == 2 and isinstance(inputs[1], dict) and "Literal" in inputs[1]):
        raise Invalid(
            f"The expression compares with a set that is not written out: {text}",
            field="expression",
            hint="List the values: kind IN ('a', 'b').",
        )
    if name == "StringExpr.Strptime" and '"format":null' in msgspec.json.encode(function).decode():
        raise Invalid(
            f"The expression reads a text as a time without saying how it is written: {text}",
            field="expression",
            hint="Give the format, such as '%Y-%m-%d'; for a fixed time write DATE '2026-01-31' or pl.date(2026, 1, 31).",
        )


def _named(function: object) -> str:
    """A function's name as the list has it."""
    if not isinstance(function, dict) or len(function) != 1:
        return str(function)
    ((group, member),) = function.items()
    if group not in _GROUPS:
        return str(group)
    return f"{group}.{next(iter(member), '') if isinstance(member, dict) else member}"


def _stranger(what: str, text: str) -> Invalid:
    kinds = {
        "Agg": "an aggregate, which looks at other rows",
        "Len": "an aggregate, which looks at other rows",
        "Over": "a window, which looks at other rows",
        "SubPlan": "a sub-select, which looks at other tables",
        "Selector": "a pattern of column names",
        "Explode": "a function that makes several rows of one",
    }
    said = kinds.get(what, f"'{what[:60]}', which is not on the list of what may be asked of one row")
    return Invalid(
        f"The expression holds {said}: {text}",
        field="expression",
        hint="An expression sees the columns of one row: compare, compute, and test texts and times.",
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
