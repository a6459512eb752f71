"""A step finds production and requests as people have left them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import text

from tandem.core.asset import Ref
from tandem.core.errors import Invalid
from tandem.governance.authorise import ALL
from tandem.jobs.fake import InlineJobs
from tandem.monitoring.online.nouns import Asked, Plan, Span, State
from tandem.monitoring.online.online import KIND, as_left, begin, make_online
from tandem.monitoring.online.step import GUARD, Standing
from tests.monitoring.house import House, person

PLAN = Plan(endpoint="credit", model="credit", team="risk")


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A champion, and a version that was asked for."""
    house = House(tmp_path)
    house.serve()
    house.model(house.data())
    yield house
    house.close()


@pytest.fixture
def asked(house: House) -> State:
    wish = house.moves.wish(Ref.parse("model/credit@2"), "production", "It is better.", by=person(), passed=True)
    request = house.requests.open(house.requests.made(wish, None, by=person(role="editor")))
    return State(
        number=7,
        first="model/credit@1",
        champion="model/credit@1",
        standing=Standing(candidate=True, tried=3),
        folder="run_6",
        learned=Span(labels=500),
        asked=Asked(version="model/credit@2", request=request.id),
    )


def test_a_request_that_waits_changes_nothing(house: House, asked: State) -> None:
    assert as_left(house.trying, PLAN, asked, house.moves) == asked


def test_a_version_that_was_approved_is_the_champion(house: House, asked: State) -> None:
    assert asked.asked is not None
    house.requests.approve(asked.asked.request, by=person(role="admin"))
    left = as_left(house.trying, PLAN, asked, house.moves)
    assert (left.champion, left.former, left.first, left.asked) == ("model/credit@2", "model/credit@1", "model/credit@1", None)
    assert (left.standing, left.folder) == (Standing(windows=GUARD), "run_6")


def test_a_version_that_was_declined_is_thrown_away(house: House, asked: State) -> None:
    assert asked.asked is not None
    house.requests.decline(asked.asked.request, by=person(role="admin"))
    left = as_left(house.trying, PLAN, asked, house.moves)
    assert (left.champion, left.standing, left.folder, left.asked) == ("model/credit@1", Standing(tried=4), "", None)
    assert left.learned == Span()


def test_production_that_names_what_cannot_learn_ends_it(house: House, asked: State) -> None:
    house.model(house.data())
    house.promotions.promote(Ref.parse("model/credit@3"), "production", by=person())
    with pytest.raises(Invalid, match="cannot learn online"):
        as_left(house.trying, PLAN, asked, house.moves)


def test_a_step_that_fails_is_told(house: House, tmp_path: Path) -> None:
    house.model(house.data())
    house.promotions.promote(Ref.parse("model/credit@3"), "production", by=person())
    jobs = InlineJobs(house.runs, house.clock)
    work = make_online(house.trying, jobs, house.promotions, house.moves, house.holdouts, folder=tmp_path / KIND)
    jobs.register(KIND, work)
    nothing = msgspec.structs.replace(PLAN, every=0)
    run = begin(house.trying, jobs, "run_9", nothing, State(champion="model/credit@1"), by=person())
    assert house.runs.find(run, ALL).state == "failed"
    with house.sql.read() as conn:
        told = conn.execute(text("SELECT detail FROM audit WHERE action = 'online.failed'")).scalars().all()
    assert len(told) == 1
    assert "cannot learn online" in str(told[0])
