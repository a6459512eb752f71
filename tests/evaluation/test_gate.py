from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from tandem.core.errors import Invalid
from tandem.core.policy import Gate
from tandem.evaluation.evidence import OutOfFold
from tandem.evaluation.gate import judge

GATE = Gate(asset="model/made", metric="roc_auc", minimum=0.8, margin=0.02)


def predictions(noise: float, *, n: int = 400, seed: int = 1) -> OutOfFold:
    """The same rows and labels for one seed; more noise makes a worse model."""
    random = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    odds = 3.0 * labels - 1.5 + random.normal(size=n) + noise * np.random.default_rng(seed + 1).normal(size=n)
    return OutOfFold(
        dataset="dataset/made@1",
        digest="sha256:1",
        target="y",
        positive="1",
        rows=tuple(str(i) for i in range(n)),
        labels=tuple(int(label) for label in labels),
        probabilities=tuple(float(p) for p in 1 / (1 + np.exp(-odds))),
        seed=seed,
        folds=5,
    )


def test_the_first_version_needs_only_the_minimum() -> None:
    report = judge(GATE, predictions(0.1), None)
    assert report.passed
    assert report.verdict is None
    assert "keeps the minimum 0.8" in report.reasons[0]
    assert "no champion" in report.reasons[1]
    failed = judge(replace(GATE, minimum=0.999), predictions(0.1), None)
    assert not failed.passed
    assert "does not keep the minimum 0.999" in failed.reasons[0]


def test_the_minimum_is_asked_of_the_lower_bound() -> None:
    candidate = predictions(0.1)
    estimate = judge(GATE, candidate, None).candidate
    assert estimate is not None
    between = (estimate.low + estimate.value) / 2
    assert not judge(replace(GATE, minimum=between), candidate, None).passed
    assert judge(replace(GATE, minimum=estimate.low), candidate, None).passed


def test_for_a_loss_the_minimum_is_a_maximum_of_the_upper_bound() -> None:
    gate = Gate(asset="model/made", metric="brier", minimum=0.2, margin=0.02)
    report = judge(gate, predictions(0.1), None)
    assert report.passed
    assert "upper bound keeps the maximum" in report.reasons[0]
    assert not judge(replace(gate, minimum=0.01), predictions(0.1), None).passed


def test_each_outcome_against_a_champion() -> None:
    good, bad = predictions(0.0), predictions(3.0)
    cases = {
        "improved": (good, bad, True, True),
        "regressed": (replace(bad), good, False, False),
        "non-inferior": (good, good, True, False),
    }
    for outcome, (candidate, champion, passes, improves) in cases.items():
        gate = replace(GATE, minimum=None)
        report = judge(gate, candidate, champion)
        assert report.verdict is not None
        assert (report.verdict.outcome, report.passed) == (outcome, passes)
        assert outcome in report.reasons[-1]
        assert judge(replace(gate, require="improved"), candidate, champion).passed is improves


def test_inconclusive_does_not_pass() -> None:
    report = judge(replace(GATE, minimum=None), predictions(1.0, n=80), predictions(-1.0, n=80))
    assert report.verdict is not None
    assert report.verdict.outcome == "inconclusive"
    assert not report.passed


def test_too_few_rows_do_not_pass_even_without_a_champion() -> None:
    report = judge(replace(GATE, minimum=None), predictions(0.0, n=20), None)
    assert not report.passed
    assert "Not enough data: 20 rows" in report.reasons[0]
    with_champion = judge(replace(GATE, minimum=None), predictions(0.0, n=20), predictions(0.0, n=20))
    assert with_champion.verdict is not None
    assert with_champion.verdict.outcome == "not-enough-data"
    assert not with_champion.passed


def test_other_data_is_refused_with_the_reason() -> None:
    candidate = predictions(0.0)
    report = judge(GATE, candidate, replace(candidate, dataset="dataset/made@2"))
    assert not report.passed
    assert report.verdict is None
    assert "another dataset (dataset/made@1) than the champion (dataset/made@2)" in report.reasons[-1]


def test_one_class_does_not_pass() -> None:
    report = judge(GATE, replace(predictions(0.0), labels=(1,) * 400), None)
    assert (report.passed, report.candidate) == (False, None)
    assert "only the positive class" in report.reasons[0]


def test_a_gate_on_an_unknown_metric_is_invalid() -> None:
    with pytest.raises(Invalid, match="no metric 'auc'"):
        judge(replace(GATE, metric="auc"), predictions(0.0), None)


def test_the_report_is_json() -> None:
    report = judge(GATE, predictions(0.0), predictions(0.1))
    raw = msgspec.json.decode(report.to_json())
    assert raw["verdict"]["difference"]["level"] == 0.95
    assert raw["gate"]["metric"] == "roc_auc"


def test_the_gate_can_be_imported_without_numpy() -> None:
    code = "import sys, tandem.evaluation.gate; assert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
