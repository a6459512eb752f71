"""Rows that lie elsewhere: which addresses are taken, what they mean for good, and what is read of them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from tandem.core.errors import Broken, Conflict, Invalid, NotFound
from tandem.store.elsewhere import allowed, pinned, scan
from tandem.store.lake import Lake


@pytest.fixture
def place(tmp_path: Path) -> Path:
    made = tmp_path / "place"
    made.mkdir()
    return made


@pytest.mark.parametrize("address", ["delta:{place}/orders", "parquet:{place}/a/*.parquet", "parquet:{place}/x[0-9].parquet"])
def test_what_lies_in_a_place_may_be_named(place: Path, address: str) -> None:
    told = address.format(place=place)
    assert allowed(told, (str(place),)) == told


@pytest.mark.parametrize(
    "address",
    [
        "{place}/orders",
        "csv:{place}/orders",
        "delta:/etc/orders",
        "delta:{place}-other/orders",
        "delta:{place}/../secret",
        "parquet:{place}/*/../../secret",
        "parquet:{place}/x.parquet#abc",
        "parquet:{place}/out/x.parquet",
        "delta:s3://other/orders",
        "delta:file://{place}/orders",
    ],
)
def test_nothing_else_is_taken(place: Path, tmp_path: Path, address: str) -> None:
    (tmp_path / "secret").mkdir()
    (place / "out").symlink_to(tmp_path / "secret")
    with pytest.raises(Invalid):
        allowed(address.format(place=place), (str(place), "s3://bucket/lake"))


def test_object_storage_is_named_by_its_prefix() -> None:
    assert allowed("delta:s3://bucket/lake/orders", ("s3://bucket/lake",))
    with pytest.raises(Invalid):
        allowed("delta:s3://bucket/lake-of-others/orders", ("s3://bucket/lake",))


def test_a_version_of_a_delta_table_stays_what_it_is(place: Path) -> None:
    lake = Lake(place)
    lake.write("orders", pl.DataFrame({"x": [1]}))
    address = f"delta:{place}/orders"
    table, version = pinned(address)
    lake.write("orders", pl.DataFrame({"x": [1, 2]}))
    assert scan(table, version).collect()["x"].to_list() == [1]
    assert pinned(address) == (address, 1)
    assert pinned(address, 0) == (address, 0)
    for wrong, number in ((address, 9), (f"delta:{place}/none", None)):
        with pytest.raises(NotFound):
            pinned(wrong, number)


def test_parquet_files_that_have_changed_are_told(place: Path) -> None:
    pl.DataFrame({"x": [1]}).write_parquet(place / "a.parquet")
    table, version = pinned(f"parquet:{place}/*.parquet")
    assert Lake(place / "lake").read(table, version)["x"].to_list() == [1]
    pl.DataFrame({"x": [2]}).write_parquet(place / "b.parquet")
    with pytest.raises(Conflict, match="not those that the dataset was linked to"):
        scan(table, version)
    with pytest.raises(NotFound):
        pinned(f"parquet:{place}/none-*.parquet")


def test_types_are_those_of_datasets(place: Path) -> None:
    frame = pl.DataFrame(
        {
            "small": pl.Series([1, None], dtype=pl.Int16),
            "half": pl.Series([1.5, 2.5], dtype=pl.Float32),
            "day": [date(2026, 1, 2), None],
            "naive": [datetime(2026, 1, 2, 3), None],
            "kind": pl.Series(["a", "b"], dtype=pl.Categorical),
            "truth": [True, False],
        }
    )
    frame.write_parquet(place / "x.parquet")
    found = scan(f"parquet:{place}/x.parquet", 0).collect()
    assert found.schema == {
        "small": pl.Int64, "half": pl.Float64, "day": pl.Datetime("us", "UTC"), "naive": pl.Datetime("us", "UTC"),
        "kind": pl.String, "truth": pl.Boolean,
    }  # fmt: skip
    assert found["day"][0] == datetime(2026, 1, 2, tzinfo=UTC)
    pl.DataFrame({"x": [[1]]}).write_parquet(place / "y.parquet")
    with pytest.raises(Broken, match="cannot hold"):
        scan(f"parquet:{place}/y.parquet", 0)
