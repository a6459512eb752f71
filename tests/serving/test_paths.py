"""Contributions of forests: the Shapley values that their definition gives, by going through all sets of columns."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from tandem.core.errors import Invalid
from tandem.scorers.base import TaskName
from tandem.scorers.sample import Floats
from tandem.serving import paths
from tandem.serving.forest import LEAF, Forest
from tandem.training.algorithms.base import Examples, load

COLUMNS = 4
SMALL: dict[str, dict[str, float]] = {
    "random-forest": {"trees": 4, "max_depth": 4, "min_leaf": 5, "columns": 0.7},
    "hist-gradient-boosting": {"rounds": 4, "learning_rate": 0.3, "leaves": 6, "min_leaf": 8, "l2": 0.0},
}


def examples(task: TaskName, *, gaps: bool = True) -> Examples:
    draw = np.random.default_rng(3)
    rows = draw.normal(size=(300, COLUMNS))
    if gaps:
        rows[draw.random(rows.shape) < 0.1] = np.nan
    score = np.nan_to_num(rows[:, 0]) * (1 + np.nan_to_num(rows[:, 1])) + np.isnan(rows[:, 2]) + draw.normal(0, 0.2, 300)
    target = score if task == "regression" else np.digitize(score, [0.0] if task == "classification" else [-0.5, 0.7])
    return Examples(task=task, features=rows, target=target.astype(float if task == "regression" else int), classes=3)


def grown(name: str, task: TaskName) -> tuple[Forest, Floats]:
    some = examples(task)
    model: Any = load(name).fit(some, params=SMALL[name], seed=1)  # type: ignore[arg-type]  # one of ours
    return model.forest, some.features[:6]


def expected(tree: Any, row: Floats, known: set[int], node: int = 0) -> Floats:
    """What a tree says of a row of which only some columns are known, by its definition."""
    column = tree.feature[node]
    if column == LEAF:
        return np.asarray(tree.values[node])
    left, right = tree.left[node], tree.right[node]
    if column in known:
        value = np.float32(row[column])
        goes = tree.missing_left[node] if np.isnan(value) else value <= tree.threshold[node]
        return expected(tree, row, known, left if goes else right)
    share = tree.cover[left] / tree.cover[node]
    return share * expected(tree, row, known, left) + (1 - share) * expected(tree, row, known, right)


def worth(forest: Forest, row: Floats, known: set[int], output: int) -> float:
    found = forest.base.copy()
    for tree in forest.trees:
        said = expected(tree, row, known)
        found[tree.output : tree.output + len(said)] += said
    return float(found[output])


def shapley(forest: Forest, row: Floats, output: int) -> list[float]:
    found = []
    for column in range(COLUMNS):
        rest = [each for each in range(COLUMNS) if each != column]
        total = 0.0
        for size in range(COLUMNS):
            weight = math.factorial(size) * math.factorial(COLUMNS - size - 1) / math.factorial(COLUMNS)
            for known in map(set, combinations(rest, size)):
                total += weight * (worth(forest, row, known | {column}, output) - worth(forest, row, known, output))
        found.append(total)
    return found


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("task", ["classification", "regression", "multiclass"])
def test_contributions_are_the_shapley_values_and_sum_to_the_answer(name: str, task: TaskName) -> None:
    forest, rows = grown(name, task)
    parts, base = forest.explain(rows)
    answered = forest.predict(rows)
    for row, part, start, answer in zip(rows, parts, base, answered, strict=True):
        output = int(answer.argmax())
        assert part == pytest.approx(shapley(forest, row, output), abs=1e-9)
        assert start == pytest.approx(worth(forest, row, set(), output))
        score = worth(forest, row, set(range(COLUMNS)), output)
        assert start + part.sum() == pytest.approx(score)
        if forest.link in ("identity", "share"):
            assert score == pytest.approx(answer[output])
    assert np.abs(parts).max() > 0.01


def test_what_is_too_large_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    forest, rows = grown("random-forest", "classification")
    size = forest.paths.slots.column.size * len(forest.paths.points)
    monkeypatch.setattr(paths, "WORK", 2 * size)
    assert forest.explain(rows[:2])[0].shape == (2, COLUMNS)
    with pytest.raises(Invalid, match="too long") as refused:
        forest.explain(rows)
    assert "2 rows at a time" in str(refused.value.hint)
    monkeypatch.setattr(paths, "MOST_CELLS", 10)
    with pytest.raises(Invalid, match="too large"):
        paths.Paths.of(forest.trees, forest.base)


def test_a_forest_of_earlier_trainings_asks_to_be_trained_again() -> None:
    import msgspec

    from tandem.serving.forest import Tree, Trees

    tree = Tree(feature=(LEAF,), threshold=(0.0,), left=(0,), right=(0,), missing_left=(True,), values=(0.4,))
    old = Forest.of(msgspec.json.decode(msgspec.json.encode(Trees(trees=(tree,), base=(0.0,))), type=Trees))
    assert old.predict(np.zeros((1, 2)))[0, 0] == 0.4
    with pytest.raises(Invalid, match="how many rows"):
        old.explain(np.zeros((1, 2)))
