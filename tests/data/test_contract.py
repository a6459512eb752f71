from __future__ import annotations

import msgspec
import polars as pl
import pytest

from tandem.core.errors import Invalid
from tandem.data.check import check, infer
from tandem.data.contract import Column, Contract

FRAME = pl.DataFrame(
    {
        "id": ["a", "b", "c", "d"],
        "age": [20, 30, 40, 60],
        "score": [0.5, 1.5, None, 2.5],
        "flag": [0, 1, 1, 0],
        "colour": ["red", "blue", "red", "blue"],
    }
)


def test_infer_widens_ranges_without_crossing_zero() -> None:
    contract = infer(FRAME, id_column="id")
    age = contract.column("age")
    assert (age.low, age.high, age.nullable, age.inferred) == (0.0, 80.0, False, True)
    assert contract.column("score").nullable
    assert (contract.column("flag").low, contract.column("flag").high) == (0.0, 1.0)
    assert contract.column("colour").categories == ("blue", "red")
    assert contract.column("id") == Column(name="id", dtype="string", unique=True, inferred=True)


def test_a_frame_keeps_the_contract_inferred_from_it() -> None:
    check(FRAME, infer(FRAME, id_column="id"))


def test_json_round_trip_and_editing() -> None:
    contract = infer(FRAME, id_column="id")
    raw = msgspec.json.decode(contract.to_json())
    assert Contract.from_json(contract.to_json()) == contract
    raw["columns"][1]["high"] = 50
    with pytest.raises(Invalid, match=r"row 4, column 'age': '60' is above 50"):
        check(FRAME, Contract.from_json(msgspec.json.encode(raw)))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"hihg": 3}, "unknown key 'hihg'"),
        ({"high": "x"}, "does not have its form"),
        ({"low": 9, "high": 3}, "low 9 above high 3"),
        ({"dtype": "string"}, "cannot have a range"),
        ({"categories": ["a"]}, "cannot have categories"),
        ({"name": "id"}, "names column 'id' twice"),
        ({"name": ""}, "has no name"),
    ],
)
def test_an_edit_that_makes_no_sense_is_refused(edit: dict[str, object], message: str) -> None:
    raw = msgspec.json.decode(infer(FRAME, id_column="id").to_json())
    raw["columns"][1].update(edit)
    with pytest.raises(Invalid, match=message):
        Contract.from_json(msgspec.json.encode(raw))


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"columns": []}', b'{"columns": [], "id": 1}'])
def test_what_is_no_contract_is_refused(text: bytes) -> None:
    with pytest.raises(Invalid):
        Contract.from_json(text)


def test_the_id_and_time_columns_must_exist_and_fit() -> None:
    with pytest.raises(Invalid, match="not among its columns"):
        Contract(columns=(Column(name="a", dtype="int"),), id_column="b")
    with pytest.raises(Invalid, match="is int, not datetime"):
        Contract(columns=(Column(name="a", dtype="int"),), time_column="a")


def test_check_names_type_missing_and_unexpected_columns() -> None:
    contract = infer(FRAME)
    with pytest.raises(Invalid, match="column 'age': is missing"):
        check(FRAME.drop("age"), contract)
    with pytest.raises(Invalid, match="column 'extra': is not in the contract"):
        check(FRAME.with_columns(extra=1), contract)
    with pytest.raises(Invalid, match="column 'age': is string, not int"):
        check(FRAME.with_columns(age=pl.lit("x")), contract)
    with pytest.raises(Invalid, match="row 2, column 'colour': 'green' is none of blue, red"):
        check(FRAME.with_columns(colour=pl.Series(["red", "green", "red", "blue"])), contract)
    with pytest.raises(Invalid, match="row 1, column 'age': is empty"):
        check(FRAME.with_columns(age=pl.Series([None, 30, 40, 60])), contract)
