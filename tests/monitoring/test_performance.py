"""Labels that come late: kept once, erased with their subject; windows compared when ripe; estimates before that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from tandem.core.errors import Forbidden, Invalid
from tandem.core.monitor import Finding, Report
from tandem.monitoring.outcomes import Outcome
from tandem.monitoring.perform import Rows, State, judge_performance
from tests.monitoring.house import House, person

DAY = 86_400


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    found = House(tmp_path)
    found.serve()
    yield found
    found.close()


def ask(house: House, n: int, *, turned: bool = False, name: str = "app") -> list[tuple[str, str]]:
    """Calls of one row; returns traces with the labels that will come, as the model believes them or turned round."""
    found = []
    for number in range(n):
        x = house.draw.gauss(0, 1)
        chance = 1 / (1 + np.exp(-2 * x))
        inputs = [{"name": "x", "shape": [1], "datatype": "FP64", "data": [x]}]
        trace = house.call(
            request=msgspec.json.encode({"id": f"order-{number}", "inputs": inputs}),
            answer=msgspec.json.encode({"outputs": [{"name": "probability", "data": [float(chance)]}]}),
            attributes={"rows": 1},
            subject=name,
        )
        found.append((trace, str(int((x + house.draw.gauss(0, 1) > 0) != turned))))
    house.traces.flush()
    return found


def tell(house: House, told: list[tuple[str, str]]) -> int:
    return house.outcomes.add("credit", [Outcome(trace=trace, label=(label,)) for trace, label in told], by=person()).kept


def of(report: Report, subject: str, what: str = "performance") -> Finding:
    return next(finding for finding in report.findings if (finding.subject, finding.what) == (subject, what))


def test_a_window_is_compared_when_its_labels_are_there(house: House) -> None:
    house.monitor(question="performance", threshold=0.15)
    asked = ask(house, 200)
    assert "not over before" in house.watch.check("m").note
    house.clock.advance(DAY)
    young = house.watch.check("m")
    assert (young.verdict, young.n) == ("not-enough-data", 0)
    assert {finding.what for finding in young.findings} == {"estimate"}
    told = of(young, "accuracy", "estimate").now
    assert told is not None
    assert 0.6 < told.low < told.value < told.high < 1
    tell(house, asked[:100])
    half = house.watch.check("m")
    assert (half.verdict, half.coverage) == ("not-enough-data", {"labelled": 100, "waiting": 100})
    assert "100 of 200 rows have their label (50%; 80% make a window ripe)." in half.note
    tell(house, asked)
    ripe = house.watch.check("m")
    assert (ripe.verdict, ripe.n) == ("stable", 200)
    assert told.low <= of(ripe, "accuracy").now.value <= told.high  # type: ignore[union-attr]  # it has one
    assert "not over before" in house.watch.check("m").note  # a window is judged once


def test_a_model_that_became_worse_raises_an_alarm_and_the_estimate_does_not_see_it(house: House) -> None:
    house.monitor(question="performance", threshold=0.05)
    tell(house, ask(house, 200, turned=True))
    house.clock.advance(DAY)
    found = house.watch.check("m")
    assert found.alarm
    assert {of(found, "accuracy").verdict, of(found, "roc_auc").verdict} == {"drifted"}
    told = of(found, "accuracy", "estimate")
    assert told.now.value > of(found, "accuracy").now.value + 0.3  # type: ignore[union-attr]  # both have one
    tell(house, ask(house, 200, turned=True))
    house.clock.advance(DAY)
    again = of(house.watch.check("m"), "accuracy", "estimate")
    assert "off by" in again.note
    assert "1 windows" in again.note


def test_labels_that_never_come_are_not_waited_for_for_ever(house: House) -> None:
    house.monitor(question="performance", wait=DAY)
    ask(house, 150)
    house.clock.advance(2 * DAY)
    given_up = house.watch.check("m")
    assert given_up.verdict == "not-enough-data"
    assert "No more are waited for." in given_up.note
    assert house.watch.check("m").since > given_up.since


def test_a_label_is_kept_once_and_the_last_one_counts(house: House) -> None:
    ((trace, _),) = ask(house, 1)
    (call,) = house.traces.find(trace, team="risk").calls
    assert [tell(house, [(trace, label)]) for label in ("0", "0", "1")] == [1, 1, 1]
    assert len(house.traces.scores(trace)) == 1
    assert house.outcomes.of(call) == ("1",)


def test_calls_that_have_a_label_for_the_first_time_are_counted(house: House) -> None:
    came: list[tuple[str, str, int]] = []
    house.outcomes._came = lambda team, endpoint, count: came.append((team, endpoint, count))
    asked = ask(house, 3)
    tell(house, asked[:2])
    tell(house, asked)
    assert came == [("risk", "credit", 2), ("risk", "credit", 1)]


def test_a_label_may_come_by_the_key_of_its_call(house: House) -> None:
    asked = ask(house, 3)
    taken = house.outcomes.add("credit", [Outcome(key="order-1", label=("1",)), Outcome(key="none", label=("1",))], by=person())
    assert (taken.kept, taken.unknown, taken.examples) == (1, 1, ("none",))
    (call,) = house.traces.find(asked[1][0], team="risk").calls
    assert house.outcomes.of(call) == ("1",)
    assert house.outcomes.add("credit", [Outcome(key="order-1", label=("1",))], by=person(team="other")).unknown == 1
    day = house.traces.days()[0]
    assert b"order-1" not in str(house.traces.read(day, "SELECT * FROM keys")).encode()


def test_a_label_goes_with_its_subject(house: House) -> None:
    ((trace, label),) = ask(house, 1, name="ada")
    tell(house, [(trace, label)])
    (call,) = house.traces.find(trace, team="risk").calls
    house.subjects.erase("ada", house.clock.now())
    assert house.outcomes.of(call) == () or call.subject is None


def test_the_label_stands_nowhere_in_the_clear(house: House) -> None:
    ((trace, _),) = ask(house, 1)
    tell(house, [(trace, "fraudulent-label")])
    (body,) = house.traces.read(house.traces.days()[0], "SELECT body FROM scores")[0]
    assert b"fraudulent" not in body


def test_other_teams_and_readers_tell_nothing(house: House) -> None:
    asked = ask(house, 1)
    row = Outcome(trace=asked[0][0], label=("1",))
    assert house.outcomes.add("credit", [row], by=person(team="other")).unknown == 1
    assert house.outcomes.add("assistant", [row], by=person()).unknown == 1
    with pytest.raises(Forbidden):
        house.outcomes.add("credit", [row], by=person("viewer"))
    for wrong in (Outcome(label=("1",)), Outcome(trace="a", key="b", label=("1",)), Outcome(trace="a", label=())):
        with pytest.raises(Invalid):
            house.outcomes.add("credit", [wrong], by=person())


# --- the arithmetic


def rows(seed: int, n: int, flip: float = 0.0) -> Rows:
    draw = np.random.default_rng(seed)
    odds = draw.normal(0, 1.5, size=n)
    labels = (draw.random(n) < 1 / (1 + np.exp(-odds))) ^ (draw.random(n) < flip)
    return Rows(chances=(1 / (1 + np.exp(-odds))).tolist(), labels=labels.astype(int).tolist())


def look(now: Rows, state: State, level: float = 0.001, threshold: float = 0.02) -> tuple[tuple[Finding, ...], State]:
    return judge_performance(now, rows(1, 2000), state, cut=0.5, mature=True, minimum=100, threshold=threshold, level=level)


def test_small_losses_add_up_in_the_stream_of_errors() -> None:
    """Six windows, each a little worse than before: the scan over all of them calls, with what it began at."""
    state = State(off={})
    for number in range(5):
        _, state = look(rows(10 + number, 300), state)
    called: list[str] = []
    for number in range(6):
        found, state = look(rows(50 + number, 300, flip=0.15), state, level=0.05)
        called += [finding.subject for finding in found if finding.verdict == "drifted"]
    assert "errors" in called
    assert len(state.wrong) == 11 * 300


def test_unchanged_windows_keep_the_budget() -> None:
    """40 windows at one false alarm in ten: nine or more would come with a chance of one in fifty."""
    alarms = 0
    for number in range(40):
        found, _ = look(rows(100 + number, 200), State(off={}), level=0.1, threshold=1e-9)
        alarms += any(finding.verdict == "drifted" for finding in found)
    assert alarms <= 9


def test_a_window_of_one_class_has_no_area() -> None:
    now = rows(3, 200)
    found, _ = look(Rows(chances=now.chances, labels=[1] * 200), State(off={}))
    assert {finding.subject for finding in found if finding.what == "performance"} == {"accuracy", "errors"}
