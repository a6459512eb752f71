"""Hours judged from counts: each call once, seasons and days before, segments, predictions, and no value that is kept."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.core.errors import Invalid
from tandem.core.monitor import Finding, Report
from tandem.monitoring.counts import Frozen, segment_of, tallied
from tandem.observability.counts import Counts, total
from tandem.scorers.bins import Bins
from tandem.scorers.drift import tally
from tests.monitoring.house import House


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    found = House(tmp_path)
    found.serve()
    yield found
    found.close()


def of(report: Report, subject: str, *, against: str = "training", segment: str = "") -> Finding:
    return next(
        finding
        for finding in report.findings
        if (finding.subject, finding.what, finding.against, finding.segment) == (subject, "values", against, segment)
    )


def test_an_hour_is_judged_when_it_is_over_and_each_row_counts_once(house: House) -> None:
    house.monitor(hours=1)
    house.predict(300, calls=3)
    early = house.watch.check("m")
    assert early.verdict == "not-enough-data"
    assert "are not over before" in early.note
    house.hour()
    house.clock.advance(61)
    calm = house.watch.check("m")
    assert (calm.verdict, calm.n) == ("stable", 300)
    assert calm.coverage == {"read": 3}
    assert sum(of(calm, "x").histogram.now) == 300  # type: ignore[union-attr]  # a column with values has one
    assert house.watch.check("m").n == 0


def test_a_change_raises_one_alarm_and_names_the_column(house: House) -> None:
    house.monitor(hours=1)
    house.predict(200, calls=4, shift=1.0)
    house.hour()
    house.clock.advance(61)
    found = house.watch.check("m")
    assert found.alarm
    assert of(found, "x").verdict == "drifted"
    assert of(found, "y").verdict == "stable"
    house.predict(200, calls=4, shift=1.0)
    house.hour()
    again = house.watch.check("m")
    assert (again.verdict, again.alarm) == ("drifted", False)


def test_moving_a_batch_again_counts_nothing_again(house: House) -> None:
    house.monitor(hours=1)
    house.predict(120, calls=2)
    pending = list(house.pending)
    house.traces.flush()
    house.pending += pending  # the mover died between the trace store and the books
    house.hour()
    house.clock.advance(61)
    assert house.watch.check("m").n == 120


def test_images_are_judged_by_what_they_look_like_however_large_they_are(house: House) -> None:
    house.pictured()
    with pytest.raises(Invalid, match="no column 'image'"):
        house.monitor("w", hours=1, segment="image")
    house.monitor(hours=1, segment="mode")
    house.show(300)
    house.show(100, tensors=True)
    house.call(request=b'{"inputs": [{', attributes={"rows": 1}, cut=True)
    house.hour()
    house.clock.advance(61)
    calm = house.watch.check("m")
    assert (calm.verdict, calm.n, calm.coverage) == ("stable", 400, {"read": 2, "unread": 1})
    assert of(calm, "bytes").n == 300
    assert of(calm, "width", segment="mode=6").verdict != "drifted"
    house.show(300, shift=30, chance=0.5)
    house.hour()
    moved = house.watch.check("m")
    assert moved.alarm
    drifted = {finding.subject for finding in moved.findings if finding.verdict == "drifted" and not finding.segment}
    assert drifted == {"brightness", "prediction"}


def test_calls_about_images_are_judged_one_by_one_too(house: House) -> None:
    house.pictured()
    house.monitor()
    house.show(150, shift=30, tensors=True)
    found = house.watch.check("m")
    assert {finding.subject for finding in found.findings if finding.verdict == "drifted"} == {"brightness"}


def test_mondays_are_compared_with_mondays(house: House) -> None:
    """What every week brings has moved from training, and not from the same hours of the weeks before."""
    house.monitor(hours=1, against=("training", "trailing", "season"), weeks=2, days=2)
    for _ in range(2):
        house.predict(300, calls=2, shift=1.0)
        house.hour(24)
        house.predict(300, calls=2)
        house.hour(144)
    house.clock.advance(61)
    house.watch.check("m")
    house.predict(300, calls=2, shift=1.0)
    house.hour()
    found = house.watch.check("m")
    assert of(found, "x").verdict == "drifted"
    assert of(found, "x", against="season").verdict == "stable"
    assert of(found, "x", against="season").reference_n == 600
    assert of(found, "x", against="trailing").verdict == "not-enough-data"
    assert "same hours of the 2 weeks before" in found.reference


def test_the_days_before_are_a_reference_of_their_own(house: House) -> None:
    house.monitor(hours=1, against=("trailing",), days=3)
    for _ in range(3):
        house.predict(200, calls=2, shift=1.0)
        house.hour(12)
    house.clock.advance(61)
    house.watch.check("m")
    house.predict(200, calls=2, shift=1.0)
    house.hour()
    found = house.watch.check("m")
    assert of(found, "x", against="trailing").verdict == "stable"
    assert of(found, "x", against="trailing").reference_n == 600


def test_a_segment_is_judged_beside_the_whole(house: House) -> None:
    house.monitor(hours=1, segment="y", minimum=30)
    house.predict(900, calls=3)
    house.hour()
    house.clock.advance(61)
    found = house.watch.check("m")
    parts = {finding.segment: finding.n for finding in found.findings if finding.subject == "x" and finding.what == "values"}
    assert set(parts) == {"", "y=low", "y=middle", "y=high", "y=missing"}
    assert sum(parts.values()) == 2 * parts[""]
    assert of(found, "x", segment="y=missing").reference_n == house.frame["y"].null_count()
    assert found.verdict == "stable"


def test_predictions_are_one_more_column(house: House) -> None:
    house.monitor(hours=1)
    answer = msgspec.json.encode({"outputs": [{"name": "probability", "data": [0.999] * 150}]})
    house.predict(150, calls=1, answer=answer)
    house.hour()
    house.clock.advance(61)
    found = of(house.watch.check("m"), "prediction")
    assert (found.verdict, found.n) == ("drifted", 150)


def test_what_cannot_be_read_is_counted_as_such(house: House) -> None:
    house.monitor(hours=1)
    house.predict(100, calls=1)
    house.predict(1, recorded=False)
    house.predict(1, cut=True)
    house.call(request=b"{}", attributes={"rows": 1})
    house.call(outcome="invalid", attributes={"error": {"field": "inputs.x"}})
    house.call(outcome="upstream", attributes={"rows": 1})
    house.predict(100, calls=1, team="other")
    house.hour()
    house.clock.advance(61)
    found = house.watch.check("m")
    assert found.coverage == {"read": 1, "unrecorded": 1, "cut": 1, "unread": 1, "refused": 1}
    assert found.n == 100


def test_nothing_is_counted_where_nobody_watches_hours(house: House) -> None:
    house.monitor()
    house.predict(100, calls=1)
    house.traces.flush()
    model = house.endpoints["credit"].route[0].target
    assert not house.traces.counted(team="risk", endpoint="credit", model=model, since=0, until=10**9)


def test_counts_hold_bins_and_no_value(house: House) -> None:
    house.monitor(hours=1)
    inputs = [{"name": "x", "shape": [1], "datatype": "FP64", "data": [3.14159265]}]
    house.call(request=msgspec.json.encode({"inputs": inputs}), attributes={"rows": 1})
    house.traces.flush()
    (row,) = house.traces.read(house.traces.days()[0], "SELECT body FROM counts")
    assert b"3.14" not in row[0]
    assert sum(msgspec.json.decode(row[0], type=Counts).columns["x"]) == 1


def test_counts_leave_with_their_day(house: House) -> None:
    house.monitor(hours=1)
    house.predict(100, calls=1)
    house.traces.flush()
    model = house.endpoints["credit"].route[0].target
    assert house.traces.counted(team="risk", endpoint="credit", model=model, since=0, until=10**9)
    house.traces.drop("9999-01-01")
    assert not house.traces.counted(team="risk", endpoint="credit", model=model, since=0, until=10**9)


def test_a_new_version_is_frozen_and_counted_by_itself(house: House) -> None:
    house.monitor(hours=1)
    version = house.model(house.data(shift=2.0))
    house.route(str(version.ref))
    house.watch.step()
    house.clock.advance(2)
    house.predict(200, calls=1)
    house.hour()
    house.clock.advance(61)
    found = house.watch.check("m")
    assert found.n == 200
    assert str(version.ref) in found.reference


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"segment": "y"}, "hours"),
        ({"against": ("season",)}, "hours"),
        ({"hours": 1, "segment": "z"}, "segment"),
        ({"hours": 1, "against": ("season", "season")}, "against"),
        ({"hours": 1, "endpoint": "assistant", "question": "scores"}, "hours"),
        ({"hours": 0}, "hours"),
    ],
)
def test_what_makes_no_sense_is_refused(house: House, more: dict[str, object], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        house.monitor(**more)
    assert refused.value.field == field


# --- counts


BINS = Bins(name="x", kind="quantiles", marks=(0.0, 1.0), counts=(5, 5, 5), missing=0, low=-2.0, high=3.0)
FEW = Bins(name="x", kind="values", marks=(0.0, 1.0), counts=(5, 5, 0), missing=0, low=0.0, high=1.0)


@given(st.lists(st.floats(-9, 9) | st.just(math.nan), max_size=30), st.lists(st.floats(-9, 9), max_size=30))
def test_counts_of_parts_add_up(some: list[float], more: list[float]) -> None:
    for bins in (BINS, FEW):
        parts = total(Counts(calls=1, columns={"x": tallied(bins, values)}) for values in (some, more))
        assert parts.columns["x"] == tallied(bins, [*some, *more])
        assert parts.calls == 2
        assert sum(parts.columns["x"][:-1]) == len(some) + len(more)


@given(st.lists(st.floats(-9, 9) | st.sampled_from([0.0, 1.0, math.nan]), max_size=40))
def test_counting_one_by_one_is_counting_at_once(values: list[float]) -> None:
    for bins in (BINS, FEW):
        at_once = tally(bins, np.array(values, dtype=np.float64))
        assert tallied(bins, values) == [*at_once.counts.tolist(), at_once.missing, at_once.outside]


def test_segments_are_values_or_thirds() -> None:
    assert [segment_of(FEW, value) for value in (0.0, 1.0, 7.0, math.nan)] == ["x=0", "x=1", "x=others", "x=missing"]
    assert [segment_of(BINS, value) for value in (-1.0, 0.5, 2.0)] == ["x=low", "x=middle", "x=high"]


def test_what_is_frozen_survives_its_text() -> None:
    frozen = Frozen(columns=(BINS, FEW), segments={"x=0": {"x": [1, 2, 3, 0, 0]}})
    assert msgspec.json.decode(msgspec.json.encode(frozen), type=Frozen).segments == frozen.segments
