"""What was told online at a moment is what the point-in-time join says about it afterwards: over random streams of facts."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tandem.data.features import offline, online
from tandem.data.features.online import Cell, Fact, cells, merged, packed, unpacked
from tandem.data.features.validity import PUSHED
from tandem.data.features.view import View, view

COLUMNS = {"who": "string", "at": "datetime", "written": "datetime", "no": "int", "x": "float", "s": "string"}


def a_view(**changes: object) -> View:
    told: dict[str, object] = {
        "entity": ["who"],
        "time": "at",
        "ttl": "10s",
        "features": ["x", "s", "recent = last(x) over 3s", "n = count(*) over 5s", "known = count(x) over 5s",
                     "total = sum(x) over 5s", "average = mean(x) over 20s", "spread = std(x) over 5s",
                     "least = min(x) over 5s", "most = max(x + 1) over 5s", "kinds = distinct(s) over 5s"],
    }  # fmt: skip
    return view("spending", 1, {**told, **changes}, COLUMNS)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Event:
    who: str
    at: int
    """Seconds, like all times here."""
    written: int
    no: int
    x: float | None
    s: str | None
    stays: int
    """Until the next one arrives."""
    asked: tuple[str, ...]
    """Entities whose features are read between this event and the next."""


EVENTS = st.lists(
    st.builds(
        Event,
        who=st.sampled_from(["a", "b"]),
        at=st.integers(0, 30),
        written=st.integers(0, 8),
        no=st.integers(0, 1),
        x=st.none() | st.integers(-3, 3).map(float) | st.floats(-1e6, 1e6),
        s=st.none() | st.sampled_from(["", "u", "v"]),
        stays=st.integers(0, 4),
        asked=st.lists(st.sampled_from(["a", "b", "c"]), max_size=3).map(tuple),
    ),
    max_size=25,
)
SECOND = 1_000_000


def _frame(facts: list[tuple[str, Fact]], v: View) -> pl.DataFrame:
    schema = {"who": pl.String, offline.EVENT: pl.Int64, offline.CREATED: pl.Int64, offline.KNOWN: pl.Int64,
              offline.ORDER: pl.Int64, offline.ID: pl.String}  # fmt: skip
    kinds = {"number": pl.Float64, "text": pl.String}
    schema |= {f"e{place}": kinds[formula.type] for place, formula in enumerate(v.formulas)}  # type: ignore[misc]
    rows = [(who, fact.event, fact.created, fact.known, fact.order, fact.id, *fact.values) for who, fact in facts]
    return pl.DataFrame(rows, schema=schema, orient="row")


def alike(left: object, right: object) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        return math.isclose(left, right, rel_tol=1e-9, abs_tol=1e-6)
    return left == right


@pytest.mark.parametrize(
    ("id", "created", "most"), [([], None, 3), ([], "written", 9999), (["no"], None, 9999), (["no"], "written", 3)]
)
@settings(max_examples=150, deadline=None)
@given(events=EVENTS, reorder=st.randoms(use_true_random=False))
def test_online_is_offline(id: list[str], created: str | None, most: int, events: list[Event], reorder: random.Random) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for module in (online, offline):
            patch.setattr(module, "FACTS", most)
        compare(a_view(id=id, created=created), created is not None, events, reorder)


def compare(v: View, written: bool, events: list[Event], reorder: random.Random) -> None:
    """Tells every answer along the way, then asks the join about all of them at once."""
    store: dict[str, bytes] = {}
    log: list[tuple[str, Fact]] = []
    told: list[tuple[str, int, list[Cell]]] = []

    def ask(who: str, t: int) -> None:
        told.append((who, t, cells(v, unpacked(store.get(who)), t)))

    now = 1
    for place, event in enumerate(events):
        row = {"who": event.who, "x": event.x, "s": event.s}
        fact = Fact(
            event=event.at * SECOND,
            created=event.written * SECOND if written else now,
            known=now,
            order=PUSHED + place,
            id=str(event.no) if v.id else "",
            values=tuple(closure(row) for closure in v.closures),
        )
        log.append((event.who, fact))
        for _ in range(1 + place % 2):  # what is delivered twice is delivered once
            store[event.who] = packed(merged(v, [*unpacked(store.get(event.who)), fact], now))
        next_arrival = now + event.stays * SECOND + 1
        for who in event.asked:
            ask(who, now)
            ask(who, next_arrival - 1)
        now = next_arrival
    for late in range(0, 35 * SECOND, 3 * SECOND):
        for who in "abc":
            ask(who, now + late)
    reorder.shuffle(log)
    same(v, log, told)


def same(v: View, log: list[tuple[str, Fact]], told: list[tuple[str, int, list[Cell]]]) -> None:
    """Asks the join what was told online: by whom, when, and what."""
    asked = pl.DataFrame({"who": [who for who, _, _ in told]}, schema={"who": pl.String})
    answers = offline.answers(v, _frame(log, v), asked, np.array([t for _, t, _ in told], dtype=np.int64))
    for place, (who, t, found) in enumerate(told):
        for feature, cell in zip(v.features, found, strict=True):
            value, state = answers.frame[feature.name][place], offline.STATES[answers.states[feature.name][place]]
            assert (state, alike(cell.value, value)) == (cell.state, True), (who, t, feature, cell, value)


@settings(max_examples=100, deadline=None)
@given(events=EVENTS, reorder=st.randoms(use_true_random=False), now=st.integers(0, 60))
def test_what_is_kept_does_not_depend_on_the_order_of_arrival(events: list[Event], reorder: random.Random, now: int) -> None:
    v = a_view(id=["no"])
    facts = [
        Fact(each.at, each.written, each.at + each.stays, PUSHED + place, str(each.no), (each.x, each.s, each.x))
        for place, each in enumerate(events)
    ]
    whole = merged(v, facts, now)
    kept: list[Fact] = []
    again = [*facts, *facts]
    reorder.shuffle(again)
    for fact in again:
        kept = merged(v, [*kept, fact], now)
    assert kept == whole
    assert cells(v, kept, now) == cells(v, facts, now)


def known_later(event: Event, place: int) -> Fact:
    known = (event.at + 7 * event.stays) * SECOND
    return Fact(event.at * SECOND, event.written, known, place, str(event.no), (event.x, event.s, event.x))


@settings(max_examples=100, deadline=None)
@given(events=EVENTS, moments=st.lists(st.integers(0, 60), min_size=1, max_size=8), since=st.integers(0, 40))
def test_rows_that_may_be_known_only_later(events: list[Event], moments: list[int], since: int) -> None:
    """As rows of a dataset are: put into the store at one time, to count from another."""
    v = a_view(id=["no"])
    log = [
        (
            each.who,
            Fact(
                each.at * SECOND, each.written, (each.at + 7 * each.stays) * SECOND, place, str(each.no), (each.x, each.s, each.x)
            ),
        )
        for place, each in enumerate(events)
    ]
    now = since * SECOND
    kept = {who: merged(v, [fact for whose, fact in log if whose == who], now) for who in "ab"}
    told = [(who, now + late * SECOND, cells(v, kept[who], now + late * SECOND)) for who in "ab" for late in moments]
    same(v, log, told)


def test_the_four_states_are_told_apart() -> None:
    v = a_view(features=["x", "n = count(*) over 5s", "average = mean(x) over 5s"])
    kept = merged(v, [Fact(10 * SECOND, 0, 0, 0, "", (None,))], 10 * SECOND)
    assert [(c.value, c.state) for c in cells(v, kept, 12 * SECOND)] == [(None, "null"), (1.0, "ok"), (None, "null")]
    assert [(c.value, c.state) for c in cells(v, kept, 16 * SECOND)] == [(None, "null"), (0.0, "expired"), (None, "expired")]
    assert [(c.value, c.state) for c in cells(v, kept, 20 * SECOND)] == [(None, "expired"), (0.0, "expired"), (None, "expired")]
    assert [(c.value, c.state) for c in cells(v, kept, 9 * SECOND)] == [(None, "not-found")] * 3


def test_a_late_old_fact_does_not_come_back() -> None:
    v = a_view(features=["x"])
    new, old = Fact(10, 10, 10, PUSHED, "", (1.0,)), Fact(5, 5, 20, PUSHED + 1, "", (2.0,))
    assert cells(v, merged(v, [*merged(v, [new], 10), old], 20), 20)[0].value == 1.0
