"""Rows added to the newest version, contracts that grow, references between datasets, and reading any of it again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import polars as pl
import pytest
from tests.data.test_tasks import GOOD, House, house, person

from tandem.core.asset import Ref, Version
from tandem.core.errors import Conflict, Forbidden, Invalid, NotFound
from tandem.data.child import carry_out
from tandem.data.contract import Contract
from tandem.data.reader import Reader
from tandem.data.rows import Query
from tandem.data.tasks import How
from tandem.governance.authorise import ALL
from tandem.store.lake import HIDDEN, Lake

__all__ = ["house"]
HEAD = "id,when,size,kind\n"
MORE = "4,2026-01-04T00:00:00Z,2,b\n5,2026-01-05T00:00:00Z,2,a\n"
APPEND = How(append=True)


def first(house: House) -> Version:
    return house.datasets.ingest(house.file(GOOD), "biopsies", How(id_column="id", time_column="when"), by=person())


def held(house: House) -> dict[str, object]:
    """The contract that governs the next file."""
    kept = house.contracts.find("biopsies")
    newest = house.registry.find(Ref.parse("dataset/biopsies"), ALL)
    text = house.registry.member(newest, "contract.json") if kept is None else kept.to_json()
    found: dict[str, object] = json.loads(text)
    return found


def edited(house: House, **changes: object) -> None:
    house.datasets.set_contract("biopsies", json.dumps({**held(house), **changes}).encode(), by=person())


def columns(house: House, changes: dict[str, dict[str, object]]) -> None:
    raw = msgspec.convert(held(house)["columns"], list[dict[str, object]])
    edited(house, columns=[{**column, **changes.get(str(column["name"]), {})} for column in raw])


def lake(house: House, version: Version, hidden: bool = False) -> pl.DataFrame:
    number = msgspec.convert(version.meta["lake"], dict[str, object])["version"]
    assert isinstance(number, int)
    tables = Lake(house.home / "lake")
    return tables.scan(version.name, number).collect() if hidden else tables.read(version.name, number)


def reader(house: House) -> Reader:
    return Reader(house.registry, house.sql, house.audit, lake=house.home / "lake", work=house.home / "work")


def test_rows_are_added_to_the_newest_version(house: House) -> None:
    one = first(house)
    two = house.datasets.ingest(house.file(HEAD + MORE), "biopsies", APPEND, by=person())
    assert (two.version, two.meta["rows"]) == (2, 5)
    assert two.meta["appended"] == {"to": "dataset/biopsies@1", "rows": 2, "repeated": 0}
    assert lake(house, two)["id"].to_list() == [1, 2, 3, 4, 5]
    assert lake(house, one)["id"].to_list() == [1, 2, 3]
    whole = house.datasets.ingest(house.file(GOOD + MORE), "biopsies", by=person())
    assert whole == two  # the digest covers all rows, however they came in
    assert house.run().inputs["mode"] == "replace"


def test_each_row_knows_the_run_and_the_row_it_came_from(house: House) -> None:
    one = first(house)
    two = house.datasets.ingest(house.file(HEAD + MORE), "biopsies", APPEND, by=person())
    found = lake(house, two, hidden=True)
    assert tuple(found.columns[-2:]) == HIDDEN
    assert found["_source"].to_list() == [one.run] * 3 + [two.run] * 2
    assert found["_row"].to_list() == [1, 2, 3, 1, 2]
    assert list(HIDDEN) not in lake(house, two).columns
    assert two.meta["columns"] == 4


def test_rows_of_a_table_of_before_get_their_run_when_rows_are_added(house: House) -> None:
    one = first(house)
    plain = lake(house, one)
    version = Lake(house.home / "lake").write("biopsies", plain)  # as a former Tandem wrote it
    old = house.registry.publish(
        "dataset",
        "biopsies",
        members={"contract.json": house.registry.member(one, "contract.json")},
        meta={**one.meta, "lake": {"table": "biopsies", "version": version}},
        run=one.run,
        by=person(),
    )
    assert lake(house, old).equals(plain)
    two = house.datasets.ingest(house.file(HEAD + MORE), "biopsies", APPEND, by=person())
    found = lake(house, two, hidden=True)
    assert found["_source"].to_list() == [old.run] * 3 + [two.run] * 2
    assert found["_row"].to_list() == [1, 2, 3, 1, 2]


def test_rows_that_stand_there_already_word_for_word_are_left_out_and_told(house: House) -> None:
    one = first(house)
    two = house.datasets.ingest(house.file(GOOD + MORE), "biopsies", APPEND, by=person())
    assert two.meta["appended"] == {"to": "dataset/biopsies@1", "rows": 2, "repeated": 3}
    assert lake(house, two, hidden=True)["_row"].to_list() == [1, 2, 3, 4, 5]
    again = house.datasets.ingest(house.file(GOOD + MORE), "biopsies", APPEND, by=person())
    assert again == two
    assert one.version == 1


def test_an_id_that_stands_there_with_other_values_is_refused(house: House) -> None:
    first(house)
    before = house.everything()
    with pytest.raises(Invalid, match=r"row 1 \(line 2\), column 'id': '3' occurs a second time"):
        house.datasets.ingest(house.file(HEAD + "3,2026-01-03T00:00:00Z,9,a\n" + MORE), "biopsies", APPEND, by=person())
    assert house.everything() == before


def test_columns_are_unique_together_over_all_rows(house: House) -> None:
    first(house)
    edited(house, unique=[{"columns": ["when", "kind"]}])
    with pytest.raises(Invalid, match="repeats when, kind of an earlier row"):
        house.datasets.ingest(house.file(HEAD + "9,2026-01-01T00:00:00Z,2,a\n"), "biopsies", APPEND, by=person())
    assert house.datasets.ingest(house.file(HEAD + "9,2026-01-01T00:00:00Z,2,b\n"), "biopsies", APPEND, by=person()).version == 2


def test_there_must_be_something_to_add_to(house: House) -> None:
    with pytest.raises(NotFound, match="no rows to which these could be added"):
        house.datasets.ingest(house.file(GOOD), "biopsies", APPEND, by=person())


def test_who_was_overtaken_adds_nothing(house: House) -> None:
    first(house)

    def overtaken(order: object, progress: object) -> object:
        house.registry.publish("dataset", "biopsies", members={"a": b"x"}, meta={"contract": {"columns": ["a"]}}, by=person())
        return carry_out(order)  # type: ignore[arg-type]

    house.read(overtaken)  # type: ignore[arg-type]
    with pytest.raises(Conflict, match="Somebody else added"):
        house.datasets.ingest(house.file(HEAD + MORE), "biopsies", APPEND, by=person())
    assert [version.version for version in house.registry.versions("dataset", "biopsies", ALL)] == [2, 1]


WIDER = "id,when,size,kind,colour\n4,2026-01-04T00:00:00Z,2,b,red\n"


def test_a_new_column_is_refused_and_the_message_says_how_it_is_taken_in(house: House) -> None:
    first(house)
    with pytest.raises(Invalid, match=r"column 'colour': is not in the contract; ask for an evolved contract \(--evolve\)"):
        house.datasets.ingest(house.file(WIDER), "biopsies", APPEND, by=person())


def test_a_contract_grows_when_it_is_asked_to(house: House) -> None:
    first(house)
    two = house.datasets.ingest(house.file(WIDER), "biopsies", How(append=True, evolve=True), by=person())
    assert two.meta["evolved"] == ["column 'colour' is new, string or empty"]
    assert lake(house, two)["colour"].to_list() == [None, None, None, "red"]
    colour = Contract.from_json(house.registry.member(two, "contract.json")).column("colour")
    assert (colour.dtype, colour.nullable) == ("string", True)
    with pytest.raises(Invalid, match="column 'colour': is missing"):
        house.datasets.ingest(house.file(GOOD), "biopsies", by=person())


def test_a_type_grows_without_losing_a_value(house: House) -> None:
    text = "id,n,code\n1,5,7\n2,6,8\n"
    house.datasets.ingest(house.file(text), "biopsies", How(id_column="id"), by=person())
    wide = "id,n,code\n3,6.5,A1\n4,7,B2\n"
    with pytest.raises(Invalid, match=r"'6\.5' is not a whole number"):
        house.datasets.ingest(house.file(wide), "biopsies", APPEND, by=person())
    two = house.datasets.ingest(house.file(wide), "biopsies", How(append=True, evolve=True), by=person())
    assert lake(house, two).to_dict(as_series=False) == {
        "id": [1, 2, 3, 4],
        "n": [5.0, 6.0, 6.5, 7.0],
        "code": ["7", "8", "A1", "B2"],
    }
    assert two.meta["evolved"] == ["column 'n' became float, it was int", "column 'code' became string, it was int"]


def test_an_edited_contract_grows_too(house: House) -> None:
    first(house)
    edited(house)
    house.datasets.ingest(house.file(WIDER), "biopsies", How(append=True, evolve=True), by=person())
    kept = house.contracts.find("biopsies")
    assert kept is not None
    assert "colour" in kept.names
    assert house.datasets.ingest(house.file(WIDER.replace("4,", "5,", 1)), "biopsies", APPEND, by=person()).version == 3
    assert house.audit.verify().ok


def test_rows_kept_apart_are_a_file_of_the_version(house: House) -> None:
    first(house)
    columns(house, {"size": {"high": 2.0, "severity": "quarantine"}})
    edited(house, quarantine_share=0.5)
    version = house.datasets.ingest(house.file(GOOD), "biopsies", by=person())
    assert (version.meta["rows"], version.meta["quarantined"]) == (2, 1)
    assert version.meta["checks"] == [
        {"rule": "column 'size': is above 2", "severity": "quarantine", "count": 1, "example": "row 2 (line 3)"}
    ]
    page = reader(house).apart(version.ref, Query(limit=10), by=person("viewer"))
    assert page.total == 1
    assert page.columns == ("id", "when", "size", "kind", "_row", "_line", "_reasons")
    (row,) = msgspec.json.decode(page.rows)
    assert row == ["2", "2026-01-02T00:00:00Z", "2.5", "b", 2, 3, "column 'size': is above 2"]
    out = house.home / "bad.csv"
    reader(house).apart_file(version.ref, Query(), "csv", out, by=person("viewer"))
    assert pl.read_csv(out)["_reasons"].to_list() == ["column 'size': is above 2"]
    assert house.datasets.ingest(house.file(GOOD), "biopsies", by=person()) == version
    assert lake(house, version, hidden=True)["_row"].to_list() == [1, 3]


def test_a_version_without_rows_kept_apart_says_so(house: House) -> None:
    version = first(house)
    assert reader(house).apart(version.ref, Query(limit=10), by=person("viewer")).total == 0
    with pytest.raises(NotFound, match="No rows were kept apart"):
        reader(house).apart_file(version.ref, Query(), "csv", house.home / "x.csv", by=person("viewer"))


def test_a_column_refers_to_the_newest_version_of_another_dataset_or_to_a_pinned_one(house: House) -> None:
    house.datasets.ingest(house.file("kind\na\nb\n"), "kinds", by=person())
    first(house)
    columns(house, {"kind": {"references": "dataset/kinds.kind", "categories": None}})
    two = house.datasets.ingest(house.file(HEAD + MORE), "biopsies", APPEND, by=person())
    assert two.meta["references"] == {"kind": "dataset/kinds@1.kind"}
    other = HEAD + "7,2026-01-04T00:00:00Z,2,z\n"
    with pytest.raises(Invalid, match=r"'z' is not in dataset/kinds\.kind"):
        house.datasets.ingest(house.file(other), "biopsies", APPEND, by=person())
    house.datasets.ingest(
        house.file("kind\nz\na\nb\n"),
        "kinds",
        How(contract=Contract.from_json(b'{"columns":[{"name":"kind","dtype":"string"}]}')),
        by=person(),
    )
    assert house.datasets.ingest(house.file(other), "biopsies", APPEND, by=person()).meta["references"] == {
        "kind": "dataset/kinds@2.kind"
    }
    columns(house, {"kind": {"references": "dataset/kinds@1.kind", "categories": None}})
    with pytest.raises(Invalid, match=r"is not in dataset/kinds@1\.kind"):
        house.datasets.ingest(house.file(other.replace("7,", "8,", 1)), "biopsies", APPEND, by=person())


@pytest.mark.parametrize(
    ("reference", "message"), [("dataset/none.kind", "none"), ("dataset/kinds.colour", "has no such column")]
)
def test_a_reference_to_nothing_is_refused(house: House, reference: str, message: str) -> None:
    house.datasets.ingest(house.file("kind\na\nb\n"), "kinds", by=person())
    first(house)
    columns(house, {"kind": {"references": reference}})
    with pytest.raises((Invalid, NotFound), match=message):
        house.datasets.ingest(house.file(GOOD), "biopsies", by=person())


def test_a_reference_does_not_reach_into_another_team(house: House) -> None:
    house.datasets.ingest(house.file("kind\na\nb\n"), "kinds", by=person(team="sales"))
    first(house)
    columns(house, {"kind": {"references": "dataset/kinds.kind"}})
    with pytest.raises(NotFound):
        house.datasets.ingest(house.file(GOOD), "biopsies", by=person())


def test_a_row_rule_that_cannot_be_computed_is_refused_when_it_is_written(house: House) -> None:
    first(house)
    with pytest.raises(Invalid, match="The row rule 'odd': The expression reads a column 'nothing'"):
        edited(house, rows=[{"name": "odd", "expression": "nothing > 1"}])
    edited(house, rows=[{"name": "even", "expression": "size IS NULL OR size < 2"}])
    with pytest.raises(Invalid, match=r"row 2 \(line 3\): breaks 'even'"):
        house.datasets.ingest(house.file(GOOD), "biopsies", by=person())


def decoded(page: object) -> list[list[object]]:
    return msgspec.json.decode(page.rows)  # type: ignore[attr-defined,no-any-return]


def test_any_version_is_read_again(house: House) -> None:
    one = first(house)
    two = house.datasets.ingest(house.file(HEAD + MORE), "biopsies", APPEND, by=person())
    viewer, read = person("viewer"), reader(house)
    assert read.page(one.ref, Query(limit=10), by=viewer).total == 3
    page = read.page(two.ref, Query(limit=2, offset=3, columns=("when", "id")), by=viewer)
    assert (page.columns, page.total) == (("when", "id"), 5)
    assert decoded(page) == [["2026-01-04T00:00:00.000000Z", 4], ["2026-01-05T00:00:00.000000Z", 5]]
    some = read.page(two.ref, Query(limit=10, columns=("id",), where="size >= 2 AND \"when\" > DATE '2026-01-02'"), by=viewer)
    assert (some.total, decoded(some)) == (2, [[4], [5]])
    rows = read.page(two.ref, Query(limit=10, columns=("id",), lineage=True, where="id IN (3, 4)"), by=viewer)
    assert decoded(rows) == [[3, one.run, 3], [4, two.run, 1]]


@pytest.mark.parametrize("format", ["csv", "parquet", "jsonl"])
def test_a_version_is_written_to_a_file_that_makes_the_same_version(house: House, format: str) -> None:
    one = first(house)
    out = house.home / f"out.{format}"
    reader(house).file(one.ref, Query(), format, out, by=person("viewer"))  # type: ignore[arg-type]
    assert house.datasets.ingest(out, "biopsies", by=person()) == one
    assert [row.subject for row in house.audit.list(ALL, action="dataset.export")] == ["dataset/biopsies@1"]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (Query(), "1 to 1,000 rows"),
        (Query(limit=1_001), "1 to 1,000 rows"),
        (Query(limit=1, columns=("nothing",)), "no column 'nothing'"),
        (Query(limit=1, where="nothing > 1"), "which there is not"),
        (Query(limit=1, where="sum(id) > 1"), "an aggregate"),
        (Query(limit=1, where="EXISTS (SELECT 1)"), "a sub-select"),
        (Query(limit=1, where="id"), "cannot be computed"),
        (Query(limit=1, columns=("_row",)), "no column '_row'"),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused(house: House, query: Query, message: str) -> None:
    one = first(house)
    with pytest.raises(Invalid, match=message):
        reader(house).page(one.ref, query, by=person("viewer"))


def test_rows_are_read_by_those_who_may_read_the_dataset(house: House) -> None:
    one = first(house)
    read, stranger = reader(house), person("viewer", team="sales")
    for ask in (lambda: read.page(one.ref, Query(limit=1), by=stranger), lambda: read.diff(one.ref, one.ref, by=stranger)):
        with pytest.raises(NotFound):
            ask()
    with pytest.raises(NotFound):
        read.apart(one.ref, Query(limit=1), by=stranger)
    with pytest.raises(Forbidden):
        read.page(one.ref, Query(limit=1), by=replace(person("viewer"), rights=("call",)))


def test_two_versions_are_compared_in_a_child(house: House) -> None:
    one = first(house)
    two = house.datasets.ingest(house.file(HEAD + MORE), "biopsies", APPEND, by=person())
    diff = reader(house).diff(one.ref, two.ref, by=person("viewer"))
    assert (diff.old, diff.new) == ("dataset/biopsies@1", "dataset/biopsies@2")
    assert (diff.rows.added, diff.rows.removed, diff.rows.changed) == (2, 0, 0)


def test_a_failed_ingest_leaves_no_rows_kept_apart_behind(house: House, tmp_path: Path) -> None:
    first(house)
    columns(house, {"size": {"high": 1.0, "severity": "quarantine"}})
    with pytest.raises(Invalid, match="would be kept apart"):
        house.datasets.ingest(house.file(GOOD), "biopsies", by=person())
    assert list((house.home / "work").iterdir()) == []
