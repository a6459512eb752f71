"""Expressions of one row: both notations say the same, and nothing else can be said."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.core.errors import Invalid
from tandem.data.expression import LENGTH, columns, compile, evaluate
from tandem.data.notation import FUNCTIONS, METHODS, SPACES

FRAME = pl.DataFrame(
    {
        "amount": [5.0, -1.0, None],
        "n": [1, 2, 3],
        "kind": ["ann", "Bob", None],
        "odd name": [1, 0, 1],
        "ok": [True, False, None],
        "start": [datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2, 3)],
        "end": [datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC), None],
    }
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("amount >= 0", [True, False, None]),
        ('amount >= 0 AND ("end" IS NULL OR "end" > start)', [True, False, None]),
        ('"end" IS NULL OR "end" > start', [True, False, True]),
        ("kind IN ('ann', 'Bob')", [True, True, None]),
        ("kind NOT IN ('ann')", [False, True, None]),
        ("n IN (1, 3)", [True, False, True]),
        ("n BETWEEN 2 AND 3", [False, True, True]),
        ("kind LIKE 'a%'", [True, False, None]),
        ("kind ~ '^B'", [False, True, None]),
        ("length(kind) = 3 AND lower(kind) = 'bob'", [False, True, None]),
        ("CASE WHEN n > 1 THEN amount IS NULL ELSE true END", [True, False, True]),
        ("coalesce(amount, 0) * 2 + n > 2", [True, False, True]),
        ("start >= TIMESTAMP '2026-01-02 00:00:00'", [False, True, True]),
        ("start >= DATE '2026-01-02'", [False, True, True]),
        ("\"end\" - start > INTERVAL '1 hour'", [True, False, None]),
        ("extract(day FROM start) = 3", [False, False, True]),
        ('"odd name" = 1', [True, False, True]),
        ("ok", [True, False, None]),
        ("n % 2 = 1", [True, False, True]),
        ("round(amount, 1) = 5 OR abs(amount) = 1", [True, True, None]),
        ("cast(n AS DOUBLE) / 2 > 1", [False, False, True]),
        ("'now()' <> kind", [True, True, None]),
        ("greatest(n, 2) = 2", [True, True, False]),
        ("power(n, 2) > 3", [False, True, True]),
        ("left(kind, 1) = 'a'", [True, False, None]),
        ('pl.col("amount") >= 0', [True, False, None]),
        ('pl.col("end").is_null() | (pl.col("end") > pl.col("start"))', [True, False, True]),
        ('pl.col("kind").is_in(["ann", "Bob"])', [True, True, None]),
        ('~pl.col("n").is_in((1, 3))', [False, True, False]),
        ('pl.col("n").is_between(2, 3, closed="left")', [False, True, False]),
        ('pl.col("kind").str.contains("^B") & pl.col("ok").fill_null(False).not_()', [False, True, None]),
        ('pl.col("kind").str.contains("\\d")', [False, False, None]),
        ('pl.when(pl.col("n") > 1).then(pl.col("amount").is_null()).otherwise(True)', [True, False, True]),
        ('pl.when(pl.col("n") > 2).then(1).when(pl.col("n") > 1).then(2).otherwise(3) == 2', [False, True, False]),
        ('pl.col("start") >= pl.datetime(2026, 1, 2)', [False, True, True]),
        ('pl.col("start").dt.day() == 3', [False, False, True]),
        ('pl.col("end") - pl.col("start") > pl.duration(hours=1)', [True, False, None]),
        ('-pl.col("n") == -2', [False, True, False]),
        ('2 ** pl.col("n") == 8', [False, False, True]),
        ('"ann" == pl.col("kind")', [True, False, None]),
        ('pl.coalesce(pl.col("amount"), pl.lit(0)) == 0', [False, False, True]),
        ('pl.col("n").cast(pl.Float64, strict=False) / 2 > 1', [False, False, True]),
        ('pl.col("kind").eq_missing(pl.lit(None))', [False, False, True]),
        ("pl.lit(1) == 1", [True, True, True]),
    ],
)
def test_an_expression_says_true_false_or_nothing_of_every_row(text: str, said: list[bool | None]) -> None:
    assert evaluate(FRAME, text).to_list() == said


def test_columns_are_named_once_in_order() -> None:
    assert columns('n > 1 AND "odd name" = n OR amount < 1') == ("n", "odd name", "amount")
    assert columns('(pl.col("n") > 1) & (pl.col("amount") < pl.col("n"))') == ("n", "amount")
    assert columns("1 = 1") == ()


def test_a_name_is_a_column_of_exactly_that_spelling() -> None:
    with pytest.raises(Invalid, match="'Amount', which there is not"):
        evaluate(FRAME, "Amount > 1")


OTHER_ROWS = [
    "sum(amount) > 3",
    "amount > avg(amount)",
    "count(*) > 1",
    "first(n) = 1",
    "stddev(amount) > 1",
    "row_number() OVER (ORDER BY n) > 1",
    "lag(n) OVER (ORDER BY n) > 1",
    "sum(amount) OVER (PARTITION BY kind) > 1",
    "rank() OVER (ORDER BY n) = 1",
    'pl.col("amount").sum() > 1',
    'pl.col("amount") > pl.col("amount").mean()',
    'pl.col("n").shift(1) > 1',
    'pl.col("n").over("kind") > 1',
    'pl.col("n").is_unique()',
    'pl.col("n").rank() > 1',
    'pl.col("n").cum_sum() > 1',
    'pl.col("n").diff() > 1',
    'pl.col("n").sort() > 1',
    'pl.col("n").fill_null(strategy="forward") > 1',
    'pl.col("n").fill_null(0, "forward") > 1',
    'pl.col("n").is_in(pl.col("odd name"))',
    "pl.len() > 1",
    "pl.element() > 1",
    'pl.first("n") > 1',
    'pl.sum("n") > 1',
]
OTHER_TABLES = [
    "n > (SELECT max(n) FROM other)",
    "n IN (SELECT n FROM other)",
    "EXISTS (SELECT 1)",
    "n = ANY (SELECT 1)",
    "n IN (SELECT 1)",
    "n > (SELECT 1)",
    "n > (SELECT * FROM read_csv('/etc/passwd'))",
    "read_csv('/etc/passwd') = 1",
    "SELECT 1",
    "n > 1; DROP TABLE frame",
    "n > 1 -- and so on",
    "n > 1 /* and so on */",
    "unnest(n) = 1",
    "COLUMNS('^a') > 1",
    '"^a.*$" > 1',
    '"*" = 1',
    "*",
    "lpad(kind, 1000000000) = 'x'",
    "t.n > 1",
    "now() > start",
    "start < CURRENT_TIMESTAMP",
    "date(kind) > DATE '2026-01-01'",
]
PYTHON = [
    'pl.read_csv("/etc/passwd")',
    'pl.scan_parquet("x")',
    'pl.sql("SELECT 1")',
    'pl.sql_expr("sum(n)")',
    'pl.DataFrame({"a": [1]})',
    "pl.__class__",
    "pl.__dict__",
    "pl.io",
    "pl.Expr",
    "pl.Int64",
    'pl.col("n").__class__',
    'pl.col("n").__class__.__mro__',
    'pl.col("n").__class__()',
    'pl.col("n").meta.serialize()',
    'pl.col("n")._pyexpr',
    'pl.col("n").map_elements(pl.lit)',
    'pl.col("n").map_batches(lambda x: x)',
    'pl.col("n").pipe(pl.lit)',
    'pl.col("n").inspect()',
    'pl.col("n").register_plugin("x")',
    'pl.col("n").str.decode("hex")',
    'pl.col("n").str.json_decode()',
    'pl.col("n").str.pad_start(1000000000)',
    'pl.col("n").repeat_by(1000000000)',
    'pl.col("n").list.get(0)',
    'pl.col("n").name.map(str)',
    'pl.col("^a.*$") > 1',
    'pl.col("*") > 1',
    'pl.col("n", "amount") > 1',
    'pl.col(["n"]) > 1',
    "pl.col(1) > 1",
    'pl.col("") > 1',
    "pl.col.n > 1",
    "pl.all() > 1",
    'pl.col("n")[0] > 1',
    'pl.lit(open("/etc/passwd"))',
    'pl.lit(__import__("os"))',
    'pl.lit([x for x in "ab"])',
    "pl.lit(lambda: 1)",
    'pl.lit(f"{1}")',
    "pl.lit((y := 1))",
    'pl.lit(b"x")',
    "pl.lit(1j)",
    "pl.lit(...)",
    "pl.lit(10**400)",
    f"pl.lit({10**30})",
    '(pl.col("n") > 1) and (pl.col("n") < 3)',
    'not pl.col("ok")',
    '1 < pl.col("n") < 3',
    'pl.col("n") in [1, 2]',
    'pl.col("ok") if True else pl.lit(1)',
    'pl.when(pl.col("n") > 1)',
    'pl.col("n").then(1)',
    '"x".join(pl.col("n"))',
    "pl.lit('%s' % (1, 2))",
    "pl.lit(*[1])",
    'pl.col("n").round(**{"decimals": 1}) > 1',
    'pl.col("n").is_between(1, 2, closed=pl.lit("left"))',
    'pl.col("n").cast("Int64") > pl',
    'import os; pl.col("n")',
    'pl.col("n") >',
    'pl.col("n").str.to_datetime()',
    'pl.col("start").dt.convert_time_zone("x")',
    "eval('pl.col(1)')",
    "pl.lit(1)(2)",
    "pl.lit(x)",
]


@pytest.mark.parametrize("text", [*OTHER_ROWS, *OTHER_TABLES, *PYTHON, "", "   ", "'"])
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        compile(text)


def test_a_refusal_names_the_place_and_the_way_out() -> None:
    with pytest.raises(Invalid, match=r"`.map_elements`, which is not on the list at character 13") as refused:
        compile('pl.lit(1) | pl.col("n").map_elements(1)')
    assert refused.value.field == "character 13"
    with pytest.raises(Invalid, match="an aggregate, which looks at other rows"):
        compile("sum(amount) > 3")
    with pytest.raises(Invalid, match="a sub-select, which looks at other tables"):
        compile("EXISTS (SELECT 1)")
    with pytest.raises(Invalid) as chained:
        compile('(pl.col("ä") > 1) and pl.lit(True)')
    assert "&" in str(chained.value.hint)


def test_long_and_deep_expressions_are_refused_rather_than_read() -> None:
    with pytest.raises(Invalid, match="at most"):
        compile(" OR ".join(["n > 1"] * LENGTH))
    with pytest.raises(Invalid):
        compile("(" * 900 + "n > 1" + ")" * 900)
    with pytest.raises(Invalid):
        compile("~" * 1500 + 'pl.col("ok")')


def test_what_cannot_be_computed_is_told() -> None:
    for text in ("kind > 1", "cast(kind AS BIGINT) > 1", "kind ~ '('"):
        with pytest.raises(Invalid, match="cannot be computed"):
            evaluate(FRAME, text)


def test_every_method_on_the_lists_is_known_to_the_library() -> None:
    expression = pl.col("a")
    for owner, names in ((pl, FUNCTIONS), (expression.str, SPACES["str"]), (expression.dt, SPACES["dt"])):
        assert [name for name in names if not hasattr(owner, name)] == []
    waiting = {"then", "when", "otherwise"}
    assert [name for name in METHODS if name not in waiting and not hasattr(expression, name)] == []


ARGUMENTS = {
    "clip": "0, 1",
    "is_between": "0, 1",
    "is_in": "[1, 2]",
    "cast": "pl.Float64",
    "log": "2",
    "slice": "0",
    "extract": '"(x)"',
    "to_date": '"%Y"',
    "to_datetime": '"%Y"',
    "truncate": '"1d"',
    "offset_by": '"1d"',
    "strftime": '"%Y"',
    "replace": '"x", "y"',
    "replace_all": '"x", "y"',
}


@pytest.mark.parametrize(
    "call",
    [f".{name}" for name in METHODS if name not in ("then", "when", "otherwise")]
    + [f".{space}.{name}" for space, names in SPACES.items() for name in names],
)
def test_every_method_on_the_lists_may_be_used(call: str) -> None:
    space, _, name = call.strip(".").rpartition(".")
    form = (SPACES[space] if space else METHODS)[name]
    usual = ('"x"' if space == "str" and name not in ("head", "tail") else "1") if form.least else ""
    compile(f'pl.col("a"){call}({ARGUMENTS.get(name, usual)})')


@given(st.text(max_size=60) | st.from_regex(r"pl\.[a-z_.()\"' 0-9]{0,40}", fullmatch=True))
def test_any_text_is_an_expression_or_refused(text: str) -> None:
    try:
        assert isinstance(compile(text), pl.Expr)
    except Invalid:
        pass
