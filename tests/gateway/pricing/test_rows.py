"""A price file is taken whole or refused with the place of its fault; a rate is never guessed."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.core.errors import Invalid
from tandem.core.money import Price, Usage
from tandem.gateway.pricing.rows import ALWAYS, RATES, PriceRow, check_day, check_target, newest, rates, read_file, shown

GOOD = {"target": "openai/gpt-4o-mini", "input": "0.15", "output": 0.6}


def read(*rows: Any) -> tuple[PriceRow, ...]:
    return read_file(json.dumps({"prices": rows}), "prices.json", "import")


def test_rows_of_a_file() -> None:
    own = {**GOOD, "team": "red", "from": "2026-01-01", "cache_read": "0.075", "request": "0.01"}
    everybody, red = read(GOOD, own)
    assert (everybody.provider, everybody.model, everybody.team, everybody.since) == ("openai", "gpt-4o-mini", "", ALWAYS)
    assert everybody.price == Price(input=150_000, output=600_000)
    assert (red.team, red.since, red.price.cache_read, red.price.request) == ("red", "2026-01-01", 75_000, 10_000_000)


@pytest.mark.parametrize(
    ("row", "tells"),
    [
        ({**GOOD, "output": None}, r"row 2 \(openai/gpt-4o-mini\), has no rate for output"),
        ({"target": "a/b", "output": "1"}, "row 2 .a/b., has no rate for input"),
        ({**GOOD, "input": "-1"}, "row 2 .*'-1' for input"),
        ({**GOOD, "input": "much"}, "row 2 .*'much' for input"),
        ({**GOOD, "input": True}, "row 2 .*'True' for input"),
        ({**GOOD, "input": "1e9"}, "between 0 and a million"),
        ({**GOOD, "input": "0.0000001"}, "finer than can be booked"),
        ({**GOOD, "target": "gpt"}, "row 2, is for 'gpt'"),
        ({**GOOD, "target": 7}, "row 2, has a 'target' that is no text"),
        ({**GOOD, "from": "soon"}, "row 2 .* holds from 'soon'"),
        ({**GOOD, "team": "No Name"}, "row 2 .* for the team 'No Name'"),
        ({**GOOD, "inptu": "1"}, "row 2, has the field 'inptu'"),
        ("x", "row 2, is no object"),
        ({**GOOD, "target": "a/b"}, "rows 1 and 2 are for the same"),
    ],
)
def test_a_fault_names_its_row(row: Any, tells: str) -> None:
    with pytest.raises(Invalid, match=tells) as caught:
        read({**GOOD, "target": "a/b"}, row)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "tells"),
    [
        ("{", "is not JSON: .*line 1"),
        ("[]", "has no list 'prices'"),
        ('{"prices": []}', "has no list 'prices'"),
        ('{"prices": [{}], "more": 1}', "or more than that"),
        ('{"prices": [{"target": "a/b", "input": NaN, "output": 1}]}', "NaN is no number"),
        ("[" * 100_000, "is nested too deep"),
    ],
)
def test_a_file_that_is_none(text: str, tells: str) -> None:
    with pytest.raises(Invalid, match=tells):
        read_file(text, "prices.json", "file")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_whatever_a_row_is_it_is_read_or_refused(row: Any) -> None:
    with pytest.raises(Invalid):
        read_file(json.dumps({"prices": [row]}), "prices.json", "import")


amounts = st.decimals(min_value=0, max_value=1000, places=6)


@given(st.dictionaries(st.sampled_from(RATES), amounts), amounts, amounts)
def test_rates_come_back_as_they_were_written(more: dict[str, Decimal], input_rate: Decimal, output: Decimal) -> None:
    written = {**more, "input": input_rate, "output": output}
    again = {name: Decimal(text) for name, text in shown(rates({name: str(rate) for name, rate in written.items()})).items()}
    assert again == {name: rate for name, rate in written.items() if rate or name not in ("search", "request")}


def test_a_kind_without_a_rate_costs_what_its_plain_kind_costs() -> None:
    price = rates({"input": "1", "output": "2"})
    assert price.cost(Usage(cache_read=1000, reasoning=1000)) == 3_000_000


@pytest.mark.parametrize("target", ["", "a", "a/", "/b", "a/b c", "A B/c", "a/" + "x" * 201])
def test_no_model(target: str) -> None:
    with pytest.raises(Invalid):
        check_target(target)


def test_days() -> None:
    assert check_day("2026-01-31") == "2026-01-31"
    for day in ("2026-02-30", "", "31.1.2026"):
        with pytest.raises(Invalid):
            check_day(day)


def test_which_row_holds() -> None:
    def row(since: str, origin: Any = "hand", rate: int = 1) -> PriceRow:
        return PriceRow(provider="a", model="b", since=since, origin=origin, price=Price(input=rate, output=rate))

    rows = [row("2026-01-01", "file"), row("2026-03-01", "import"), row("2026-02-01"), row("2026-04-01")]
    assert newest(rows, "2025-12-31") is None
    assert newest(rows, "2026-01-15") is rows[0]
    assert newest(rows, "2026-02-01") is rows[2]
    assert newest(rows, "2026-03-31") is rows[2]  # what was set by hand stands before a newer row of a file
    assert newest(rows, "2026-04-01") is rows[3]
