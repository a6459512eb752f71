from __future__ import annotations

from dataclasses import replace

import pytest

from tandem.core.errors import Invalid
from tandem.core.policy import Gate, Slice
from tandem.evaluation.measures import check_metrics

GATE = Gate(asset="model/x")


@pytest.mark.parametrize(
    "gate",
    [
        GATE,
        replace(GATE, metric="mae", minimums={"r2": 0.1}),
        replace(GATE, metric="macro_f1", minimums={"accuracy": 0.5}, slices=(Slice(column="a", value="b", metric="log_loss"),)),
        replace(GATE, minimums={"cost": 0.5}, cost_false_positive=1.0, cost_false_negative=2.0),
    ],
)
def test_metrics_of_one_task_make_a_gate(gate: Gate) -> None:
    check_metrics(gate)


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        (replace(GATE, metric="charm"), "no metric 'charm'"),
        (replace(GATE, metric="mae", minimums={"recall": 0.5}), "No model has all of the metrics mae, recall"),
        (replace(GATE, metric="mae", minimums={"cost": 0.5}), "No model has all"),
        (replace(GATE, slices=(Slice(column="a", low=1, metric="rmse"),)), "No model has all of the metrics roc_auc, rmse"),
        (replace(GATE, minimums={"cost": 0.5}), "needs to know what mistakes cost"),
    ],
)
def test_other_metrics_make_none(gate: Gate, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        check_metrics(gate)


def test_whoever_names_an_unknown_metric_hears_those_of_every_task() -> None:
    with pytest.raises(Invalid) as caught:
        check_metrics(replace(GATE, metric="charm"))
    assert {"roc_auc", "mae", "macro_f1"} <= set(str(caught.value.hint).removesuffix(".").split(": ")[1].split(", "))
