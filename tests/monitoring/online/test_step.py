"""What a step decides: pure, on streams whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from tandem.mock.world import applicants
from tandem.monitoring.online.step import GUARD, PATIENCE, Need, Outcome, Rule, Standing, decide, discarded, level, promoted
from tandem.scorers.sequential import ALPHA, LEAST
from tests.monitoring.online.stream import Stream, trained

EVERY = 200


def lived(draw: np.random.Generator, *, won: float, lost: float, steps: int, rule: Rule) -> list[Outcome]:
    """The outcomes of steps in which a candidate wins and loses rows with these chances; promotions are not made."""
    standing, found = Standing(), list[Outcome]()
    for _ in range(steps):
        drawn = draw.random(EVERY)
        champion = (drawn < won).astype(float)
        candidate = ((drawn >= won) & (drawn < won + lost)).astype(float)
        outcome, standing = decide(rule, standing, {"champion": champion.tolist(), "candidate": candidate.tolist()})
        found.append(outcome)
        if outcome == "promote":
            break
    return found


def promotions(won: float, lost: float, rule: Rule, runs: int = 150) -> float:
    draws = (np.random.default_rng(seed) for seed in range(runs))
    return sum("promote" in lived(draw, won=won, lost=lost, steps=40, rule=rule) for draw in draws) / runs


@pytest.mark.parametrize(("need", "lost"), [("improved", 0.06), ("improved", 0.07), ("non-inferior", 0.08)])
def test_what_is_no_better_is_rarely_promoted_however_long_it_is_looked_at(need: Need, lost: float) -> None:
    """Nothing changes: a candidate that loses as often, more often, or by just the margin."""
    rule = Rule(need=need, margin=0.02)
    assert promotions(0.06, lost, rule) <= ALPHA


def test_what_is_better_is_promoted_soon() -> None:
    found = lived(np.random.default_rng(1), won=0.08, lost=0.02, steps=20, rule=Rule())
    assert found[-1] == "promote"
    assert len(found) <= 6


def test_what_is_as_good_is_promoted_where_that_is_enough() -> None:
    assert promotions(0.01, 0.01, Rule(need="non-inferior", margin=0.02), runs=20) == 1


def test_a_candidate_is_judged_on_so_many_rows_at_least() -> None:
    standing = Standing(candidate=True)
    for rows in range(100, 1000, 100):
        outcome, standing = decide(Rule(confirm=300), standing, {"champion": [1.0] * 100, "candidate": [0.0] * 100})
        assert outcome == ("promote" if rows >= 300 else "waits")
        if outcome == "promote":
            break


def test_all_candidates_between_two_promotions_share_one_chance_of_error() -> None:
    assert sum(level(tried) for tried in range(1, 100_000)) == pytest.approx(ALPHA, rel=1e-4)
    standing = Standing(candidate=True)
    outcome, standing = decide(Rule(), standing, {"champion": [0.0] * 200, "candidate": [1.0] * 200})
    assert (outcome, standing.candidate, standing.tried, standing.tally.n) == ("thrown-away", False, 2, 0)
    _, standing = decide(Rule(), standing, {"champion": [0.0] * 200})
    assert (standing.candidate, standing.tried) == (True, 2)
    assert promoted().tried == 1


def test_a_candidate_without_a_verdict_gives_way() -> None:
    same = {"champion": [0.0, 1.0], "candidate": [1.0, 0.0]}
    standing, rule = Standing(candidate=True), Rule(confirm=LEAST)
    outcomes = []
    while standing.tried == 1:
        outcome, standing = decide(rule, standing, {name: losses * 15 for name, losses in same.items()})  # type: ignore[misc]
        outcomes.append(outcome)
    assert outcomes == ["waits"] * (PATIENCE - 1) + ["renewed"]
    assert standing.candidate


def test_a_promoted_version_that_does_harm_goes_back() -> None:
    outcome, standing = decide(Rule(), promoted(), {"champion": [1.0] * 100, "former": [0.0] * 100})
    assert outcome == "roll-back"
    assert discarded(standing) == Standing(tried=2)


def test_the_former_champion_is_compared_for_a_span() -> None:
    standing, rule = promoted(), Rule(confirm=LEAST)
    for _ in range(GUARD):
        assert standing.windows
        _, standing = decide(rule, standing, {"champion": [0.0] * LEAST, "candidate": [0.0] * LEAST, "former": [0.0] * LEAST})
    assert not standing.windows


def test_the_model_follows_the_world() -> None:
    stream = Stream(trained(applicants(1_200, seed=5)))
    for number in range(20):
        stream.step(applicants(EVERY, seed=6, first=1_000 * number, moved=True))
    fresh = applicants(2_000, seed=7, moved=True)
    assert "promote" in stream.outcomes
    assert np.mean(stream.losses(stream.champion, fresh)) < np.mean(stream.losses(stream.first, fresh)) - 0.02


@pytest.mark.parametrize("span", [1, 2])
def test_a_span_of_wrong_labels_does_not_get_through(span: int) -> None:
    """Whenever it begins, as long as it is shorter than a step and the rows that a candidate is judged on."""
    clean = applicants(2_000, seed=9)
    for begins in range(1, 5):
        stream = Stream(trained(applicants(1_200, seed=5)), Rule(confirm=2 * EVERY))
        for number in range(begins + span + 8):
            wrong = begins <= number < begins + span
            stream.step(applicants(EVERY, seed=8, first=1_000 * number, sabotaged=wrong))
        assert "promote" not in stream.outcomes
        assert np.mean(stream.losses(stream.champion, clean)) < np.mean(stream.losses(stream.first, clean)) + 0.02


def test_wrong_labels_that_last_are_taken_back_once_labels_are_right() -> None:
    stream = Stream(trained(applicants(1_200, seed=5)))
    for number in range(12):
        stream.step(applicants(EVERY, seed=8, first=1_000 * number, sabotaged=number < 6))
    assert stream.outcomes.index("promote") < 6 <= stream.outcomes.index("roll-back") <= 7
    clean = applicants(2_000, seed=9)
    assert np.mean(stream.losses(stream.champion, clean)) < 0.35
