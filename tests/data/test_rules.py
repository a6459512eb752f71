"""What each rule of a contract does with a file: refuse it, keep rows apart, or count."""

from __future__ import annotations

from pathlib import Path

import msgspec
import polars as pl
import pytest

from tandem.core.clock import micros
from tandem.core.errors import Invalid
from tandem.data.contract import Column, Contract, Reference, RowRule, Severity, Together, span
from tandem.data.ingest import Ingested, Reading, ingest

NOW = micros("2026-01-10T00:00:00Z")
KNOWN = {"customer": pl.Series("id", ["c1", "c2"])}


def contract(severity: Severity = "refuse", share: float = 1.0) -> Contract:
    return Contract(
        columns=(
            Column(name="id", dtype="int", unique=True, severity=severity),
            Column(name="amount", dtype="float", low=0, high=100, severity=severity),
            Column(name="kind", dtype="string", categories=("a", "b"), severity=severity),
            Column(name="customer", dtype="string", references="dataset/customers.id", nullable=True, severity=severity),
            Column(name="at", dtype="datetime", future="1h", fresh="7d", severity=severity),
        ),
        id_column="id",
        time_column="at",
        unique=(Together(columns=("kind", "at"), severity=severity),),
        rows=(RowRule(name="dear a", expression="kind <> 'a' OR amount > 1", severity=severity),),
        quarantine_share=share,
    )


GOOD = [f"{n},{n}.5,{'ab'[n % 2]},c{1 + n % 2},2026-01-0{n}T00:00:00Z" for n in range(2, 8)]
FAULTS = {
    "type": ("8,much,a,c1,2026-01-08T00:00:00Z", "column 'amount': is not a number"),
    "empty": ("8,,a,c1,2026-01-08T00:00:00Z", "column 'amount': is empty"),
    "range": ("8,101,a,c1,2026-01-08T00:00:00Z", "column 'amount': is above 100"),
    "categories": ("8,5,c,c1,2026-01-08T00:00:00Z", "column 'kind': is none of a, b"),
    "unique": ("3,5,a,c1,2026-01-08T00:00:00Z", "column 'id': occurs a second time in a column that names rows"),
    "references": ("8,5,a,c9,2026-01-08T00:00:00Z", "column 'customer': is not in dataset/customers.id"),
    "future": ("8,5,a,c1,2026-01-10T02:00:00Z", "column 'at': lies more than 1h ahead of 2026-01-10T00:00:00.000000Z"),
    "together": ("8,5,a,c1,2026-01-02T00:00:00Z", "repeats kind, at of an earlier row"),
    "row": ("8,0.5,a,c1,2026-01-08T00:00:00Z", "breaks 'dear a' (kind <> 'a' OR amount > 1)"),
}


def read(folder: Path, lines: list[str], held: Contract, known: dict[str, pl.Series] = KNOWN) -> Ingested:
    path = folder / "orders.csv"
    path.write_text("id,amount,kind,customer,at\n" + "\n".join(lines) + "\n")
    return ingest(path, Reading(contract=held, now=NOW, known=known))


def test_a_good_file_breaks_no_rule(tmp_path: Path) -> None:
    got = read(tmp_path, [*GOOD, "8,5,a,,2026-01-08T00:00:00Z"], contract())
    assert (got.rows, got.hits, got.quarantine) == (7, (), None)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_rule_refuses_the_whole_file_unless_it_says_otherwise(tmp_path: Path, fault: str) -> None:
    line, what = FAULTS[fault]
    with pytest.raises(Invalid, match=r"row 7 \(line 8\)") as refused:
        read(tmp_path, [*GOOD, line], contract())
    assert what.partition(": ")[2] in refused.value.message or what in refused.value.message


@pytest.mark.parametrize("fault", FAULTS)
def test_a_rule_may_keep_the_row_apart_with_its_reason(tmp_path: Path, fault: str) -> None:
    line, what = FAULTS[fault]
    got = read(tmp_path, [*GOOD, line], contract("quarantine"))
    assert got.rows == 6
    assert got.frame["id"].to_list() == [2, 3, 4, 5, 6, 7]
    assert got.quarantine is not None
    (row,) = got.quarantine.to_dicts()
    cells = line.split(",")
    assert [row[name] or "" for name in ("id", "amount", "kind", "customer", "at")] == cells
    assert (row["_row"], row["_line"]) == (7, 8)
    assert what in row["_reasons"]
    assert what in [hit.rule for hit in got.hits]
    assert got.quarantine.dtypes[:5] == [pl.String] * 5
    assert got.numbers.to_list() == [1, 2, 3, 4, 5, 6]
    assert got.profile.rows == 6


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "type"])
def test_a_rule_may_only_count(tmp_path: Path, fault: str) -> None:
    line, what = FAULTS[fault]
    got = read(tmp_path, [*GOOD, line], contract("warn"))
    assert (got.rows, got.quarantine) == (7, None)
    assert [(hit.rule, hit.severity, hit.count, hit.example) for hit in got.hits] == [(what, "warn", 1, "row 7 (line 8)")]


