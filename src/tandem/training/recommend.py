"""Trains who gets what: rows of behaviour become users x items, a learner, and its evidence. Writes nothing.

It is judged on later rows: what lies after a cut in time is held out whole, so that nothing that is learned from happened after
anything that is judged. A user is judged by the items that are new to them. The model that is kept is fitted to all rows.
"""

from __future__ import annotations

import io
import math
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

from tandem.core.errors import Invalid
from tandem.core.score import Estimate
from tandem.data.digest import content_digest
from tandem.evaluation.evidence import OutOfFold
from tandem.scorers.base import METRICS
from tandem.scorers.base import load as load_scorer
from tandem.scorers.proportions import Z
from tandem.scorers.recommendation import K
from tandem.scorers.sample import Floats, Truths
from tandem.serving.recommender import (
    NAMES,
    NUMBERS,
    OPTIONS,
    History,
    Kind,
    Names,
    Places,
    Recommender,
    places,
    signature,
    solved,
)
from tandem.serving.series import called
from tandem.training.algorithms.base import Param, settings
from tandem.training.fit import LIBRARIES, Fitted, Progress, card, check_options
from tandem.training.manifest import Parity
from tandem.training.task import Task

MOST_USERS, MOST_ITEMS, MOST_PAIRS = 500_000, 50_000, 5_000_000
MOST_JUDGED = 20_000
"""Users who are judged: as many drawn of more."""
FEWEST = 30
"""Users who must have turned to something new for a judgement."""
BLOCK = 1_000
"""Items whose likenesses are computed at one time."""
COLD = 0.5
"""The share of judged users without a past from which a warning says so."""
LEARNERS: Mapping[Kind, Mapping[str, Param]] = {
    "popularity": {},
    "neighbours": {
        "neighbours": Param(default=50, low=1, high=500, whole=True),
        "shrinkage": Param(default=10, low=0, high=10_000),
    },
    "als": {
        "factors": Param(default=16, low=1, high=256, whole=True),
        "iterations": Param(default=15, low=1, high=100, whole=True),
        "confidence": Param(default=10, low=0.001, high=10_000),
        "regularisation": Param(default=10, low=0.0001, high=10_000),
    },
}
"""Algorithm → its parameters."""
_HOSTED = Parity(held=False, reason="A model host answers, which keeps the behaviour.", rows=0, tolerance=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """Rows by number."""

    users: tuple[str, ...]
    items: tuple[str, ...]
    user: Places
    """Of each row; shape rows."""
    item: Places
    weights: Floats

    def at(self, rows: Truths) -> Behaviour:
        """Those rows, under the same numbers."""
        return replace(self, user=self.user[rows], item=self.item[rows], weights=self.weights[rows])

    def matrix(self) -> sparse.csr_array:
        """Users x items: the sums of weights."""
        shape = (len(self.users), len(self.items))
        return sparse.coo_array((self.weights, (self.user, self.item)), shape=shape).tocsr()


def recommend(task: Task, frame: pl.DataFrame, progress: Progress) -> Fitted:
    """Trains and judges one recommender; the same task and frame give the same bytes.

    Raises:
        Invalid: a column is missing or of the wrong type, there is too much, or too few users turned to something new.
    """
    progress(0.0, "reading the table")
    check_options(task, "recommendation")
    name: Kind = "popularity" if task.baseline else _chosen(task)
    params = settings(name, LEARNERS[name], {} if task.baseline else task.params)
    rows = _behaviour(task, frame)
    late = _late(task, frame)
    with threadpool_limits(1):  # one thread sums in one order
        progress(0.1, "learning from the rows before the cut")
        early = learn(name, rows.at(~late), params, task.seed, lambda share: progress(0.1 + 0.3 * share, name))
        judged = _judged(rows, late, task.seed)
        progress(0.45, "judging by the rows after it")
        ranks, lists = _asked(early, rows, judged)
        progress(0.6, "learning from all rows")
        kept = learn(name, rows, params, task.seed, lambda share: progress(0.6 + 0.35 * share, name))
    oof = OutOfFold(
        dataset=task.dataset,
        digest=content_digest(frame),
        target=task.target,
        positive="",
        rows=tuple(_ids(task, frame[judged], judged)),
        places=tuple(map(int, judged)),
        labels=(1.0,) * len(judged),
        probabilities=tuple(map(float, ranks)),
        seed=task.seed,
        folds=task.folds,
        task="recommendation",
        groups=tuple(map(str, rows.user[judged])),
    )
    sample = oof.sample()
    metrics = {metric: load_scorer(metric, "recommendation").score(sample) for metric in METRICS["recommendation"]}
    metrics["coverage@10"] = coverage(lists, len(rows.items))
    fitted = Fitted(
        members={},
        metrics=metrics,
        oof=oof,
        signature=signature(_named(task), "int" if frame.schema[_named(task)].is_integer() else "text"),
        classes=(),
        algorithm=name,
        threshold=task.threshold,
        warnings=_warnings(task, rows, late, judged),
        params=params,
        tuning=(),
        calibration=None,
        runtime="recommender",
        parity=_HOSTED,
        importances={},
        environment={"python": platform.python_version(), **{each: version(each) for each in (*LIBRARIES, "scipy")}},
    )
    members = {
        **members_of(kept),
        "model.json": card(task, fitted, "recommender", params),
        "signature.json": fitted.signature.to_json(),
        "oof.json": oof.to_json(),
        "metrics.json": msgspec.json.encode(metrics, order="sorted"),
    }
    progress(1.0, "done")
    return replace(fitted, members=members)


def learn(kind: Kind, rows: Behaviour, params: Mapping[str, float], seed: int, tell: Callable[[float], None]) -> Recommender:
    """A recommender of these rows.

    Args:
        tell: is told the share that is done.
    """
    met = rows.matrix()
    items = len(rows.items)
    near, likeness, factors = np.zeros((items, 0), dtype=np.int64), np.zeros((items, 0)), np.zeros((items, 0))
    if kind == "neighbours":
        near, likeness = nearest(met, int(params["neighbours"]), params["shrinkage"], tell)
    if kind == "als":
        factors = factorised(met, params, seed, tell)
    return Recommender(
        names=Names(
            kind=kind,
            users=rows.users,
            items=rows.items,
            confidence=params.get("confidence", 0.0),
            regularisation=params.get("regularisation", 0.0),
        ),
        history=History(starts=met.indptr.astype(np.int64), items=met.indices.astype(np.int64), weights=met.data),
        counts=np.bincount(met.indices, minlength=items).astype(np.float64),
        neighbours=near,
        likeness=likeness,
        factors=factors,
    )


def nearest(met: sparse.csr_array, k: int, shrinkage: float, tell: Callable[[float], None]) -> tuple[Places, Floats]:
    """The `k` items that each item is likest to, by the cosine of who had them, and how like; no item is its own neighbour.

    The shrinkage is added to the product of lengths, so that two items that few users share are less alike.

    Returns:
        Items x k: numbers, -1 where fewer items share a user; and likenesses, 0 there.
    """
    columns = met.tocsc()
    lengths = np.sqrt(np.asarray(columns.multiply(columns).sum(axis=0)).ravel())
    count = columns.shape[1]
    near, likeness = np.full((count, k), -1, dtype=np.int64), np.zeros((count, k))
    for start in range(0, count, BLOCK):
        shared = (columns[:, start : start + BLOCK].T @ met).tocsr()
        shared.sort_indices()
        for row in range(shared.shape[0]):
            here = slice(shared.indptr[row], shared.indptr[row + 1])
            others, item = shared.indices[here], start + row
            alike = shared.data[here] / (lengths[item] * lengths[others] + shrinkage)
            alike[others == item] = 0.0
            best = np.argsort(-alike, kind="stable")[:k]
            best = best[alike[best] > 0]
            near[item, : len(best)], likeness[item, : len(best)] = others[best], alike[best]
        tell(min(1.0, (start + BLOCK) / count))
    return near, likeness


def factorised(met: sparse.csr_array, params: Mapping[str, float], seed: int, tell: Callable[[float], None]) -> Floats:
    """Factors of items by alternating least squares on implicit feedback (Hu, Koren & Volinsky 2008); items x factors.

    The confidence in a pair is 1 + confidence x weight. The last half step is that of the items.
    """
    size, steps = int(params["factors"]), int(params["iterations"])
    items = np.random.default_rng(seed).normal(scale=0.1 / math.sqrt(size), size=(met.shape[1], size))
    turned = met.T.tocsr()
    for step in range(steps):
        users = _half(met, items, params)
        items = _half(turned, users, params)
        tell((step + 1) / steps)
    return items


def _half(met: sparse.csr_array, other: Floats, params: Mapping[str, float]) -> Floats:
    """The factors of each row of `met` that fit those of its columns."""
    squared = other.T @ other + params["regularisation"] * np.eye(other.shape[1])
    found = np.zeros((met.shape[0], other.shape[1]))
    for row in range(met.shape[0]):
        here = slice(met.indptr[row], met.indptr[row + 1])
        if here.stop > here.start:
            found[row] = solved(squared, other[met.indices[here]], met.data[here], params["confidence"])
    return found


def coverage(lists: Places, items: int) -> Estimate:
    """The share of all items that some judged user is told, with an interval by leaving out each user in turn (jackknife).

    A bootstrap would draw some users twice, and so always see fewer items.

    Args:
        lists: users x at most ten items, -1 where there are fewer.
    """
    users = len(lists)
    times = np.bincount(lists[lists >= 0], minlength=items)
    value = float((times > 0).mean())
    alone = np.where(lists >= 0, times[lists] == 1, False).sum(axis=1) / items
    half = Z * math.sqrt((users - 1) / users * float(((alone - alone.mean()) ** 2).sum()))
    return Estimate(value=value, low=max(0.0, value - half), high=min(1.0, value + half), n=users)


def members_of(model: Recommender) -> dict[str, bytes]:
    """The files that `Recommender.load` reads: names as JSON, numbers as arrays without objects."""
    content = io.BytesIO()
    np.savez_compressed(
        content,
        starts=model.history.starts,
        items=model.history.items,
        weights=model.history.weights,
        counts=model.counts,
        neighbours=model.neighbours,
        likeness=model.likeness,
        factors=model.factors,
    )
    return {NAMES: msgspec.json.encode(model.names), NUMBERS: content.getvalue()}


def _chosen(task: Task) -> Kind:
    for kind in LEARNERS:
        if kind == task.algorithm:
            return kind
    raise Invalid(
        f"The algorithm '{task.algorithm}' learns no recommendation.",
        field="algorithm",
        hint=f"Use one of: {', '.join(LEARNERS)}.",
    )


def _named(task: Task) -> str:
    assert task.user is not None  # as `Task` wants it
    return task.user


def _behaviour(task: Task, frame: pl.DataFrame) -> Behaviour:
    """Raises:
    Invalid: as `recommend`.
    """
    _check(task, frame)
    users, user = np.unique(np.array([called(each) for each in frame[_named(task)].to_list()]), return_inverse=True)
    named, item = np.unique(np.array([called(each) for each in frame[task.target].to_list()]), return_inverse=True)
    pairs = np.unique(user.astype(np.int64) * len(named) + item)
    for count, most, what in (
        (len(users), MOST_USERS, "users"),
        (len(named), MOST_ITEMS, "items"),
        (len(pairs), MOST_PAIRS, "pairs"),
    ):
        if count > most:
            raise Invalid(
                f"{task.dataset} has {count:,} {what}; {most:,} are learned from.", field="data", hint="Leave old rows out."
            )
    order = np.lexsort((named, -np.bincount(pairs % len(named), minlength=len(named))))
    place = np.empty(len(named), dtype=np.int64)
    place[order] = np.arange(len(named))
    weights = np.ones(frame.height) if task.weight is None else frame[task.weight].cast(pl.Float64).to_numpy()
    return Behaviour(
        users=tuple(map(str, users)), items=tuple(map(str, named[order])), user=user, item=place[item], weights=weights
    )


def _check(task: Task, frame: pl.DataFrame) -> None:
    for field, column in (("user", _named(task)), ("target", task.target), ("weight", task.weight), ("time", task.moment)):
        if column is None:
            continue
        if column not in frame.columns:
            raise Invalid(f"There is no column '{column}' in {task.dataset}.", field=field)
        if frame[column].null_count():
            raise Invalid(f"Column '{column}' has gaps.", field=field, hint="Remove those rows.")
        if field in ("user", "target") and not (frame.schema[column].is_integer() or frame.schema[column] == pl.String):
            raise Invalid(f"Column '{column}' names nobody and nothing.", field=field, hint="Use texts or whole numbers.")
    if _named(task) in ("seen", *OPTIONS):
        raise Invalid(f"The column '{_named(task)}' has the name of an option of a call.", field="user", hint="Rename it.")
    if task.weight is not None:
        weights = frame[task.weight]
        if not weights.dtype.is_numeric() or not ((weights > 0) & (weights < math.inf)).all():
            raise Invalid(f"Column '{task.weight}' does not hold numbers above 0.", field="weight", hint="Leave other rows out.")


def _ids(task: Task, frame: pl.DataFrame, numbers: NDArray[np.int64]) -> list[str]:
    """The ids of rows of those numbers, from 0."""
    name = None if task.contract is None else task.contract.id_column
    return list(map(str, numbers + 1 if name is None else frame[name].to_list()))


def _late(task: Task, frame: pl.DataFrame) -> Truths:
    """The rows that are held out: the last of `folds` parts of all rows by time, whole moments; else a part drawn at random."""
    if task.moment is None:
        return np.asarray(np.random.default_rng(task.seed).permutation(frame.height) < frame.height // task.folds)
    rank = frame[task.moment].rank("min").to_numpy() - 1
    return np.asarray(rank >= frame.height - frame.height // task.folds)


def _judged(rows: Behaviour, late: Truths, seed: int) -> NDArray[np.int64]:
    """The held-out rows by which users are judged: items that are new to them and to be had before the cut, each once.

    Raises:
        Invalid: too few users have such rows.
    """
    pair = rows.user.astype(np.int64) * len(rows.items) + rows.item
    there = np.zeros(len(rows.items), dtype=np.bool_)
    there[rows.item[~late]] = True
    held = np.flatnonzero(late & there[rows.item] & ~np.isin(pair, pair[~late]))
    _, first = np.unique(pair[held], return_index=True)
    held = np.sort(held[first])
    users = np.unique(rows.user[held])
    if len(users) < FEWEST:
        raise Invalid(
            f"Only {len(users)} users turned to something new among the rows that judge; {FEWEST} are needed.",
            field="folds",
            hint="Use fewer folds, so that more rows judge, or add rows.",
        )
    if len(users) > MOST_JUDGED:
        users = np.random.default_rng(seed).choice(users, MOST_JUDGED, replace=False)
    return np.asarray(held[np.isin(rows.user[held], users)])


def _asked(model: Recommender, rows: Behaviour, judged: NDArray[np.int64]) -> tuple[Floats, Places]:
    """The place of each judged row's item in what its user is told; and of each user the first ten items."""
    ranks = np.empty(len(judged))
    users, owner = np.unique(rows.user[judged], return_inverse=True)
    lists = np.full((len(users), K), -1, dtype=np.int64)
    turns = np.split(np.argsort(owner, kind="stable"), np.cumsum(np.bincount(owner))[:-1])
    for number, (user, here) in enumerate(zip(users, turns, strict=True)):
        had, weights = model.history.of(int(user))
        order = model.order(had, weights)
        ranks[here] = places(order)[rows.item[judged[here]]]
        best = order[: min(K, len(order) - len(had))]
        lists[number, : len(best)] = best
    return ranks, lists


def _warnings(task: Task, rows: Behaviour, late: Truths, judged: NDArray[np.int64]) -> tuple[str, ...]:
    found = []
    if task.moment is None:
        found.append(
            "The rows have no time, so those that judge were drawn at random, and may lie before rows that were learned from."
        )
    users = np.unique(rows.user[judged])
    cold = float((~np.isin(users, rows.user[~late])).mean())
    if cold > COLD:
        found.append(f"{cold:.0%} of the users who judge have no rows before the cut: they are answered by popularity.")
    return tuple(found)
