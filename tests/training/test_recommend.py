"""Recommendations: planted tastes are found, noise passes no gate, nothing later is learned from, and files say it all again."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import sparse

from tandem.core.errors import Broken, Invalid
from tandem.core.policy import Gate
from tandem.evaluation.compare import compare
from tandem.evaluation.evidence import OutOfFold
from tandem.evaluation.gate import judge
from tandem.scorers.base import judged, load
from tandem.serving.columns import Answering
from tandem.serving.recommender import NUMBERS, OPTIONS, Recommender
from tandem.training import recommend as training
from tandem.training.fit import Fitted
from tandem.training.recommend import coverage, factorised, nearest, recommend
from tandem.training.task import Task

BLOCKS, ITEMS = 6, 120
ORDER = Task(
    name="shop",
    dataset="dataset/clicks@1",
    target="article",
    task="recommendation",
    user="customer",
    time="at",
    algorithm="neighbours",
)
ALGORITHMS = ("popularity", "neighbours", "als")


def frame(users: int = 300, *, taste: float = 0.85) -> pl.DataFrame:
    """Users of six tastes, who mostly choose among the twenty articles of theirs; `taste` 0 is noise."""
    draw = np.random.default_rng(3)
    each = ITEMS // BLOCKS
    rows = []
    for user in range(users):
        for _ in range(14):
            own = draw.random() < taste
            article = user % BLOCKS * each + draw.integers(each) if own else draw.integers(ITEMS)
            rows.append({"customer": f"u{user}", "article": f"a{article}", "at": int(draw.integers(10**6)), "stars": 1.0})
    return pl.DataFrame(rows).with_columns(at=pl.from_epoch("at"))


def quiet(share: float, stage: str) -> None:
    assert 0 <= share <= 1
    assert stage


@pytest.fixture(scope="module")
def made() -> dict[str, Fitted]:
    return {name: recommend(replace(ORDER, algorithm=name), frame(), quiet) for name in ALGORITHMS}  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def members(made: dict[str, Fitted], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    for name, fitted in made.items():
        (folder / name).mkdir()
        for member, content in fitted.members.items():
            (folder / name / member).write_bytes(content)
    return {name: folder / name for name in made}


def answered(members: Path, rows: list[dict[str, object]]) -> list[tuple[tuple[str, ...], str]]:
    made = Answering.load(members, training.signature("customer", "text"))
    lists = [{key: json.dumps(value) if isinstance(value, list) else value for key, value in row.items()} for row in rows]
    schema = {"customer": pl.String, "seen": pl.String, "k": pl.Int64, "repeat": pl.Boolean, "candidates": pl.String}
    return [(each.items, each.by) for each in made.listed(pl.DataFrame(lists, schema=schema))]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_model_is_complete(made: dict[str, Fitted], name: str) -> None:
    got = made[name]
    assert (got.algorithm, got.runtime, got.signature.usual) == (name, "recommender", ("items", "scores", "by"))
    assert set(got.metrics) == {"ndcg@10", "recall@10", "hit@10", "coverage@10"}
    assert {each.n for each in got.metrics.values()} == {len(set(got.oof.groups))}
    for estimate in got.metrics.values():
        assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    assert OutOfFold.from_json(got.members["oof.json"]) == got.oof
    assert not got.warnings


@pytest.mark.parametrize("name", ["neighbours", "als"])
def test_planted_tastes_are_found_and_pass_a_gate(made: dict[str, Fitted], name: str) -> None:
    assert made[name].metrics["ndcg@10"].low > 3 * made["popularity"].metrics["ndcg@10"].value
    report = judge(Gate(asset="model/shop", metric="ndcg@10", margin=0.01), made[name].oof, made["popularity"].oof)
    assert report.passed, report.reasons
    verdict = compare("ndcg@10", made[name].oof, made["popularity"].oof, margin=0.01)
    assert verdict.outcome == "improved"
    assert verdict.difference is not None
    assert verdict.difference.n == len(set(made[name].oof.groups))


@pytest.mark.parametrize("name", ["neighbours", "als"])
def test_noise_improves_nothing(name: str) -> None:
    noise = frame(taste=0)
    ours = recommend(replace(ORDER, algorithm=name), noise, quiet)  # type: ignore[arg-type]
    theirs = recommend(replace(ORDER, baseline=True), noise, quiet)
    assert compare("ndcg@10", ours.oof, theirs.oof, margin=0.001).outcome not in ("improved", "non-inferior")


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_same_task_gives_the_same_bytes(made: dict[str, Fitted], name: str) -> None:
    assert recommend(replace(ORDER, algorithm=name), frame(), quiet).members == made[name].members  # type: ignore[arg-type]


def test_nothing_that_is_learned_from_is_later_than_what_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    learned: list[training.Behaviour] = []
    learn = training.learn

    def spied(kind: training.Kind, rows: training.Behaviour, *rest: object) -> Recommender:
        learned.append(rows)
        return learn(kind, rows, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(training, "learn", spied)
    rows = frame().sample(fraction=1.0, shuffle=True, seed=1)
    got = recommend(ORDER, rows, quiet)
    held = rows[list(got.oof.places)]
    before, whole = learned
    assert len(whole.user) == rows.height
    assert len(before.user) == rows.filter(pl.col("at") < rows["at"].sort()[rows.height * 4 // 5]).height
    known = {(before.users[user], before.items[item]) for user, item in zip(before.user, before.item, strict=True)}
    assert held["at"].min() >= rows["at"].sort()[rows.height * 4 // 5]  # type: ignore[operator]
    assert not known & set(held.select("customer", "article").iter_rows())


def test_metrics_are_what_they_say() -> None:
    sample = judged("recommendation", [1.0] * 4, [1.0, 11.0, 3.0, 40.0], groups=["a", "a", "b", "c"])
    assert load("recall@10", "recommendation").score(sample).value == pytest.approx((0.5 + 1 + 0) / 3)
    assert load("hit@10", "recommendation").score(sample).value == pytest.approx(2 / 3)
    best = 1 + 1 / math.log2(3)
    assert load("ndcg@10", "recommendation").score(sample).value == pytest.approx((1 / best + 1 / 2) / 3)
    with pytest.raises(Invalid, match="from 1"):
        judged("recommendation", [1.0], [0.0], groups=["a"])


def test_coverage_by_leaving_out_each_user() -> None:
    lists = np.array([[0, 1], [0, 2], [0, -1]])
    got = coverage(lists, 4)
    without = [2 / 4, 2 / 4, 3 / 4]
    half = 1.959964 * math.sqrt(2 / 3 * sum((each - np.mean(without)) ** 2 for each in without))
    assert (got.value, got.n) == (0.75, 3)
    assert (got.low, got.high) == pytest.approx((0.75 - half, min(1.0, 0.75 + half)), abs=1e-4)


def test_neighbours_are_the_cosines() -> None:
    dense = np.random.default_rng(1).poisson(0.4, (40, 12)).astype(float)
    near, likeness = nearest(sparse.csr_array(dense), 5, 2.0, lambda share: None)
    lengths = np.linalg.norm(dense, axis=0)
    alike = dense.T @ dense / (np.outer(lengths, lengths) + 2.0)
    np.fill_diagonal(alike, 0)
    assert np.sort(alike, axis=1)[:, ::-1][:, :5] == pytest.approx(likeness)
    assert all(
        alike[item, other] == pytest.approx(like)
        for item, row in enumerate(near)
        for other, like in zip(row, likeness[item], strict=True)
        if other >= 0
    )


def test_factors_are_where_the_loss_is_least() -> None:
    """At the end the items' factors are the exact minimum of the loss of the paper, given the users' that fit them."""
    dense = np.random.default_rng(1).poisson(0.5, (25, 9)).astype(float)
    params = {"factors": 3, "iterations": 200, "confidence": 4.0, "regularisation": 0.5}
    items = factorised(sparse.csr_array(dense), params, 0, lambda share: None)
    trust, wanted = 1 + 4.0 * dense, (dense > 0).astype(float)
    users = np.array(
        [
            np.linalg.solve(items.T @ (trust[u][:, None] * items) + 0.5 * np.eye(3), items.T @ (trust[u] * wanted[u]))
            for u in range(25)
        ]
    )

    def loss(factors: np.ndarray) -> float:
        return float((trust * (wanted - users @ factors.T) ** 2).sum() + 0.5 * ((users**2).sum() + (factors**2).sum()))

    draw = np.random.default_rng(2)
    assert all(loss(items + 1e-2 * draw.normal(size=items.shape)) > loss(items) for _ in range(20))


@pytest.mark.parametrize("name", ["neighbours", "als"])
def test_an_answer_is_of_the_users_taste_and_without_what_was_had(members: dict[str, Path], name: str) -> None:
    had = set(frame().filter(pl.col("customer") == "u4")["article"])
    ((items, by),) = answered(members[name], [{"customer": "u4"}])
    assert (len(items), by) == (10, "behaviour")
    assert not had & set(items)
    own = {f"a{article}" for article in range(80, 100)}
    assert len(own & set(items)) >= 7
    ((again, _),) = answered(members[name], [{"customer": "u4", "repeat": True, "k": 40}])
    assert len(again) == 40
    assert had & set(again)


@pytest.mark.parametrize("name", ["neighbours", "als"])
def test_what_was_just_seen_counts_and_candidates_bind(members: dict[str, Path], name: str) -> None:
    seen = ["a81", "a82", "a83", "no such article"]
    ((items, by),) = answered(members[name], [{"seen": seen, "k": 5}])
    assert by == "behaviour"
    assert set(items) <= {f"a{article}" for article in range(80, 100)} - set(seen)
    ((few, _),) = answered(members[name], [{"customer": "u4", "seen": seen, "candidates": ["a90", "a3", "a81", "nothing"]}])
    assert few == ("a90", "a3")


def test_nobody_known_is_answered_by_popularity_and_told_so(members: dict[str, Path]) -> None:
    most = answered(members["popularity"], [{"customer": "nobody"}])
    for name in ("neighbours", "als"):
        assert answered(members[name], [{"customer": "nobody"}, {"seen": ["nothing"]}, {}]) == most * 3
    assert most[0][1] == "popularity"
    counts = frame().unique(["customer", "article"])["article"].value_counts(sort=True)
    assert set(most[0][0][:3]) <= set(counts["article"][:10])


def test_places_are_those_of_answers(members: dict[str, Path]) -> None:
    ((items, _),) = answered(members["als"], [{"customer": "u4", "k": 100}])
    model = Answering.load(members["als"], training.signature("customer", "text"))
    assert list(model.ranks(["u4", "u4", "u4"], [items[0], items[7], "no such article"])) == [1.0, 8.0, ITEMS + 1.0]


def test_files_that_do_not_fit_are_no_model(members: dict[str, Path], tmp_path: Path) -> None:
    for name in ("behaviour.json", NUMBERS):
        (tmp_path / name).write_bytes((members["als"] / name).read_bytes())
    with np.load(members["als"] / NUMBERS) as found:
        arrays = dict(found)
    np.savez(tmp_path / NUMBERS, **{**arrays, "items": arrays["items"] + ITEMS})  # type: ignore[arg-type]
    with pytest.raises(Broken, match="do not fit"):
        Recommender.load(tmp_path)
    np.savez(tmp_path / NUMBERS, items=np.array([{}], dtype=object))
    with pytest.raises(Broken, match="cannot be read"):
        Recommender.load(tmp_path)


@pytest.mark.parametrize(
    ("order", "change", "why"),
    [
        ({"user": "nobody"}, {}, "no column 'nobody'"),
        ({}, {"article": pl.lit(None, pl.String)}, "has gaps"),
        ({}, {"article": pl.lit(0.5)}, "names nobody"),
        ({"weight": "stars"}, {"stars": pl.lit(0.0)}, "above 0"),
        ({"algorithm": "lightgbm"}, {}, "learns no recommendation"),
        ({"tune": 5}, {}, "makes no sense"),
        ({"params": {"rounds": 3}}, {}, "no parameter 'rounds'"),
        ({}, {"customer": pl.lit("one")}, "Only"),
        ({"user": OPTIONS[0]}, {"k": pl.col("customer")}, "option of a call"),
    ],
)
def test_what_makes_no_recommendation_is_refused(order: dict[str, object], change: dict[str, pl.Expr], why: str) -> None:
    with pytest.raises(Invalid, match=why):
        recommend(replace(ORDER, **order), frame(40).with_columns(**change), quiet)  # type: ignore[arg-type]


def test_a_recommendation_needs_its_users_and_others_have_none() -> None:
    with pytest.raises(Invalid, match="column of the users"):
        replace(ORDER, user=None)
    with pytest.raises(Invalid, match="of recommendations"):
        replace(ORDER, task="ranking", group="customer")


def test_rows_without_time_are_drawn_and_a_warning_says_so() -> None:
    got = recommend(replace(ORDER, time=None), frame().drop("at"), quiet)
    assert any("drawn at random" in each for each in got.warnings)