def test_a_cell_of_another_type_cannot_stay_in(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="is not a number"):
        read(tmp_path, [*GOOD, FAULTS["type"][0]], contract("warn"))


def test_a_row_has_all_its_reasons_and_does_not_count_as_an_earlier_one(tmp_path: Path) -> None:
    lines = ["2,500,z,c1,2026-01-02T00:00:00Z", "2,5,a,c1,2026-01-02T00:00:00Z", *GOOD[1:]]
    got = read(tmp_path, lines, contract("quarantine"))
    assert got.quarantine is not None
    assert got.quarantine["_row"].to_list() == [1]
    assert got.quarantine["_reasons"].to_list() == ["column 'amount': is above 100; column 'kind': is none of a, b"]
    assert got.frame["id"].to_list() == [2, 3, 4, 5, 6, 7]
    assert got.numbers.to_list() == [2, 3, 4, 5, 6, 7]


def test_severity_may_be_given_rule_by_rule(tmp_path: Path) -> None:
    columns = list(contract().columns)
    columns[1] = Column(name="amount", dtype="float", low=0, high=100, severity={"range": "quarantine", "empty": "warn"})
    held = Contract(columns=tuple(columns), quarantine_share=0.5)
    got = read(tmp_path, [*GOOD, FAULTS["range"][0], FAULTS["empty"][0]], held)
    assert (got.rows, {hit.severity: hit.count for hit in got.hits}) == (7, {"quarantine": 1, "warn": 1})
    with pytest.raises(Invalid, match="is not a number"):
        read(tmp_path, [*GOOD, FAULTS["type"][0]], held)


def test_a_file_that_is_mostly_wrong_is_refused_whole(tmp_path: Path) -> None:
    bad = [FAULTS["range"][0], FAULTS["categories"][0].replace("8,", "9,", 1)]
    assert read(tmp_path, [*GOOD, *bad], contract("quarantine", 0.25)).rows == 6
    with pytest.raises(
        Invalid, match=r"2 of 8 rows would be kept apart, and at most 24% may be: .*above 100 \(1, first row 7"
    ) as refused:
        read(tmp_path, [*GOOD, *bad], contract("quarantine", 0.24))
    assert refused.value.field == "quarantine_share"
    with pytest.raises(Invalid, match="1 of 1 rows"):
        read(tmp_path, bad[:1], contract("quarantine", 1.0))


def test_a_file_must_be_fresh(tmp_path: Path) -> None:
    old = [line.replace("2026-01", "2025-11") for line in GOOD]
    with pytest.raises(Invalid, match=r"column 'at': has 2025-11-07T00:00:00.000000Z as its newest time, older than 7d"):
        read(tmp_path, old, contract())
    got = read(tmp_path, old, contract("warn"))
    assert [(hit.severity, hit.example) for hit in got.hits] == [("warn", "orders.csv")]
    assert read(tmp_path, old, contract("quarantine")).rows == 6  # nothing could be kept apart: it is counted
    assert ingest(tmp_path / "orders.csv", Reading(contract=contract(), known=KNOWN)).rows == 6  # nobody says what time it is


def test_a_reference_must_be_of_the_same_type(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"Column 'customer' is string, and dataset/customers.id is int"):
        read(tmp_path, GOOD, contract(), {"customer": pl.Series("id", [1, 2])})


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("amount", "says Float64 and not true or false"),
        ("sum(amount) > 1", "an aggregate"),
        ("nothing > 1", "a column 'nothing', which there is not"),
        ("kind > 1", "cannot be computed"),
        ('pl.col("amount").map_elements(print)', "not on the list"),
    ],
)
def test_a_row_rule_that_is_none_is_told_by_its_name(tmp_path: Path, expression: str, message: str) -> None:
    held = Contract(columns=contract().columns, rows=(RowRule(name="odd", expression=expression),))
    with pytest.raises(Invalid, match="The row rule 'odd'") as refused:
        read(tmp_path, GOOD, held)
    assert message in refused.value.message


