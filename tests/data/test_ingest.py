from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import struct
from pathlib import Path

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tandem.core.errors import Invalid
from tandem.data.contract import Column, Contract
from tandem.data.ingest import Ingested, Reading, ingest
from tandem.data.read import Limits

TERMS = Reading(id_column="id", time_column="when")
GOOD = """id,when,x,n,ok,name
1,2026-01-01,0.5,3,true,ann
2,2026-01-02T10:00:00Z,1e3,4,false,
3,2026-01-03 01:02:03+02:00,-2,5,TRUE,bob
"""


def put(folder: Path, text: str | bytes, name: str = "cells.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(
    folder: Path, text: str | bytes, name: str = "cells.csv", contract: Contract | None = None, id_column: str | None = None
) -> Ingested:
    return ingest(put(folder, text, name), Reading(contract=contract, id_column=id_column))


def test_types_are_inferred(tmp_path: Path) -> None:
    got = ingest(put(tmp_path, GOOD), TERMS)
    assert got.rows == 3
    assert dict(got.frame.schema) == {
        "id": pl.Int64,
        "when": pl.Datetime("us", "UTC"),
        "x": pl.Float64,
        "n": pl.Int64,
        "ok": pl.Boolean,
        "name": pl.String,
    }
    assert got.frame["when"].dt.epoch("us").to_list()[2] == 1767394923000000
    assert got.frame["name"].to_list() == ["ann", None, "bob"]
    assert got.contract.column("name").nullable
    assert got.contract.id_column == "id"


def test_codes_stay_text(tmp_path: Path) -> None:
    got = read(tmp_path, "zip,big\n00123,12345678901234567890\n04567,12345678901234567891\n")
    assert set(got.frame.dtypes) == {pl.String}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("a,b\n", "has a header but no rows"),
        ("\n\n", "has no header"),
        ("a,a\n1,2\n", "names column 'a' twice"),
        ("a,\n1,2\n", "column 2 of the header has no name"),
        ("a;b\n1;2\n", "not separated by commas"),
        ("a,b\n1,2\n3\n", r"row 2 \(line 3\): has 1 cells where the header has 2"),
        ("a,b\n1,2\n3,4,5\n", r"row 2 \(line 3\): has 3 cells"),
        ("a,b\n1,2\n3,x\n5,6\n", r"row 2 \(line 3\), column 'b': 'x' is not a whole number"),
        ("a\n1.5\n2\nbad\n", r"row 3 \(line 4\), column 'a': 'bad' is not a number"),
        ("a\n1.5\nnan\n", r"row 2 \(line 3\), column 'a': 'nan' is not a finite number"),
        ("a\n1.5\n-Infinity\n", r"row 2 \(line 3\), column 'a': '-inf' is not a finite number"),
        ("a\n1.5\n1e999\n", r"row 2 \(line 3\), column 'a': 'inf' is not a finite number"),
        ("a\n2026-01-01\n2026-02-30\n", r"row 2 \(line 3\), column 'a': '2026-02-30' is not an ISO 8601 time"),
        ('a,b\n"1\n2",3\n"x,4\n', "broken CSV at line"),
        ('a,b\n"1"2,3\n', "broken CSV at line 2"),
        (b"a,b\n1,ok\n2,\xff\xfe\n", r"row 2 \(line 3\), column 'b': .* is not UTF-8"),
        (b"a\xff,b\n1,2\n", "header .* not UTF-8"),
        ("a,b\n1,2\n3,4\n".encode("utf-16"), "UTF-16"),
        (b"a,b\n1,ok\n2,o\0k\n", r"row 2 \(line 3\), column 'b': holds a NUL byte"),
    ],
)
def test_a_broken_csv_is_refused_with_its_place(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        read(tmp_path, text)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="There is no file"):
        ingest(tmp_path / "none.csv")


def test_lines_count_quoted_line_breaks_and_blank_lines(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"row 3 \(line 7\), column 'n': 'x'"):
        read(tmp_path, 'n,text\n1,"two\nlines"\n\n2,b\n\nx,c\n')


