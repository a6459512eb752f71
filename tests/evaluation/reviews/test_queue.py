"""Who asks for a review, who gets it, and what becomes of what is said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.monitoring.house import House, person

from tandem.core.errors import Conflict, Forbidden, Invalid, NotFound
from tandem.core.review import Said
from tandem.governance.authorise import ALL

CHAT = msgspec.json.encode({"messages": [{"role": "user", "content": "How much?"}]})
ANSWER = msgspec.json.encode({"choices": [{"message": {"role": "assistant", "content": "Forty-two."}}]})


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    made.serve()
    yield made
    made.close()


def decided(house: House, count: int = 1, **more: object) -> list[str]:
    """Decisions that ask for a person, kept and taken into the queue."""
    asked = {"endpoint": "claims", "kind": "decide", "request": b'{"amount": 3}', "answer": b'{"pay": true}'}
    told: dict[str, object] = {"attributes": {"review": 1}, "notes": {"review": ["It is uncertain."]}, **asked, **more}
    found = [house.call(**told) for _ in range(count)]  # type: ignore[arg-type]
    house.traces.flush()
    house.queue.step(house.traces.days())
    return found


def test_a_decision_that_asks_for_a_person_waits_once(house: House) -> None:
    (trace,) = decided(house)
    house.call(endpoint="claims", kind="decide")  # did not ask
    house.traces.flush()
    assert house.queue.step(house.traces.days()) == 0
    (waiting,) = house.queue.reviews.list(ALL, state="open")
    assert (waiting.trace, waiting.endpoint, waiting.kind, waiting.source) == (trace, "claims", "decide", "decision")
    assert waiting.id.removeprefix("rvw_") == waiting.call.removeprefix("cal_")


def test_a_mark_is_taken_again_after_a_death_between_queue_and_unmarking(house: House) -> None:
    house.call(endpoint="claims", kind="decide", attributes={"review": 1})
    house.traces.flush()
    (day,) = house.traces.days()
    marked = house.traces.marked(day, 10)
    assert house.queue.reviews.add([house.queue._made(trace, "decision") for trace in marked]) == 1
    assert house.queue.step([day]) == 1  # the mark was still there
    assert len(house.queue.reviews.list(ALL)) == 1
    assert house.queue.step([day]) == 0
    house.traces.store([], [])  # moving the same journal twice sets no mark anew
    assert house.traces.marked(day, 10) == []


def test_a_call_that_is_moved_twice_is_marked_once(house: House) -> None:
    house.call(endpoint="claims", kind="decide", attributes={"review": 1})
    twice = [entry for entry, _ in house.pending]
    house.traces.flush()
    house.queue.step(house.traces.days())
    house.traces.store(twice, [])
    assert house.traces.marked(house.traces.days()[0], 10) == []


def test_two_people_never_get_the_same_and_who_skips_lets_go(house: House) -> None:
    decided(house, 3)
    ann, ben = person("editor"), person("approver")
    first, second = house.queue.next(ann), house.queue.next(ben)
    assert first is not None
    assert second is not None
    assert first.review.id != second.review.id
    again = house.queue.next(ann)
    assert again is not None
    assert again.review.id == first.review.id  # what one holds comes first again
    skipped = house.queue.next(ann, after=first.review.id)
    assert skipped is not None
    assert skipped.review.id not in (first.review.id, second.review.id)
    freed = house.queue.next(ben, after=second.review.id)
    assert freed is not None
    assert freed.review.id == first.review.id  # what was skipped comes again, after what nobody has seen
    assert house.queue.next(person("admin"), after=second.review.id) is None  # both others are held, and this one was skipped
    house.clock.advance(601)
    taken = house.queue.next(person("admin"))
    assert taken is not None


def test_what_somebody_asked_for_comes_before_samples_and_the_oldest_first(house: House) -> None:
    house.monitor(endpoint="assistant", question="scores", minimum=30, review=5)
    for _ in range(30):
        house.call(endpoint="assistant", kind="chat", request=CHAT, answer=ANSWER)
    assert house.watch.check("m").reviews == 5
    late = decided(house, 2)
    order = [review.trace for review in house.queue.reviews.list(ALL, state="open")]
    assert order[:2] == late
    assert len(order) == 7


def test_a_window_is_sampled_once_by_chance_alone_and_only_what_can_be_read(house: House) -> None:
    house.monitor(endpoint="assistant", question="scores", minimum=30, review=8)
    for number in range(40):
        house.call(endpoint="assistant", kind="chat", request=CHAT, answer=ANSWER, recorded=number % 2 == 0)
    seen = house.traces.window(team="risk", endpoint="assistant", since=0, until=house.clock.now(), limit=100)
    readable = {each.trace.call for each in seen if each.kept is not None}
    assert house.watch.check("m").reviews == 8
    drawn = {review.call for review in house.queue.reviews.list(ALL)}
    assert drawn <= readable
    assert house.queue.sample("m", seen, 8) == 0  # the same draw
    assert house.watch.check("m").reviews == 0  # too few new calls: the window is not over
    first = {each.trace.call for each in seen[:8]}
    assert drawn != first


def test_what_is_said_becomes_a_score_of_the_trace_and_an_audit_row(house: House) -> None:
    (trace,) = decided(house)
    (review,) = house.queue.reviews.list(ALL)
    done = house.queue.decide(
        review.id, Said(opinion="wrong", correction='{"pay": false}', note="Not covered."), person("editor")
    )
    assert (done.state, done.opinion, done.decided_by) == ("done", "wrong", "risk-editor")
    (score,) = house.traces.scores(trace)
    assert (score.subject, score.scorer, score.value, score.label, score.created_by) == (
        trace,
        "person",
        0.0,
        "wrong",
        "risk-editor",
    )
    assert score.detail["review"] == review.id
    opened = house.queue.open(review.id, person("viewer"))
    assert opened.said == Said(opinion="wrong", correction='{"pay": false}', note="Not covered.")
    assert ("review.decide", "risk-editor") in house.audited()
    assert house.queue.next(person("editor")) is None


def test_who_changes_his_mind_replaces_the_score_and_the_audit_has_both(house: House) -> None:
    (trace,) = decided(house)
    (review,) = house.queue.reviews.list(ALL)
    for opinion in ("wrong", "right", "unsure"):
        house.clock.advance(1)
        house.queue.decide(review.id, Said(opinion=opinion), person("editor"))  # type: ignore[arg-type]
        assert [score.label for score in house.traces.scores(trace)] == ([opinion] if opinion != "unsure" else [])
    assert [action for action, _ in house.audited()].count("review.decide") == 3


def test_a_score_that_death_prevented_is_kept_by_the_next_step(house: House) -> None:
    (trace,) = decided(house)
    (review,) = house.queue.reviews.list(ALL)
    house.queue.reviews.decide(review.id, "right", b"", corrected=False, by=person("editor"))
    assert house.traces.scores(trace) == []
    house.queue.step([])
    assert [score.value for score in house.traces.scores(trace)] == [1.0]
    assert house.queue.reviews.due() == ()


def test_words_are_unreadable_once_the_subject_is_erased(house: House) -> None:
    decided(house, subject="app")  # the house keeps calls without a subject under the principal's name
    (review,) = house.queue.reviews.list(ALL)
    house.queue.decide(review.id, Said(opinion="wrong", note="Mrs Example lives there."), person("editor"))
    _, sealed = house.queue.reviews.find(review.id, ALL)
    assert sealed
    assert b"Example" not in sealed
    assert house.queue.read(sealed) == Said(opinion="wrong", note="Mrs Example lives there.")
    assert house.subjects.erase("principal:app", now=house.clock.now())
    assert house.queue.read(sealed) is None
    house.queue.decide(review.id, Said(opinion="right"), person("editor"))
    with pytest.raises(Conflict, match="erased"):
        house.queue.decide(review.id, Said(opinion="right", note="again"), person("editor"))


def test_a_person_may_name_a_call_of_their_own_team_that_can_be_judged(house: House) -> None:
    trace = house.call(endpoint="assistant", kind="chat", request=CHAT, answer=ANSWER)
    vector = house.call(endpoint="vectors", kind="embed")
    house.traces.flush()
    added = house.queue.add(trace, by=person("editor"))
    assert added.source == "key/risk-editor"
    assert house.queue.add(trace, by=person("approver")) == added
    assert [action for action, _ in house.audited()].count("review.add") == 1
    with pytest.raises(Invalid, match="Only answers"):
        house.queue.add(vector, by=person("editor"))
    with pytest.raises(NotFound):
        house.queue.add(trace, call="cal_other", by=person("editor"))
    with pytest.raises(NotFound):
        house.queue.add(trace, by=person("editor", team="sales"))
    with pytest.raises(Forbidden):
        house.queue.add(trace, by=person("viewer"))


def test_another_team_sees_and_says_nothing(house: House) -> None:
    decided(house)
    (review,) = house.queue.reviews.list(ALL)
    stranger = person("approver", team="sales")
    assert house.queue.next(stranger) is None
    for act in (
        lambda: house.queue.open(review.id, stranger),
        lambda: house.queue.decide(review.id, Said(opinion="right"), stranger),
    ):
        with pytest.raises(NotFound):
            act()
    with pytest.raises(Forbidden):
        house.queue.decide(review.id, Said(opinion="right"), person("viewer"))
    with pytest.raises(Forbidden):
        house.queue.next(person("viewer"))


def test_nobody_says_anything_about_what_another_looks_at(house: House) -> None:
    decided(house)
    taken = house.queue.next(person("editor"))
    assert taken is not None
    with pytest.raises(Conflict, match="risk-editor looks at"):
        house.queue.decide(taken.review.id, Said(opinion="right"), person("approver"))
    house.clock.advance(601)
    assert house.queue.decide(taken.review.id, Said(opinion="right"), person("approver")).decided_by == "risk-approver"


@pytest.mark.parametrize(
    ("said", "field"),
    [
        (Said(opinion="right", correction="no"), "correction"),
        (Said(opinion="unsure", correction="no"), "correction"),
        (Said(opinion="wrong", note="x" * 20_001), "note"),
    ],
)
def test_what_makes_no_sense_is_refused(house: House, said: Said, field: str) -> None:
    decided(house)
    (review,) = house.queue.reviews.list(ALL)
    with pytest.raises(Invalid) as refused:
        house.queue.decide(review.id, said, person("editor"))
    assert refused.value.field == field


def test_a_review_goes_with_its_trace(house: House) -> None:
    decided(house, 2)
    first, _ = house.queue.reviews.list(ALL)
    house.queue.decide(first.id, Said(opinion="right"), person("editor"))
    house.traces.thin(4_000_000_000_000_000, kind="decide", team=None)  # ids are of today, whatever the clock says
    assert house.queue.next(person("editor")) is None  # what is gone is taken off the queue, not offered
    assert [review.id for review in house.queue.reviews.list(ALL)] == [first.id]
    with pytest.raises(NotFound):
        house.queue.open(first.id, person("editor"))


def test_open_reviews_past_the_retention_are_dropped(house: House) -> None:
    decided(house)
    assert house.queue.reviews.forget(house.clock.now() - 10**9) == 0
    assert house.queue.reviews.forget(house.clock.now() + 1) == 1


def test_the_tally_counts_by_source_with_an_interval(house: House) -> None:
    decided(house, 4)
    for review, opinion in zip(house.queue.reviews.list(ALL), ("right", "right", "wrong", "unsure"), strict=True):
        house.queue.decide(review.id, Said(opinion=opinion), person("editor"))  # type: ignore[arg-type]
    decided(house, 1)
    (tally,) = house.queue.reviews.tallies(ALL)
    assert (tally.endpoint, tally.source, tally.open) == ("claims", "decision", 1)
    assert (tally.right, tally.wrong, tally.unsure) == (2, 1, 1)
    assert (tally.share.n, round(tally.share.value, 3), round(tally.share.low, 3), round(tally.share.high, 3)) == (
        3,
        0.667,
        0.208,
        0.939,
    )
