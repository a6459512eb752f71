"""Every form of an export is read as it is meant, and a fault is told with its line."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.core.errors import Invalid
from tandem.governance.bills import export
from tandem.governance.bills.export import Billed, Export, by_hand
from tandem.governance.bills.models import plain, same

OPENAI = (
    "start_time,end_time,start_time_iso,end_time_iso,project_id,num_model_requests,user_id,api_key_id,model,batch,service_tier,"
    "input_tokens,output_tokens,input_cached_tokens\n"
    "1785888000,1785974400,2026-08-05T00:00:00+00:00,2026-08-06T00:00:00+00:00,p,7,u,key_1,gpt-4o-mini-2024-07-18,,,1000,100,400\n"
    "1785974400,1786060800,2026-08-06T00:00:00+00:00,2026-08-07T00:00:00+00:00,,,,,,,,,,\n"
)
OPENAI_COSTS = (
    "start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,line_item,project_id\n"
    '1785888000,1785974400,2026-08-05T00:00:00+00:00,2026-08-06T00:00:00+00:00,0.8958740000000000,usd,"gpt-4o-mini, input",p\n'
)
CLAUDE = (
    "usage_date_utc,model_version,api_key,workspace,usage_type,context_window,usage_input_tokens_no_cache,"
    "usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,usage_output_tokens\n"
    "2026-08-05,claude-haiku-4-5-20251001,demo,Default,standard,≤ 200k,1000,20,3,400,100\n"
)
CLAUDE_COST = (
    "usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd\n"
    "2026-08-05,Claude Haiku 4.5,Default,demo,message,≤ 200k,input_no_cache,0.05\n"
)
MOCK = (
    "id,time,model,key,call,attempt,stream,prompt_tokens,cached_tokens,written_tokens,completion_tokens,price,cost_nano,outcome,fault\n"
    "req_1,2026-08-05T12:00:00.000001Z,gpt-4o-mini,abc,cal_1,1,True,10,4,1,5,row,1234,ok,\n"
)


def read(text: str, columns: export.Columns | None = None) -> tuple[str, list[Billed]]:
    opened = Export(io.StringIO(text), "bill.csv", columns)
    return opened.form, list(opened.rows())


@pytest.mark.parametrize(
    ("text", "form", "model", "key", "counts", "cost", "day"),
    [
        (OPENAI, "openai usage", "gpt-4o-mini-2024-07-18", "key_1", (600, 400, None, 100), None, "2026-08-05"),
        (OPENAI_COSTS, "openai costs", "gpt-4o-mini", "", (None, None, None, None), 895_874_000, "2026-08-05"),
        (CLAUDE, "anthropic usage", "claude-haiku-4-5-20251001", "demo", (1000, 400, 23, 100), None, "2026-08-05"),
        (CLAUDE_COST, "anthropic cost", "Claude Haiku 4.5", "demo", (None, None, None, None), 50_000_000, "2026-08-05"),
        (MOCK, "tandem mock", "gpt-4o-mini", "abc", (5, 4, 1, 5), 1234, "2026-08-05"),
    ],
    ids=["openai usage", "openai costs", "anthropic usage", "anthropic cost", "mock"],
)
def test_known_forms(
    text: str, form: str, model: str, key: str, counts: tuple[int | None, ...], cost: int | None, day: str
) -> None:
    found, rows = read(text)
    (row,) = rows  # the empty day of OpenAI's usage is no row
    assert found == form
    assert (row.model, row.key, row.cost, row.day) == (model, key, cost, day)
    assert (row.input, row.cached, row.written, row.output) == counts


def test_a_request_is_known_by_call_and_attempt() -> None:
    (row,) = read(MOCK)[1]
    assert (row.call, row.attempt, row.requests, row.line) == ("cal_1", 1, 1, 2)


def test_columns_by_hand_and_other_separators() -> None:
    columns = by_hand(["date=Tag", "model=Modell", "input=Ein", "output=Aus", "cost=Kosten"])
    _, rows = read("\ufeffTag;Modell;Ein;Aus;Kosten\n2026-08-05;m;1,000;7;$1,234.5\n1785888000;m;0;;-0.5\n", columns)
    assert [(row.day, row.input, row.output, row.cost) for row in rows] == [
        ("2026-08-05", 1000, 7, 1_234_500_000_000),
        ("2026-08-05", 0, 0, -500_000_000),
    ]


@pytest.mark.parametrize(
    ("words", "tells"),
    [
        (["date=a"], "the date and the model"),
        (["date=a", "model=b"], "Neither a column with costs"),
        (["date"], "'date' says nothing"),
        (["nano=a"], "'nano=a' says nothing"),
    ],
)
def test_columns_that_say_too_little(words: list[str], tells: str) -> None:
    with pytest.raises(Invalid, match=tells):
        by_hand(words)


HEAD = "date,model,input,cached,output,cost\n"
GOOD = "2026-08-05,m,5,1,1,0.1\n"


@pytest.mark.parametrize(
    ("text", "tells"),
    [
        ("", "no line of column names"),
        ("a,b\n1,2\n", "has the columns a, b, which no known export has"),
        (HEAD + GOOD + "2026-08-05,m,5\n", "line 3, has 3 fields in place of 6"),
        (HEAD + GOOD + "yesterday,m,5,1,1,0.1\n", "line 3, has the date 'yesterday'"),
        (HEAD + "1950-01-01,m,5,1,1,0.1\n", "line 2, has the date"),
        (HEAD + GOOD + "2026-08-05,m,five,1,1,0.1\n", "line 3, has 'five' in input"),
        (HEAD + "2026-08-05,m,-5,1,1,0.1\n", "line 2, has '-5' in input"),
        (HEAD + "2026-08-05,m,1e400,1,1,0.1\n", "line 2, has '1e400'"),
        (HEAD + "2026-08-05,m,5,6,1,0.1\n", "line 2, counts more cached tokens than input tokens"),
        (HEAD + GOOD + GOOD + "2026-08-05,m,5,1,1,much\n", "line 4, has the amount 'much'"),
        (HEAD + "2026-08-05,m,5,1,1,NaN\n", "line 2, has the amount 'NaN'"),
        (HEAD + "2026-08-05,m,5,1,1,1e99\n", "more than the books can hold"),
        (HEAD + '2026-08-05,"m,5,1,1,0.1\n', "line 2, is no CSV"),
        (HEAD + "x" * (export.LINE + 1), "line 2, is longer than any line"),
    ],
)
def test_a_fault_is_told_with_its_line(text: str, tells: str) -> None:
    columns = None if not text.startswith("date") else by_hand([f"{n}={n}" for n in HEAD.strip().split(",")])
    with pytest.raises(Invalid, match=tells) as caught:
        read(text, columns)
    assert caught.value.hint


def test_a_column_that_is_not_there_and_another_currency() -> None:
    with pytest.raises(Invalid, match="has no column 'price'"):
        read(HEAD, by_hand(["date=date", "model=model", "cost=price"]))
    with pytest.raises(Invalid, match="line 2, is in 'eur'"):
        read(OPENAI_COSTS.replace("usd", "eur"))


def test_bytes_that_are_no_text_are_told(tmp_path: object) -> None:
    file = io.TextIOWrapper(io.BytesIO(HEAD.encode() + b"2026-08-05,\xff\xfe,5,1,1,0.1\n"), encoding="utf-8", newline="")
    with pytest.raises(Invalid, match="is no UTF-8 text"):
        list(Export(file, "bill.csv", by_hand(["date=date", "model=model", "cost=cost"])).rows())


@given(st.text(max_size=300))
def test_whatever_a_file_holds_it_is_read_or_refused(text: str) -> None:
    columns = by_hand(["date=date", "model=model", "input=input", "cached=cached", "output=output", "cost=cost"])
    rows, told = [], ""
    try:
        rows = read(HEAD + text, columns)[1]
    except Invalid as error:
        told = error.message
    assert not told or "bill.csv, " in told
    assert all(row.at >= 0 and (row.output or 0) >= 0 for row in rows)


def test_rows_are_read_one_by_one() -> None:
    """A file that never ends is no matter of memory: what was not asked for is not read."""

    class Endless(io.StringIO):
        def __init__(self) -> None:
            super().__init__()
            self.lines: Iterator[str] = iter([HEAD])
            self.read_lines = 0

        def readline(self, size: int | None = -1, /) -> str:
            self.read_lines += 1
            return next(self.lines, GOOD)

    file = Endless()
    rows = Export(file, "bill.csv", by_hand(["date=date", "model=model", "cost=cost"])).rows()
    for _ in range(5):
        next(rows)
    assert file.read_lines == 6


def test_models_under_two_names() -> None:
    assert same("gpt-4o-2024-08-06", ["gpt-4o-2024-08-06", "gpt-4o"]) == "gpt-4o-2024-08-06"
    assert same("claude-haiku-4-5-20251001", ["claude-haiku-4-5"]) == "claude-haiku-4-5"
    assert same("gpt-4o-2024-05-13", ["gpt-4o-2024-08-06", "gpt-4o-2024-11-20"]) == "gpt-4o-2024-05-13"  # which, nobody knows
    assert plain("gpt-4-0613") == "gpt-4-0613"
