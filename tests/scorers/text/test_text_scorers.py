"""Scorers of one answer: what each lets pass, what it does not, and that none of them can be made to hang or to lie."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tandem.core.errors import Invalid
from tandem.scorers.text.base import TABLE, Case, load
from tandem.scorers.text.grounded import claims

OPTIONS: dict[str, dict[str, Any]] = {
    "regex": {"pattern": "a+"},
    "schema": {"schema": {"type": "object"}},
    "latency": {"seconds": 1},
    "cost": {"usd": 0.001},
}


def grade(name: str, answer: str, options: dict[str, Any] | None = None, **case: Any) -> float:
    return load(name, options if options is not None else OPTIONS.get(name, {})).grade(Case(**case), answer).value


@pytest.mark.parametrize("name", sorted(TABLE))
@given(answer=st.text(max_size=300), expected=st.text(max_size=40), source=st.text(max_size=200))
@settings(max_examples=40, deadline=None)
def test_every_scorer_gives_a_grade_between_0_and_1_and_always_the_same(
    name: str, answer: str, expected: str, source: str
) -> None:
    scorer = load(name, OPTIONS.get(name, {}))
    case = Case(expected=expected, sources=(source,), seconds=0.5, cost=3)
    found = scorer.grade(case, answer)
    assert 0 <= found.value <= 1
    assert scorer.grade(case, answer) == found
    json.dumps(found.detail)


@pytest.mark.parametrize("name", sorted(TABLE))
def test_an_option_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(Invalid) as caught:
        load(name, {**OPTIONS.get(name, {}), "colour": "red"})
    assert caught.value.field == "scorers.options.colour"


def test_an_unknown_scorer_is_told_with_those_there_are() -> None:
    with pytest.raises(Invalid) as caught:
        load("vibes", {})
    assert "grounded" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("answer", "plain", "exactly"),
    [("Yes.", 1, 0), ("yes", 1, 0), ("  YES!\n", 1, 0), ("Yes", 1, 1), ("No", 0, 0), ("Yes, but", 0, 0), ("", 0, 0)],
)
def test_exact(answer: str, plain: float, exactly: float) -> None:
    assert grade("exact", answer, expected="Yes") == plain
    assert grade("exact", answer, {"normalise": False}, expected="Yes") == exactly


def test_contains() -> None:
    assert grade("contains", "The capital is Paris, of course.", expected="paris") == 1
    assert grade("contains", "The capital is Paris, of course.", {"normalise": False}, expected="paris") == 0
    assert grade("contains", "It is Lyon.", expected="Paris") == 0


def test_a_pattern_is_searched_unless_it_is_anchored() -> None:
    assert grade("regex", "I say yes", {"pattern": "yes|no"}) == 1
    assert grade("regex", "I say yes", {"pattern": "^(yes|no)$"}) == 0


def test_a_pattern_that_would_take_for_ever_elsewhere_takes_no_time_here() -> None:
    assert grade("regex", "a" * 100_000 + "!", {"pattern": "^(a+)+$"}) == 0


@pytest.mark.parametrize("pattern", ["(", "(?=a)b", r"(a)\1", "a" * 2001, "(" + "a{1000}" * 9 + "){1000}"])
def test_a_pattern_that_cannot_be_run_in_linear_time_is_refused(pattern: str) -> None:
    with pytest.raises(Invalid):
        load("regex", {"pattern": pattern})


SCHEMA = {"type": "object", "required": ["score"], "properties": {"score": {"type": "integer", "minimum": 0}}}


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ('{"score": 3}', 1),
        ('```json\n{"score": 3}\n```', 1),
        ('{"score": -1}', 0),
        ('{"points": 3}', 0),
        ("Sure! {}", 0),
        ("[" * 100_000, 0),
        ("", 0),
    ],
)
def test_schema(answer: str, value: float) -> None:
    assert grade("schema", answer, {"schema": SCHEMA}) == value


def test_a_fence_may_be_forbidden_and_faults_are_named_by_place_not_by_content() -> None:
    assert grade("schema", '```json\n{"score": 3}\n```', {"schema": SCHEMA, "fenced": False}) == 0
    found = load("schema", {"schema": SCHEMA}).grade(Case(), '{"score": "secret"}')
    assert found.detail == {"faults": ["score: Type"]}


def test_a_schema_is_never_fetched() -> None:
    with pytest.raises(Invalid):
        load("schema", {"schema": {"$ref": "http://127.0.0.1:9/schema.json"}})


def test_what_was_spent() -> None:
    assert grade("latency", "", seconds=0.9) == 1
    assert grade("latency", "", seconds=1.1) == 0
    assert grade("cost", "", cost=1_000_000) == 1
    assert grade("cost", "", cost=1_000_001) == 0
    assert load("cost", {"usd": 1}).grade(Case(cost=None), "").label == "unpriced"
    for name in ("latency", "cost"):
        with pytest.raises(Invalid):
            load(name, {})


SOURCE = (
    "On 5 March 2024 Ada Lovelace was given 12 mg of the drug, 1,250 patients took part, and 12.5 percent felt worse. "
    'The report says: "the dose was far too high". Its cost was $3.5 million. Dr. Grace Hopper signed it.'
)


@pytest.mark.parametrize(
    "answer",
    [
        "Ada Lovelace got 12 mg.",
        "It happened on 2024-03-05.",
        "It happened on March 5, 2024, or 05.03.2024.",
        "There were 1250 patients.",
        "12.5% felt worse; that is 0.125 of them.",
        "It cost $3,500,000.",
        "The report calls it “the dose was far too high”.",
        "Grace Hopper signed.",
        "The Report says so.",
        "Lovelace's dose was 12mg.",
    ],
)
def test_what_the_sources_say_is_grounded(answer: str) -> None:
    found = load("grounded", {}).grade(Case(sources=(SOURCE,)), answer)
    assert (found.value, found.detail.get("unsupported")) == (1, None)


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        ("She was given 13 mg.", "number", "13 mg"),
        ("She was given 12 kg.", "number", "12 kg"),
        ("It was on 6 March 2024.", "date", "6 March 2024"),
        ("It was on 2024-05-03.", "date", "2024-05-03"),
        ("So said Alan Turing.", "name", "Alan Turing"),
        ("The patient lives in Paris.", "name", "Paris"),
        ('It says "the dose was a little high".', "quotation", "the dose was a little high"),
        ("13% felt worse.", "number", "13%"),
        ("It cost 35 million.", "number", "35 million"),
    ],
)
def test_what_the_sources_do_not_say_is_named(answer: str, kind: str, text: str) -> None:
    found = load("grounded", {}).grade(Case(sources=(SOURCE,)), answer)
    assert {"kind": kind, "text": text} in found.detail["unsupported"]  # type: ignore[operator]
    assert found.value < 1


def test_an_answer_without_claims_is_labelled_and_never_counts_in_silence() -> None:
    for needed, value in ((False, 1), (True, 0)):
        found = load("grounded", {"claims_needed": needed}).grade(Case(sources=(SOURCE,)), "I cannot tell.")
        assert (found.value, found.label) == (value, "no-claims")


def test_kinds_of_claims_can_be_left_out() -> None:
    assert grade("grounded", "Alan Turing took 12 mg.", {"names": False}, sources=(SOURCE,)) == 1
    assert grade("grounded", "Alan Turing took 12 mg.", sources=(SOURCE,)) == 0.5


@given(st.integers(1, 10**9), st.integers(1, 10**9))
def test_a_number_is_found_however_its_thousands_are_written_and_no_other_is(one: int, other: int) -> None:
    source = f"There were {one:,} of them."
    assert grade("grounded", f"There were {one} of them.", sources=(source,)) == 1
    assert grade("grounded", f"There were {other} of them.", sources=(source,)) == float(one == other)


def test_claims_are_listed_once_and_the_parts_of_a_date_are_no_numbers() -> None:
    assert [claim.text for claim in claims("On 5 March 2024, yes, 5 March 2024.")] == ["5 March 2024"]
