"""Calls and stages on one time scale."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tandem.console.waterfall import DEEPEST, Bar, ticks, waterfall
from tandem.core.trace import Span, Trace


def call(
    name: str, start: int, end: int, *, parent: str | None = None, spans: list[Span] | None = None, kind: str = "chat"
) -> Trace:
    return Trace(
        id="trc_1",
        call=name,
        parent=parent,
        endpoint=name,
        kind=kind,
        team="risk",
        principal="vera",
        start=start,
        end=end,
        outcome="ok",
        status=200,
        cost=0,
        spans=spans or [],
        attempts=[],
        attributes={},
    )


def names(bars: tuple[Bar, ...]) -> list[tuple[int, str, str]]:
    return [(bar.depth, bar.kind, bar.name) for bar in bars]


def test_nested_calls_stand_below_the_stage_that_made_them() -> None:
    spans = [Span(name="identify", start=0, end=10), Span(name="decide opinion", start=10, end=1000)]
    opening = call("opinion", 0, 1000, spans=spans, kind="decide")
    asked = [Span(name="resolve", start=300, end=310), Span(name="chat m", start=310, end=800)]
    drawn = waterfall(
        [opening, call("talk", 300, 900, parent="opinion", spans=asked), call("tumor", 20, 200, parent="opinion", kind="predict")]
    )
    assert names(drawn.bars) == [
        (0, "decide", "opinion"),
        (1, "law", "identify"),
        (1, "decide", "decide opinion"),
        (2, "predict", "tumor"),
        (2, "chat", "talk"),
        (3, "law", "resolve"),
        (3, "chat", "chat m"),
    ]
    assert drawn.length == 1000
    talk = drawn.bars[4]
    assert (talk.left, talk.width, talk.start, talk.length) == (30.0, 60.0, 300, 600)


def test_a_call_whose_parent_is_not_shown_stands_by_itself() -> None:
    drawn = waterfall([call("talk", 0, 10, parent="another team's")])
    assert names(drawn.bars) == [(0, "chat", "talk")]


def test_a_nested_call_outside_every_stage_is_drawn_all_the_same() -> None:
    drawn = waterfall([call("a", 0, 100, spans=[Span(name="identify", start=0, end=5)]), call("b", 50, 60, parent="a")])
    assert names(drawn.bars) == [(0, "chat", "a"), (1, "law", "identify"), (1, "chat", "b")]


def test_a_stage_that_never_ended_lasts_as_long_as_its_call() -> None:
    drawn = waterfall([call("a", 0, 100, spans=[Span(name="chat m", start=40)])])
    assert drawn.bars[1].length == 60


def test_the_first_piece_of_a_stream_is_marked() -> None:
    span = Span(name="chat m", start=0, end=1000, attributes={"gen_ai.response.time_to_first_chunk": 0.0005})
    assert waterfall([call("a", 0, 1000, spans=[span])]).bars[1].first == 50.0


def test_the_error_of_a_call_is_told_beside_its_bar() -> None:
    failed = call("a", 0, 10)
    failed.attributes["error"] = {"message": "no room"}
    assert waterfall([failed]).bars[0].error == "no room"


def test_nothing_is_nothing() -> None:
    assert waterfall([]).bars == ()


moments = st.integers(0, 2_000_000)


@given(
    st.lists(
        st.tuples(moments, moments, st.integers(-1, 8), st.text(max_size=5), st.one_of(st.none(), st.floats(), st.text())),
        max_size=9,
    )
)
def test_every_bar_lies_within_the_drawing(rows: list[tuple[int, int, int, str, object]]) -> None:
    calls = []
    for place, (start, end, parent, name, chunk) in enumerate(rows):
        span = Span(name=name, start=start, end=end, attributes={"gen_ai.response.time_to_first_chunk": chunk})
        above = f"c{parent}" if 0 <= parent < place else None
        calls.append(call(f"c{place}", start, end, parent=above, spans=[span], kind=name))
    bars = waterfall(calls).bars
    assert len(bars) == 2 * len(calls)
    for bar in bars:
        assert 0 <= bar.left <= 100
        assert 0 < bar.width <= 100
        assert bar.left + bar.width <= 100.001
        assert 0 <= bar.depth <= DEEPEST
        assert bar.length >= 0
        assert bar.first is None or 0 <= bar.first <= 100


@given(st.integers(1, 10**12))
def test_the_scale_has_few_marks_from_zero_and_none_past_the_end(length: int) -> None:
    found = ticks(length)
    assert found[0].text == "0"
    assert 2 <= len(found) <= 6
    assert all(0 <= tick.at <= 100 for tick in found)