def test_faults_of_all_sorts_come_in_one_message_of_at_most_twenty(tmp_path: Path) -> None:
    rows = [f"{i},{i}" for i in range(60)]
    rows[10] = "10"
    rows[20] = "20,x"
    for i in range(30, 60):
        rows[i] = f"{i},y"
    with pytest.raises(Invalid) as caught:
        read(
            tmp_path,
            "a,b\n" + "\n".join(rows),
            contract=Contract(columns=(Column(name="a", dtype="int"), Column(name="b", dtype="int"))),
        )
    message = caught.value.message
    assert "refused for 32 problems" in message
    assert "row 11 (line 12): has 1 cells" in message
    assert "row 21 (line 22), column 'b': 'x'" in message
    assert message.count("row ") == 20
    assert message.endswith("and 12 more.")
    assert caught.value.field == "row 11 (line 12)"
    assert caught.value.hint


def test_ids_must_be_there_and_unique(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"row 3 \(line 4\), column 'id': 'a' occurs a second time"):
        read(tmp_path, "id,x\na,1\nb,2\na,3\n", id_column="id")
    with pytest.raises(Invalid, match=r"row 2 \(line 3\), column 'id': is empty"):
        read(tmp_path, "id,x\na,1\n,2\n", id_column="id")
    with pytest.raises(Invalid, match="has no id column 'key'"):
        read(tmp_path, "id,x\na,1\n", id_column="key")


def test_a_contract_is_enforced(tmp_path: Path) -> None:
    contract = Contract(
        columns=(
            Column(name="id", dtype="string", unique=True),
            Column(name="x", dtype="float", low=0, high=10),
            Column(name="c", dtype="string", categories=("a", "b"), nullable=True),
        ),
        id_column="id",
    )
    got = read(tmp_path, "c,id,x\na,007,1\n,8,10\n", contract=contract)
    assert list(got.frame.columns) == ["id", "x", "c"]
    assert got.contract is contract
    for text, message in [
        ("id,x\n1,1\n", "column 'c': is missing"),
        ("id,x,c,d\n1,1,a,1\n", "column 'd': is not in the contract"),
        ("id,x,c\n1,11,a\n", r"row 1 \(line 2\), column 'x': '11.0' is above 10"),
        ("id,x,c\n1,-1,a\n", "is below 0"),
        ("id,x,c\n1,inf,a\n", "'inf' is not a finite number"),
        ("id,x,c\n1,,a\n", "column 'x': is empty"),
        ("id,x,c\n1,1,z\n", "'z' is none of a, b"),
        ("id,x,c\n1,1,a\n1,1,a\n", "'1' occurs a second time"),
    ]:
        with pytest.raises(Invalid, match=message):
            read(tmp_path, text, contract=contract)
    with pytest.raises(Invalid, match="contract names id"):
        read(tmp_path, "id,x,c\n1,1,a\n", contract=contract, id_column="x")


def test_an_unreadable_cell_is_reported_once(tmp_path: Path) -> None:
    contract = Contract(columns=(Column(name="x", dtype="float", low=0, high=1),))
    with pytest.raises(Invalid, match="refused for 1 problem:"):
        read(tmp_path, "x\n0.5\nabc\n", contract=contract)


def test_the_digest_is_of_the_values_not_of_the_file(tmp_path: Path) -> None:
    plain = ingest(put(tmp_path, GOOD), TERMS)
    quoted = io.StringIO()
    csv.writer(quoted, quoting=csv.QUOTE_ALL, lineterminator="\r\n").writerows(csv.reader(io.StringIO(GOOD)))
    other = ingest(put(tmp_path, b"\xef\xbb\xbf" + quoted.getvalue().encode(), "quoted.csv"), TERMS)
    plain.frame.write_parquet(tmp_path / "cells.parquet")
    parquet = ingest(tmp_path / "cells.parquet", TERMS)
    lines = [msgspec.json.encode(row) for row in csv.DictReader(io.StringIO(GOOD))]
    jsonl = ingest(put(tmp_path, b"\n".join(lines), "cells.jsonl"), TERMS)
    assert plain.digest == other.digest == parquet.digest == jsonl.digest
    changed = ingest(put(tmp_path, GOOD.replace("0.5", "0.25")), TERMS)
    renamed = ingest(put(tmp_path, GOOD.replace("name", "nom")), TERMS)
    assert len({plain.digest, changed.digest, renamed.digest}) == 3


