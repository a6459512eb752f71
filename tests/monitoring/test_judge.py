"""One window judged, and many: schema before missing before values, both effect and significance, the budget of error kept."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from tandem.core.monitor import Finding
from tandem.monitoring.findings import control, overall
from tandem.monitoring.judge import judge
from tandem.monitoring.scores import COST, ERRORS, PACE, REFUSED, UNGROUNDED, Scores, compare, measure
from tandem.monitoring.window import Reply
from tandem.scorers import drift
from tandem.scorers.bins import Bins
from tandem.scorers.drift import freeze
from tandem.scorers.family import holm

NAMES = ("a", "b", "c", "d", "e")


def table(draw: np.random.Generator, rows: int) -> drift.Floats:
    """Five columns that depend on each other, one of them a count and one with gaps."""
    common = draw.normal(size=rows)
    gaps = np.where(draw.random(rows) < 0.1, math.nan, common + draw.normal(size=rows))
    parts = [common, common + 0.1 * draw.normal(size=rows), draw.poisson(3, rows), gaps, draw.exponential(size=rows)]
    return np.column_stack([np.asarray(part, dtype=np.float64) for part in parts])


def frozen(seed: int = 1, rows: int = 2000) -> tuple[Bins, ...]:
    found = table(np.random.default_rng(seed), rows)
    return tuple(freeze(name, found[:, place]) for place, name in enumerate(NAMES))


def look(reference: tuple[Bins, ...], rows: drift.Floats, **more: object) -> tuple[Finding, ...]:
    options = {"calls": len(rows), "refused": {}, "minimum": 100, "threshold": 0.1, "level": 0.001, **more}
    return judge(reference, rows.tolist(), **options)  # type: ignore[arg-type]


def of(findings: tuple[Finding, ...], subject: str, what: str = "values") -> Finding:
    return next(finding for finding in findings if (finding.subject, finding.what) == (subject, what))


def test_schema_comes_first_then_missing_then_values() -> None:
    findings = look(frozen(), table(np.random.default_rng(2), 300))
    assert findings[0].what == "schema"
    assert [finding.what for finding in findings if finding.subject == "d"] == ["missing", "values"]
    assert {finding.verdict for finding in findings} == {"stable"}
    assert all(finding.adjusted is not None and finding.p is not None for finding in findings)
    assert overall(findings) == "stable"


def test_below_the_minimum_there_is_no_verdict() -> None:
    findings = look(frozen(), table(np.random.default_rng(2), 99) + 5)
    assert {finding.verdict for finding in findings} == {"not-enough-data"}
    assert overall(findings) == "not-enough-data"
    assert of(findings, "a").histogram is not None
    assert overall(()) == "not-enough-data"
    assert {finding.verdict for finding in look(frozen(rows=50), table(np.random.default_rng(2), 300))[1:]} == {"not-enough-data"}


def test_the_column_that_moved_is_named_and_no_other() -> None:
    rows = table(np.random.default_rng(2), 300)
    rows[:, 4] *= 2.5
    findings = look(frozen(), rows)
    assert [finding.subject for finding in findings if finding.verdict == "drifted"] == ["e"]
    moved = of(findings, "e")
    assert moved.effect is not None
    assert moved.effect.low > 0
    assert moved.now is not None
    assert moved.n == 300
    assert moved.reference_n == 2000
    assert "outside" in moved.note


def test_a_certain_but_meaningless_shift_is_stable() -> None:
    rows = table(np.random.default_rng(2), 60_000)
    rows[:, 0] += 0.05
    findings = look(frozen(rows=60_000), rows)
    shifted = of(findings, "a")
    assert shifted.adjusted is not None
    assert shifted.adjusted < 1e-3
    assert shifted.verdict == "stable"


def test_missing_values_are_judged_apart_from_the_values() -> None:
    rows = table(np.random.default_rng(2), 400)
    rows[:160, 3] = math.nan
    findings = look(frozen(), rows)
    gone = of(findings, "d", "missing")
    assert gone.verdict == "drifted"
    assert gone.effect is not None
    assert gone.effect.value == pytest.approx(0.36, abs=0.05)
    assert of(findings, "d").verdict == "stable"


def test_a_column_that_is_all_gaps_is_a_matter_of_missing_values_alone() -> None:
    rows = table(np.random.default_rng(2), 400)
    rows[:, 3] = math.nan
    findings = look(frozen(), rows)
    assert [finding.what for finding in findings if finding.subject == "d"] == ["missing"]


def test_calls_that_the_contract_refused_are_told_with_their_columns() -> None:
    rows = table(np.random.default_rng(2), 200)
    findings = look(frozen(), rows, calls=260, refused={"a": 50, "b": 10})
    assert findings[0].verdict == "drifted"
    assert findings[0].note == "Refused because of a (50), b (10)."
    few = look(frozen(), rows, calls=205, refused={"a": 5})
    assert few[0].verdict == "stable"


def test_an_effect_without_significance_is_inconclusive() -> None:
    base = of(look(frozen(), table(np.random.default_rng(2), 120)), "a")
    assert base.effect is not None
    (found,) = control([base], level=1e-9)
    assert found.verdict == "stable"
    large = replace(base, effect=replace(base.effect, value=0.3))
    assert control([large], level=1e-9)[0].verdict == "inconclusive"
    assert overall(control([large, base], level=1e-9)) == "inconclusive"


def test_false_alarms_keep_their_budget_over_many_windows() -> None:
    """600 windows, one false alarm in 50 allowed: twelve are expected at most.

    Five columns that depend on each other, small windows, each with a reference of its own.
    Counts suffice for this, so permutations are few and their tail is fitted.
    """
    draw = np.random.default_rng(77)
    alarms, uncontrolled = 0, 0
    for number in range(600):
        reference = frozen(seed=1000 + number, rows=1000)
        rows = table(draw, 150)
        found = []
        for place, bins in enumerate(reference):
            found.append(drift.significance(bins.counts, drift.count(bins, rows[:, place]), seed=number, draws=199))
        alarms += min(holm(found)) <= 1 / 50
        uncontrolled += min(found) <= 1 / 20
    assert alarms <= 20  # by significance alone; that the effect must matter as well only lowers it
    assert uncontrolled > 60  # what a test per column at 0.05 would have cost


def test_whole_checks_keep_the_budget_that_they_are_given_by_default() -> None:
    """25 checks at one false alarm in a thousand: two would come with a chance of 0.0003."""
    reference, draw = frozen(rows=1000), np.random.default_rng(5)
    assert sum(overall(look(reference, table(draw, 120))) == "drifted" for _ in range(25)) <= 1


# --- scores of a chat endpoint


def replies(
    draw: np.random.Generator, n: int, *, refused: float = 0.03, failed: float = 0.01, price: float = 1.0, invented: float = 0.02
) -> list[Reply]:
    found = []
    for _ in range(n):
        tokens = int(draw.integers(20, 200))
        dice = draw.random()
        outcome = "upstream" if dice < failed else "ok"
        text = "I'm sorry, I can't help with that." if draw.random() < refused else "The answer is forty-two."
        pace = float(draw.lognormal(2.5, 0.4))
        found.append(
            Reply(
                outcome=outcome,
                text=text if outcome == "ok" else None,
                grounded=bool(draw.random() >= invented) if outcome == "ok" else None,
                nano=round(1000 * price * tokens),
                tokens=tokens if outcome == "ok" else 0,
                milliseconds=pace * tokens,
            )
        )
    return found


def verdicts(now: Scores, before: Scores) -> dict[str, str]:
    return {each.subject: each.verdict for each in compare(now, before, minimum=100, threshold=0.05, level=0.001)}


def test_scores_that_stay_are_stable_and_those_that_move_are_named() -> None:
    draw = np.random.default_rng(3)
    before = measure(replies(draw, 400))
    assert set(verdicts(measure(replies(draw, 300)), before).values()) == {"stable"}
    assert verdicts(measure(replies(draw, 300, refused=0.3)), before) | {REFUSED: "drifted"} == verdicts(
        measure(replies(np.random.default_rng(8), 300, refused=0.3)), before
    )
    assert verdicts(measure(replies(draw, 300, failed=0.2)), before)[ERRORS] == "drifted"
    dearer = verdicts(measure(replies(draw, 300, price=2)), before)
    assert (dearer[COST], dearer[PACE]) == ("drifted", "stable")
    assert verdicts(measure(replies(draw, 300, invented=0.25)), before)[UNGROUNDED] == "drifted"
    cheaper = verdicts(measure(replies(draw, 300, price=0.5)), before)
    assert cheaper[COST] == "drifted"


def test_scores_of_too_few_calls_have_no_verdict() -> None:
    draw = np.random.default_rng(3)
    before = measure(replies(draw, 400))
    assert set(verdicts(measure(replies(draw, 60)), before).values()) == {"not-enough-data"}
    assert set(verdicts(measure([]), before).values()) == {"not-enough-data"}


def test_a_blocked_call_is_a_refusal_and_no_error() -> None:
    blocked = Reply(outcome="blocked", text=None, grounded=None, nano=0, tokens=0, milliseconds=0.0)
    found = measure([blocked] * 3)
    assert (found.rates[REFUSED].hits, found.rates[REFUSED].n, found.rates[ERRORS].hits) == (3, 3, 0)
