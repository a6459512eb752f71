from __future__ import annotations

import random
from collections.abc import Callable

from tandem.monitoring.harm import Call, Finding, Margins, judge


def calls(count: int, answer: Callable[[bool, random.Random], Call], *, share: float = 0.5, seed: int = 1) -> list[Call]:
    dice = random.Random(seed)
    return [answer(dice.random() < share, dice) for _ in range(count)]


def of(findings: tuple[Finding, ...]) -> dict[str, Finding]:
    return {finding.question: finding for finding in findings}


def alike(canary: bool, dice: random.Random) -> Call:
    outcome = "broken" if dice.random() < 0.02 else "ok"
    return Call(canary=canary, outcome=outcome, milliseconds=dice.expovariate(0.1), score=float(dice.random() < 0.9))


def test_a_canary_that_fails_is_harm_within_few_calls() -> None:
    def failing(canary: bool, dice: random.Random) -> Call:
        return Call(canary=canary, outcome="broken" if canary and dice.random() < 0.5 else "ok", milliseconds=5)

    found = of(judge(calls(150, failing), Margins()))["errors"]
    assert found.harm
    assert found.more.low > 0.01
    assert found.canary > 0.3 > found.champion
    assert "harm" in found.words


def test_a_slow_canary_is_harm() -> None:
    def slow(canary: bool, dice: random.Random) -> Call:
        return Call(canary=canary, outcome="ok", milliseconds=dice.uniform(5, 10) * (3 if canary else 1))

    found = of(judge(calls(600, slow), Margins()))
    assert found["slow"].harm
    assert not found["errors"].harm
    assert found["slow"].detail.startswith("above ")


def test_a_canary_that_is_scored_badly_is_harm() -> None:
    def bad(canary: bool, dice: random.Random) -> Call:
        return Call(canary=canary, outcome="ok", milliseconds=5, score=float(dice.random() < (0.4 if canary else 0.9)))

    assert of(judge(calls(400, bad), Margins()))["bad"].harm


def test_callers_that_leave_are_nobodys_fault() -> None:
    left = calls(400, lambda canary, dice: Call(canary=canary, outcome="gone" if canary else "ok", milliseconds=5))
    assert judge(left, Margins()) == ()


def test_too_few_calls_say_nothing() -> None:
    assert judge(calls(40, alike), Margins()) == ()
    assert judge([], Margins()) == ()


def test_looks_at_every_moment_raise_no_more_false_alarms_than_one() -> None:
    """No difference, looked at again and again: at most one in twenty streams may call it harm."""
    alarms = 0
    for seed in range(10):
        stream = calls(800, alike, share=0.3, seed=seed)
        alarms += any(any(f.harm for f in judge(stream[:stop], Margins())) for stop in range(200, 801, 100))
    assert alarms <= 1


def test_within_the_margin_is_no_harm() -> None:
    def little(canary: bool, dice: random.Random) -> Call:
        return Call(canary=canary, outcome="broken" if canary and dice.random() < 0.02 else "ok", milliseconds=5)

    assert not of(judge(calls(3_000, little), Margins(errors=0.05)))["errors"].harm
