"""Two versions side by side: what came, went and changed, and whether values have moved or chance has."""

from __future__ import annotations

import numpy as np
import polars as pl

from tandem.data.check import infer
from tandem.data.compare import counts, moved, schema, terms
from tandem.data.contract import Column, Contract, RowRule, Together

OLD = pl.DataFrame({"id": [1, 2, 3, 4], "x": [0.5, None, 2.0, 3.0], "kind": ["a", "b", "a", None], "gone": [1, 2, 3, 4]})
NEW = pl.DataFrame({"id": [5, 4, 3, 2], "x": [9.0, 3.5, 2.0, None], "kind": ["a", None, "b", "b"], "new": [True] * 4})


def test_rows_are_told_apart_by_their_id() -> None:
    found = counts(OLD, NEW, "id")
    assert (found.by, found.old, found.new, found.added, found.removed, found.changed) == ("id", 4, 4, 1, 1, 2)
    assert found.examples == {"added": ("5",), "removed": ("1",), "changed": ("4", "3")}
    assert found.cells == {"x": 1, "kind": 1}


def test_without_an_id_rows_are_a_bag() -> None:
    old, new = pl.DataFrame({"a": [1, 1, 2, None]}), pl.DataFrame({"a": [None, 1, 3, 3, 2]})
    found = counts(old, new, None)
    assert (found.by, found.added, found.removed, found.changed) == ("values", 2, 1, 0)
    assert counts(old, old.reverse(), None).added == 0


def test_columns_that_came_went_or_changed_their_type() -> None:
    found = schema(OLD.with_columns(kind=pl.lit(1)), NEW)
    assert {(change.where, change.was, change.now) for change in found} == {
        ("kind", "int", "string"),
        ("gone", "int", None),
        ("new", None, "bool"),
    }


def test_what_a_contract_says_now() -> None:
    old = Contract(columns=(Column(name="a", dtype="int", high=3), Column(name="b", dtype="int")))
    new = Contract(
        columns=(Column(name="b", dtype="int", nullable=True), Column(name="a", dtype="int", high=4)),
        rows=(RowRule(name="r", expression="a > b", severity="warn"),),
        unique=(Together(columns=("a", "b")),),
        id_column="a",
    )
    assert {(change.where, change.was, change.now) for change in terms(old, new)} == {
        ("columns.a.high", "3", "4"),
        ("columns.b.nullable", None, "True"),
        ("rows.r", None, "a > b (warn)"),
        ("unique.a+b", None, "refuse"),
        ("id_column", None, "a"),
    }
    assert terms(old, old) == ()
    assert terms(None, infer(OLD)) != ()


def table(seed: int, shift: float = 0.0, texts: str = "ab") -> pl.DataFrame:
    random = np.random.default_rng(seed)
    start = np.datetime64("2026-01-01T00:00:00", "us")
    return pl.DataFrame(
        {
            "x": random.normal(shift, 1, 2_000),
            "few": random.integers(0, 3, 2_000),
            "kind": random.choice(list(texts), 2_000),
            "ok": random.random(2_000) < 0.5,
            "at": start + random.integers(0, 10**12, 2_000).astype("timedelta64[us]"),
        }
    ).with_columns(pl.col("at").dt.replace_time_zone("UTC"))


def test_chance_moves_no_column() -> None:
    found = moved(table(1), table(2))
    assert {each.name: each.verdict for each in found} == dict.fromkeys(["x", "few", "kind", "ok", "at"], "stable")
    for each in found:
        assert each.effect is not None
        assert each.effect.n == 2_000
        assert each.histogram is not None
        assert sum(each.histogram.reference) == sum(each.histogram.now) == 2_000


def test_a_column_that_has_moved_is_found() -> None:
    found = {each.name: each for each in moved(table(1), table(2, shift=1.0, texts="abbbc"))}
    assert (found["x"].verdict, found["kind"].verdict, found["few"].verdict) == ("changed", "changed", "stable")
    kinds = found["kind"].histogram
    assert kinds is not None
    assert kinds.labels == ("a", "b", "others", "missing") or kinds.labels == ("b", "a", "others", "missing")
    assert kinds.reference[2] == 0
    assert kinds.now[2] > 300
    x = found["x"].histogram
    assert x is not None
    assert x.labels[0].startswith("≤")
    assert x.labels[-1] == "missing"


def test_missing_values_count_as_a_change() -> None:
    old, new = pl.DataFrame({"x": [1.0, 2.0] * 500}), pl.DataFrame({"x": [1.0, None] * 500})
    (found,) = moved(old, new)
    assert found.verdict == "changed"
    assert found.histogram is not None
    assert found.histogram.now[-1] == 500


def test_a_column_without_values_is_not_compared() -> None:
    old = pl.DataFrame({"x": pl.Series([None, None], dtype=pl.Float64)})
    assert [each.verdict for each in moved(old, old)] == ["not-compared"]
