"""Slices are found where they are planted, and none where there is none: both over many seeds."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.special import stdtr, stdtrit

from tandem.evaluation.about.columns import coded
from tandem.evaluation.about.nouns import Part, Slices
from tandem.evaluation.about.slices import find

SEEDS = 300


def rows(seed: int, n: int, columns: int = 7) -> tuple[pl.DataFrame, np.ndarray]:
    """Columns, three of them texts, and losses that have nothing to do with them."""
    draw = np.random.default_rng(seed)
    numbers = {f"x{place}": draw.normal(size=n) for place in range(columns - 3)}
    texts = {f"c{place}": draw.choice(list("abcd"), size=n) for place in range(3)}
    loss = draw.exponential(size=n) if seed % 2 else (draw.random(n) < 0.15).astype(np.float64)
    return pl.DataFrame(numbers | texts), loss


def searched(frame: pl.DataFrame, loss: np.ndarray, seed: int) -> Slices:
    return find(frame, loss, loss="log_loss", seed=seed)


def test_where_there_is_none_none_is_found_but_by_chance() -> None:
    found = [bool(searched(*rows(seed, 800, columns=10), seed).found) for seed in range(SEEDS)]
    assert np.mean(found) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / SEEDS)


def test_all_that_were_tested_share_the_error() -> None:
    """Two slices that are there among several that were tested: the surer one's p-value is multiplied by their number (Holm)."""
    frame, loss = rows(1, 4_000, columns=10)
    told = searched(frame, loss * np.where(frame["c0"] == "a", 1.4, 1.0) * np.where(frame["x0"] > 1.3, 1.4, 1.0), 1)
    assert told.tested >= 3
    assert len(told.found) >= 2
    shares = []
    for each in told.found:
        gap = each.difference
        assert gap.level == pytest.approx(1 - 0.05 / told.tested, abs=1e-6)
        error = (gap.high - gap.value) / stdtrit(gap.n - 1, 1 - (1 - gap.level) / 2)
        shares.append(each.p / stdtr(gap.n - 1, -gap.value / error))
    assert sorted(shares, reverse=True)[:2] == pytest.approx([told.tested, told.tested - 1], rel=1e-3)


def test_a_planted_slice_of_one_condition_is_found_and_named() -> None:
    named = []
    for seed in range(1, 60, 2):
        frame, loss = rows(seed, 2_500)
        loss = loss * np.where(frame["c1"] == "b", 1.6, 1.0)
        named.append("c1 = b" in [each.name for each in searched(frame, loss, seed).found])
    assert np.mean(named) >= 0.9


def test_a_planted_slice_of_two_conditions_is_found_and_named() -> None:
    named = []
    for seed in range(1, 60, 2):
        frame, loss = rows(seed, 3_000)
        bad = (frame["c1"] == "b").to_numpy() & (frame["x2"] > 0).to_numpy()
        found = searched(frame, loss * np.where(bad, 2.0, 1.0), seed).found
        named.append(any({part.column for part in each.where} == {"c1", "x2"} for each in found))
    assert np.mean(named) >= 0.9


def test_missing_values_and_truths_make_conditions_too() -> None:
    frame, loss = rows(1, 2_000)
    gone = np.arange(2_000) % 5 == 0
    frame = frame.with_columns(
        pl.Series("x0", np.where(gone, np.nan, frame["x0"].to_numpy())).fill_nan(None),
        pl.Series("flag", np.arange(2_000) % 4 == 1),
    )
    found = searched(frame, loss * np.where(gone, 3.0, 1.0) * np.where(frame["flag"], 2.5, 1.0), 3).found
    assert {"x0 is missing", "flag = true"} <= {each.name for each in found}


def test_the_interval_of_a_difference_holds_as_often_as_it_says() -> None:
    """The planted difference is 1; among confirmed slices that are exactly the planted one, intervals cover it."""
    covered = []
    for seed in range(1, 200, 2):
        frame, loss = rows(seed, 1_500)
        loss = loss + (frame["c0"] == "a").to_numpy()
        for each in searched(frame, loss, seed).found:
            if each.name == "c0 = a":
                covered.append(each.difference.low <= 1.0 <= each.difference.high)
    assert len(covered) >= 80
    assert np.mean(covered) >= 0.9


def test_rows_of_one_group_are_no_proof_by_themselves() -> None:
    """Sixty groups with a luck of their own, which the column tells: by rows a find, by groups none."""

    def one(seed: int) -> tuple[bool, bool]:
        draw = np.random.default_rng(seed)
        group = np.repeat(np.arange(60), 40)
        frame = pl.DataFrame({"kind": draw.choice(list("abcd"), size=60)[group], "noise": draw.normal(size=2_400)})
        loss = draw.exponential(size=60)[group] + draw.exponential(size=2_400)
        grouped = find(frame, loss, loss="mae", seed=seed, groups=group.tolist(), group="person")
        return bool(grouped.found), bool(searched(frame, loss, seed).found)

    found = np.array([one(seed) for seed in range(60)])
    assert found[:, 0].mean() <= 0.15
    assert found[:, 1].mean() >= 0.5


def test_none_found_tells_its_power_and_what_it_tells_is_found() -> None:
    frame, loss = rows(0, 4_000)
    told = searched(frame, loss, 0)
    power = next(each for each in told.power if each.share == 0.25)
    named = []
    for seed in range(1, 60, 2):
        frame, loss = rows(seed, 4_000)
        scale = next(each for each in searched(frame, loss, seed).power if each.share == 0.25).difference
        found = searched(frame, loss + scale * (frame["c1"] == "b").to_numpy(), seed).found
        named.append(any("c1" in {part.column for part in each.where} for each in found))
    assert power.difference > 0
    assert np.mean(named) >= 0.75


def test_the_same_rows_and_seed_give_the_same_slices() -> None:
    frame, loss = rows(1, 1_000)
    loss = loss * np.where(frame["c0"] == "a", 2.0, 1.0)
    assert searched(frame, loss, 5) == searched(frame, loss, 5)


def test_a_model_without_errors_has_no_weak_slice() -> None:
    frame, _ = rows(1, 500)
    told = searched(frame, np.zeros(500), 1)
    assert (told.found, {power.difference for power in told.power}) == ((), {0.0})


def test_few_rows_are_no_error() -> None:
    frame, loss = rows(1, 25)
    assert searched(frame, loss, 1).found == ()


@pytest.mark.parametrize(
    ("cells", "names"),
    [
        (pl.Series("b", [True, False, None]), ["b = false", "b = true", "b is missing"]),
        (pl.Series("n", [1, 2, 3]), ["n < 2", "n < 3", "2 <= n < 3", "2 <= n", "3 <= n"]),
    ],
)
def test_conditions_of_a_column(cells: pl.Series, names: list[str]) -> None:
    found = coded(cells)
    assert found is not None
    assert [part.name for part in found.parts] == names
    masks = found.holds[:, found.codes].astype(bool)
    assert all(mask.any() and not mask.all() for mask in masks)


def test_a_frequent_smallest_number_is_told_from_the_others() -> None:
    found = coded(pl.Series("gain", [0] * 95 + list(range(1, 21))))
    assert found is not None
    assert Part(column="gain", low=1.0) in found.parts


def test_texts_and_columns_of_one_value_make_no_condition() -> None:
    assert coded(pl.Series("one", ["a", "a"])) is None
    assert coded(pl.Series("when", [0, 1], dtype=pl.Datetime("us"))) is None