def test_a_row_rule_says_null_and_the_row_passes(tmp_path: Path) -> None:
    held = Contract(columns=contract().columns, rows=(RowRule(name="theirs", expression="customer = 'c1' OR customer = 'c2'"),))
    assert read(tmp_path, [*GOOD, "8,5,a,,2026-01-08T00:00:00Z"], held).rows == 7


def test_parquet_rows_are_kept_apart_as_text(tmp_path: Path) -> None:
    held = Contract(columns=(Column(name="n", dtype="int", high=2, severity="quarantine"),), quarantine_share=0.5)
    pl.DataFrame({"n": [1, 2, 3]}).write_parquet(tmp_path / "n.parquet")
    got = ingest(tmp_path / "n.parquet", Reading(contract=held))
    assert got.quarantine is not None
    assert got.quarantine.to_dicts() == [{"n": "3", "_row": 3, "_line": None, "_reasons": "column 'n': is above 2"}]


@pytest.mark.parametrize("name", ["_source", "_row", "_line", "_reasons"])
def test_names_that_datasets_keep_for_themselves_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(f"a,{name}\n1,2\n")
    with pytest.raises(Invalid, match="keep for themselves"):
        ingest(path)


def test_a_contract_that_uses_nothing_new_keeps_its_bytes() -> None:
    plain = Contract(columns=(Column(name="a", dtype="int"),))
    assert set(msgspec.json.decode(plain.to_json())) == {"columns", "id_column", "time_column"}
    assert set(plain.to_builtins()["columns"][0]) == {
        *("name", "dtype", "nullable", "low", "high", "categories", "unique", "inferred"),
    }


def test_a_contract_round_trips_with_all_its_rules() -> None:
    held = contract("quarantine", 0.1)
    assert Contract.from_json(held.to_json()) == held
    mixed = Contract(columns=(Column(name="a", dtype="int", high=3, severity={"range": "warn"}),))
    assert Contract.from_json(mixed.to_json()) == mixed


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"quarantine_share": 1.5}, "between 0 and 1"),
        ({"unique": [{"columns": ["kind"]}]}, "two or more"),
        ({"unique": [{"columns": ["kind", "none"]}]}, "no column 'none'"),
        ({"unique": [{"column": ["kind", "at"]}]}, "missing required field|unknown key"),
        ({"rows": [{"name": "a", "expression": "x"}, {"name": "a", "expression": "y"}]}, "needs a name of its own"),
        ({"rows": [{"name": "a", "expression": " "}]}, "needs a name of its own and an expression"),
        ({"rows": [{"name": "a", "expression": "x", "severty": "warn"}]}, "unknown key 'severty'"),
        ({"rows": [{"name": "a", "expression": "x", "severity": "ignore"}]}, "form"),
    ],
)
def test_rules_that_make_no_sense_are_refused(edit: dict[str, object], message: str) -> None:
    raw = {**msgspec.json.decode(contract().to_json()), **edit}
    with pytest.raises(Invalid, match=message):
        Contract.from_json(msgspec.json.encode(raw))


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ({"references": "customers.id"}, "names no column of a dataset"),
        ({"fresh": "1d"}, "cannot be fresh"),
        ({"severity": {"type": "warn"}}, "cannot warn for its type"),
        ({"severity": {"colour": "warn"}}, "form"),
        ({"severity": "loud"}, "form"),
    ],
)
def test_a_column_that_makes_no_sense_is_refused(column: dict[str, object], message: str) -> None:
    raw = {"columns": [{"name": "a", "dtype": "int", **column}]}
    with pytest.raises(Invalid, match=message):
        Contract.from_json(msgspec.json.encode(raw))


def test_references_are_read() -> None:
    assert str(Reference.parse("dataset/customers.the id", "x").dataset) == "dataset/customers"
    pinned = Reference.parse("dataset/a.b@3.c.d", "x")
    assert (str(pinned.dataset), pinned.column) == ("dataset/a.b@3", "c.d")
    for text in ("dataset/customers", "dataset/customers.", "model/x.id", "dataset/x@.id"):
        with pytest.raises(Invalid):
            Reference.parse(text, "x")


def test_spans_are_read() -> None:
    assert [span(text, "x") // 1_000_000 for text in ("90s", "15m", "24h", "7d")] == [90, 900, 86_400, 604_800]
    for text in ("", "24", "h", "0h", "-1h", "1w"):
        with pytest.raises(Invalid):
            span(text, "x")
