"""A formula means the same for one row and for a frame, over formulas and rows drawn at random."""

from __future__ import annotations

import math

import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tandem.core.errors import Invalid
from tandem.data.features import frames
from tandem.data.features.formula import NOW, Type, Value, read
from tandem.data.features.rows import compiled

COLUMNS: dict[str, Type] = {
    "a": "number",
    "b": "number",
    "s": "text",
    "r": "text",
    "p": "bool",
    "q": "bool",
    "t": "time",
    "u": "time",
}
NUMBERS = st.none() | st.integers(-5, 5).map(float) | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.none() | st.text(max_size=3) | st.sampled_from(["", "a", "ab", "ß", "'"])
TIMES = st.none() | st.integers(-(2**50), 2**51)
ROWS = st.fixed_dictionaries(
    {"a": NUMBERS, "b": NUMBERS, "s": TEXTS, "r": TEXTS, "p": st.none() | st.booleans(), "q": st.none() | st.booleans(),
     "t": TIMES, "u": TIMES, NOW: st.integers(0, 2**51)}
)  # fmt: skip


def _binary(signs: list[str], part: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(part, st.sampled_from(signs), part).map(lambda each: f"({each[0]} {each[1]} {each[2]})")


def _called(names: list[str], *parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(st.sampled_from(names), *parts).map(lambda each: f"{each[0]}({', '.join(each[1:])})")


def formulas() -> st.SearchStrategy[str]:
    """Formulas of truth values and of numbers, each made of the other."""
    number = st.deferred(lambda: numbers)
    truth = st.deferred(lambda: truths)
    text = st.sampled_from(["s", "r", "'a'", "''", "s || r", "coalesce(s, 'x')"])
    time = st.sampled_from(["t", "u", "now()", "coalesce(t, u)"])
    truths = (
        st.sampled_from(["p", "q", "true", "null"])
        | _binary(["=", "<>", "<", "<=", ">", ">="], number)
        | _binary(["=", "<>", "<", ">="], text)
        | _binary(["=", "<", ">="], time)
        | _binary(["and", "or"], truth)
        | truth.map(lambda each: f"(not {each})")
        | number.map(lambda each: f"({each} is null)")
        | number.map(lambda each: f"({each} not between -1 and b)")
        | text.map(lambda each: f"({each} in ('a', 'ab', ''))")
        | _called(["starts_with", "contains"], text, text)
    )
    numbers = (
        st.sampled_from(["a", "b", "1", "0", "-2.5", "1e3", "null"])
        | _binary(["+", "-", "*", "/", "%"], number)
        | _called(["abs", "floor", "ceil", "round", "sqrt", "ln", "exp", "-"], number)
        | _called(["coalesce", "least", "greatest", "nullif"], number, number)
        | _called(["length"], text)
        | _called(["hour", "weekday"], time)
        | _called(["seconds_between"], time, time)
        | st.tuples(truth, number, number).map(lambda each: f"(case when {each[0]} then {each[1]} else {each[2]} end)")
    )
    return truths | numbers


def _frame(rows: list[dict[str, object]]) -> pl.DataFrame:
    kinds = {"number": pl.Float64, "text": pl.String, "bool": pl.Boolean, "time": pl.Int64}
    frame = pl.DataFrame(rows, schema={**{name: kinds[type] for name, type in COLUMNS.items()}, NOW: pl.Int64})
    return frame.with_columns(pl.col("t", "u").cast(frames.MICROS_UTC))


def same(left: Value, right: Value) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        return math.isclose(left, right, rel_tol=1e-12, abs_tol=1e-300)
    return left == right and type(left) is type(right)


@settings(max_examples=200, deadline=None)
@given(text=formulas(), rows=st.lists(ROWS, min_size=1, max_size=5))
def test_a_row_and_a_frame_agree(text: str, rows: list[dict[str, object]]) -> None:
    assume(text != "null")
    try:
        formula = read(text, COLUMNS)
    except Invalid as error:
        assert "nothing can come out but null" in error.message  # noqa: PT017
        return
    one = compiled(formula)
    values = frames.values(formula, _frame(rows)).to_list()
    for row, value in zip(rows, values, strict=True):
        assert same(one(row), value), (text, row, one(row), value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 * 3", 7.0),
        ("-a", -2.0),
        ("a / 0", None),
        ("a = null", None),
        ("s in ('x', 'it''s')", True),
        ("CASE WHEN a > 1 AND NOT p THEN 'big' ELSE 'small' END", "big"),
        ('"b" is null', True),
        ("a between 1 and 2", True),
        ("not p or b > 1", True),
        ("weekday(t)", 4.0),
        ("hour(t)", 1.0),
        ("seconds_between(now(), t)", 60.0),
        ("round(2.5) + round(-2.5)", 1.0),
    ],
)
def test_what_a_formula_says(text: str, value: Value) -> None:
    row = {"a": 2, "b": None, "s": "it's", "p": False, "t": 3_600_000_000, NOW: 3_660_000_000}
    assert compiled(read(text, COLUMNS))(row) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "something is missing"),
        ("a +", "something is missing"),
        ("a + s", "+ takes a number, not a text"),
        ("a = s", "a number and a text are mixed"),
        ("missing + 1", "there is no column 'missing'"),
        ("system('x')", "there is no function 'system'"),
        ("a; drop table", "cannot be read from character 2"),
        ("(a", "')' is missing"),
        ("a b", "'b' is not expected here"),
        ("case a end", "'when' is missing"),
        ("select 1", "there is no column 'select'"),
        ("a in (b)", "IN takes a list of values"),
        ("length(s, s)", "length takes 1 values, not 2"),
        ("(" * 100 + "a" + ")" * 100, "nested too deep"),
        ("a" * 5000, "at most 4000 characters"),
        ("now() + 1", "+ takes a number, not a time"),
    ],
)
def test_what_is_no_formula(text: str, said: str) -> None:
    with pytest.raises(Invalid) as caught:
        read(text, COLUMNS)
    assert said in caught.value.message


def test_a_formula_names_its_columns() -> None:
    assert read("coalesce(a, 1) > b or now() > t", COLUMNS).columns == {"a", "b", "t"}
