"""What a training leaves behind about its model: contributions that add up, and the slices and groups that were planted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tandem.core.errors import Invalid
from tandem.evaluation.about.nouns import FAIRNESS, IMPORTANCE, SLICES, Fairness, Importance, Slices, read
from tandem.evaluation.about.whole import TASKS
from tandem.serving.base import load
from tandem.serving.encoding import Encoding
from tandem.serving.host import by_field
from tandem.training.algorithms.base import TABULAR
from tandem.training.algorithms.base import load as load_algorithm
from tandem.training.fit import Fitted, fit
from tandem.training.table import tabulate
from tandem.training.task import AlgorithmName, Task

EXPLAINING: tuple[AlgorithmName, ...] = ("gradient-boosting", "lightgbm", "logistic", "hist-gradient-boosting")


def rows(n: int = 2_000, seed: int = 1) -> pl.DataFrame:
    """`a` tells the target, but for the women it hardly does; `noise` never does."""
    draw = np.random.default_rng(seed)
    a, sex = draw.normal(size=n), draw.choice(["f", "m"], size=n)
    y = a + draw.normal(size=n) * np.where(sex == "f", 3.0, 0.2) > 0
    return pl.DataFrame(
        {"a": a, "noise": draw.normal(size=n), "colour": draw.choice(["red", "blue"], size=n), "sex": sex, "y": y.astype(int)}
    )


def trained(algorithm: AlgorithmName, frame: pl.DataFrame, **more: object) -> Fitted:
    task = Task(name="m", dataset="dataset/m@1", target="y", algorithm=algorithm, **more)  # type: ignore[arg-type]  # options
    return fit(task, frame, lambda share, stage: None)


@pytest.fixture(scope="module", params=["gradient-boosting", "lightgbm", "logistic", "random-forest"])
def fitted(request: pytest.FixtureRequest) -> Fitted:
    return trained(request.param, rows(), exclude=("sex",), fairness=("sex",))


def test_what_was_planted_is_found(fitted: Fitted) -> None:
    slices = read(fitted.members[SLICES], Slices)
    assert slices is not None
    assert any("sex = f" in [part.name for part in each.where] for each in slices.found), "also of a column that is not learned"
    (told,) = read(fitted.members[FAIRNESS], tuple[Fairness, ...]) or ()
    assert (told.column, told.learned) == ("sex", False)
    gap = next(each for each in told.gaps if each.measure == "equal_opportunity").estimate
    assert gap is not None
    assert gap.low > 0.1
    importance = read(fitted.members[IMPORTANCE], Importance)
    assert importance is not None
    first, *others = importance.features
    assert first.name == "a"
    assert first.lost is not None
    assert first.lost.low > 0.1
    assert {each.name for each in others} == {"noise", "colour"}
    for each in others:
        assert each.lost is not None
        assert each.lost.low < 0.01
    assert importance.unit == ("probability" if fitted.algorithm == "random-forest" else "log-odds")
    assert importance.explained > 50  # of a large forest fewer than of others
    assert first.direction == pytest.approx(1, abs=0.1)
    assert [point.mean for point in first.points] == sorted(point.mean for point in first.points)


@pytest.mark.parametrize("algorithm", EXPLAINING)
def test_contributions_of_columns_and_their_base_are_the_log_odds(algorithm: AlgorithmName, tmp_path: Path) -> None:
    frame = rows(400)
    made = trained(algorithm, frame)
    for name, content in made.members.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    encoding = Encoding.load(tmp_path)
    assert encoding is not None
    table = tabulate(Task(name="m", dataset="dataset/m@1", target="y"), frame)
    matrix = table.columns.matrix(encoding)
    model = load(load_algorithm(algorithm).runtime, tmp_path)
    parts, base = model.explain(matrix)
    added = by_field(parts, encoding)
    assert added.shape == (400, 4)
    chances = model.predict(matrix)[:, 0]
    assert added.sum(axis=1) + base == pytest.approx(np.log(chances / (1 - chances)), abs=1e-3)
    importance = read(made.members[IMPORTANCE], Importance)
    assert importance is not None
    assert importance.explained == 400
    sizes = {each.name: each.added.value for each in importance.features if each.added is not None}
    assert sizes == pytest.approx(dict(zip(table.signature.names, np.abs(added).mean(axis=0), strict=True)))


def test_rows_of_a_group_stay_together_and_the_first_block_of_time_is_no_matter() -> None:
    frame = rows(600).with_columns(pl.Series("person", np.arange(600) // 3), pl.Series("at", np.arange(600)))
    grouped = read(trained("logistic", frame, split="group", group="person").members[SLICES], Slices)
    assert grouped is not None
    assert (grouped.group, grouped.rows) == ("person", 600)
    forward = trained("logistic", frame, split="time", time="at", fairness=("sex",))
    slices, told = read(forward.members[SLICES], Slices), read(forward.members[FAIRNESS], tuple[Fairness, ...])
    assert slices is not None
    assert told is not None
    assert slices.rows == sum(group.n for group in told[0].groups) == len(forward.oof.rows) < 600


def test_numbers_and_more_classes_are_told_of_too() -> None:
    frame = rows(600)
    number = trained("lightgbm", frame.with_columns(pl.col("a").alias("y") * 2 + 1), fairness=("sex",))
    slices, told = read(number.members[SLICES], Slices), read(number.members[FAIRNESS], tuple[Fairness, ...])
    assert slices is not None
    assert slices.loss == "mae"
    assert [gap.measure for gap in (told or ())[0].gaps] == ["error"]
    assert set((told or ())[0].groups[0].measured) == {"error", "bias"}
    classes = pl.Series("y", np.digitize(frame["a"].to_numpy(), [-0.5, 0.5]).astype(str))
    many = trained("gradient-boosting", frame.with_columns(classes), fairness=("sex",))
    importance, told = read(many.members[IMPORTANCE], Importance), read(many.members[FAIRNESS], tuple[Fairness, ...])
    assert importance is not None
    assert importance.features[0].name == "a"
    assert [gap.measure for gap in (told or ())[0].gaps] == ["accuracy"]


def test_the_same_training_gives_the_same_members() -> None:
    one, two = (trained("gradient-boosting", rows(300), fairness=("sex",)) for _ in range(2))
    for name in (SLICES, FAIRNESS, IMPORTANCE):
        assert one.members[name] == two.members[name]


@pytest.mark.parametrize(
    ("columns", "message"), [(("none",), "no column 'none'"), (("id",), "has 400 groups"), (("same",), "has 1 groups")]
)
def test_a_column_that_makes_no_groups_is_refused_before_anything_is_trained(columns: tuple[str, ...], message: str) -> None:
    frame = rows(400).with_columns(pl.Series("id", [f"n{n}" for n in range(400)]), pl.lit("x").alias("same"))
    with pytest.raises(Invalid, match=message) as refused:
        trained("logistic", frame, exclude=("id",), fairness=columns)
    assert refused.value.field == "fairness"


@pytest.mark.parametrize("algorithm", [name for name in TABULAR if set(load_algorithm(name).tasks) & set(TASKS)])
def test_a_training_of_few_rows_tells_what_it_can(algorithm: AlgorithmName) -> None:
    frame = rows(24)
    task = Task(name="m", dataset="dataset/m@1", target="y", algorithm=algorithm, folds=2)
    if algorithm == "linear":
        frame, task = frame.drop("y"), replace(task, target="a")
    made = fit(task, frame, lambda share, stage: None)
    slices, importance = read(made.members[SLICES], Slices), read(made.members[IMPORTANCE], Importance)
    assert slices is not None
    assert importance is not None
    assert (slices.found, slices.power, importance.shuffled) == ((), (), 0)
