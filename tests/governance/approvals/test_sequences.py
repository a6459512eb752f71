"""Whatever happens in whatever order: never done with fewer people than the rule asks for, never twice, never by its author."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.governance.approvals.place import Place, person

from tandem.core.approval import Approval
from tandem.core.errors import TandemError
from tandem.governance.authorise import ALL

NAMES = ("ada", "ben", "cat", "dan")
STEPS = st.one_of(
    st.tuples(st.just("ask"), st.sampled_from(NAMES), st.integers(0, 1)),
    st.tuples(st.just("approve"), st.sampled_from(NAMES), st.integers(0, 5)),
    st.tuples(st.just("approve"), st.sampled_from(NAMES), st.integers(0, 5)),
    st.tuples(st.just("decline"), st.sampled_from(NAMES), st.integers(0, 5)),
    st.tuples(st.just("rule"), st.sampled_from(NAMES), st.integers(1, 3)),
    st.tuples(st.just("drop"), st.sampled_from(NAMES), st.just(0)),
    st.tuples(st.just("wait"), st.just(""), st.integers(1, 40)),
    st.tuples(st.just("change"), st.just(""), st.just(0)),
    st.tuples(st.just("refuse"), st.just(""), st.integers(0, 1)),
    st.tuples(st.just("sweep"), st.just(""), st.just(0)),
)


def step(place: Place, what: str, name: str, number: int) -> None:
    """One thing that somebody does; whether it is refused is not the question."""
    by = person(name or "nobody")
    known = place.requests.list(ALL)
    match what:
        case "ask":
            place.requests.ask(place.wish(subject=f"gate/{number}"), by=by)
        case "approve" if known:
            place.requests.approve(known[number % len(known)].id, by=by)
        case "decline" if known:
            place.requests.decline(known[number % len(known)].id, by=by)
        case "rule":
            place.rules.put(Approval(action="promote", people=number, hours=48), by=by)
        case "drop":
            place.rules.drop("promote", None, by=by)
        case "wait":
            place.clock.advance(number * 3600)
        case "change":
            place.lever.world += 1
        case "refuse":
            place.lever.refuses = bool(number)
        case "sweep":
            place.requests.sweep()


@settings(max_examples=40, deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_no_order_of_events_gets_around_the_people(steps: list[tuple[str, str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder))
        try:
            place.rule(people=2)
            for what, name, number in steps:
                with place.sql.read() as conn:
                    held = place.approvals.which(conn, "promote", "risk")
                before = len(place.lever.done)
                try:
                    step(place, what, name, number)
                except TandemError:
                    pass
                for request in place.lever.done[before:]:
                    people = {voice.person for voice in request.approvals}
                    assert held is not None
                    assert len(people) == len(request.approvals) >= held.people
                    assert request.person not in people
            done = [request.id for request in place.lever.done]
            assert len(done) == len(set(done))
            for request in place.requests.list(ALL):
                if request.does == "lever":
                    assert (request.state == "approved") == (request.id in done)
                elif request.state == "approved":  # a rule that got weaker: by as many as the one that held
                    assert request.rule is not None
                    assert len({voice.person for voice in request.approvals} - {request.person}) >= request.rule.people
            assert place.audited("gate.set") == ["gate.set"] * len(done)
            assert place.audit.verify().ok
        finally:
            place.close()
