"""Windows: where they begin and end, in every zone, and which texts are none."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.core.clock import MICROS, iso, micros
from tandem.core.errors import Invalid
from tandem.core.policy import meter_of, unit_of, window_in
from tandem.core.window import CALENDAR, STEPS, check_window, rolling, since_of, step_of, window_of

ZONES = ("UTC", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "America/St_Johns", "Pacific/Chatham")
TIMES = st.integers(0, 4_000_000_000 * MICROS)


@pytest.mark.parametrize(
    ("window", "at", "start", "end"),
    [
        ("day", "2026-03-29T12:00:00Z", "2026-03-29T00:00:00Z", "2026-03-30T00:00:00Z"),
        ("day@Europe/Berlin", "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),  # 23 hours long
        ("day@Europe/Berlin", "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),  # 25 hours long
        ("week", "2026-11-29T12:00:00Z", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"),
        ("month", "2026-12-31T23:59:59Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        ("quarter", "2026-11-29T12:00:00Z", "2026-10-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        ("year@Asia/Kolkata", "2026-12-31T18:30:00Z", "2026-12-31T18:30:00Z", "2027-12-31T18:30:00Z"),
        ("hour", "2026-11-29T12:00:00Z", "2026-11-29T12:00:00Z", "2026-11-29T13:00:00Z"),
        ("minute", "2026-11-29T12:00:59.5Z", "2026-11-29T12:00:00Z", "2026-11-29T12:01:00Z"),
    ],
)
def test_a_window_begins_and_ends_where_the_calendar_says(window: str, at: str, start: str, end: str) -> None:
    assert [iso(bound) for bound in window_of(window, micros(at))] == [iso(micros(start)), iso(micros(end))]


@given(st.sampled_from(("minute", "hour", *CALENDAR)), st.sampled_from(ZONES), TIMES)
def test_windows_of_the_calendar_hold_their_times_and_leave_no_gap(name: str, zone: str, at: int) -> None:
    window = check_window(name if zone == "UTC" or name not in CALENDAR else f"{name}@{zone}")
    start, end = window_of(window, at)
    assert start <= at < end
    assert window_of(window, start) == (start, end) == window_of(window, end - 1)
    assert window_of(window, end)[0] == end
    if name in CALENDAR:
        local = datetime.fromtimestamp(start // MICROS, ZoneInfo(zone))
        assert (local.hour, local.minute, local.second) == (0, 0, 0)


@given(st.integers(60, 400_000), TIMES, st.integers(0, 10**12))
def test_what_is_booked_counts_for_the_whole_length_of_a_rolling_window(seconds: int, at: int, later: int) -> None:
    window = f"rolling-{seconds}s"
    booked, _ = window_of(window, at)
    counts = booked >= since_of(window, at + later)
    if later <= seconds * MICROS:
        assert counts
    if later >= (seconds * MICROS) + 2 * step_of(seconds):
        assert not counts  # and no more than two steps longer
    assert step_of(seconds) * STEPS >= seconds * MICROS


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fortnight",
        "day@Mars/Olympus",
        "day@",
        "total@UTC",
        "hour@Asia/Kolkata",
        "rolling-5s",
        "rolling-9999d",
        "rolling-0m",
        "day@../../etc",
    ],
)
def test_what_is_no_window_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        check_window(text)
    assert caught.value.hint


def test_a_meter_is_unit_and_window() -> None:
    for unit in ("usd", "tokens", "requests", "calls"):
        for window in ("day", "day@Europe/Berlin", "rolling-24h", "total"):
            meter = meter_of(unit, window)  # type: ignore[arg-type]
            assert (unit_of(meter), window_in(meter)) == (unit, window)
    assert rolling("rolling-30d") == 30 * 86_400
