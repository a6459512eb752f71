"""The books balance: random interleavings of every way a call can end, on both stores, against the mock's own bill."""

from __future__ import annotations

import asyncio
import tempfile
from itertools import count
from pathlib import Path

import pytest
from bench.proof import ENOUGH, ROUTES, Step, prove
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tandem.core.policy import Budget
from tests.postgres import Server

pytestmark = pytest.mark.slow
NUMBERS = count()
CALLS = st.tuples(
    st.sampled_from(("whole", "stream")),
    st.integers(0, 1),
    st.sampled_from(sorted(ROUTES)),
    st.sampled_from((1, 5, 12, 40)),
    st.sampled_from((0, 0, 0, 1, 4, 9, 20)),
)
OTHERS = st.one_of(
    st.tuples(st.just("wait"), st.just(0), st.just(""), st.integers(1, 40), st.just(0)),
    st.tuples(st.just("kill"), st.integers(0, 1), st.just(""), st.just(0), st.just(0)),
    st.tuples(st.just("jump"), st.just(0), st.just(""), st.sampled_from((1, 24)), st.just(0)),
)
SCHEDULES = st.lists(st.one_of(CALLS, CALLS, CALLS, CALLS, OTHERS), min_size=15, max_size=60)
CAPS = st.tuples(
    st.sampled_from((300_000, 1_500_000, ENOUGH)),
    st.sampled_from((500_000, ENOUGH)),
    st.sampled_from((2_000, ENOUGH)),
    st.sampled_from((25, 1_000)),
    st.sampled_from((5, 1_000)),
)
# What a schedule meets depends on the clock too, so a smaller one that fails as well cannot be looked for.
OFTEN = settings(deadline=None, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck))


def caps(amounts: tuple[int, int, int, int, int]) -> list[Budget]:
    org, team, tokens, requests, calls = amounts
    return [
        Budget(scope="org", cap=org, window="total"),
        Budget(scope="team/risk", cap=team, window="day"),
        Budget(scope="key/demo", cap=tokens, unit="tokens", window="hour"),
        Budget(scope="key/demo", cap=requests, unit="requests", window="day"),
        Budget(scope="key/demo", cap=calls, unit="calls", window="total"),
    ]


@settings(OFTEN, max_examples=24)
@given(amounts=CAPS, steps=SCHEDULES)
def test_the_books_balance_in_a_file(amounts: tuple[int, int, int, int, int], steps: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as home:
        verdict = asyncio.run(prove(Path(home), caps(amounts), steps))
    assert verdict.wrong == ()
    assert verdict.error == 0


@settings(OFTEN, max_examples=12)
@given(amounts=CAPS, steps=SCHEDULES)
def test_the_books_balance_on_a_server(postgres: Server, amounts: tuple[int, int, int, int, int], steps: list[Step]) -> None:
    database = postgres.database(f"proof{next(NUMBERS)}")
    with tempfile.TemporaryDirectory() as home:
        verdict = asyncio.run(prove(Path(home), caps(amounts), steps, database))
    assert verdict.wrong == ()
    assert verdict.error == 0
