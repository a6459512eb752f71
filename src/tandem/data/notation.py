"""Polars' notation without Python: a parsed text becomes an expression by a list of what may stand in it.

Nothing is evaluated: each node of the syntax tree has its line here, or the text is refused with the place of it.
"""

from __future__ import annotations

import ast
import operator
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import polars as pl

from tandem.core.errors import Invalid

MOST = 2**63
"""Whole numbers lie between its negative and this."""
HINT = "Known are pl.col, pl.lit, pl.when, arithmetic, comparisons, &, |, ~ and the methods that docs/datasets.md lists."


@dataclass(frozen=True, slots=True)
class _Form:
    """How many arguments a function takes, and which it takes by name; those must be written out, not computed."""

    least: int = 0
    most: int = 0
    names: frozenset[str] = frozenset()


def _forms(names: str, least: int = 0, most: int | None = None, keys: str = "") -> dict[str, _Form]:
    return {name: _Form(least, least if most is None else most, frozenset(keys.split())) for name in names.split()}


FUNCTIONS: dict[str, _Form] = {
    **_forms("col lit when", 1),
    **_forms("coalesce max_horizontal min_horizontal all_horizontal any_horizontal", 1, 20),
    **_forms("date", 3),
    **_forms("datetime", 3, 6),
    **_forms("duration", 0, 0, "weeks days hours minutes seconds milliseconds microseconds"),
}
"""What may follow `pl.`"""
METHODS: dict[str, _Form] = {
    **_forms("abs ceil floor exp log10 log1p sqrt sign neg not_ is_null is_not_null is_nan is_not_nan is_finite is_infinite"),
    **_forms("eq ne lt le gt ge add sub mul truediv floordiv mod pow and_ or_ xor eq_missing ne_missing fill_null fill_nan", 1),
    **_forms("log round", 0, 1),
    **_forms("clip", 1, 2),
    **_forms("is_in", 1),
    **_forms("is_between", 2, 2, "closed"),
    **_forms("is_close", 1, 1, "abs_tol rel_tol"),
    **_forms("cast", 1, 1, "strict"),
    **_forms("when then otherwise", 1),
}
"""What may follow an expression and a dot."""
SPACES: dict[str, dict[str, _Form]] = {
    "str": {
        **_forms("len_chars len_bytes to_lowercase to_uppercase to_titlecase reverse"),
        **_forms("strip_chars strip_chars_start strip_chars_end", 0, 1),
        **_forms("starts_with ends_with strip_prefix strip_suffix head tail", 1),
        **_forms("contains find count_matches", 1, 1, "literal"),
        **_forms("replace replace_all", 2, 2, "literal"),
        **_forms("slice extract", 1, 2),
        **_forms("to_date to_datetime", 1, 1, "strict"),
        **_forms("to_integer", 0, 0, "strict"),
    },
    "dt": {
        **_forms("year iso_year quarter month week weekday day ordinal_day hour minute second millisecond microsecond"),
        **_forms("date is_leap_year month_start total_days total_hours total_minutes total_seconds total_milliseconds"),
        **_forms("epoch", 0, 1),
        **_forms("truncate offset_by strftime", 1),
    },
}
"""What may follow `.str.` and `.dt.`"""
TYPES = frozenset({"Boolean", "Date", "Datetime", "Float32", "Float64", "Int8", "Int16", "Int32", "Int64", "String"})
_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
}
_COMPARED: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


