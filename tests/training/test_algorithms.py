"""Algorithms: the plain form of trees and the ONNX form say what the library itself says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn import ensemble

from tandem.core.errors import Broken
from tandem.scorers.base import TaskName
from tandem.serving.base import load as load_runtime
from tandem.serving.forest import Forest, Tree, Trees, below
from tandem.serving.onnx import Onnx
from tandem.training.algorithms.base import TABULAR, Examples, Unconvertible, load, settings
from tandem.training.algorithms.linear import standardised
from tandem.training.algorithms.trees import single

CASES = [(name, task) for name in TABULAR for task in load(name).tasks]
every = pytest.mark.parametrize(("name", "task"), CASES)
FAST = {"rounds": 15, "trees": 15}


def examples(task: TaskName, *, gaps: bool = True, weights: bool = False, absent: bool = False) -> Examples:
    random = np.random.default_rng(1)
    features = random.normal(size=(400, 5)) * 10.0 ** np.arange(-2, 3)
    score = (features / 10.0 ** np.arange(-2, 3)).sum(axis=1)
    if gaps:
        features[::7, 1] = np.nan
    grades = np.digitize(score, [-1, 0, 1])
    numbers = {"classification": score > 0, "multiclass": grades, "ranking": grades.astype(float)}
    target = numbers.get(task, score)
    if absent:
        target = np.where(target == 1, 3, target)
    return Examples(
        features=features,
        target=target,
        task=task,
        classes={"classification": 2, "multiclass": 4}.get(task, 0),
        naive=2,
        groups=np.arange(400) // 8 % 40 if task == "ranking" else None,
        weights=random.integers(1, 4, size=400).astype(float) if weights else None,
    )


def params(name: str) -> dict[str, float]:
    known = load(name).params
    return settings(name, known, {key: value for key, value in FAST.items() if key in known})


@every
@pytest.mark.parametrize("gaps", [False, True])
def test_every_form_of_a_model_agrees(name: str, task: TaskName, gaps: bool, tmp_path: Path) -> None:
    """Also for values that were missing nowhere in training, and for values at the thresholds themselves."""
    learned = examples(task, gaps=gaps)
    model = load(name).fit(learned, params=params(name), seed=1)
    random = np.random.default_rng(2)
    asked = random.permutation(learned.features.ravel()).reshape(learned.features.shape)
    asked[::5, 3] = np.nan
    said = model.predict(asked)
    assert said.shape == (400, 4 if task == "multiclass" else 1)
    file, content = model.native()
    (tmp_path / file).write_bytes(content)
    assert load_runtime(load(name).runtime, tmp_path).predict(asked) == pytest.approx(said, abs=1e-9)
    scale = float(np.abs(said).max())
    if name == "ecod":
        with pytest.raises(Unconvertible):
            model.onnx()
    else:
        assert Onnx.of(model.onnx()).predict(asked) == pytest.approx(said, abs=1e-5 * max(scale, 1))
    shares = model.importances()
    assert shares.shape == (5,)
    assert shares.sum() == pytest.approx(1)


@every
def test_a_class_without_rows_is_never_likely(name: str, task: TaskName) -> None:
    if task != "multiclass":
        return
    learned = examples(task, absent=True)
    said = load(name).fit(learned, params=params(name), seed=1).predict(learned.features)
    assert said.shape == (400, 4)
    assert said.sum(axis=1) == pytest.approx(1, abs=1e-6)
    assert (said.argmax(axis=1) != 1).all()


@pytest.mark.parametrize(("name", "task"), [case for case in CASES if case[1] in ("classification", "regression", "multiclass")])
def test_weights_count_rows(name: str, task: TaskName) -> None:
    heavy = load(name).fit(examples(task, weights=True), params=params(name), seed=1)
    light = load(name).fit(examples(task), params=params(name), seed=1)
    rows = examples(task).features
    assert np.abs(heavy.predict(rows) - light.predict(rows)).max() > 1e-6


@pytest.mark.parametrize("task", ["classification", "regression", "multiclass"])
def test_the_plain_forms_are_scikit_learns(task: TaskName) -> None:
    learned = examples(task)
    rows = single(learned.features)
    for name, kind, given in (
        ("random-forest", "RandomForest", {"n_estimators": 15, "max_depth": 10, "min_samples_leaf": 2, "max_features": 0.4}),
        ("hist-gradient-boosting", "HistGradientBoosting", {"max_iter": 15, "max_leaf_nodes": 15, "early_stopping": False}),
    ):
        made = getattr(ensemble, f"{kind}{'Regressor' if task == 'regression' else 'Classifier'}")(random_state=1, **given)
        made.fit(rows, learned.target)
        theirs = made.predict(rows)[:, None] if task == "regression" else made.predict_proba(rows)
        ours = load(name).fit(learned, params=params(name), seed=1).predict(learned.features)
        assert ours == pytest.approx(theirs[:, -1:] if task == "classification" else theirs, abs=1e-9)


def test_a_column_of_one_value_says_little_of_another() -> None:
    """The standard deviation of equal numbers is often not 0 but what rounding left of it."""
    constant = np.full((2_688, 1), 0.003467)
    assert constant.std() > 0
    _, scales, scaled = standardised(np.column_stack((constant, np.arange(2_688) * 1e-9)))
    assert scales[0] == 1.0
    assert scales[1] < 1e-6
    assert np.abs(scaled[:, 0]).max() < 1e-12


def test_thresholds_are_rounded_so_that_no_row_changes_its_way() -> None:
    random = np.random.default_rng(3)
    thresholds = random.normal(size=1000) * 10.0 ** random.integers(-20, 20, size=1000)
    near = thresholds.astype(np.float32)
    for values in (near, np.nextafter(near, np.float32(np.inf)), np.nextafter(near, np.float32(-np.inf))):
        assert ((values.astype(np.float64) <= thresholds) == (values <= below(thresholds))).all()


@pytest.mark.parametrize(
    "tree",
    [
        Tree((0, -1), (1.0, 0.0), (1, 0), (1, 0), (True,), (0.0, 1.0)),
        Tree((0, -1), (1.0, 0.0), (0, 0), (1, 0), (True, True), (0.0, 1.0)),
        Tree((0, -1), (1.0, 0.0), (1, 0), (7, 0), (True, True), (0.0, 1.0)),
        Tree((-1,), (0.0,), (0,), (0,), (True,), (1.0, 2.0)),
        Tree((), (), (), (), (), ()),
    ],
)
def test_a_tree_that_is_none_is_refused(tree: Tree, tmp_path: Path) -> None:
    """Unequal arrays, a circle, a node that there is not, too many outputs, nothing at all."""
    import msgspec

    (tmp_path / "forest.json").write_bytes(msgspec.json.encode(Trees(trees=(tree,), base=(0.0,))))
    with pytest.raises(Broken, match=r"forest\.json"):
        Forest.load(tmp_path)
