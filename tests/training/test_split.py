"""Folds by group and time, leaks, balanced classes, calibrated probabilities, thresholds of costs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tandem.core.errors import Broken, Invalid
from tandem.evaluation.evidence import OutOfFold
from tandem.evaluation.replay import Case, Place, replay
from tandem.serving.base import Card
from tandem.serving.calibration import FILE, Calibration, Isotonic, Platt
from tandem.serving.columns import predict
from tandem.serving.frames import Ask
from tandem.serving.host import Host
from tandem.serving.indoor import Session
from tandem.store.lake import Lake
from tandem.training.calibrate import calibrate
from tandem.training.fit import Fitted, fit
from tandem.training.split import NEVER, Splits, divide
from tandem.training.table import Aim
from tandem.training.task import Task

START = datetime(2026, 1, 1, tzinfo=UTC)


def order(**other: object) -> Task:
    base = Task(name="made", dataset="dataset/made@1", target="y", algorithm="logistic")
    return replace(base, **other)  # type: ignore[arg-type]


def quiet(share: float, stage: str) -> None:
    assert 0 <= share <= 1
    assert stage


def frame(n: int = 300, seed: int = 1, share: float = 0.5) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    labels = random.random(n) < share
    return pl.DataFrame(
        {
            "a": random.normal(size=n) + 1.2 * labels,
            "b": random.normal(size=n),
            "shop": [f"s{number % 23}" for number in range(n)],
            "at": [START + timedelta(hours=int(hour)) for hour in random.permutation(n)],
            "y": labels,
        }
    )


def aim(data: pl.DataFrame) -> Aim:
    return Aim(task="classification", classes=("false", "true"), target=data["y"].to_numpy())


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), folds=st.integers(2, 8))
def test_groups_stay_together(seed: int, folds: int) -> None:
    data = frame(seed=seed)
    splits = divide(order(split="group", group="shop", folds=folds, seed=seed), aim(data), data)
    places: dict[str, set[int]] = {}
    for shop, fold in zip(data["shop"].to_list(), splits.fold.tolist(), strict=True):
        places.setdefault(shop, set()).add(fold)
    assert all(len(folds) == 1 for folds in places.values())
    sizes = np.bincount(splits.fold)
    assert len(sizes) == folds
    assert sizes.max() - sizes.min() <= 15  # a group
    again = divide(order(split="group", group="shop", folds=folds, seed=seed), aim(data), data)
    assert (again.fold == splits.fold).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), folds=st.integers(2, 8), coarse=st.integers(1, 20))
def test_time_goes_forward(seed: int, folds: int, coarse: int) -> None:
    data = frame(seed=seed).with_columns(at=pl.col("at").dt.truncate(f"{coarse}h"))
    splits = divide(order(split="time", time="at", folds=folds), aim(data), data)
    at = data["at"].dt.epoch("s").to_numpy()
    for number in range(splits.count):
        seen, held = splits.seen(number), splits.held(number)
        assert at[seen].max() < at[held].min()
    assert set(splits.fold.tolist()) == set(range(NEVER, folds))
    assert not splits.judged[at == at.min()].any()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"split": "group"}, "group"),
        ({"split": "group", "group": "none"}, "group"),
        ({"split": "group", "group": "y", "folds": 3}, "group"),
        ({"split": "time"}, "time"),
        ({"split": "time", "time": "y"}, "folds"),
        ({"split": "group", "group": "y", "folds": 2}, "split"),
    ],
)
def test_a_split_that_is_none_is_refused(change: dict[str, object], field: str) -> None:
    data = frame()
    with pytest.raises(Invalid) as caught:
        divide(order(**change), aim(data), data)
    assert caught.value.field == field


def test_a_group_that_tells_the_target_deceives_a_random_split_only() -> None:
    """Rows of a person are alike, and all have one label: only a split by person says what a new person means."""
    random = np.random.default_rng(4)
    people = np.arange(400) % 40
    marks = random.normal(size=(40, 6))
    labels = random.permutation(np.arange(40) % 2)[people]
    data = pl.DataFrame(marks[people] + 0.05 * random.normal(size=(400, 6)), schema=list("abcdef"))
    data = data.with_columns(person=pl.Series(people), y=pl.Series(labels))
    trees = order(algorithm="gradient-boosting", params={"rounds": 50})
    naive = fit(replace(trees, exclude=("person",)), data, quiet).metrics["roc_auc"]
    honest = fit(replace(trees, split="group", group="person"), data, quiet)
    assert naive.low > 0.95
    assert honest.metrics["roc_auc"].value < 0.8
    assert "person" not in honest.signature.names


def test_rows_that_time_never_judges_are_not_in_the_evidence() -> None:
    data = frame()
    got = fit(order(split="time", time="at", exclude=("shop",)), data, quiet)
    oof = OutOfFold.from_json(got.members["oof.json"])
    assert oof == got.oof
    assert len(oof.rows) == len(oof.places) == got.metrics["roc_auc"].n == 250
    at = data["at"].dt.epoch("s").to_numpy()
    assert at[list(oof.places)].min() > np.delete(at, list(oof.places)).max()
    assert [oof.labels[0], oof.rows[0]] == [int(data["y"][oof.places[0]]), str(oof.places[0] + 1)]
    assert "at" not in got.signature.names


def test_a_champion_that_was_judged_in_time_is_asked_about_newer_rows_only(tmp_path: Path) -> None:
    old, new = frame(seed=1), frame(seed=2)
    lake = Lake(tmp_path / "lake")
    lake.write("old", old)
    lake.write("new", pl.concat([old, new]))
    champion = fit(order(split="time", time="at", exclude=("shop",)), old, quiet)
    candidate = fit(order(dataset="dataset/made@2", exclude=("shop", "at")), pl.concat([old, new]), quiet)
    for name, content in champion.members.items():
        (tmp_path / "members" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "members" / name).write_bytes(content)
    case = Case(
        lake=str(tmp_path / "lake"),
        members=str(tmp_path / "members"),
        signature=champion.signature,
        seen=Place(ref="dataset/made@1", table="old", version=0),
        asked=Place(ref="dataset/made@2", table="new", version=0),
        candidate=candidate.oof,
        champion=champion.oof,
    )
    with pytest.raises(Invalid, match="50 of the candidate's rows are rows that the champion learned from"):
        replay(case)
    later = replace(candidate.oof.at(range(300, 600)), places=tuple(range(300, 600)))
    found = replay(replace(case, candidate=later))
    assert found.rows == later.rows
    fresh = predict(tmp_path / "members", new, champion.signature)[:, 0]
    assert found.probabilities == pytest.approx(fresh.tolist())


# Leaks


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (pl.col("y").cast(pl.Int64) * 7, "tells the target 'y' exactly"),
        (pl.when("y").then(pl.lit("won")).otherwise(pl.lit("lost")), "tells the target 'y' exactly"),
        (pl.col("a") * 0.02 + pl.col("y"), "tells the target 'y' exactly"),
        (pl.when(pl.int_range(300) == 7).then(~pl.col("y")).otherwise("y").cast(pl.Int64), "almost alone"),
        (pl.int_range(300) + 5000, "names rows"),
    ],
)
def test_a_column_that_tells_too_much_is_named(column: pl.Expr, said: str) -> None:
    data = frame().drop("at", "shop").with_columns(column.alias("odd"))
    got = fit(order(), data, quiet)
    assert len(got.warnings) == 1
    assert "Column 'odd'" in got.warnings[0]
    assert said in got.warnings[0]
    with pytest.raises(Invalid, match="Column 'odd'") as caught:
        fit(order(leaks="refuse"), data, quiet)
    assert caught.value.field == "odd"
    assert fit(order(leaks="refuse", exclude=("odd",)), data, quiet).warnings == ()


def test_a_number_that_copies_a_number_is_named() -> None:
    random = np.random.default_rng(2)
    data = pl.DataFrame({"a": random.normal(size=200), "y": random.normal(size=200)}).with_columns(euros=pl.col("y") * 0.9 + 3)
    (warning,) = fit(order(algorithm="linear"), data, quiet).warnings
    assert "'euros' tells the target 'y' exactly" in warning


def test_rows_in_two_folds_are_counted() -> None:
    data = frame().drop("at", "shop")
    doubled = pl.concat([data, data.head(20)])
    (warning,) = fit(order(), doubled, quiet).warnings
    counted = int(warning.split()[0])
    assert 20 <= counted <= 40  # some pairs fall into one fold
    with pytest.raises(Invalid, match="more than one fold"):
        fit(order(leaks="refuse"), doubled, quiet)


# Classes that are rare, probabilities that are wrong, answers that cost


def test_balanced_classes_find_more_of_the_rare_one() -> None:
    data = frame(800, share=0.08).drop("at", "shop")
    plain, even = fit(order(), data, quiet), fit(order(balance=True), data, quiet)
    assert even.metrics["recall"].value > plain.metrics["recall"].value + 0.3
    assert even.metrics["calibration_error"].value > plain.metrics["calibration_error"].value + 0.1


@pytest.mark.parametrize("way", ["platt", "isotonic", "auto"])
def test_calibration_mends_what_balance_breaks_and_serves(way: str, tmp_path: Path) -> None:
    data = frame(800, share=0.08).drop("at", "shop")
    got = fit(order(balance=True, calibrate=way), data, quiet)
    assert got.calibration is not None
    assert got.calibration.way in (("platt", "isotonic") if way == "auto" else (way,))
    assert got.calibration.after.value < got.calibration.before.value / 3
    assert got.calibration.after == got.metrics["calibration_error"]
    for name, content in got.members.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    rows = data.select("a", "b").head(50)
    whole = predict(tmp_path, rows, got.signature)
    lists: list[list[float | str]] = [list(row) for row in rows.iter_rows()]
    assert Session.load(tmp_path, got.signature).predict(lists) == pytest.approx(whole, abs=1e-6)
    answer = Host().answer(Ask(1, "predict", "m", str(tmp_path), lists))
    assert np.array(answer.outputs) == pytest.approx(whole, abs=1e-6)
    assert float(np.mean(predict(tmp_path, data, got.signature))) == pytest.approx(0.08, abs=0.03)


def test_a_row_is_calibrated_by_a_curve_that_did_not_see_it() -> None:
    """Scores without any relation to the truth: a curve that saw each row would find one."""
    random = np.random.default_rng(5)
    scores, truths = random.random(60), random.random(60) < 0.5
    splits = Splits(fold=np.arange(60) % 5, count=5, forward=False)
    found = calibrate("isotonic", scores, truths, splits)
    assert found.calibration is not None
    inside = np.array([found.calibration.curve.of(float(score)) for score in scores])
    assert ((found.chances - truths) ** 2).mean() > ((inside - truths) ** 2).mean()
    assert calibrate("auto", truths * 0.4 + 0.3, truths, splits).chances.shape == (60,)


@given(scores=st.lists(st.floats(0, 1), min_size=2, max_size=30), steps=st.integers(2, 6))
def test_curves_rise_and_stay_between_0_and_1(scores: list[float], steps: int) -> None:
    points = np.linspace(0.1, 0.9, steps)
    for curve in (Platt(1.7, -0.4), Isotonic(tuple(points), tuple(points**2))):
        said = [curve.of(score) for score in sorted(scores)]
        assert said == sorted(said)
        assert all(0 <= chance <= 1 for chance in said)
        assert Calibration(curve).rows([[score] for score in scores]) == [[curve.of(score)] for score in scores]


def test_a_broken_curve_is_said_to_be_broken(tmp_path: Path) -> None:
    assert Calibration.load(tmp_path) is None
    (tmp_path / FILE).write_text("{}")
    with pytest.raises(Broken, match="cannot be read"):
        Calibration.load(tmp_path)


def cost(got: Fitted, negative: float, positive: float) -> float:
    said = np.array(got.oof.probabilities) >= got.oof.threshold
    truth = np.array(got.oof.labels) == 1
    return float((said & ~truth).sum() * positive + (~said & truth).sum() * negative)


def test_costs_choose_the_threshold(tmp_path: Path) -> None:
    data = frame(800).drop("at", "shop")
    plain = fit(order(), data, quiet)
    dear = fit(order(cost_false_positive=1.0, cost_false_negative=9.0), data, quiet)
    assert (plain.threshold, dear.threshold, dear.oof.threshold) == (0.5, 0.1, 0.1)
    assert cost(dear, 9, 1) < cost(plain, 9, 1)
    (tmp_path / "model.json").write_bytes(dear.members["model.json"])
    assert Card.read(tmp_path).threshold == 0.1
    (warning,) = fit(order(cost_false_positive=1.0, cost_false_negative=9.0, balance=True), data, quiet).warnings
    assert "calibrate" in warning


@pytest.mark.parametrize("given", [{"cost_false_positive": 1.0}, {"cost_false_positive": 0.0, "cost_false_negative": 1.0}])
def test_costs_that_are_none_are_refused(given: dict[str, float]) -> None:
    with pytest.raises(Invalid, match="two numbers above 0"):
        order(**given)


@pytest.mark.parametrize(
    "option", [{"balance": True}, {"calibrate": "auto"}, {"cost_false_positive": 1, "cost_false_negative": 1}]
)
def test_options_of_classes_make_no_sense_for_numbers(option: dict[str, object]) -> None:
    data = frame().drop("at", "shop").with_columns(y=pl.col("a") * 2)
    with pytest.raises(Invalid, match="makes no sense for a regression"):
        fit(order(algorithm="linear", **option), data, quiet)


def test_the_manifest_keeps_what_was_found() -> None:
    got = fit(order(calibrate="platt"), frame().drop("at", "shop"), quiet)
    card = msgspec.json.decode(got.members["model.json"])
    assert (card["split"], card["warnings"], card["calibration"]["way"]) == ("random", [], "platt")
