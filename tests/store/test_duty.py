"""One of several is on duty, and another as soon as it is gone."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest
from tests.postgres import Server, needed

from tandem.core.clock import FixedClock
from tandem.core.secret import Secret
from tandem.store.duty import LOOK_SECONDS, Duty

pytestmark = needed


class Pair:
    """Two processes that share one duty."""

    def __init__(self, url: str) -> None:
        self.clock = FixedClock()
        self.first, self.second = Duty(Secret(url), self.clock), Duty(Secret(url), self.clock)

    def later(self) -> tuple[bool, bool]:
        self.clock.advance(LOOK_SECONDS)
        return self.first.mine(), self.second.mine()


@pytest.fixture
def pair(postgres: Server) -> Iterator[Pair]:
    made = Pair(postgres.database(f"duty_{uuid4().hex}"))
    yield made
    made.first.close()
    made.second.close()


def test_one_has_it_and_keeps_it(pair: Pair) -> None:
    assert [pair.later() for _ in range(3)] == [(True, False)] * 3


def test_who_leaves_hands_it_over_at_once(pair: Pair) -> None:
    assert pair.later() == (True, False)
    pair.first.close()
    assert pair.later() == (False, True)


def test_who_lost_the_connection_has_lost_it(pair: Pair, postgres: Server) -> None:
    assert pair.later() == (True, False)
    postgres.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%advisory_lock%' AND pid != pg_backend_pid()"
    )
    seen = [pair.later() for _ in range(4)]
    assert all(sum(each) <= 1 for each in seen)
    assert sum(seen[-1]) == 1


def test_while_the_server_is_away_nobody_has_it(pair: Pair, postgres: Server) -> None:
    assert pair.later() == (True, False)
    postgres.stop()
    try:
        assert pair.later() == (False, False)
    finally:
        postgres.start()
    assert sum(pair.later()) == 1