def build(text: str) -> pl.Expr:
    """The expression that a text in Polars' notation says.

    Raises:
        Invalid: it holds something that is not listed above; `field` names the character, counted from 1.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # a pattern such as "\\d" is a text with a backslash
            tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError) as error:
        place = getattr(error, "offset", None) or 1
        raise Invalid(
            f"The expression is not understood at character {place}: {text}", field=f"character {place}", hint=HINT
        ) from None
    built = _Builder(text.strip()).value(tree.body)
    if not isinstance(built, pl.Expr):
        raise Invalid(f"The expression is not finished: {text}", field="expression", hint="End pl.when(…).then(…) with values.")
    return built


@dataclass(frozen=True, slots=True)
class _Builder:
    text: str

    def value(self, node: ast.expr) -> Any:
        """An expression, a constant, a list of constants, a type, or a `when` that waits for its `then`."""
        match node:
            case ast.Constant(value=value):
                return self.constant(value, node)
            case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts):
                return [self.scalar(part) for part in parts]
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
                return self.constant(-number, node)
            case ast.UnaryOp(op=ast.USub(), operand=inner):
                return -self.expression(inner)
            case ast.UnaryOp(op=ast.Invert(), operand=inner):
                return ~self.expression(inner)
            case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _BINARY:
                return self.joined(_BINARY[type(sign)], left, right, node)
            case ast.Compare(left=left, ops=[sign], comparators=[right]) if type(sign) in _COMPARED:
                return self.joined(_COMPARED[type(sign)], left, right, node)
            case ast.Compare():
                return self.refuse(
                    node, "a chain of comparisons or `in`", "Join two comparisons with &, or use is_between and is_in."
                )
            case ast.BoolOp() | ast.UnaryOp(op=ast.Not()):
                return self.refuse(node, "`and`, `or` or `not`", "Write &, | and ~, with parentheses around each comparison.")
            case ast.Attribute(value=ast.Name(id="pl"), attr=name) if name in TYPES:
                return getattr(pl, name)
            case ast.Call():
                return self.call(node)
            case _:
                return self.refuse(node, f"`{ast.unparse(node)[:60]}`", HINT)

    def call(self, node: ast.Call) -> Any:
        match node.func:
            case ast.Attribute(value=ast.Name(id="pl"), attr=name):
                owner, form, shown = pl, FUNCTIONS.get(name), f"pl.{name}"
            case ast.Attribute(value=ast.Attribute(value=inner, attr=("str" | "dt") as space), attr=name):
                owner, form, shown = getattr(self.expression(inner), space), SPACES[space].get(name), f".{space}.{name}"
            case ast.Attribute(value=inner, attr=name):
                owner, form, shown = self.target(inner, name), METHODS.get(name), f".{name}"
            case _:
                self.refuse(node, f"a call of `{ast.unparse(node.func)[:60]}`", HINT)
        if form is None:
            self.refuse(node, f"`{shown[:60]}`, which is not on the list", HINT)
        if not form.least <= len(node.args) <= form.most or any(key.arg not in form.names for key in node.keywords):
            self.refuse(node, f"`{shown}` with other arguments than it takes here", HINT)
        taken = [self.value(part) for part in node.args]
        named = {str(key.arg): self.scalar(key.value) for key in node.keywords}
        if shown == "pl.col" and not (isinstance(taken[0], str) and taken[0]):
            self.refuse(node, "`pl.col` without the name of one column", 'Write pl.col("amount").')
        try:
            return getattr(owner, name)(*taken, **named)
        except (pl.exceptions.PolarsError, TypeError, ValueError, AttributeError, OverflowError) as error:
            self.refuse(node, f"`{shown}`, which does not fit there ({str(error)[:120]})", HINT)

    def target(self, node: ast.expr, name: str) -> Any:
        """What a method is called on: an expression, or for `then` a `when`."""
        found = self.value(node)
        if isinstance(found, pl.Expr) or (name == "then" and type(found).__name__ in ("When", "ChainedWhen")):
            return found
        return self.refuse(node, f"`.{name[:60]}` on what is no expression", "Wrap a constant in pl.lit(…).")

    def joined(self, sign: Callable[[Any, Any], Any], left: ast.expr, right: ast.expr, node: ast.expr) -> pl.Expr:
        try:
            built = sign(self.expression(left), self.expression(right))
        except (pl.exceptions.PolarsError, TypeError, ValueError) as error:
            self.refuse(node, f"two sides that do not fit ({str(error)[:120]})", HINT)
        assert isinstance(built, pl.Expr)  # both sides are
        return built

    def expression(self, node: ast.expr) -> pl.Expr:
        """An expression; a constant becomes one, so that nothing is computed in Python."""
        found = self.value(node)
        if isinstance(found, pl.Expr):
            return found
        if found is None or isinstance(found, str | int | float):
            return pl.lit(found)
        return self.refuse(node, f"`{ast.unparse(node)[:60]}` where an expression must be", HINT)

    def scalar(self, node: ast.expr) -> Any:
        found = self.value(node)
        if found is None or isinstance(found, str | int | float):
            return found
        return self.refuse(node, f"`{ast.unparse(node)[:60]}` where a text, a number, True, False or None must be", HINT)

    def constant(self, value: object, node: ast.expr) -> object:
        if value is None or isinstance(value, str | float | bool) or (isinstance(value, int) and -MOST <= value < MOST):
            return value
        return self.refuse(node, f"the constant `{ast.unparse(node)[:60]}`", "Use texts, 64-bit numbers, True, False or None.")

    def refuse(self, node: ast.expr, what: str, hint: str) -> NoReturn:
        place = len(self.text.encode().splitlines()[node.lineno - 1][: node.col_offset].decode()) + 1
        place += sum(len(line) + 1 for line in self.text.splitlines()[: node.lineno - 1])
        raise Invalid(f"The expression has {what} at character {place}: {self.text}", field=f"character {place}", hint=hint)
