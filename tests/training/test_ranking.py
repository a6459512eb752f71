"""Rankings: whole groups in one fold, judged group by group, answered with ranks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import ndcg_score

from tandem.core.errors import Invalid
from tandem.core.policy import Gate
from tandem.evaluation.compare import compare
from tandem.evaluation.evidence import OutOfFold
from tandem.evaluation.gate import judge
from tandem.scorers.base import METRICS, judged, load
from tandem.serving import oip
from tandem.serving.target import Prediction
from tandem.training.fit import Fitted, fit
from tandem.training.split import divide
from tandem.training.table import tabulate
from tandem.training.task import Task

ORDER = Task(
    name="search",
    dataset="dataset/search@1",
    target="grade",
    task="ranking",
    group="query",
    folds=3,
    algorithm="lightgbm",
    params={"rounds": 40},
)


def frame(groups: int = 90) -> pl.DataFrame:
    """Queries of 6 to 14 rows, scattered; a row is as good as it matches, where it is fresh too. Each query has a level."""
    draw = np.random.default_rng(5)
    rows = []
    for query in range(groups):
        level = draw.normal(0, 3)
        for _ in range(int(draw.integers(6, 15))):
            match, fresh = draw.random(2)
            grade = int(np.clip(np.round(5 * match * (fresh > 0.4) + draw.normal(0, 0.3)), 0, 4))
            rows.append(
                {"query": f"q{query}", "match": match, "fresh": fresh, "level": level + draw.normal(0, 0.1), "grade": grade}
            )
    return pl.DataFrame(rows).sample(fraction=1.0, shuffle=True, seed=1)


def quiet(share: float, stage: str) -> None:
    assert 0 <= share <= 1
    assert stage


@pytest.fixture(scope="module")
def made() -> dict[str, Fitted]:
    found = {name: fit(replace(ORDER, algorithm=name), frame(), quiet) for name in ("lightgbm", "gradient-boosting")}  # type: ignore[arg-type]
    return {**found, "linear": fit(replace(ORDER, baseline=True, params={}), frame(), quiet)}


@pytest.mark.parametrize("name", ["lightgbm", "gradient-boosting", "linear"])
def test_a_model_is_good_and_complete(made: dict[str, Fitted], name: str) -> None:
    got = made[name]
    assert got.algorithm == name
    assert set(got.metrics) == set(METRICS["ranking"])
    relevant = {group for group, grade in zip(got.oof.groups, got.oof.labels, strict=True) if grade > 0}
    assert {each.n for each in got.metrics.values()} == {len(relevant)}
    for estimate in got.metrics.values():
        assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    assert got.metrics["ndcg@10"].low > (0.6 if name == "linear" else 0.8)
    assert (got.runtime, got.signature.usual) == ("onnx", ("score", "rank"))
    assert set(got.signature.names) == {"match", "fresh", "level"}
    assert {"plots/precision.png", "plots/sizes.png"} <= set(got.members)
    assert OutOfFold.from_json(got.members["oof.json"]) == got.oof


def test_the_same_task_gives_the_same_bytes(made: dict[str, Fitted]) -> None:
    assert fit(ORDER, frame(), quiet).members == made["lightgbm"].members


def test_no_group_stands_in_two_folds_however_the_split_is_named() -> None:
    for task in (ORDER, replace(ORDER, split="random"), replace(ORDER, split="time", time="match")):
        table = tabulate(task, frame())
        splits = divide(task, table.aim, frame())
        folds: dict[str, set[int]] = {}
        for group, fold in zip(table.groups, splits.fold, strict=True):
            folds.setdefault(group, set()).add(int(fold))
        assert all(len(each) == 1 for each in folds.values())


def test_metrics_are_those_of_scikit_learn() -> None:
    draw = np.random.default_rng(2)
    relevance, scores = draw.integers(0, 5, (30, 12)), draw.normal(size=(30, 12))
    groups = [str(number) for number in range(30) for _ in range(12)]
    sample = judged("ranking", list(relevance.ravel().astype(float)), list(scores.ravel()), groups=groups)
    for k in (5, 10):
        assert load(f"ndcg@{k}", "ranking").score(sample).value == pytest.approx(ndcg_score(2.0**relevance - 1, scores, k=k))
    first = [1 + int(np.flatnonzero(row[np.argsort(-said)] > 0)[0]) for row, said in zip(relevance, scores, strict=True)]
    assert load("mrr", "ranking").score(sample).value == pytest.approx(np.mean(1 / np.array(first)))


def test_precision_down_to_each_relevant_row() -> None:
    sample = judged("ranking", [0.0, 1.0, 0.0, 2.0], [4.0, 3.0, 2.0, 1.0], groups=["a"] * 4)
    assert load("map@10", "ranking").score(sample).value == pytest.approx((1 / 2 + 2 / 4) / 2)


def test_groups_without_a_relevant_row_do_not_count() -> None:
    sample = judged("ranking", [0.0, 0.0, 1.0, 0.0], [1.0, 2.0, 2.0, 1.0], groups=["a", "a", "b", "b"])
    got = load("mrr", "ranking").score(sample)
    assert (got.value, got.n) == (1.0, 1)
    with pytest.raises(Invalid, match="No group has a relevant row"):
        judged("ranking", [0.0, 0.0], [1.0, 2.0], groups=["a", "a"])


def test_whole_groups_are_drawn_again() -> None:
    """A thousand copies of a row in each group say no more than one; an interval over rows would shrink."""
    draw = np.random.default_rng(3)
    relevance, scores = draw.integers(0, 2, 60).astype(float), draw.normal(size=60)
    relevance[::3] = 1.0
    groups = [str(number // 3) for number in range(60)]
    once = load("mrr", "ranking").score(judged("ranking", list(relevance), list(scores), groups=groups))
    filled = [0.0] * 600, [-9.0] * 600, [str(number % 20) for number in range(600)]
    more = judged("ranking", [*relevance, *filled[0]], [*scores, *filled[1]], groups=[*groups, *filled[2]])
    again = load("mrr", "ranking").score(more)
    assert (again.value, again.n) == (once.value, once.n)
    assert again.high - again.low == pytest.approx(once.high - once.low, rel=0.15)


def test_a_gate_compares_group_by_group(made: dict[str, Fitted]) -> None:
    verdict = compare("ndcg@10", made["lightgbm"].oof, made["linear"].oof, margin=0.01)
    assert verdict.outcome == "improved"
    assert verdict.difference is not None
    assert verdict.difference.n == 89
    gate = Gate(asset="model/search", metric="ndcg@10", margin=0.01, minimum=0.8)
    report = judge(gate, made["lightgbm"].oof, made["linear"].oof)
    assert report.passed, report.reasons
    few = made["lightgbm"].oof.at([n for n, group in enumerate(made["lightgbm"].oof.groups) if group < "q3"])
    assert not judge(gate, few, None).passed


def test_ranks_are_within_the_call_and_ties_keep_their_order(made: dict[str, Fitted]) -> None:
    request = oip.Request(rows=[[0.0]] * 4, id=None, outputs=("score", "rank"))
    reply = oip.respond(request, Prediction(outputs=[[0.1], [0.7], [0.1], [0.9]], labels=[]), name="search", version="1")
    assert [(each["name"], each["datatype"], each["data"]) for each in reply["outputs"]] == [
        ("score", "FP64", [0.1, 0.7, 0.1, 0.9]),
        ("rank", "INT64", [3, 2, 4, 1]),
    ]


@pytest.mark.parametrize(
    ("order", "change", "why"),
    [
        ({}, {"grade": pl.col("grade") + 0.5}, "other values than the grades"),
        ({}, {"grade": pl.col("grade") - 1}, "other values than the grades"),
        ({"group": "nobody"}, {}, "is missing or has gaps"),
        ({}, {"query": pl.lit(None, pl.String)}, "is missing or has gaps"),
        ({"algorithm": "random-forest", "params": {}}, {}, "learns no ranking"),
        ({"balance": True}, {}, "makes no sense"),
    ],
)
def test_what_makes_no_ranking_is_refused(order: dict[str, object], change: dict[str, pl.Expr], why: str) -> None:
    with pytest.raises(Invalid, match=why):
        fit(replace(ORDER, **order), frame().with_columns(**change), quiet)  # type: ignore[arg-type]


def test_a_ranking_needs_its_group() -> None:
    with pytest.raises(Invalid, match="rows are ranked together"):
        replace(ORDER, group=None)


def test_a_search_makes_the_order_better() -> None:
    got = fit(replace(ORDER, tune=2), frame(), quiet)
    assert [each.study for each in got.tuning] == ["all", "fold 1", "fold 2", "fold 3"]
    assert 0 < got.tuning[0].loss < 0.4
