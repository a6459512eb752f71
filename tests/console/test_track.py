"""Checks over time as lines: what is drawn, and what is not."""

from __future__ import annotations

from tandem.console.monitors import track
from tandem.core.monitor import Change, Finding, Report
from tandem.core.score import Estimate


def report(at: int, findings: tuple[Finding, ...], *, verdict: Change = "stable", alarm: bool = False) -> Report:
    return Report(
        id=f"rpt_{at}", monitor="m", team="t", at=at, trigger="schedule", verdict=verdict, alarm=alarm, n=1, since=0,
        until=at, level=0.001, findings=findings,
    )  # fmt: skip


def finding(value: float, what: str = "values") -> Finding:
    told = Estimate(value=value, low=value, high=value, n=1)
    return Finding(
        subject="accuracy" if what != "values" else "x", what=what, verdict="stable", n=1, reference_n=1, measure="psi",  # type: ignore[arg-type]  # one of its words
        threshold=0.1, effect=told if what == "values" else None, now=told,
    )  # fmt: skip


def test_effects_are_drawn_in_multiples_of_what_matters() -> None:
    found = track([report(20, (finding(0.2), finding(0.05)), alarm=True), report(10, (finding(0.0),))])
    assert found is not None
    assert found.line == "0.0,60.0 600.0,0.0"
    assert (found.limit, found.alarms, found.beside) == (30.0, (600.0,), "")


def test_realised_and_estimated_performance_stand_beside_each_other() -> None:
    both = (finding(0.8, "performance"), finding(0.9, "estimate"))
    found = track([report(10, both), report(30, (finding(0.7, "performance"), finding(0.9, "estimate")))])
    assert found is not None
    assert (found.line, found.beside) == ("0.0,30.0 600.0,60.0", "0.0,0.0 600.0,0.0")
    assert found.limit is None


def test_checks_without_a_verdict_are_not_drawn() -> None:
    assert track([report(10, (finding(0.1),)), report(20, (), verdict="not-enough-data")]) is None
    assert track([]) is None
