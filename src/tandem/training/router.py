"""Trains a learned router on recorded outcomes: clusters of prompts beside a ridge regression, and how well it does unseen.

Texts become unit vectors of hashed words (`tandem.gateway.routing.learned.words`), weighted by inverse document frequency. Their
clusters are found by k-means on a truncated singular value decomposition; what is kept of a cluster is its mean vector. The
chance of a model is the mean score near the prompt, a softmax over the clusters, blended with the regression. The stranger a
prompt, the more the models' overall means count instead, for a router that guesses is worse than the best single model.
Weights are rounded to bytes before the router is judged, so what is judged is what is served.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags
from sklearn.cluster import KMeans
from sklearn.decomposition import TruncatedSVD
from sklearn.linear_model import Ridge
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

from tandem.core.errors import Invalid
from tandem.evaluation.outcomes import Outcomes, best_of, packed
from tandem.gateway.routing.learned import FORMAT, MOST_MODELS, ZERO, Described, Scored, buckets, load, pack
from tandem.scorers.intervals import percentiles, resample
from tandem.scorers.sample import Floats

FOLDS = 5
LEAST_ROWS, LEAST_DISTINCT = 50, 10
BITS = 13
MOST_CLUSTERS = 64
ROWS_A_CLUSTER = 40
DIMENSIONS = 64
SHARPNESS = 32.0
BLEND = 0.5
PENALTY = 6.0
STRANGE, KNOWN = 0.05, 0.4
"""Quantiles of how near unseen prompts came to a cluster, between which what was learned begins to count."""
PRIOR = 5.0
"""Rows of the overall mean that are added to each cluster, so that a small one promises little."""
DEPTH = 127
"""Steps of a byte on either side of zero."""
Places = NDArray[np.intp]
Progress = Callable[[float, str], None]
"""Called with a share between 0 and 1 and a stage for people."""


@dataclass(frozen=True, slots=True)
class _Fitted:
    """The parts of a router before they are written."""

    bytes: bytes
    scales: tuple[float, ...]
    table: Floats
    intercepts: Floats
    clusters: int


def train(outcomes: Outcomes, *, seed: int = 0, progress: Progress = lambda share, stage: None) -> bytes:
    """The file of a router that has learned from the outcomes. The same outcomes and seed give the same bytes.

    How well it does is measured by cross-validation: five times it is trained on four fifths of the questions and asked
    about the others; a group of rows is never divided. The router in the file has learned from all rows.

    Raises:
        Invalid: fewer than 50 rows or groups to divide, too many models, or all texts are one.
    """
    groups = _groups(outcomes)
    if len(outcomes.rows) < LEAST_ROWS or groups.max() + 1 < 2 * FOLDS:
        raise Invalid(
            f"{len(outcomes.rows)} rows of {groups.max() + 1} questions are too few to learn from.",
            field="outcomes",
            hint=f"Give {LEAST_ROWS} or more.",
        )
    if len(outcomes.models) > MOST_MODELS:
        raise Invalid(f"{len(outcomes.models)} models are too many; {MOST_MODELS} are allowed.", field="outcomes")
    # The order of the rows in the file means nothing, so it must change nothing.
    order = np.array(
        sorted(range(len(outcomes.rows)), key=lambda place: (outcomes.rows[place].question, outcomes.rows[place].scores))
    )
    texts = [outcomes.rows[place].question for place in order]
    scores = np.array([outcomes.rows[place].scores for place in order], dtype=np.float64)
    groups = groups[order]
    with threadpool_limits(1):  # one thread sums in one order
        progress(0.0, "reading the questions")
        vectors = _hashed(texts)
        fold_of = np.random.default_rng(seed).permutation(np.arange(groups.max() + 1) % FOLDS)[groups]
        chances, near = np.zeros_like(scores), np.zeros(len(scores))
        means = np.zeros_like(scores)
        for fold in range(FOLDS):
            progress((1 + fold) / (FOLDS + 2), f"fold {fold + 1} of {FOLDS}")
            seen, asked = np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)
            router = load(_file(outcomes, _fit(vectors[seen], scores[seen], seed), scores[seen], seed))
            looks = [router.look(texts[place]) for place in asked]
            chances[asked], near[asked] = [look.chances for look in looks], [look.near for look in looks]
            means[asked] = router.described.means
        progress((1 + FOLDS) / (FOLDS + 2), "fitting on all rows")
        fitted = _fit(vectors, scores, seed)
    strange, known = [float(bound) for bound in np.quantile(near, (STRANGE, KNOWN)).round(6)]
    known = max(known, strange + 1e-3)
    trust = np.clip((near - strange) / (known - strange), 0, 1)[:, None]
    how = scored(outcomes, trust * chances + (1 - trust) * means, scores, groups)
    return _file(outcomes, fitted, scores, seed, familiar=(strange, known), how=how)


def scored(outcomes: Outcomes, chances: Floats, scores: Floats, groups: Places) -> Scored:
    """How the chosen models did, and the single model that was best on the rows of the other folds would have done."""
    best = outcomes.models.index(best_of(outcomes.means(), outcomes.models))
    chosen = scores[np.arange(len(scores)), chances.argmax(axis=1)]
    terms = np.zeros((int(groups.max()) + 1, 2))
    np.add.at(terms, groups, np.stack([np.ones(len(scores)), chosen - scores[:, best]], axis=1))
    low, high = percentiles(resample(terms, lambda sums: np.asarray(sums[:, 1] / sums[:, 0])))
    gain = float((chosen - scores[:, best]).mean())
    return Scored(
        folds=FOLDS,
        quality=round(float(chosen.mean()), 6),
        best=outcomes.models[best],
        best_quality=round(float(scores[:, best].mean()), 6),
        gain=round(gain, 6),
        low=round(min(low, gain), 6),
        high=round(max(high, gain), 6),
        brier=round(float(np.square(chances - scores).mean()), 6),
    )


def _groups(outcomes: Outcomes) -> Places:
    """The number of each row's group, in the order of the groups' names."""
    return np.unique([row.group for row in outcomes.rows], return_inverse=True)[1]


def _hashed(texts: list[str]) -> csr_matrix:
    """texts × buckets: 1 where a text has a word of the bucket."""
    found = [sorted(buckets(text, BITS)) for text in texts]
    starts = np.concatenate([[0], np.cumsum([len(each) for each in found])])
    places = np.fromiter((place for each in found for place in each), dtype=np.int32, count=int(starts[-1]))
    return csr_matrix((np.ones(len(places)), places, starts), shape=(len(texts), 1 << BITS))


def _fit(vectors: csr_matrix, scores: Floats, seed: int) -> _Fitted:
    """Clusters and regression of some rows."""
    rows = vectors.shape[0]
    rarity = np.log((1 + rows) / (1 + np.asarray(vectors.sum(axis=0)).ravel())) + 1
    weighted = vectors @ diags(rarity)
    unit = diags(1 / np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())) @ weighted
    distinct = len({part.tobytes() for part in np.split(vectors.indices, vectors.indptr[1:-1])})
    if distinct < LEAST_DISTINCT:
        raise Invalid(
            "The questions are too much alike to be told apart.", field="outcomes", hint="Give outcomes of other questions."
        )
    wanted = max(2, min(MOST_CLUSTERS, rows // ROWS_A_CLUSTER, distinct // 2))
    flat = TruncatedSVD(min(DIMENSIONS, rows - 1), random_state=seed).fit_transform(unit)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9)
    label = KMeans(wanted, n_init=3, random_state=seed).fit(flat).labels_
    member = csr_matrix((np.ones(rows), (label, np.arange(rows))), shape=(wanted, rows))
    centres = np.asarray((member @ unit).todense())
    centres /= np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-9)
    ridge = Ridge(alpha=PENALTY, solver="sparse_cg", tol=1e-4).fit(unit, scores)
    # A lane per cluster, per model, and one for the length; rarity is folded in, so serving only adds.
    lanes = np.concatenate([centres * rarity, ridge.coef_ * rarity, np.square(rarity)[None, :]])
    scales = np.maximum(np.abs(lanes).max(axis=1), 1e-9) / DEPTH
    rounded = np.rint(lanes / scales[:, None])
    # Rounding moves each cluster's nearness by its own amount, so the table is made from what will be served.
    near = np.asarray(vectors @ (rounded[:wanted] * scales[:wanted, None]).T)
    shares = near / np.maximum(np.linalg.norm(near, axis=1, keepdims=True), 1e-9) * SHARPNESS
    shares = np.exp(shares - shares.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    table = (shares.T @ scores + PRIOR * scores.mean(axis=0)) / (shares.sum(axis=0)[:, None] + PRIOR)
    packed = (rounded + ZERO).astype(np.uint8).T.tobytes()
    return _Fitted(packed, tuple(scales.tolist()), table, np.asarray(ridge.intercept_), wanted)


UNSCORED = Scored(folds=0, quality=0.0, best="", best_quality=0.0, gain=0.0, low=0.0, high=0.0, brier=0.0)
ALWAYS = (-3.0, -2.0)
"""Cosines by which every prompt is well known."""


def _file(
    outcomes: Outcomes,
    fitted: _Fitted,
    scores: Floats,
    seed: int,
    *,
    familiar: tuple[float, float] = ALWAYS,
    how: Scored = UNSCORED,
) -> bytes:
    """The file; that of a fold is neither judged nor careful."""
    told = Described(
        format=FORMAT,
        models=outcomes.models,
        means=tuple(scores.mean(axis=0).round(6).tolist()),
        data=outcomes.digest,
        seen=packed(outcomes.fingerprints()),
        rows=len(scores),
        seed=seed,
        bits=BITS,
        clusters=fitted.clusters,
        familiar=familiar,
        sharpness=SHARPNESS,
        blend=BLEND,
        table=tuple(tuple(row) for row in fitted.table.round(5).tolist()),
        intercepts=tuple(fitted.intercepts.round(6).tolist()),
        scales=fitted.scales,
        weights=pack(fitted.bytes),
        scored=how,
    )
    return msgspec.json.format(msgspec.json.encode(told), indent=0) + b"\n"
