"""What a version says about itself, whatever somebody wrote there; and intervals as lines."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tandem.console import facts
from tandem.console.scale import heights, line
from tandem.console.words import is_line, plain, pretty, readable
from tandem.core.policy import Gate
from tandem.core.score import Estimate, Verdict
from tandem.observability import dialogue

finite = st.floats(-1e9, 1e9)
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | finite | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
keys = st.sampled_from(
    ["contract", "profile", "metrics", "importances", "template", "messages", "columns", "name", "value", "gate"]
)


@given(st.dictionaries(keys | st.text(max_size=5), anything | st.dictionaries(keys, anything, max_size=5), max_size=6), anything)
def test_no_meta_is_too_odd_to_be_shown(meta: dict[str, object], value: object) -> None:
    facts.columns(meta)
    facts.turns(meta)
    facts.outcome(meta)
    for found in (value, *meta.values()):
        facts.metrics(found)
        facts.shares(found)
        facts.report(found)
        assert isinstance(plain(found), str)
        assert isinstance(is_line(found), bool)
        assert pretty(found)


@given(anything, st.text(max_size=40))
def test_no_content_is_too_odd_to_be_read(value: object, text: str) -> None:
    for written in (msgspec.json.encode(value).decode(), text, f"data: {text}\n\ndata: {msgspec.json.encode(value).decode()}"):
        dialogue.asked(written)
        dialogue.answered(written)
        assert isinstance(readable(written), str)


def test_metrics_come_with_or_without_an_interval() -> None:
    with_one, without = facts.metrics({"roc_auc": {"value": 0.9, "low": 0.8, "high": 0.95, "n": 100}, "loss": 2})
    assert with_one.line is not None
    assert (with_one.line.low, with_one.line.value, with_one.line.high) == (80.0, 90.0, 95.0)
    assert (without.value, without.estimate) == ("2", None)


def test_a_column_tells_what_it_must_be_and_what_it_is() -> None:
    meta = {
        "contract": {"columns": [{"name": "age", "dtype": "int", "low": 0, "high": 120, "nullable": True}], "id_column": "age"},
        "profile": {
            "rows": 3,
            "columns": [
                {"name": "age", "nulls": 1, "distinct": 2, "min": 4, "max": 80, "mean": 42, "histogram": {"counts": [1, 4]}}
            ],
        },
    }
    (age,) = facts.columns(meta)
    assert (age.role, age.dtype, age.allowed) == ("id", "int or empty", "0 … 120")
    assert (age.nulls, age.seen, age.bars) == ("1", "4 … 80", (25, 100))


def test_a_report_is_drawn_against_zero_and_the_tolerated_loss() -> None:
    difference = Estimate(value=-0.005, low=-0.015, high=0.005, n=569)
    some = Estimate(value=0.98, low=0.97, high=0.99, n=569)
    verdict = Verdict(
        outcome="non-inferior",
        metric="roc_auc",
        candidate=some,
        champion=some,
        difference=difference,
        margin=0.02,
        method="DeLong",
    )
    told = {
        "passed": True,
        "gate": msgspec.to_builtins(Gate(asset="model/*", minimum=0.9)),
        "candidate": msgspec.to_builtins(some),
        "verdict": msgspec.to_builtins(verdict),
        "reasons": ["good"],
        "champion_ref": "model/tumor@1",
    }
    report = facts.report(told)
    assert report is not None
    assert report.outcome == "non-inferior"
    drawn, own = report.difference_line, report.candidate_line
    assert drawn is not None
    assert own is not None
    zero, loss = drawn.marks
    assert loss.at < drawn.low < drawn.value < zero.at < drawn.high
    assert own.marks[0].at < own.low


def test_without_a_champion_there_is_no_difference_to_draw() -> None:
    report = facts.report({"passed": True, "gate": msgspec.to_builtins(Gate(asset="model/*"))})
    assert report is not None
    assert (report.outcome, report.difference_line, report.candidate_line) == ("no champion", None, None)


def test_the_gate_of_a_version_in_one_word() -> None:
    assert facts.outcome({"gate": {"outcome": "improved"}, "ungated": False, "approved_by": "g"}) == "improved"
    assert facts.outcome({"gate": None, "ungated": True, "approved_by": "g"}) == "ungated"
    assert facts.outcome({"gate": None, "ungated": False, "approved_by": "g"}) == "first"
    assert facts.outcome({}) is None


def test_a_stream_is_read_as_what_was_said() -> None:
    frames = [{"choices": [{"index": 0, "delta": {"content": piece}}]} for piece in ("Hel", "lo")]
    stream = "".join(f"data: {msgspec.json.encode(frame).decode()}\n\n" for frame in frames) + "data: [DONE]\n\n"
    assert dialogue.answered(stream) == (dialogue.Turn(role="assistant", text="Hello"),)


def test_tools_and_images_have_words_too() -> None:
    call = {"function": {"name": "look_up", "arguments": '{"id": 7}'}}
    answer = {"choices": [{"message": {"role": "assistant", "content": None, "tool_calls": [call]}}]}
    assert dialogue.answered(msgspec.json.encode(answer).decode())[0].text == 'calls look_up({"id": 7})'
    asked = {"messages": [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, {"type": "image_url"}]}]}
    assert dialogue.asked(msgspec.json.encode(asked).decode())[0].text == "What is it?\n[image_url]"


@given(finite, finite, finite, st.lists(st.tuples(finite, st.text(max_size=3)), max_size=3))
def test_every_interval_fits_its_axis(a: float, b: float, c: float, marks: list[tuple[float, str]]) -> None:
    low, value, high = sorted((a, b, c))
    for bounds in (None, (0.0, 1.0)):
        drawn = line(Estimate(value=value, low=low, high=high, n=1), marks, bounds=bounds)
        assert 0 <= drawn.low <= drawn.value <= drawn.high <= 100
        assert all(0 <= mark.at <= 100 for mark in drawn.marks)


@given(st.lists(st.integers(0, 10**9), max_size=30))
def test_no_bin_with_rows_vanishes(counts: list[int]) -> None:
    assert [height > 0 for height in heights(counts)] == [count > 0 for count in counts]
    assert max(heights(counts), default=0) <= 100
