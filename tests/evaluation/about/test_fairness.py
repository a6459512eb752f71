"""Groups that are treated alike, and groups that are not: what is told of them, and what a gate makes of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tandem.core.errors import Invalid
from tandem.core.policy import RATIO, Fair, Gate, Measure
from tandem.core.score import Condition
from tandem.evaluation.about.fairness import MISSING, fairness, grouped
from tandem.evaluation.about.nouns import Fairness, Gap
from tandem.evaluation.evidence import OutOfFold
from tandem.evaluation.gate import judge
from tandem.registry.gates import check_gate
from tandem.scorers.base import TaskName

SEX = "sex"


def evidence(said: np.ndarray, truth: np.ndarray, task: TaskName = "classification", k: int = 0) -> OutOfFold:
    return OutOfFold(
        dataset="dataset/made@1", digest="sha256:1", target="y", positive="1", rows=tuple(map(str, range(len(truth)))),
        labels=tuple(map(float, truth)), probabilities=tuple(map(float, said.ravel())), seed=1, folds=5, task=task,
        classes=tuple(map(str, range(k))),
    )  # fmt: skip


def made(seed: int, n: int, *, found: tuple[float, ...], false: tuple[float, ...]) -> tuple[OutOfFold, list[object]]:
    """Groups that differ only in how many positives are found and how many alarms are false."""
    draw = np.random.default_rng(seed)
    group = draw.integers(0, len(found), size=n)
    truth = draw.random(n) < 0.4
    chance = np.where(truth, np.array(found)[group], np.array(false)[group])
    said = np.where(draw.random(n) < chance, 0.9, 0.1)
    return evidence(said, truth), [f"g{each}" for each in group]


def gap(told: Fairness, measure: Measure) -> Gap:
    return next(each for each in told.gaps if each.measure == measure)


def test_rates_of_groups_are_those_one_counts_by_hand() -> None:
    truth = np.array([1] * 30 + [0] * 30 + [1] * 40 + [0] * 40)
    said = np.array([0.9] * 20 + [0.1] * 10 + [0.8] * 5 + [0.2] * 25 + [0.9] * 40 + [0.1] * 40)
    told = fairness(evidence(said, truth), SEX, ["f"] * 60 + ["m"] * 80, learned=False)
    f, m = told.groups
    values = {name: round(each.value, 4) for name, each in f.measured.items() if name != "roc_auc"}
    assert values == {
        "base_rate": 0.5, "selection_rate": 0.4167, "true_positive_rate": 0.6667, "false_positive_rate": 0.1667,
        "accuracy": 0.75, "overestimate": round(float((said - truth)[:60].mean()), 4),
    }  # fmt: skip
    assert (f.n, m.n, m.measured["precision"].value) == (60, 80, 1.0)
    assert gap(told, "equal_opportunity").estimate.value == pytest.approx(1 / 3)  # type: ignore[union-attr]  # there is one
    assert gap(told, "equalised_odds").estimate.value == pytest.approx(1 / 3)  # type: ignore[union-attr]  # there is one
    assert gap(told, RATIO).estimate.value == pytest.approx(0.4167 / 0.5, abs=1e-4)  # type: ignore[union-attr]  # there is one
    assert gap(told, "accuracy").widest == ("f", "m")


@pytest.mark.parametrize(
    ("measure", "true"), [("demographic_parity", 0.4 * 0.15 + 0.6 * 0.1), ("equal_opportunity", 0.15), ("equalised_odds", 0.15)]
)
def test_simultaneous_intervals_hold_the_widest_gap_as_often_as_they_say(measure: Measure, true: float) -> None:
    """Four groups, so six pairs: one of them stands apart."""
    covered = []
    for seed in range(120):
        told = fairness(*split(made(seed, 1_600, found=(0.8, 0.8, 0.8, 0.65), false=(0.2, 0.2, 0.2, 0.1))), learned=False)
        shown = gap(told, measure).estimate
        assert shown is not None
        covered.append(shown.low <= true <= shown.high)
    assert np.mean(covered) >= 0.95 - 2 * np.sqrt(0.05 * 0.95 / 120)


def test_groups_that_are_alike_are_told_apart_by_chance_alone() -> None:
    """Six groups, so fifteen pairs, of which the widest is looked at."""
    apart = []
    for seed in range(150):
        told = fairness(*split(made(seed, 1_800, found=(0.7,) * 6, false=(0.3,) * 6)), learned=False)
        shown = gap(told, "accuracy").estimate
        assert shown is not None
        apart.append(shown.low > 0)
    assert np.mean(apart) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 150)


def split(made: tuple[OutOfFold, list[object]]) -> tuple[OutOfFold, str, list[object]]:
    return made[0], SEX, made[1]


def asked(measure: Measure, bound: float, candidate: tuple[OutOfFold, list[object]], **more: bool) -> Condition:
    gate = Gate(asset="model/made", metric="accuracy", fairness=(Fair(measure=measure, by=SEX, bound=bound, **more),))
    report = judge(gate, candidate[0], None, cells={SEX: candidate[1]})
    (found,) = [each for each in report.conditions if each.kind == "fairness"]
    assert report.passed is found.held
    return found


def test_a_planted_unfairness_is_missed_and_its_absence_is_kept() -> None:
    unfair = made(1, 4_000, found=(0.9, 0.6), false=(0.1, 0.1))
    assert asked("equal_opportunity", 0.1, unfair).outcome == "missed"
    assert asked("equalised_odds", 0.1, unfair).outcome == "missed"
    fair = made(2, 4_000, found=(0.8, 0.8), false=(0.1, 0.1))
    assert asked("equal_opportunity", 0.1, fair).outcome == "kept"
    assert asked("demographic_parity", 0.1, fair).outcome == "kept"


def test_a_bound_within_the_interval_is_inconclusive() -> None:
    close = asked("equal_opportunity", 0.1, made(3, 400, found=(0.85, 0.75), false=(0.1, 0.1)))
    assert (close.outcome, close.held) == ("inconclusive", False)
    assert close.effect is not None
    assert close.effect.low < 0.1 < close.effect.high


def test_of_a_ratio_the_bound_is_the_least() -> None:
    apart = made(4, 6_000, found=(0.9, 0.4), false=(0.2, 0.05))
    assert asked(RATIO, 0.8, apart).outcome == "missed"
    alike = made(5, 6_000, found=(0.8, 0.8), false=(0.2, 0.2))
    assert asked(RATIO, 0.8, alike).outcome == "kept"
    nobody = made(6, 2_000, found=(0.8, 0.0), false=(0.2, 0.0))
    assert asked(RATIO, 0.8, nobody).outcome == "missed"


def test_an_unfair_model_passes_by_chance_no_more_often_than_the_interval_says() -> None:
    """The true gap is just what the gate allows: `kept` would be wrong."""
    kept = [asked("equal_opportunity", 0.15, made(seed, 1_000, found=(0.85, 0.7), false=(0.1, 0.1))).held for seed in range(300)]
    assert np.mean(kept) <= 0.025 + 2.5 * np.sqrt(0.025 * 0.975 / 300)


def test_small_groups_do_not_pass_unless_the_gate_lets_them() -> None:
    candidate, values = made(7, 2_000, found=(0.8, 0.8), false=(0.1, 0.1))
    few: list[object] = ["few"] * 20 + values[20:]
    told = asked("equal_opportunity", 0.15, (candidate, few))
    assert (told.outcome, told.held) == ("not-enough-data", False)
    assert "few" in told.reason
    assert asked("equal_opportunity", 0.15, (candidate, few), allow_small=True).outcome == "kept"
    group = next(each for each in fairness(candidate, SEX, few, learned=True).groups if each.name == "few")
    assert (group.enough, group.measured) == (False, {})


def test_what_cannot_be_judged_is_inconclusive() -> None:
    candidate, values = made(8, 500, found=(0.8, 0.8), false=(0.1, 0.1))
    assert "no error" in asked("error", 0.1, (candidate, values)).reason
    assert "no column" in asked_elsewhere(candidate).reason
    assert "1 groups" in asked("accuracy", 0.1, (candidate, ["same"] * 500)).reason


def asked_elsewhere(candidate: OutOfFold) -> Condition:
    gate = Gate(asset="model/made", metric="accuracy", fairness=(Fair(measure="accuracy", by="race", bound=0.1),))
    return next(each for each in judge(gate, candidate, None, cells={}).conditions if each.kind == "fairness")


def test_errors_of_numbers_and_of_more_classes_are_compared_too() -> None:
    draw = np.random.default_rng(9)
    truth, sex = draw.normal(size=2_000), draw.integers(0, 2, size=2_000)
    numbers = evidence(truth + draw.normal(size=2_000) * np.where(sex, 3.0, 1.0), truth, "regression")
    shown = gap(fairness(numbers, SEX, sex.tolist(), learned=True), "error").estimate
    assert shown is not None
    assert shown.low <= 2.0 * np.sqrt(2 / np.pi) <= shown.high
    classes = draw.integers(0, 3, size=2_000)
    chances = np.full((2_000, 3), 0.2)
    chances[np.arange(2_000), np.where(sex.astype(bool) & (draw.random(2_000) < 0.4), (classes + 1) % 3, classes)] = 0.6
    shown = gap(fairness(evidence(chances, classes, "multiclass", 3), SEX, sex.tolist(), learned=True), "accuracy").estimate
    assert shown is not None
    assert shown.low <= 0.4 <= shown.high


def test_numbers_are_cut_at_their_quartiles_and_gaps_are_a_group() -> None:
    groups = grouped("age", [*range(100), None, float("nan")])
    assert list(groups) == ["age < 24.75", "24.75 <= age < 49.5", "49.5 <= age < 74.25", "74.25 <= age", MISSING]
    assert [len(places) for places in groups.values()] == [25, 25, 25, 25, 2]
    assert list(grouped("n", [3, 1, 2, 10])) == ["1", "2", "3", "10"]
    with pytest.raises(Invalid, match="has 30 groups"):
        grouped("name", [f"n{place}" for place in range(30)])


@pytest.mark.parametrize("bad", [Fair(measure="accuracy", by="", bound=0.1), Fair(measure="accuracy", by="x", bound=1.5)])
def test_a_gate_without_sense_is_not_set(bad: Fair) -> None:
    gate = Gate(asset="model/made", metric="accuracy", fairness=(bad,))
    with pytest.raises(Invalid):
        check_gate(gate)
    with pytest.raises(Invalid, match="one metric"):
        check_gate(replace(gate, asset="prompt/made", suite="suite/s", fairness=(Fair(measure="accuracy", by="x", bound=0.1),)))
