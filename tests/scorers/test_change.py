"""The scan over a stream of errors: what it finds, when, and how often it calls without a reason."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tandem.scorers import change


def stream(seed: int, *parts: tuple[int, float]) -> change.Errors:
    draw = np.random.default_rng(seed)
    return np.concatenate([draw.random(n) < rate for n, rate in parts])


def test_a_large_change_is_found_within_a_few_outcomes_and_its_beginning_named() -> None:
    errors = stream(4, (2000, 0.1), (200, 0.8))
    limit = change.threshold(0.1, 2200, 0.01, seed=2)
    found = change.first(errors, limit)
    assert found is not None
    assert 2000 < found < 2030
    assert abs(change.since(errors[: found + 30]) - 2000) < 15


def test_a_small_change_is_found_within_a_long_stream() -> None:
    limit = change.threshold(0.25, 3000, 0.05, seed=1)
    found = [change.first(stream(seed, (1500, 0.25), (1500, 0.31)), limit) for seed in range(60)]
    assert sum(each is not None for each in found) >= 50


def test_what_becomes_better_is_no_alarm() -> None:
    assert change.first(stream(1, (1000, 0.5), (1000, 0.1)), 15.0) is None


def test_p_values_hold_when_nothing_changes() -> None:
    """Of 150 unchanged streams 15 are expected below 0.1, and none far below."""
    found = [change.significance(stream(seed, (400, 0.2)), 100, seed=seed, streams=99) for seed in range(150)]
    assert 4 <= sum(p <= 0.1 for p in found) <= 29  # outside with a chance of one in a thousand
    assert sum(p <= 0.002 for p in found) <= 3


def test_a_change_has_a_small_p_value() -> None:
    assert change.significance(stream(1, (1000, 0.1), (200, 0.4)), 200, seed=1) < 1e-6


def test_the_threshold_keeps_its_chance() -> None:
    limit = change.threshold(0.3, 500, 0.1, seed=3)
    reached = sum(change.first(stream(seed, (500, 0.3)), limit) is not None for seed in range(300))
    assert 12 <= reached <= 51  # 30 expected


def test_a_stream_of_one_sort_has_not_changed() -> None:
    assert not change.scan(np.zeros(100, dtype=np.bool_)).any()
    assert change.since(np.ones(50, dtype=np.bool_)) == 50
    assert change.significance(np.ones(50, dtype=np.bool_), 10, seed=1) == 1.0


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(1, 60))
def test_looking_at_the_newest_alone_is_looking_at_all(errors: list[bool], fresh: int) -> None:
    whole = np.array(errors)
    fresh = min(fresh, len(errors))
    assert np.array_equal(change.scan(whole, fresh=fresh), change.scan(whole)[-fresh:])


def test_streams_beside_each_other_are_each_their_own() -> None:
    some = np.array([stream(seed, (60, 0.3)) for seed in range(5)])
    assert np.allclose(change.scan(some), [change.scan(each) for each in some])
