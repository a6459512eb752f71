"""Promotions that nobody asked for by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import pytest

from tandem.core.approval import Approval
from tandem.core.asset import Ref
from tandem.governance.authorise import ALL
from tandem.jobs.job import Job
from tandem.monitoring.moved import promote_or_ask
from tests.monitoring.house import House, person


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A model in production, and a newer version that its gate would let pass."""
    house = House(tmp_path)
    house.serve()
    house.model(house.data())

    def move(job: Job) -> Mapping[str, object]:
        by, at_once = person(), bool(job.inputs["at_once"])
        ref = Ref.parse("model/credit@2")
        return asdict(
            promote_or_ask(job, ref, "It is better.", by=by, at_once=at_once, promotions=house.promotions, moves=house.moves)
        )

    house.jobs.register("move", move)
    yield house
    house.close()


def moved(house: House, *, at_once: bool) -> Mapping[str, object]:
    run = house.runs.create("move", "credit", inputs={"at_once": at_once}, by=person())
    house.jobs.start("move", run.id, run.inputs)
    return house.runs.find(run.id, ALL).outputs


def test_it_is_made_at_once_where_it_may_be(house: House) -> None:
    assert moved(house, at_once=True)["promoted"]
    assert house.registry.find(Ref.parse("model/credit@production"), ALL).version == 2


def test_a_rule_asks_for_people(house: House) -> None:
    with house.sql.write() as conn:
        house.rules.put_in(conn, Approval(action="promote", team="risk", people=2), by=person(role="admin"), detail={})
    told = moved(house, at_once=True)
    assert not told["promoted"]
    request = house.requests.find(str(told["request"]), ALL)
    assert (request.subject, request.people, request.reason) == ("model/credit@2", 2, "It is better.")
    assert house.registry.find(Ref.parse("model/credit@production"), ALL).version == 1


def test_a_person_is_asked_where_that_is_wanted(house: House) -> None:
    assert moved(house, at_once=False)["request"]
    assert house.registry.find(Ref.parse("model/credit@production"), ALL).version == 1
