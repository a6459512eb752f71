"""Performance of models that tell numbers, or one of several classes: errors compared when ripe, and expected before that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from tandem.core.monitor import Finding, Report
from tandem.monitoring.numbers import Numbers, expect, judge_numbers
from tandem.monitoring.outcomes import Outcome
from tandem.monitoring.perform import State
from tests.monitoring.house import House, person

DAY = 86_400
NOTHING = State(wrong="", off={})


def numbers(seed: int, n: int, *, shift: float = 0.0, worse: float = 1.0, labelled: bool = True) -> Numbers:
    """A model that tells 3x, of a number that scatters around it, the more the larger x is."""
    draw = np.random.default_rng(seed)
    x = np.abs(draw.normal(size=n)) + shift
    truth = 3 * x + draw.normal(size=n) * (0.3 + x) * worse
    inputs = np.column_stack((x, draw.integers(0, 3, n)))
    return Numbers(inputs=inputs, told=3 * x, truth=truth if labelled else np.full(n, np.nan))


def judged(now: Numbers, before: Numbers, level: float = 0.01) -> dict[tuple[str, str], Finding]:
    findings, _ = judge_numbers(
        now, before, NOTHING, categories=(1,), mature=True, minimum=100, threshold=0.1, level=level, seed=3
    )
    return {(finding.subject, finding.what): finding for finding in findings}


def test_what_is_expected_follows_the_inputs_and_is_where_the_labels_will_be() -> None:
    inside = 0
    for seed in range(30):
        before, now = numbers(seed, 1_500), numbers(1_000 + seed, 400, shift=0.5)
        told = expect(now, before, categories=(1,), seed=seed)
        assert told is not None
        inside += told.low <= now.errors.mean() <= told.high
        assert told.value > 1.15 * before.errors.mean()  # a constant would see nothing
    assert inside >= 24
    assert expect(numbers(1, 10), numbers(2, 50)) is None


def test_false_alarms_are_as_rare_as_the_level_says_and_a_worse_model_is_seen() -> None:
    false = sum(
        any(finding.verdict == "drifted" for finding in judged(numbers(2 * seed, 300), numbers(2 * seed + 1, 900), 0.05).values())
        for seed in range(60)
    )
    assert false <= 7  # 3 are expected at most; more than 7 come once in 60 times
    found = judged(numbers(5, 400, worse=1.5), numbers(6, 900))["mae", "performance"]
    assert found.verdict == "drifted"
    assert found.effect is not None
    assert 0.2 < found.effect.low < found.effect.value < 0.9
    assert judged(numbers(5, 400, worse=0.5), numbers(6, 900))["mae", "performance"].verdict == "stable"


def test_before_labels_come_there_is_the_estimate_alone_and_the_state_stays() -> None:
    state = State(wrong="01", off={"mae": (0.5,)})
    findings, after = judge_numbers(
        numbers(1, 200, labelled=False), numbers(2, 900), state, mature=False, minimum=100, threshold=0.1, level=0.01
    )
    assert [(each.what, each.verdict) for each in findings] == [("estimate", "not-enough-data")]
    assert "off by 0.5" in findings[0].note
    assert after is state


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    found = House(tmp_path)
    yield found
    found.close()


def of(report: Report, subject: str, what: str) -> Finding:
    return next(finding for finding in report.findings if (finding.subject, finding.what) == (subject, what))


def test_a_window_of_numbers_is_compared_when_its_labels_are_there(house: House) -> None:
    x = [house.draw.gauss(0, 1) for _ in range(600)]
    truth = [value + house.draw.gauss(0, 1) for value in x]
    house.serve({"task": "regression", "probabilities": tuple(x), "labels": tuple(truth), "positive": ""})
    house.monitor(question="performance", threshold=0.2)
    labels = []
    for _ in range(150):
        value = house.draw.gauss(0, 1)
        columns = [("x", value), ("y", house.draw.gauss(0, 1))]
        inputs = [{"name": name, "shape": [1], "datatype": "FP64", "data": [cell]} for name, cell in columns]
        answer = msgspec.json.encode({"outputs": [{"name": "prediction", "data": [value]}]})
        trace = house.call(request=msgspec.json.encode({"inputs": inputs}), answer=answer, attributes={"rows": 1})
        labels.append(Outcome(trace=trace, label=(str(value + house.draw.gauss(0, 3)),)))
    house.traces.flush()
    house.clock.advance(DAY)
    young = house.watch.check("m")
    assert [(each.subject, each.what) for each in young.findings] == [("mae", "estimate")]
    house.outcomes.add("credit", [*labels[:-1], Outcome(trace=labels[-1].trace, label=("many",))], by=person())
    ripe = house.watch.check("m")
    assert (ripe.n, ripe.verdict) == (149, "drifted")  # a label that is no number has not come
    found = of(ripe, "mae", "performance")
    assert found.now is not None
    assert found.now.value > 2 * found.before.value  # type: ignore[union-attr]  # it has one
    assert of(ripe, "errors", "performance").n == 149


def test_of_several_classes_it_is_asked_whether_the_answer_was_right(house: House) -> None:
    labels, told = [], []
    for _ in range(600):
        sure = house.draw.uniform(0.5, 0.9)
        labels.append(0.0 if house.draw.random() < sure else float(house.draw.randint(1, 2)))  # 0 as often as is said
        told += [sure, (1 - sure) / 2, (1 - sure) / 2]
    evidence = {"task": "multiclass", "classes": ("a", "b", "c"), "probabilities": tuple(told), "labels": tuple(labels)}
    house.serve(evidence)
    house.monitor(question="performance", threshold=0.1)
    known = []
    for number in range(200):
        answer = {"outputs": [{"name": "probability", "data": [0.8, 0.1, 0.1]}, {"name": "label", "data": ["a"]}]}
        trace = house.call(request=b"{}", answer=msgspec.json.encode(answer), attributes={"rows": 1})
        known.append(Outcome(trace=trace, label=("a" if number % 2 else "c",)))
    house.traces.flush()
    house.outcomes.add("credit", known, by=person())
    house.clock.advance(DAY)
    report = house.watch.check("m")
    found = of(report, "accuracy", "performance")
    assert found.now is not None
    assert found.before is not None
    assert (found.now.value, found.verdict) == (0.5, "drifted")
    assert 0.6 < found.before.value < 0.8
    assert {each.subject for each in report.findings} == {"accuracy", "errors"}
    told_before = of(report, "accuracy", "estimate").now
    assert told_before is not None
    assert 0.7 < told_before.value < 0.9  # it cannot see that the rule has changed
