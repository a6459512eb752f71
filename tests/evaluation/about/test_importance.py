"""What columns count for: contributions of a linear model are known beforehand, and a column of noise loses nothing."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from tandem.evaluation.about.importance import Contributions, importance, shuffled
from tandem.evaluation.about.loss import CAP, row_losses
from tandem.serving.linear import Linear


def linear() -> Linear:
    """2 x a - 3 x b + 0 x noise."""
    zero, one = np.zeros(3), np.ones(3)
    return Linear.of(means=zero, scales=one, coefficients=np.array([2.0, -3.0, 0.0]), intercepts=np.zeros(1), link="identity")


def test_contributions_of_a_linear_model_are_those_one_computes_by_hand() -> None:
    rows = np.random.default_rng(1).normal(size=(4_000, 3))
    added, base = linear().explain(rows)
    assert added.sum(axis=1) + base == pytest.approx(linear().predict(rows)[:, 0])
    names = ["a", "b", "noise"]
    told = importance(names, Contributions(frame=pl.DataFrame(rows, schema=names), added=added, unit="target"), None, loss="mae")
    assert [each.name for each in told.features] == ["b", "a", "noise"]
    b, a, noise = told.features
    half_normal = np.sqrt(2 / np.pi)
    for feature, weight in ((b, 3.0), (a, 2.0)):
        assert feature.added is not None
        assert feature.added.low <= weight * half_normal <= feature.added.high
    assert (a.direction, b.direction, noise.direction) == (pytest.approx(1), pytest.approx(-1), None)
    means = [point.mean for point in b.points]
    assert means == sorted(means, reverse=True)
    assert sum(point.n for point in b.points) == 4_000


def test_a_category_is_told_by_value_and_has_no_direction() -> None:
    frame = pl.DataFrame({"colour": ["red", "blue"] * 50})
    added = np.where(frame["colour"] == "red", 1.5, -0.5)[:, None]
    (told,) = importance(["colour"], Contributions(frame=frame, added=added, unit="log-odds"), None, loss="log_loss").features
    assert told.direction is None
    assert {point.where.name: (point.n, point.mean) for point in told.points} == {
        "colour = blue": (50, -0.5), "colour = red": (50, 1.5),
    }  # fmt: skip


def test_what_is_shuffled_is_missed_as_much_as_it_counted() -> None:
    """Squared terms apart, |y - y'| grows by the mean size of the difference of two draws of the column's part."""
    draw = np.random.default_rng(2)
    rows = draw.normal(size=(5_000, 3))
    truth = linear().predict(rows)[:, 0]
    lost = shuffled(linear().predict, lambda said: row_losses("regression", truth, said), rows, np.arange(3), seed=3)
    told = importance(["a", "b", "noise"], None, lost, loss="mae")
    assert [each.name for each in told.features] == ["b", "a", "noise"]
    for feature, weight in zip(told.features, (3.0, 2.0, 0.0), strict=True):
        assert feature.added is None
        assert feature.lost is not None
        assert feature.lost.low <= weight * 2 / np.sqrt(np.pi) <= feature.lost.high


def test_columns_of_one_encoding_are_shuffled_together() -> None:
    """Two encoded columns that cancel each other out tell nothing: shuffled apart they would."""
    rows = np.column_stack([np.arange(200.0), -np.arange(200.0), np.ones(200)])

    def summed(asked: np.ndarray) -> np.ndarray:
        return asked[:, :2].sum(axis=1, keepdims=True)

    lost = shuffled(summed, lambda said: row_losses("regression", np.zeros(200), said), rows, np.array([0, 0, 1]), seed=1)
    assert lost.shape == (200, 2)
    assert not lost.any()


def test_a_row_loses_no_more_than_the_cap() -> None:
    said = np.array([[0.0], [1.0], [0.5]])
    assert row_losses("classification", np.array([1, 1, 0]), said) == pytest.approx([CAP, 0.0, np.log(2)])
    assert row_losses("multiclass", np.array([0, 1]), np.array([[0.25, 0.75], [0.25, 0.75]])) == pytest.approx(
        -np.log([0.25, 0.75])
    )
