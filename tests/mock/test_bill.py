"""Rows, sums and what is shown of them."""

from __future__ import annotations

import csv
import io

import msgspec

from tandem.mock.bill import COLUMNS, Bill, Row


def row(call: str | None = None, cost: int | None = 100) -> Row:
    return Row(
        id="req_1",
        micros=1,
        model="gpt-4o",
        key="abc",
        call=call,
        attempt="0",
        stream=False,
        prompt_tokens=10,
        cached_tokens=4,
        completion_tokens=5,
        price="gpt-4o@2024-10-01",
        cost_nano=cost,
        outcome="ok",
        fault="",
    )


def test_totals_are_sums_and_name_what_has_no_price() -> None:
    bill = Bill(10)
    for one in (row(), row("c1"), row("c1", None)):
        bill.add(one)
    shown = msgspec.json.decode(bill.json(None))
    assert shown["totals"] == {
        "requests": 3,
        "prompt_tokens": 30,
        "cached_tokens": 12,
        "completion_tokens": 15,
        "cost_nano": 200,
        "unpriced": 1,
    }
    only = msgspec.json.decode(bill.json("c1"))
    assert (only["totals"]["requests"], only["totals"]["cost_nano"], len(only["rows"])) == (2, 100, 2)
    assert only["rows"][0]["time"] == "1970-01-01T00:00:00.000001Z"


def test_a_full_bill_drops_rows_but_no_sums() -> None:
    bill = Bill(2)
    for number in range(5):
        bill.add(row(f"c{number}"))
    shown = msgspec.json.decode(bill.json(None))
    assert (shown["totals"]["requests"], shown["dropped"], [one["call"] for one in shown["rows"]]) == (5, 3, ["c3", "c4"])


def test_csv_has_the_columns_of_json() -> None:
    bill = Bill(2)
    bill.add(row('a,"b', None))
    lines = list(csv.DictReader(io.StringIO(bill.csv(None).decode())))
    assert tuple(lines[0]) == COLUMNS == tuple(msgspec.json.decode(bill.json(None))["rows"][0])
    assert (lines[0]["call"], lines[0]["cost_nano"], lines[0]["completion_tokens"]) == ('a,"b', "", "5")


def test_clear_forgets_everything_but_open_requests() -> None:
    bill = Bill(2)
    bill.open = 1
    bill.add(row())
    bill.clear()
    shown = msgspec.json.decode(bill.json(None))
    assert (shown["rows"], shown["totals"]["requests"], shown["open"]) == ([], 0, 1)
