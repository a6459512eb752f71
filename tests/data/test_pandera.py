"""Pandera's schemas as contracts. Golden files: written by pandera 0.35.0 and 0.20.4 (`to_yaml`, `to_json`), 2026-11."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tandem.core.errors import Invalid
from tandem.data.contract import Column, Contract, Together
from tandem.data.pandera import imported
from tandem.data.proof import prove

GOLDEN = Path(__file__).parents[1] / "golden" / "pandera"
RULES = {
    "code str_matches": "\"code\" ~ '^(?:^[A-Z]{2}\\d+$)'",
    "name str_length": 'length("name") >= 1 AND length("name") <= 20',
    "pos greater_than": '"pos" > 0',
    "no notin": "\"no\" NOT IN ('x')",
    "sw str_startswith": "starts_with(\"sw\", 'a')",
    "sw str_endswith": "ends_with(\"sw\", 'z')",
    "sw str_contains": "\"sw\" ~ 'm'",
    "ne not_equal_to": '"ne" <> 0',
}


def golden(name: str) -> Contract:
    return imported(yaml.safe_load((GOLDEN / name).read_text())).contract


@pytest.mark.parametrize("name", ["orders.yaml", "orders.json", "orders-0.20.yaml"])
def test_a_schema_becomes_a_contract(name: str) -> None:
    contract = golden(name)
    assert contract.column("id") == Column(name="id", dtype="int", unique=True)
    assert contract.column("amount") == Column(name="amount", dtype="float", nullable=True, low=0, high=1000)
    assert contract.column("size") == Column(name="size", dtype="int", low=1, high=10)
    assert contract.column("kind") == Column(name="kind", dtype="string", categories=("a", "b"))
    assert [contract.column(each).dtype for each in ("code", "at", "ok")] == ["string", "datetime", "bool"]
    assert contract.unique == (Together(columns=("kind", "at")),)
    assert {rule.name: rule.expression for rule in contract.rows} == RULES
    assert {rule.name for rule in contract.rows if rule.severity == "warn"} == (
        set() if name == "orders-0.20.yaml" else {"ne not_equal_to"}  # 0.20 did not write raise_warning
    )
    prove(contract)
    assert Contract.from_json(contract.to_json()) == contract


def test_what_has_no_effect_is_told() -> None:
    notes = imported(yaml.safe_load((GOLDEN / "orders.yaml").read_text())).notes
    assert any(note.startswith("coerce of columns.size") for note in notes)
    assert any(note.startswith("title of columns.code") for note in notes)
    assert not any("strict" in note or "does not name" in note for note in notes)
    assert "does not name" in imported({"columns": {"a": {"dtype": "int64"}}}).notes[0]


def schema(column: dict[str, Any], **whole: Any) -> dict[str, Any]:
    return {"schema_type": "dataframe", "columns": {"a": {"dtype": "int64", **column}}, "strict": True, **whole}


def test_a_warning_is_only_counted() -> None:
    told = {"greater_than_or_equal_to": {"value": 3, "raise_warning": True}}
    (column,) = imported(schema(told)).contract.columns
    assert (column.low, column.severity) == (3, {"range": "warn"})


def test_a_bound_that_a_column_cannot_have_is_a_row_rule() -> None:
    told = {"in_range": {"min_value": 0, "max_value": 9, "include_min": False, "include_max": True}, "isin": [1, 2]}
    contract = imported(schema(told)).contract
    assert {rule.expression for rule in contract.rows} == {'"a" > 0 AND "a" <= 9', '"a" IN (1, 2)'}
    assert contract.column("a").low is None
    times = imported(schema({"dtype": "datetime64[ns]", "greater_than": "2026-01-01 00:00:00"})).contract
    assert times.rows[0].expression == "\"a\" > TIMESTAMP '2026-01-01 00:00:00'"
    prove(times)
    twice = imported(schema({"greater_than_or_equal_to": 1, "in_range": {"min_value": 3, "max_value": 9}})).contract
    assert (twice.column("a").low, len(twice.rows)) == (1, 1)


def test_a_text_cannot_leave_its_quotes() -> None:
    contract = imported(schema({"dtype": "str", "str_contains": "x' OR '1' = '1", "notin": ["y' OR 'z"]})).contract
    prove(contract)
    assert {rule.expression for rule in contract.rows} == {"\"a\" ~ 'x'' OR ''1'' = ''1'", "\"a\" NOT IN ('y'' OR ''z')"}


@pytest.mark.parametrize(
    ("told", "where"),
    [
        (schema({"unique_values_eq": {"values": ["x"]}}), "columns.a.unique_values_eq"),
        (schema({"dtype": "category"}), "columns.a.dtype"),
        (schema({"dtype": None}), "columns.a.dtype"),
        (schema({"required": False}), "columns.a.required"),
        (schema({"regex": True}), "columns.a.regex"),
        (schema({"default": 3}), "columns.a.default"),
        (schema({"checks": {"my_own": {"value": 3}}}), "columns.a.my_own"),
        (schema({"checks": [{"value": 3}]}), "columns.a.checks"),
        (schema({"isin": {"value": [1], "ignore_na": False}}), "columns.a.isin.ignore_na"),
        (schema({"isin": {"value": [1], "options": {"groupby": "b"}}}), "columns.a.isin.groupby"),
        (schema({"str_length": {"min_value": None}}), "columns.a.str_length"),
        (schema({"isin": [[1]]}), "columns.a.isin"),
        (schema({}, index=[{"dtype": "int64"}]), "index"),
        (schema({}, ordered=True), "ordered"),
        (schema({}, checks={"x": 1}), "checks"),
        (schema({}, strict="filter"), "strict"),
        (schema({}, add_missing_columns=True), "add_missing_columns"),
        (schema({}, dtype="int64"), "dtype"),
        ({"schema_type": "series", "columns": {}}, "schema_type"),
        ({"columns": [1]}, "columns"),
        ([], "columns"),
        ({"columns": {"a": 3}}, "columns.a"),
    ],
)
def test_what_a_contract_cannot_say_is_refused_by_its_name(told: object, where: str) -> None:
    with pytest.raises(Invalid) as refused:
        imported(told)
    assert refused.value.field == where
