"""Performance of forecasts, oddities, orders and recommendations: an alarm on a real loss, none without, nothing pretended."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest

from tandem.core.errors import Invalid
from tandem.core.monitor import Finding, Report
from tandem.evaluation.evidence import OutOfFold
from tandem.monitoring.forecasts import Values, judge_forecasts
from tandem.monitoring.oddities import Odd, judge_oddities
from tandem.monitoring.orders import judge_orders
from tandem.monitoring.outcomes import Outcome
from tandem.monitoring.perform import State
from tandem.serving.columns import Answering
from tandem.training.fit import Fitted, fit
from tandem.training.recommend import recommend
from tandem.training.task import Task
from tests.monitoring.house import House, person
from tests.training import test_anomaly, test_forecast, test_ranking, test_recommend

DAY = 86_400
LEVEL = 0.05
NOTHING = State(off={})


def of(findings: Sequence[Finding], subject: str, segment: str = "") -> Finding:
    return next(each for each in findings if (each.subject, each.segment) == (subject, segment))


def drifted(findings: Sequence[Finding]) -> set[str]:
    return {each.subject for each in findings if each.verdict == "drifted"}


# --- the arithmetic


def values(seed: int, stretches: int, *, worse: float = 1.0, unit: float = 1.0, steps: int = 6) -> Values:
    """Two series told a whole horizon at each moment, whose errors go together, and grow with the step and the unit."""
    draw = np.random.default_rng(seed)
    step = np.tile(np.arange(1, steps + 1), stretches * 2)
    stretch = np.repeat(np.arange(stretches), steps * 2)
    common = draw.lognormal(0, 0.3, stretches)[stretch]
    scale = np.where(np.tile(np.repeat([1.0, 9.0], steps), stretches) > 1, unit, 1.0)
    errors = np.abs(draw.normal(size=len(step))) * np.sqrt(step) * common * scale * worse
    return Values(
        steps=step,
        stretch=stretch,
        units=scale,
        errors=errors,
        naive=3 * errors,
        inside=(errors < 1.28 * np.sqrt(step) * scale).astype(float),
    )


def forecasts(now: Values, before: Values, *, mature: bool = True, threshold: float = 1e-9) -> tuple[Finding, ...]:
    return judge_forecasts(now, before, horizon=6, mature=mature, minimum=30, threshold=threshold, level=LEVEL)


def test_forecasts_as_good_as_before_keep_the_budget_and_worse_ones_are_seen() -> None:
    false = sum(bool(drifted(forecasts(values(2 * seed, 10), values(2 * seed + 1, 25)))) for seed in range(60))
    assert false <= 7  # 3 are expected at most; more than 7 come once in 60 times
    seen = sum(bool(drifted(forecasts(values(900 + seed, 12, worse=1.7), values(seed, 25), threshold=0.2))) for seed in range(20))
    assert seen >= 16
    found = forecasts(values(5, 12, worse=1.7), values(6, 25), threshold=0.2)
    assert {"mae", "coverage_80"} <= drifted(found)
    assert "0.33 of it" in of(found, "mae").note
    assert {each.segment for each in found} == {"", "step=1", "steps=2-3", "step=4", "steps=5-6"}
    better = forecasts(values(5, 12, worse=0.5), values(6, 25))
    assert of(better, "mae").verdict == "stable"
    assert not drifted(better)


def test_neither_a_busier_series_nor_the_next_steps_alone_look_like_a_change() -> None:
    before = values(1, 200, unit=9)
    now = values(2, 200, unit=9)
    near, large = now.at(now.steps <= 2), now.at(now.units > 1)
    for some in (near, large):
        effect = of(forecasts(some, before), "mae").effect
        assert effect is not None
        assert abs(effect.value) < 0.1
    assert near.errors.mean() < 0.75 * before.errors.mean()
    assert large.errors.mean() > 1.5 * before.errors.mean()


def test_of_few_stretches_nothing_is_compared_and_of_unripe_ones_all_is_told() -> None:
    few = of(forecasts(values(1, 4, worse=9), values(2, 25)), "mae")
    assert (few.verdict, few.p) == ("not-enough-data", None)
    assert "Of 4 stretches" in few.note
    early = forecasts(values(1, 12, worse=9), values(2, 25), mature=False)
    assert {each.verdict for each in early} == {"not-enough-data"}
    assert of(early, "mae").now.value > of(early, "mae").before.value  # type: ignore[union-attr]  # it has both


def oddities(seed: int, n: int, *, rate: float = 0.02, precise: float = 0.6, drawn: float = 0.0) -> Odd:
    """Rows of which `rate` are flagged, at 0.98; `precise` of these are anomalies, and five in a hundred of the others."""
    draw = np.random.default_rng(seed)
    flagged = draw.random(n) < rate
    truth = np.where(flagged, draw.random(n) < precise, draw.random(n) < 0.05).astype(float)
    chosen = draw.random(n) < drawn
    return Odd(scores=np.where(flagged, 0.99, 0.5), truth=np.where(flagged | chosen, truth, math.nan), drawn=chosen)


def evidence_of(odd: Odd) -> OutOfFold:
    return OutOfFold(
        dataset="dataset/odd@1", digest="sha256:0", target="known", positive="1", rows=tuple(map(str, range(len(odd.scores)))),
        labels=tuple(map(int, np.nan_to_num(odd.truth))), probabilities=tuple(odd.scores), seed=1, folds=5, threshold=0.98,
        task="anomaly",
    )  # fmt: skip


def flags(now: Odd, before: Odd, **how: Any) -> tuple[Finding, ...]:
    told = {"mature": True, "over": False, "minimum": 100, "threshold": 0.02, "level": LEVEL, **how}
    return judge_oddities(now, evidence_of(before), NOTHING, **told)[0]


def test_how_much_is_flagged_and_how_often_rightly() -> None:
    false = sum(
        bool(drifted(flags(oddities(2 * seed, 3_000), oddities(2 * seed + 1, 4_000), threshold=1e-9))) for seed in range(60)
    )
    assert false <= 7
    assert drifted(flags(oddities(1, 3_000, rate=0.06), oddities(2, 4_000))) == {"flagged"}
    worse = flags(oddities(1, 4_000, precise=0.2), oddities(2, 8_000))
    assert drifted(worse) == {"precision"}
    now = of(worse, "precision").now
    assert now is not None
    assert now.low < 0.2 < now.high


def test_without_known_anomalies_the_precision_is_told_and_the_stream_of_false_alarms_watched() -> None:
    before = oddities(2, 4_000, precise=0.0)
    unknown = replace(before, truth=np.full(4_000, math.nan))
    state, found = NOTHING, ()
    for seed, precise in enumerate((0.8, 0.8, 0.8, 0.1)):
        found, state = judge_oddities(
            oddities(seed, 4_000, precise=precise), evidence_of(unknown), state,
            mature=True, over=False, minimum=100, threshold=0.05, level=LEVEL,
        )  # fmt: skip
    assert drifted(found) == {"errors"}
    assert of(found, "precision").p is None


def test_recall_is_told_of_rows_drawn_by_chance_and_never_otherwise() -> None:
    before = oddities(2, 4_000)
    flagged_only = of(flags(oddities(1, 4_000), before), "recall")
    assert flagged_only.now is None
    assert "drawn" in flagged_only.note
    picked = oddities(1, 4_000, drawn=0.2)
    assert of(flags(replace(picked, drawn=np.zeros(4_000, dtype=bool)), before), "recall").now is None  # labelled, but picked
    recall = of(flags(picked, before), "recall").now
    assert recall is not None
    truth = 0.02 * 0.6 / (0.02 * 0.6 + 0.98 * 0.05)
    assert recall.low < truth < recall.high < 0.5


def test_what_needs_no_label_is_judged_when_none_is_waited_for() -> None:
    now = oddities(1, 3_000, rate=0.1)
    early = flags(now, oddities(2, 4_000), mature=False)
    assert drifted(early) == set()
    late = flags(now, oddities(2, 4_000), mature=False, over=True)
    assert drifted(late) == {"flagged"}
    assert of(late, "precision").p is None


def chosen(seed: int, groups: int, *, taste: float = 0.6) -> tuple[list[float], list[float], list[str]]:
    """Places at which the one chosen item of each answer was told: mostly early, as often as `taste` says."""
    draw = np.random.default_rng(seed)
    places = np.where(draw.random(groups) < taste, draw.integers(1, 6, groups), draw.integers(11, 60, groups)).astype(float)
    return places.tolist(), [1.0] * groups, list(map(str, range(groups)))


def orders(now: tuple[list[float], list[float], list[str]], seed: int, **how: Any) -> tuple[Finding, ...]:
    outputs, labels, groups = chosen(seed, 300)
    evidence = OutOfFold(
        dataset="dataset/clicks@1", digest="sha256:0", target="item", positive="", rows=tuple(groups), labels=tuple(labels),
        probabilities=tuple(outputs), seed=1, folds=5, task="recommendation", groups=tuple(groups),
    )  # fmt: skip
    return judge_orders(*now, evidence, **{"mature": True, "minimum": 100, "threshold": 1e-9, "level": LEVEL, **how})


def test_orders_as_good_as_before_keep_the_budget_and_worse_ones_are_seen() -> None:
    false = sum(bool(drifted(orders(chosen(2 * seed, 150), 2 * seed + 1))) for seed in range(60))
    assert false <= 7
    worse = orders(chosen(1, 300, taste=0.4), 2, threshold=0.05)
    assert drifted(worse) == {"ndcg@10", "hit@10"}
    assert {each.verdict for each in orders(chosen(1, 300, taste=0.9), 2)} == {"stable"}
    assert {each.verdict for each in orders(chosen(1, 300), 2, mature=False)} == {"not-enough-data"}
    assert orders(([], [], []), 2) == ()


# --- through windows of calls


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    found = House(tmp_path)
    yield found
    found.close()


def quiet(share: float, stage: str) -> None:
    del share, stage


def served(house: House, fitted: Fitted, frame: pl.DataFrame, task: Task) -> Answering:
    """A model that was really trained, at the endpoint `credit`; as the door would ask it."""
    house.train_and_serve(fitted.members, frame, task=task.task, signature=fitted.signature)
    folder = house.home / "members"
    folder.mkdir()
    test_forecast.placed(fitted, folder)
    return Answering.load(folder, fitted.signature)


def called(house: House, rows: list[dict[str, Any]], answer: Mapping[str, Sequence[Any]]) -> str:
    outputs = [{"name": name, "data": list(data)} for name, data in answer.items()]
    return house.call(
        request=msgspec.json.encode({"rows": rows}),
        answer=msgspec.json.encode({"outputs": outputs}),
        attributes={"rows": len(rows)},
    )


def labelled(house: House, *told: Outcome) -> None:
    house.traces.flush()
    assert house.outcomes.add("credit", told, by=person()).kept == len(told)


def test_a_forecast_is_held_against_what_came(house: House) -> None:
    """One window in which three of six values have come is told; the next ones are compared, and the second raises the alarm."""
    order = replace(test_forecast.ORDER, algorithm="linear", params={})
    past = test_forecast.frame()
    model = served(house, fit(order, past, quiet), past, order)
    later = test_forecast.frame(600, start=test_forecast.STEPS)
    house.monitor(question="performance", threshold=0.3, minimum=30, wait=DAY, span=20 * DAY)

    def ask(first: int, *, worse: float = 0.0) -> list[tuple[str, list[float]]]:
        """Ten calls, each with the values before it that the model does not keep."""
        found = []
        for number in range(first, first + 10):
            known = later.filter(pl.col("at") < test_forecast.START + timedelta(hours=test_forecast.STEPS + 6 * number))
            told = later.filter(
                pl.col("at").is_between(
                    test_forecast.START + timedelta(hours=test_forecast.STEPS + 6 * number),
                    test_forecast.START + timedelta(hours=test_forecast.STEPS + 6 * number + 5),
                )
            )
            rows = pl.concat(
                [known.group_by("store", maintain_order=True).tail(60).select(told.columns), told.with_columns(sold=pl.lit(None))]
            )
            answers = model.predict(rows)
            sent = rows.with_columns(pl.col("at").dt.strftime("%FT%TZ"), pl.col("promotion").cast(pl.Int64)).to_dicts()
            names = [output.name for output in model.signature.outputs]
            trace = called(house, sent, dict(zip(names, answers.T.tolist(), strict=True)))
            came = [*[None] * (rows.height - told.height), *(told["sold"] + worse)]
            found.append((trace, ["" if each is None else str(each) for each in came]))
        return found

    window = ask(0)
    labelled(house, *(Outcome(trace=trace, label=tuple(label[:-3])) for trace, label in window))
    house.clock.advance(20 * DAY)
    young = house.watch.check("m")
    assert young.verdict == "not-enough-data"
    assert "90 of 120 values have their label (75%; 80% make a window ripe)." in young.note
    assert of(young.findings, "mae").n == 90
    labelled(house, *(Outcome(trace=trace, label=(label[-1],), row=len(label)) for trace, label in window))
    ripe = house.watch.check("m")
    assert (ripe.verdict, ripe.n) == ("stable", 100)
    mae = of(ripe.findings, "mae")
    assert mae.now is not None
    assert mae.before is not None
    assert 1 < mae.before.low < mae.now.value < mae.before.high * 1.3
    assert "seasonal naive" in mae.note
    labelled(house, *(Outcome(trace=trace, label=tuple(label)) for trace, label in ask(10, worse=8)))
    house.clock.advance(20 * DAY)
    gone = house.watch.check("m")
    assert gone.alarm
    assert "mae" in drifted(gone.findings)


def test_what_a_label_may_be_depends_on_the_model(house: House) -> None:
    order = replace(test_ranking.ORDER, params={"rounds": 5})
    frame = test_ranking.frame(40)
    served(house, fit(order, frame, quiet), frame, order)
    trace = called(house, [{"match": 0.1, "fresh": 0.1, "level": 0}] * 3, {"score": [3, 2, 1], "rank": [1, 2, 3]})
    labelled(house, Outcome(trace=trace, label=("1",), row=2))
    ((call),) = house.traces.find(trace, team="risk").calls
    assert house.outcomes.known(call).labels == ("", "1", "")
    assert house.outcomes.of(call) == ()
    labelled(house, Outcome(trace=trace, label=("3",), row=1), Outcome(trace=trace, label=("0",), row=3))
    assert house.outcomes.of(call) == ("3", "1", "0")
    for wrong in (
        Outcome(trace=trace, label=("11",), row=1),
        Outcome(trace=trace, label=("much",)),
        Outcome(trace=trace, label=("1",), row=4),
        Outcome(trace=trace, label=("1", "2"), row=1),
        Outcome(trace=trace, label=("1",) * 4),
    ):
        with pytest.raises(Invalid):
            house.outcomes.add("credit", [wrong], by=person())
    for task, good, bad in (("forecasting", "2.5", "many"), ("anomaly", "yes", "2"), ("recommendation", '["a"]', "")):
        house.outcomes._does = lambda model, task=task: task  # type: ignore[misc]
        labelled(house, Outcome(trace=trace, label=(good,), row=1))
        if bad:
            with pytest.raises(Invalid, match=task):
                house.outcomes.add("credit", [Outcome(trace=trace, label=(bad,), row=1)], by=person())


def test_an_order_is_held_against_what_was_chosen(house: House) -> None:
    order = replace(test_ranking.ORDER, params={"rounds": 5})
    frame = test_ranking.frame(120)
    served(house, fit(order, frame, quiet), frame, order)
    house.monitor(question="performance", threshold=0.1, minimum=50, maturity=0.5)

    def ask(place: int) -> Report:
        for _ in range(60):
            trace = called(house, [{"match": 0.1, "fresh": 0.1, "level": 0}] * 8, {"score": list(range(8, 0, -1))})
            labelled(house, Outcome(trace=trace, label=("1",), row=place))
            called(house, [{"match": 0.1, "fresh": 0.1, "level": 0}] * 8, {"score": list(range(8))})
        house.clock.advance(DAY)
        return house.watch.check("m")

    calm = ask(1)
    assert (calm.verdict, calm.n) == ("stable", 60)
    assert calm.coverage == {"labelled": 60, "waiting": 60}
    assert drifted(ask(7).findings) == {"ndcg@10", "mrr"}


def test_a_recommendation_is_held_against_what_was_chosen(house: House) -> None:
    frame = test_recommend.frame()
    fitted = recommend(test_recommend.ORDER, frame, quiet)
    served(house, fitted, frame, test_recommend.ORDER)
    with pytest.raises(Invalid):
        house.monitor(question="drift")
    house.monitor(question="performance", threshold=0.1, minimum=100)
    items = [f"a{place}" for place in range(10)]
    for number in range(120):
        trace = called(house, [{"customer": f"u{number}"}] * 2, {"items": [*items, *items], "by": ["behaviour"] * 2})
        labelled(house, Outcome(trace=trace, label=(f'["a{number % 40}", "elsewhere"]', "[]")))
    house.clock.advance(DAY)
    report = house.watch.check("m")
    assert (report.n, report.coverage) == (240, {"labelled": 120})
    hit = of(report.findings, "hit@10")
    assert (hit.n, hit.now.value) == (120, 0.25)  # type: ignore[union-attr]  # what was not chosen from does not count


def test_labels_of_an_oddity_are_waited_for_where_it_was_flagged(house: House) -> None:
    frame = test_anomaly.frame()
    order = replace(test_anomaly.ORDER, algorithm="ecod", target="known")
    served(house, fit(order, frame, quiet), frame, order)
    house.monitor(question="performance", threshold=0.1)
    traces = [called(house, [{"speed": 1}] * 10, {"score": [0.99, *[0.5] * 9]}) for _ in range(30)]
    house.clock.advance(DAY)
    young = house.watch.check("m")
    assert "0 of 30 flagged rows have their label" in young.note
    labelled(house, *(Outcome(trace=trace, label=("1",), row=1) for trace in traces[:25]))
    ripe = house.watch.check("m")
    assert (ripe.verdict, ripe.n) == ("stable", 25)
    assert ripe.coverage == {"labelled": 25, "waiting": 5}
    assert of(ripe.findings, "flagged").now.value == 0.1  # type: ignore[union-attr]  # it has one
    assert of(ripe.findings, "precision").now.value == 1.0  # type: ignore[union-attr]  # it has one


@pytest.mark.parametrize("promote", ["if-gate-passes", "canary"])
def test_a_retrained_forecast_is_promoted_by_nobody_but_people(house: House, promote: str) -> None:
    fitted = recommend(test_recommend.ORDER, test_recommend.frame(), quiet)
    served(house, fitted, test_recommend.frame(), test_recommend.ORDER)
    with pytest.raises(Invalid, match="compared on rows"):
        house.monitor(question="performance", on_alarm="retrain", promote=promote)
    house.monitor(question="performance", on_alarm="retrain")
