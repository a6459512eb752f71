"""Who used what, asked of the traces: by principal, endpoint, asset, document and time; page by page; each team its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.observability.conftest import Place

from tandem.core.ids import new_call, new_trace
from tandem.core.money import Usage
from tandem.core.trace import Attempt, Trace
from tandem.observability import usage
from tandem.observability.traces import Entry, Traces
from tandem.observability.usage import Usages, Wanted
from tandem.store.search import document_id

EVIL = 'quarter "report" ü\\x.md'


@pytest.fixture
def traces(place: Place) -> Iterator[Traces]:
    made = Traces(place.traces)
    yield made
    made.close()


def call(at: int, *, team: str = "risk", principal: str = "app", endpoint: str = "chat", **attributes: object) -> Entry:
    number = new_call()
    attempt = Attempt(
        call=number, attempt=0, target="mock/small", usage=Usage(), cost=5, reserved=9, outcome="ok", start=at, end=at + 1
    )
    trace = Trace(
        id=new_trace(), call=number, parent=None, endpoint=endpoint, kind="chat", team=team, principal=principal, start=at,
        end=at + 1, outcome="ok", status=200, cost=5, spans=[], attempts=[attempt], attributes=attributes, subject="sub_1",
    )  # fmt: skip
    return Entry(trace=trace, subject="sub_1", sealed=b"")


def shown(*documents: str) -> dict[str, object]:
    return {"chunks": [{"chunk": "c", "document": document_id(document), "rank": 1} for document in documents], "verified": 1}


def fill(traces: Traces) -> None:
    traces.store(
        [
            call(10, versions={"model/fraud@3": {"digest": "d"}, "policy/strict@1": {}}),
            call(20, principal="bot", versions={"model/fraud@4": {}}),
            call(30, endpoint="docs", versions={"index/handbook@2": {}}, retrieval=shown("leave.md", EVIL, "leave.md")),
            call(40, team="sales", endpoint="docs", retrieval=shown("leave.md")),
            call(50, note="model/fraud@3 and leave.md are only mentioned here"),
            call(60, retrieval="odd", versions=["odd"]),
            call(70, retrieval={"chunks": [{"chunk": "old"}, "odd"]}),
        ],
        [],
    )


def ats(traces: Traces, **wanted: object) -> list[int]:
    return [use.at for use in Usages(traces).every(Wanted(**wanted))]  # type: ignore[arg-type]


def test_each_filter_finds_what_it_says(traces: Traces) -> None:
    fill(traces)
    assert ats(traces) == [70, 60, 50, 40, 30, 20, 10]
    assert ats(traces, team="risk") == [70, 60, 50, 30, 20, 10]
    assert ats(traces, principal="bot") == [20]
    assert ats(traces, endpoint="docs") == [40, 30]
    assert ats(traces, asset="model/fraud") == [20, 10]
    assert ats(traces, asset="model/fraud@3") == [10]
    assert ats(traces, asset="mock/small", since=60) == [70, 60]
    assert ats(traces, document="leave.md") == [40, 30]
    assert ats(traces, document="leave.md", team="sales") == [40]
    assert ats(traces, document=EVIL) == ats(traces, document=document_id(EVIL)) == [30]
    assert ats(traces, since=20, until=40) == [40, 30, 20]
    assert ats(traces, document="none.md") == []


def test_a_use_says_what_took_part(traces: Traces) -> None:
    fill(traces)
    (use,) = Usages(traces).every(Wanted(document=EVIL))
    ids = (document_id("leave.md"), document_id(EVIL))
    assert (use.assets, use.targets, use.documents) == (("index/handbook@2",), ("mock/small",), ids)
    assert (use.principal, use.team, use.subject, use.cost) == ("app", "risk", "sub_1", 5)


def test_nothing_is_read_where_there_is_nothing(traces: Traces) -> None:
    assert ats(traces) == []
    fill(traces)
    (day,) = traces.days()
    listed = traces.days
    traces.days = lambda: [*listed(), "1999-01-01"]  # type: ignore[method-assign]  # a day that left between two looks
    assert len(ats(traces)) == 7
    assert day


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 6), min_size=1, max_size=40), st.integers(1, 7), st.integers(1, 9))
def test_pages_put_together_are_the_whole(traces: Traces, times: list[int], size: int, held: int) -> None:
    """Also where many calls began in the same microsecond, and whatever is read at once."""
    traces.drop("9999-12-31")
    before, usage.PAGE = usage.PAGE, held
    try:
        traces.store([call(at) for at in times], [])
        usages, found, last = Usages(traces), [], None
        while page := usages.page(Wanted(), before=last, limit=size):
            found += page
            last = (page[-1].at, page[-1].call)
        assert [use.at for use in found] == sorted(times, reverse=True)
        assert len({use.call for use in found}) == len(times)
    finally:
        usage.PAGE = before
