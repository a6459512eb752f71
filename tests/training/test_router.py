"""Training a router: what it learns where there is something, that it claims nothing where there is not, and its bytes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests.routing import rows, written

from tandem.core.errors import Invalid
from tandem.evaluation.outcomes import Outcomes, read
from tandem.evaluation.routing import judge
from tandem.gateway.routing.learned import Described, LearnedRouter, load
from tandem.training.router import train


def made(tmp_path: Path, count: int, seed: int, *, shuffled: bool = False) -> Outcomes:
    return read(written(tmp_path / f"{seed}-{shuffled}.jsonl", rows(count, seed, shuffled=shuffled)))


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    return made(tmp_path_factory.mktemp("seen"), 400, 1)


@pytest.fixture(scope="module")
def data(seen: Outcomes) -> bytes:
    return train(seen)


@pytest.fixture(scope="module")
def router(data: bytes) -> LearnedRouter:
    return load(data)


def test_it_beats_the_best_model_where_kinds_differ(router: LearnedRouter, tmp_path: Path) -> None:
    report = judge(made(tmp_path, 300, 2), router)
    mine = next(way for way in report.ways if way.name == "learned")
    assert report.beats is True
    assert mine.quality.value > 0.8
    assert mine.gain.low > 0.2
    assert mine.saving.value >= 0
    assert report.chosen_on == "training"
    told = router.described.scored
    assert told.low > 0.2
    assert told.quality == pytest.approx(mine.quality.value, abs=0.08)
    assert told.gain == pytest.approx(told.quality - told.best_quality, abs=1e-5)


@pytest.mark.parametrize("seed", [3, 5, 7])
def test_it_claims_nothing_where_nothing_can_be_learned(seed: int, tmp_path: Path) -> None:
    router = load(train(made(tmp_path, 400, seed, shuffled=True)))
    assert router.described.scored.low <= 0
    assert judge(made(tmp_path, 300, seed + 1, shuffled=True), router).beats is False


def test_the_same_outcomes_and_seed_give_the_same_bytes(seen: Outcomes, data: bytes) -> None:
    assert train(replace(seen, rows=seen.rows[::-1])) == data
    assert train(seen, seed=1) != data


def test_what_is_judged_is_what_is_served(seen: Outcomes, data: bytes, router: LearnedRouter) -> None:
    told = msgspec.json.decode(data, type=Described)
    assert (told.data, told.rows, told.models) == (seen.digest, 400, seen.models)
    assert told.means == pytest.approx(tuple(seen.means().values()), abs=1e-6)
    assert len(data) < 1 << 20
    chances = np.array([router.look(row.question).chances for row in seen.rows])
    assert chances.mean(axis=0) == pytest.approx(np.array(told.means), abs=0.03), "calibrated in the large"


def test_what_it_has_seen_is_left_out(seen: Outcomes, router: LearnedRouter, tmp_path: Path) -> None:
    fresh = made(tmp_path, 40, 9)
    report = judge(replace(fresh, rows=(*fresh.rows, *seen.rows[:60])), router)
    assert (report.rows, report.leaked) == (40, 60)
    with pytest.raises(Invalid, match="learned from these very rows"):
        judge(seen, router)
    with pytest.raises(Invalid, match="Every question"):
        judge(replace(seen, rows=seen.rows[:100]), router)


def test_a_model_that_it_does_not_know_is_named(router: LearnedRouter, tmp_path: Path) -> None:
    fresh = made(tmp_path, 40, 9)
    with pytest.raises(Invalid, match="never learned about new"):
        judge(replace(fresh, models=("adder", "coder", "new")), router)


def test_too_few_or_too_equal_questions_are_refused(seen: Outcomes) -> None:
    with pytest.raises(Invalid, match="too few"):
        train(replace(seen, rows=seen.rows[:49]))
    with pytest.raises(Invalid, match="too few"):
        train(replace(seen, rows=tuple(replace(row, group="one") for row in seen.rows)))
    with pytest.raises(Invalid, match="too much alike"):
        train(replace(seen, rows=tuple(replace(row, question="Why?") for row in seen.rows)))


def test_rows_of_a_group_stay_in_one_fold(seen: Outcomes) -> None:
    """Each question ten times over with scores by chance: who sees a copy of what it is asked would seem to know."""
    draw = np.random.default_rng(11)
    copies = []
    for place, row in enumerate(seen.rows[:60]):
        scores = tuple(float(each) for each in draw.random(3) < 0.5)
        copies += [replace(row, scores=scores, group=f"g{place}", question=f"{row.question} {copy}") for copy in range(10)]
    told = load(train(replace(seen, rows=tuple(copies)))).described.scored
    assert told.low <= 0
    apart = tuple(replace(row, group=row.question) for row in copies)
    assert load(train(replace(seen, rows=apart))).described.scored.low > 0
