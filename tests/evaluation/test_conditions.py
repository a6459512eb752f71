"""A gate of several conditions: each has its verdict, n, effect and interval, and one that does not hold refuses."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from tandem.core.errors import Invalid
from tandem.core.policy import Gate, Slice
from tandem.core.score import Condition
from tandem.evaluation.evidence import Facts, Latency, OutOfFold
from tandem.evaluation.gate import GateReport, judge
from tandem.evaluation.looks import rule_for
from tandem.evaluation.slices import inside
from tandem.evaluation.tango import mid_p
from tandem.registry.gates import check_gate
from tandem.scorers.base import cost
from tandem.scorers.intervals import GROUPS, RESAMPLES, _acceleration, bca, jackknife
from tandem.scorers.sample import Sample

GATE = Gate(asset="model/made", metric="roc_auc", margin=0.02)
N = 800
REGIONS = {"region": ["north" if place % 4 == 0 else "south" for place in range(N)], "age": [place % 80 for place in range(N)]}


def predictions(noise: float, *, n: int = N, seed: int = 1, spoiled: str | None = None) -> OutOfFold:
    """Good predictions; in the spoiled region they are turned round."""
    draw = np.random.default_rng(seed)
    labels = draw.permutation(np.arange(n) % 2)
    odds = 4.0 * labels - 2 + draw.normal(size=n) + noise * np.random.default_rng(seed + 1).normal(size=n)
    here = np.array([region == spoiled for region in REGIONS["region"]][:n])
    odds = np.where(here, -odds, odds)
    return OutOfFold(
        dataset="dataset/made@1", digest="sha256:1", target="y", positive="1", rows=tuple(map(str, range(n))),
        labels=tuple(map(int, labels)), probabilities=tuple(map(float, 1 / (1 + np.exp(-odds)))), seed=seed, folds=5,
    )  # fmt: skip


def of(report: GateReport, kind: str) -> list[Condition]:
    return [each for each in report.conditions if each.kind == kind]


def test_every_minimum_must_hold() -> None:
    gate = replace(GATE, minimums={"recall": 0.8, "brier": 0.2, "cost": 1.0}, cost_false_positive=1.0, cost_false_negative=10.0)
    good = judge(gate, predictions(0.1), None)
    assert good.passed
    assert [(each.name, each.outcome) for each in of(good, "minimum")] == [(name, "kept") for name in ("recall", "brier", "cost")]
    dear = judge(replace(gate, cost_false_negative=1000.0), predictions(0.1), None)
    assert not dear.passed
    assert [each.outcome for each in of(dear, "minimum")] == ["kept", "kept", "missed"]
    (_, _, bad) = of(dear, "minimum")
    assert bad.effect is not None
    assert (bad.n, bad.bound) == (N, 1.0)
    assert bad.effect.low > 1.0


def test_a_bound_within_the_interval_is_inconclusive_and_does_not_pass() -> None:
    candidate = predictions(0.5)
    measured = of(judge(replace(GATE, minimums={"recall": 0.5}), candidate, None), "minimum")[0].effect
    assert measured is not None
    report = judge(replace(GATE, minimums={"recall": measured.value}), candidate, None)
    assert (report.passed, of(report, "minimum")[0].outcome) == (False, "inconclusive")


def test_cost_is_counted_at_the_threshold() -> None:
    sample = Sample.of([1, 1, 0, 0], [0.9, 0.3, 0.8, 0.1], threshold=0.5)
    assert cost(false_positive=2.0, false_negative=6.0).score(sample).value == 2.0
    wide = Sample.of([1, 1, 0, 0], [0.9, 0.3, 0.8, 0.1], threshold=0.2)
    assert cost(false_positive=2.0, false_negative=6.0).score(wide).value == 0.5


def test_a_slice_that_got_worse_refuses_what_is_better_on_the_whole() -> None:
    champion = predictions(4.0)
    candidate = predictions(0.0, spoiled="north")
    gate = replace(GATE, metric="accuracy", slices=(Slice(column="region", value="north"), Slice(column="region", value="south")))
    report = judge(replace(gate, margin=0.3), candidate, champion, cells=REGIONS)
    assert not report.passed
    found = {each.name: each for each in of(report, "slice")}
    assert (found["region = north"].outcome, found["region = south"].outcome) == ("regressed", "improved")
    assert (found["region = north"].n, found["region = south"].n) == (200, 600)
    assert found["region = south"].effect is not None
    assert found["region = south"].effect.level == 0.975  # Holm: two claims, the surest at half of 5 %
    whole = judge(replace(gate, slices=(), margin=0.3), candidate, champion)
    assert whole.passed


def test_holm_asks_more_of_the_surest_claim_and_stops_at_the_first_that_fails() -> None:
    candidate, champion = predictions(0.6), predictions(0.6, seed=1)
    slices = tuple(Slice(column="age", low=low, high=low + 20, minimum=0.5) for low in (0, 20, 40, 60))
    report = judge(replace(GATE, slices=slices), candidate, champion, cells=REGIONS)
    levels = sorted(each.effect.level for each in of(report, "slice") if each.effect is not None)
    assert levels == pytest.approx([1 - 0.05 / share for share in (1, 2, 3, 4)], abs=1e-6)
    assert report.passed
    impossible = replace(GATE, slices=(*slices, Slice(column="region", value="north", minimum=1.1)))
    failed = judge(impossible, candidate, champion, cells=REGIONS)
    assert not failed.passed
    assert [each.outcome for each in of(failed, "slice")].count("missed") == 1


def test_too_few_rows_in_a_slice_do_not_pass_unless_that_was_said() -> None:
    tiny = Slice(column="age", low=0, high=2)
    report = judge(replace(GATE, slices=(tiny,)), predictions(0.1), None, cells=REGIONS)
    (found,) = of(report, "slice")
    assert (report.passed, found.outcome, found.n) == (False, "not-enough-data", 20)
    allowed = judge(replace(GATE, slices=(replace(tiny, allow_small=True),)), predictions(0.1), None, cells=REGIONS)
    assert allowed.passed
    assert of(allowed, "slice")[0].outcome == "not-enough-data"


def test_a_slice_whose_column_nobody_has_does_not_pass() -> None:
    for cells in (None, REGIONS):
        report = judge(replace(GATE, slices=(Slice(column="height", low=1),)), predictions(0.1), None, cells=cells)
        assert (report.passed, of(report, "slice")[0].outcome) == (False, "inconclusive")


@pytest.mark.parametrize(
    ("part", "value", "belongs"),
    [
        (Slice(column="a", value="true"), True, True),
        (Slice(column="a", value="3"), 3.0, True),
        (Slice(column="a", value="3"), None, False),
        (Slice(column="a", low=1, high=2), 1, True),
        (Slice(column="a", low=1, high=2), 2, False),
        (Slice(column="a", low=1, high=2), "1", False),
        (Slice(column="a", high=2), math.nan, False),
        (Slice(column="a", low=0), True, False),
    ],
)
def test_who_belongs_to_a_slice(part: Slice, value: object, belongs: bool) -> None:
    assert inside(part, value) is belongs


def test_speed_and_size() -> None:
    gate = replace(GATE, latency_ms=5.0, size_bytes=1000)
    quick = Latency(p50_ms=1, p95_ms=2, low_ms=1.9, high_ms=2.5, n=400, machine={"processor": "A"})
    slow = replace(quick, p95_ms=7, low_ms=6, high_ms=9)
    near = replace(quick, p95_ms=4.9, low_ms=4, high_ms=6)
    outcomes = []
    for latency, size in ((quick, 1000), (slow, 1001), (near, 1), (None, None)):
        report = judge(gate, predictions(0.1), None, facts=Facts(latency=latency, size=size))
        assert report.passed is (latency is quick)
        outcomes.append((of(report, "latency")[0].outcome, of(report, "size")[0].outcome))
    assert outcomes == [("kept", "kept"), ("missed", "missed"), ("inconclusive", "kept"), ("inconclusive", "inconclusive")]


def test_mcnemars_mid_p_against_its_definition() -> None:
    for won, lost in ((8, 2), (1, 0), (20, 11), (300, 250), (3, 3)):
        pairs, fewer = won + lost, min(won, lost)
        below = sum(math.comb(pairs, hits) for hits in range(fewer)) / 2**pairs
        point = math.comb(pairs, fewer) / 2**pairs
        assert mid_p(won, lost) == pytest.approx(1.0 if won == lost else 2 * below + point)


def test_the_exact_test_has_the_last_word_on_accuracy() -> None:
    labels = [place % 2 for place in range(60)]
    right = [0.9 if label else 0.1 for label in labels]
    worse = [1 - chance if place < 5 else chance for place, chance in enumerate(right)]
    base = replace(predictions(0.0, n=60), labels=tuple(labels))
    report = judge(
        replace(GATE, metric="accuracy"),
        replace(base, probabilities=tuple(right)),
        replace(base, probabilities=tuple(worse)),
    )
    assert report.verdict is not None
    assert report.verdict.p == pytest.approx(2 * 0.5**5 - 0.5**5)
    assert report.verdict.outcome == "improved"
    assert "mid-p" in report.verdict.method


def test_bca_covers_a_skewed_mean_as_the_plain_percentiles_do_not() -> None:
    """Rows of a lognormal cost: 95 % intervals of its mean over 60 rows, 400 experiments."""
    draw = np.random.default_rng(4)
    truth = math.exp(0.5)

    above = 0
    for _ in range(400):
        costs = draw.lognormal(0, 1, 60)
        low, high = bca(60, lambda weights, costs=costs: weights @ costs / weights.sum(axis=-1), 1.96)  # type: ignore[misc]
        assert low < high
        above += high < truth
    assert above <= 48  # the percentiles miss above in some 14 % of cases


def test_a_jackknife_leaves_out_each_row_or_many_groups_and_bends_alike() -> None:
    draw = np.random.default_rng(5)
    few = draw.lognormal(0, 1, 50)
    left = jackknife(50, lambda weights: weights @ few)
    assert sorted(left) == pytest.approx(sorted(few.sum() - few))
    many = draw.lognormal(0, 1, RESAMPLES + 1000)
    groups = jackknife(len(many), lambda weights: weights @ many / weights.sum(axis=-1))
    assert len(groups) == GROUPS
    gaps = many - many.mean()
    exact = (gaps**3).sum() / (6 * (gaps**2).sum() ** 1.5)
    assert _acceleration(groups) == pytest.approx(exact, abs=0.005)


def test_the_rule_of_each_look() -> None:
    assert rule_for(GATE, None, 500).name == "once"
    assert (rule_for(GATE, (), 500).name, rule_for(GATE, (500,), 600).name) == ("first", "sequence")
    planned = replace(GATE, looks=3, rows=900)
    widths = [rule_for(planned, before, rows).z for before, rows in (((), 300), ((300,), 600), ((300, 600), 900))]
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 2.1
    assert rule_for(planned, (300, 600, 900), 1200).name == "spent"
    assert rule_for(planned, (900,), 1200).name == "spent"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"minimums": {"cost": 1.0}}, "what mistakes cost"),
        ({"minimums": {"recall": math.inf}}, "no finite number"),
        ({"cost_false_positive": -1.0}, "less than nothing"),
        ({"latency_ms": 0.0}, "latency_ms"),
        ({"size_bytes": 0}, "size_bytes"),
        ({"slices": (Slice(column="a"),)}, "names no part"),
        ({"slices": (Slice(column="a", value="1", low=0),)}, "names no part"),
        ({"slices": (Slice(column="a", low=2, high=2),)}, "is empty"),
        ({"slices": (Slice(column="a", low=2, margin=-1),)}, "less than no loss"),
        ({"looks": 5}, "number and the rows"),
        ({"looks": 21, "rows": 100}, "cannot be planned"),
        ({"looks": 2, "rows": 0}, "at least one"),
        ({"asset": "prompt/x", "suite": "suite/x", "size_bytes": 5}, "one metric"),
    ],
)
def test_a_gate_that_makes_no_sense_is_not_set(change: dict[str, object], message: str) -> None:
    with pytest.raises(Invalid, match=message):
        check_gate(replace(GATE, **change))  # type: ignore[arg-type]