def test_the_digest_is_pinned(tmp_path: Path) -> None:
    """Bytes written out by hand from the encoding's description."""
    got = read(tmp_path, "a,b\n1,xé\n-0.0,\n")
    words = [b"a", b"float", b"b", b"string"]
    head = b"tandem-dataset-1\n" + b"".join(struct.pack("<Q", len(word)) + word for word in words) + struct.pack("<Q", 2)
    floats = b"\1\1" + struct.pack("<dd", 1.0, 0.0)
    texts = b"\1\0" + struct.pack("<QQ", 3, 0) + "xé".encode()
    assert got.digest == f"sha256:{hashlib.sha256(head + floats + texts).hexdigest()}"


def test_json_lines_faults(tmp_path: Path) -> None:
    for text, message in [
        ('{"a": 1}\n{"a": [1]}\n', r"row 2 \(line 2\), column 'a': is neither"),
        ('{"a": 1}\nnope\n', r"row 2 \(line 2\): is not JSON"),
        ('{"a": 1}\n{"b": 1}\n', r"column 'a': is missing"),
        ('{"a": 1}\n[1]\n', "is not a JSON object"),
        ("nope\n", "is not JSON"),
        ("\n", "has no rows"),
    ]:
        with pytest.raises(Invalid, match=message):
            read(tmp_path, text, "cells.jsonl")


def test_parquet_faults(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="not a Parquet file"):
        read(tmp_path, "a,b\n1,2\n", "cells.parquet")
    pl.DataFrame({"a": [[1], [2]]}).write_parquet(tmp_path / "lists.parquet")
    with pytest.raises(Invalid, match="column 'a': is List"):
        ingest(tmp_path / "lists.parquet")
    pl.DataFrame({"a": [1.0, float("nan")]}).write_parquet(tmp_path / "nan.parquet")
    with pytest.raises(Invalid, match="row 2, column 'a': 'nan' is not a finite number"):
        ingest(tmp_path / "nan.parquet")


def test_files_beyond_the_limits_are_refused_before_they_are_read(tmp_path: Path) -> None:
    path = put(tmp_path, GOOD)
    with pytest.raises(Invalid, match="at most 10 are read"):
        ingest(path, limits=Limits(bytes=10))
    with pytest.raises(Invalid, match="at most 2 are read"):
        ingest(path, limits=Limits(columns=2))
    with pytest.raises(Invalid, match="longer than 30 bytes"):
        ingest(path, limits=Limits(line=30))


def test_more_rows_than_a_batch(tmp_path: Path) -> None:
    text = "id,x\n" + "".join(f"{i},{i / 7}\n" for i in range(45_000))
    got = read(tmp_path, text, id_column="id")
    assert got.frame["x"].to_list() == [i / 7 for i in range(45_000)]
    with pytest.raises(Invalid, match=r"row 44001 \(line 44002\), column 'x'"):
        read(tmp_path, text.replace("\n44000,", "\n44000,bad"), id_column="id")


cells = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=8)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(cells, st.floats(allow_nan=False, allow_infinity=False)), min_size=1, max_size=20))
def test_every_csv_that_the_standard_library_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, float]]
) -> None:
    text = io.StringIO()
    csv.writer(text).writerows([("name", "x"), *rows])
    contract = Contract(columns=(Column(name="name", dtype="string", nullable=True), Column(name="x", dtype="float")))
    got = read(tmp_path_factory.mktemp("csv"), text.getvalue(), contract=contract)
    assert got.frame["x"].to_list() == [x for _, x in rows]
    assert got.frame["name"].to_list() == [name or None for name, _ in rows]


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    for name in ("cells.csv", "cells.jsonl"):
        with contextlib.suppress(Invalid):
            assert read(tmp_path_factory.mktemp("bytes"), data, name).rows > 0
