"""A gate with a suite: every verdict, and everything that is no evidence."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from tandem.core.errors import Blocked, Invalid
from tandem.core.policy import Gate
from tandem.evaluation.repo import Answer, Answered, Evaluation, Key
from tandem.evaluation.suitegate import Evidence, judge_suite
from tandem.evaluation.summary import summarise
from tandem.registry.kinds.suite import Scoring, Suite

SUITE = Suite(
    data="dataset/cases@1",
    endpoint="assistant",
    expected="wanted",
    scorers=(Scoring(scorer="exact"), Scoring(scorer="latency", weight=3.0), Scoring(scorer="judge")),
)
GATE = Gate(asset="prompt/explain", metric="exact", margin=0.05, suite="suite/explain")


def evidence(grades: list[float], version: int = 2, **change: object) -> Evidence:
    key = Key(
        prompt=f"prompt/explain@{version}",
        prompt_digest=f"sha256:{version}",
        suite="suite/explain@1",
        suite_digest="sha256:s",
        repeats=1,
    )
    evaluation = Evaluation(
        id=f"evl_{version}",
        key=replace(key, **change),
        team="default",
        subject="principal:ann",
        run="run_1",
        created_at=1,
        created_by="ann",
    )
    rows = [
        Answered(place=place, row=f"r{place}", answers=(Answer(model="small", grades={"exact": grade, "latency": 1.0}),))
        for place, grade in enumerate(grades)
    ]
    return Evidence(evaluation=evaluation, rows=rows)


def judged(grades: list[float], against: str | None = "evl_1") -> Evidence:
    made = evidence([1.0] * len(grades), against=against)
    rows = [
        replace(row, answers=(replace(row.answers[0], grades={**row.answers[0].grades, "judge": grade}),))
        for row, grade in zip(made.rows, grades, strict=True)
    ]
    return replace(made, rows=rows)


def share(right: float, n: int = 120) -> list[float]:
    r = random.Random(4)
    return sorted((float(r.random() < right) for _ in range(n)), reverse=True)


@pytest.mark.parametrize(
    ("ours", "theirs", "outcome", "passed"),
    [
        ([1.0] * 60 + [0.0] * 60, [0.0] * 120, "improved", True),
        ([1.0] * 120, [1.0] * 120, "non-inferior", True),
        ([0.0] * 30 + [1.0] * 90, [1.0] * 120, "regressed", False),
        ([0.0] * 6 + [1.0] * 114, [1.0] * 3 + [0.0] * 3 + [1.0] * 114, "inconclusive", False),
        ([1.0] * 20, [0.0] * 20, "not-enough-data", False),
        ([0.9] * 120, [0.2] * 120, "improved", True),
        ([0.5, 0.4] * 60, [0.5, 0.9] * 60, "regressed", False),
    ],
)
def test_verdicts(ours: list[float], theirs: list[float], outcome: str, passed: bool) -> None:
    report = judge_suite(GATE, SUITE, evidence(ours), evidence(theirs, 1))
    assert report.verdict is not None
    assert (report.verdict.outcome, report.passed) == (outcome, passed)
    assert report.verdict.difference is not None
    assert report.verdict.difference.n == len(ours)
    assert report.reasons


def test_a_gate_that_requires_better_lets_no_equal_pass() -> None:
    report = judge_suite(replace(GATE, require="improved"), SUITE, evidence([1.0] * 120), evidence([1.0] * 120, 1))
    assert not report.passed


def test_an_inconclusive_verdict_says_how_many_rows_would_tell() -> None:
    report = judge_suite(GATE, SUITE, evidence([1.0] * 40), evidence([1.0] * 40, 1))
    assert report.verdict is not None
    assert report.verdict.outcome == "inconclusive"
    assert any("about 73 rows would tell" in reason for reason in report.reasons), report.reasons


def test_the_first_version_needs_the_minimum_alone() -> None:
    gate = replace(GATE, minimum=0.9)
    assert judge_suite(gate, SUITE, evidence([1.0] * 60), None).passed
    assert not judge_suite(gate, SUITE, evidence([1.0] * 50 + [0.0] * 10), None).passed
    assert not judge_suite(GATE, SUITE, evidence([1.0] * 20), None).passed


def test_evaluations_of_other_questions_or_models_are_not_compared() -> None:
    ours, theirs = evidence([1.0] * 60), evidence([1.0] * 60, 1)
    other_suite = replace(
        theirs, evaluation=replace(theirs.evaluation, key=replace(theirs.evaluation.key, suite_digest="sha256:t"))
    )
    fewer = replace(theirs, rows=theirs.rows[:-1])
    moved = replace(theirs, rows=[replace(row, row=f"x{row.place}") for row in theirs.rows])
    other_model = replace(theirs, rows=[replace(row, answers=(replace(row.answers[0], model="large"),)) for row in theirs.rows])
    for champion in (other_suite, fewer, moved, other_model):
        with pytest.raises(Blocked) as caught:
            judge_suite(GATE, SUITE, ours, champion)
        assert caught.value.code == "no_evidence"
        assert "--fresh" in str(caught.value.hint)


def test_a_metric_that_the_suite_does_not_make_is_told() -> None:
    with pytest.raises(Invalid) as caught:
        judge_suite(replace(GATE, metric="roc_auc"), SUITE, evidence([1.0] * 60), None)
    assert "exact" in str(caught.value.hint)


def test_errors_are_zeros_and_the_weighted_mean_weighs() -> None:
    made = evidence([1.0] * 4)
    rows = [replace(made.rows[0], answers=(Answer(error="upstream"),)), *made.rows[1:3], evidence([0.0] * 4).rows[3]]
    found = summarise(SUITE, rows)
    assert found.errors == {"upstream": 1}
    assert found.metrics["exact"].value == 0.5
    assert found.metrics["weighted"].value == pytest.approx((0 + 1 + 1 + 0.75) / 4)
    assert "judge" not in found.metrics
    assert found.agreement is None


def test_agreement_is_told_of_repeats() -> None:
    same = Answer(grades={"exact": 1.0, "latency": 1.0})
    other = Answer(grades={"exact": 0.0, "latency": 1.0})
    rows = [
        Answered(place=0, row="a", answers=(same, same), distinct=1),
        Answered(place=1, row="b", answers=(same, same), distinct=2),
        Answered(place=2, row="c", answers=(same, other), distinct=2),
        Answered(place=3, row="d", answers=(other, other), distinct=1),
    ]
    found = summarise(SUITE, rows)
    assert found.agreement is not None
    assert (found.agreement.texts, found.agreement.grades) == (0.5, 0.75)
    assert (found.rows, found.answers, found.metrics["exact"].n) == (4, 8, 4)


JUDGED = replace(GATE, metric="judge")


@pytest.mark.parametrize(
    ("grades", "outcome"),
    [
        ([1.0] * 40 + [0.5] * 60 + [0.0] * 10, "improved"),
        ([0.0] * 40 + [0.5] * 60 + [1.0] * 10, "regressed"),
        ([0.5] * 110, "non-inferior"),
        ([1.0] * 30 + [0.0] * 30, "inconclusive"),
    ],
)
def test_a_judge_compares_directly_and_ties_are_halves(grades: list[float], outcome: str) -> None:
    report = judge_suite(JUDGED, SUITE, judged(grades), evidence([1.0] * len(grades), 1))
    assert report.verdict is not None
    assert report.verdict.outcome == outcome
    assert report.candidate is not None
    assert report.candidate.value == pytest.approx(sum(grades) / len(grades))
    assert report.verdict.difference is not None
    assert report.verdict.difference.value == pytest.approx(2 * sum(grades) / len(grades) - 1)


def test_a_judge_must_have_met_this_champion() -> None:
    with pytest.raises(Blocked) as caught:
        judge_suite(JUDGED, SUITE, judged([1.0] * 60, against="evl_0"), evidence([1.0] * 60, 1))
    assert "--against prompt/explain@1" in str(caught.value.hint)
    assert judge_suite(JUDGED, SUITE, evidence([1.0] * 60), None).passed
    assert not judge_suite(replace(JUDGED, minimum=0.5), SUITE, evidence([1.0] * 60), None).passed
