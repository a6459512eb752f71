"""Forecasts: what they are made from, how they are judged, kept and answered. A later value must never have a part in it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tandem.core.errors import Invalid
from tandem.core.policy import Gate
from tandem.evaluation.compare import compare
from tandem.evaluation.evidence import OutOfFold
from tandem.evaluation.gate import judge
from tandem.evaluation.held.predict import Case, Outcome, carry_out
from tandem.scorers.base import METRICS
from tandem.serving.columns import Answering, rows_of
from tandem.serving.frames import Answer, Ask, Op
from tandem.serving.grid import Grid
from tandem.serving.host import Host
from tandem.serving.lags import spacing
from tandem.serving.rolled import roll
from tandem.serving.series import OUTPUTS
from tandem.serving.signature import Signature
from tandem.training.fit import Fitted, fit
from tandem.training.forecast import Unfolded, unfold
from tandem.training.task import Task

STEPS = 480
START = datetime(2026, 1, 1, tzinfo=UTC)
ORDER = Task(
    name="sales",
    dataset="dataset/sales@1",
    target="sold",
    task="forecasting",
    time="at",
    series="store",
    horizon=6,
    season=(12,),
    known=("promotion",),
    folds=3,
    algorithm="lightgbm",
    params={"rounds": 60},
)


def frame(steps: int = STEPS, *, start: int = 0, stores: tuple[str, ...] = ("north", "south")) -> pl.DataFrame:
    """Two stores with a season of twelve steps; a promotion, known ahead, sells twenty more."""
    parts = []
    for number, store in enumerate(stores):
        draw = np.random.default_rng(number)
        promotion = draw.random(2000) < 0.2
        noise = draw.normal(0, 2, 2000)
        at = np.arange(start, start + steps)
        sold = 50 * (number + 1) + 20 * np.sin(2 * np.pi * at / 12) + 20 * promotion[at] + noise[at]
        moments = [START + timedelta(hours=int(step)) for step in at]
        parts.append(pl.DataFrame({"at": moments, "store": [store] * steps, "promotion": promotion[at], "sold": sold}))
    return pl.concat(parts)


def quiet(share: float, stage: str) -> None:
    assert 0 <= share <= 1
    assert stage


def placed(fitted: Fitted, folder: Path) -> Path:
    for name, content in fitted.members.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def made() -> Fitted:
    return fit(ORDER, frame(), quiet)


@pytest.fixture(scope="module")
def members(made: Fitted, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return placed(made, tmp_path_factory.mktemp("members"))


@pytest.fixture(scope="module")
def naive() -> Fitted:
    return fit(replace(ORDER, baseline=True, params={}), frame(), quiet)


def test_a_model_is_good_and_complete(made: Fitted, naive: Fitted) -> None:
    assert set(made.metrics) == set(METRICS["forecasting"])
    windows = len(set(made.oof.groups))
    for estimate in made.metrics.values():
        assert estimate.low <= estimate.value <= estimate.high
        assert estimate.n == windows
    assert made.metrics["mae"].high < 4 < naive.metrics["mae"].low
    assert made.metrics["mase"].high < 0.5
    assert 0.7 < made.metrics["coverage_80"].value < 0.95 < made.metrics["coverage_95"].high
    assert made.signature.names == ("at", "store", "sold", "promotion")
    assert made.signature.usual == tuple(each.name for each in OUTPUTS)
    assert (made.runtime, naive.algorithm) == ("lightgbm", "seasonal-naive")
    assert {"series.json", "encoding.json", "plots/forecast.png", "plots/steps.png"} <= set(made.members)
    assert json.loads(made.members["model.json"])["task"] == "forecasting"
    assert OutOfFold.from_json(made.members["oof.json"]) == made.oof


def test_the_same_task_gives_the_same_bytes(made: Fitted) -> None:
    assert fit(ORDER, frame(), quiet).members == made.members


def test_the_order_of_rows_does_not_matter(made: Fitted) -> None:
    shuffled = frame().sample(fraction=1.0, shuffle=True, seed=3)
    assert fit(ORDER, shuffled, quiet).metrics["mae"].value == pytest.approx(made.metrics["mae"].value)


def test_no_fold_learns_from_what_it_is_judged_by_or_from_later_rows() -> None:
    found = unfold(ORDER, frame())
    moments = found.splits.rank
    assert moments is not None
    for number in range(found.splits.count):
        held, seen = found.splits.held(number), found.splits.seen(number)
        assert held.any()
        assert seen.any()
        assert moments[seen].max() < moments[held].min()
        origins = moments[held] - found.steps[held]
        assert moments[seen].max() <= origins.min()


def test_nothing_later_than_an_origin_is_looked_at() -> None:
    """Changing every value after an origin changes no column of what is told from it."""
    rows = frame()
    found = unfold(ORDER, rows)
    moments = found.splits.rank
    assert moments is not None
    origin = 200
    later = pl.col("at") > START + timedelta(hours=origin)
    changed = unfold(ORDER, rows.with_columns(pl.when(later).then(pl.col("sold") * 7 + 1).otherwise(pl.col("sold"))))
    told = moments - found.steps <= origin
    assert told.any()
    names = [name for name in found.table.signature.names if name.startswith("sold")]
    one, other = found.table.columns.frame.filter(told), changed.table.columns.frame.filter(told)
    assert one.select(names).equals(other.select(names), null_equal=True)
    assert not found.table.columns.frame.select(names).equals(changed.table.columns.frame.select(names))


def test_intervals_of_a_block_are_made_of_errors_before_it(made: Fitted) -> None:
    """Wrong points in a later block do not change the intervals of an earlier one."""
    found = unfold(ORDER, frame())
    judged = found.splits.judged
    fold, truth = found.splits.fold[judged], found.table.aim.target[judged]
    points = truth + np.random.default_rng(1).normal(0, 1, len(truth))
    rows, some, _ = found.banded(points)
    worse = np.where(fold == 2, points + 100, points)
    _, others, series = found.banded(worse)
    kept = found.splits.fold[rows]
    assert np.array_equal(some[kept <= 1], others[kept <= 1])
    assert (others[kept == 3, 2] - others[kept == 3, 0] > 10).all()
    assert made.oof.places
    assert len(series.widths) == ORDER.horizon


def test_every_judged_row_is_told_once_and_windows_wander_through_the_season(made: Fitted) -> None:
    assert len(set(made.oof.places)) == len(made.oof.places)
    origins = {datetime.fromisoformat(group).hour % 12 for group in made.oof.groups}
    assert len(origins) > 8
    assert spacing(24, (24, 168)) == 25


def unknown(steps: int, *, start: int, stores: tuple[str, ...] = ("north", "south")) -> pl.DataFrame:
    return frame(steps, start=start, stores=stores).with_columns(sold=pl.lit(None, pl.Float64))


def ask(folder: Path, asked: pl.DataFrame, op: Op = "predict") -> Answer:
    signature = Signature.from_json((folder / "signature.json").read_bytes())
    return Host().answer(Ask(1, op, "model/sales@1", str(folder), rows_of(asked, signature.fields)))


def test_a_host_tells_what_comes_next(members: Path) -> None:
    answer = ask(members, unknown(6, start=STEPS))
    assert answer.fault is None
    told, true = np.array(answer.outputs), frame(6, start=STEPS)["sold"].to_numpy()
    assert told.shape == (12, len(OUTPUTS))
    assert np.abs(told[:, 0] - true).mean() < 5
    assert (told[:, 3] <= told[:, 1]).all()
    assert (told[:, 1] <= told[:, 0]).all()
    assert (told[:, 0] <= told[:, 2]).all()
    assert (told[:, 2] <= told[:, 4]).all()


def test_newer_values_move_the_origin_and_are_answered_with_themselves(members: Path, made: Fitted) -> None:
    """What is told with history in the call is what was told from there by whoever had it all."""
    newer = frame(7, start=STEPS)
    answer = ask(members, pl.concat([unknown(6, start=STEPS + 7), newer]))
    assert answer.fault is None
    told = np.array(answer.outputs)
    assert np.array_equal(told[12:, 0], newer["sold"].to_numpy())
    rolled = roll(Answering.load(members, made.signature), frame(20, start=STEPS))
    origin = f"{START + timedelta(hours=STEPS + 6):%Y-%m-%dT%H:%M:%SZ}"
    there = [number for number, group in enumerate(rolled.groups) if group == origin]
    assert told[:12] == pytest.approx(rolled.outputs[there])


def test_an_unknown_series_brings_its_own_history(members: Path) -> None:
    alone = unknown(3, start=STEPS, stores=("east",))
    refused = ask(members, alone)
    assert refused.fault is not None
    assert "does not know a series" in refused.fault.message
    assert "east" not in refused.fault.message
    assert refused.fault.words == "It is the series 'east'."
    answer = ask(members, pl.concat([frame(60, start=STEPS - 60, stores=("east",)), alone]))
    assert answer.fault is None
    assert abs(np.array(answer.outputs)[60:, 0] - 50).max() < 45


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (unknown(1, start=STEPS + 6), "7 steps after the last value"),
        (unknown(1, start=300), "before the last value"),
        (pl.concat([unknown(1, start=STEPS)] * 2), "have the same moment"),
        (unknown(1, start=STEPS).with_columns(pl.col("at") + pl.duration(minutes=7)), "between two steps"),
        (unknown(1, start=STEPS).with_columns(promotion=pl.lit(None, pl.Boolean)), "lacks a value that is known ahead"),
        (frame(1, start=STEPS), "has its value already"),
    ],
)
def test_what_cannot_be_told_is_refused(members: Path, asked: pl.DataFrame, why: str) -> None:
    answer = ask(members, asked)
    assert answer.fault is not None
    assert answer.fault.code == "invalid"
    assert why in answer.fault.message
    assert answer.fault.hint


def test_contributions_sum_to_the_forecast(members: Path) -> None:
    answer = ask(members, pl.concat([frame(2, start=STEPS), unknown(4, start=STEPS + 2)]), "explain")
    assert answer.fault is None
    assert answer.contributions is not None
    assert answer.base is not None
    parts = np.array(answer.contributions)
    assert parts.shape == (12, 4)
    assert parts.sum(axis=1) + np.array(answer.base) == pytest.approx(np.array(answer.outputs)[:, 0], abs=1e-4)
    assert np.abs(parts[4:, 3]).min() > 0


@dataclass(frozen=True)
class Held:
    """Rows that lie in memory."""

    held: pl.DataFrame
    id: str | None = None

    def read(self) -> pl.DataFrame:
        return self.held

    def names(self, held: pl.DataFrame) -> list[str]:
        return list(map(str, range(1, held.height + 1)))


def carried(made: Fitted, members: Path, asked: pl.DataFrame) -> Outcome:
    case = Case(
        dataset="dataset/newer@1",
        digest="sha256:newer",
        target="sold",
        classes=(),
        threshold=0.5,
        signature=made.signature,
        asked=Held(asked),  # type: ignore[arg-type]  # as much of it as is asked
        seen=(Held(frame()),),  # type: ignore[arg-type]  # as much of it as is asked
        members=str(members),
        does="forecasting",
    )
    return carry_out(case)


def test_newer_rows_are_evidence_and_rows_of_the_training_are_not(made: Fitted, members: Path) -> None:
    newer = frame(240, start=STEPS)
    found = carried(made, members, newer).evidence
    assert found is not None
    assert (found.task, found.width) == ("forecasting", 5)
    assert found.units >= 30
    told = np.array(found.probabilities).reshape(-1, 5)[:, 0]
    assert 0 < np.abs(told - np.array(found.labels)).mean() < 4
    assert carried(made, members, frame(240, start=320)).seen == 320
    other = carried(made, members, frame(60, start=STEPS, stores=("east",)))
    assert other.evidence is not None
    assert other.latency is not None


def test_a_series_that_the_model_does_not_know_is_told_after_a_season(made: Fitted, members: Path) -> None:
    found = roll(Answering.load(members, made.signature), frame(40, start=STEPS, stores=("east",)))
    assert min(found.places) == 12
    assert np.isfinite(found.outputs).all()


def test_what_is_told_of_known_rows_looks_at_nothing_later(made: Fitted, members: Path) -> None:
    model, newer = Answering.load(members, made.signature), frame(60, start=STEPS)
    some = roll(model, newer)
    last = newer.with_columns(
        pl.when(pl.col("at") > START + timedelta(hours=STEPS + 30)).then(-5.0).otherwise(pl.col("sold")).alias("sold")
    )
    others = roll(model, last)
    early = [n for n, group in enumerate(some.groups) if datetime.fromisoformat(group) <= START + timedelta(hours=STEPS + 30)]
    assert early
    assert len(early) < len(some.groups)
    assert np.array_equal(some.outputs[early], others.outputs[early])
    assert not np.array_equal(some.outputs, others.outputs)


def test_a_gate_compares_window_by_window(made: Fitted, naive: Fitted) -> None:
    verdict = compare("mae", made.oof, naive.oof, margin=0.0)
    assert verdict.outcome == "improved"
    assert verdict.difference is not None
    assert verdict.difference.n == len(set(made.oof.groups))
    report = judge(Gate(asset="model/sales", metric="mae", margin=0.0, minimum=5.0), made.oof, naive.oof)
    assert report.passed, report.reasons
    shorter = fit(replace(ORDER, horizon=4, baseline=True, params={}), frame(), quiet)
    with pytest.raises(Invalid, match="rows"):
        compare("mae", made.oof, shorter.oof, margin=0.0)


def test_one_series_without_a_name_and_a_target_that_never_falls_below_zero(tmp_path: Path) -> None:
    one = frame(stores=("north",)).drop("store").with_columns(sold=(pl.col("sold") - 60).clip(0))
    got = fit(replace(ORDER, series=None, algorithm="linear", params={}), one, quiet)
    assert got.signature.names == ("at", "sold", "promotion")
    assert np.array(got.oof.probabilities).min() == 0
    folder = placed(got, tmp_path)
    ahead = frame(3, start=STEPS, stores=("north",)).drop("store").with_columns(sold=pl.lit(None, pl.Float64))
    assert ask(folder, ahead).outputs == pytest.approx(Answering.load(folder, got.signature).predict(ahead))


def test_months_are_even_steps() -> None:
    moments = [datetime(2010 + n // 12, n % 12 + 1, 1, tzinfo=UTC) for n in range(180)]
    sold = [100 + 30 * np.sin(2 * np.pi * n / 12) + n % 5 for n in range(180)]
    monthly = pl.DataFrame({"at": moments, "sold": sold})
    order = replace(ORDER, series=None, known=(), season=(), horizon=3, baseline=True, params={})
    got = fit(order, monthly, quiet)
    series = json.loads(got.members["series.json"])
    assert (series["grid"]["unit"], series["grid"]["size"], series["seasons"]) == ("month", 1, [12])


@pytest.mark.parametrize(
    ("change", "order", "why"),
    [
        (lambda rows: pl.concat([rows, rows.head(1)]), {}, "has two rows"),
        (lambda rows: rows.with_columns(pl.col("at") + pl.duration(minutes=pl.int_range(pl.len()) % 7)), {}, "between two steps"),
        (lambda rows: rows, {"frequency": "2h"}, "between two steps"),
        (lambda rows: rows, {"frequency": "often"}, "no frequency"),
        (lambda rows: rows, {"series": None}, "has two rows"),
        (lambda rows: rows, {"season": (300,)}, "longer than what the first fold learns from"),
        (lambda rows: rows.filter(pl.col("at") < START + timedelta(hours=30)), {}, "too few"),
        (lambda rows: rows.sample(fraction=0.4, seed=1), {}, "not evenly apart"),
        (lambda rows: rows, {"known": ("weather",)}, "no column 'weather'"),
        (lambda rows: rows, {"target": "store"}, "no number"),
        (lambda rows: rows.with_columns(at=pl.col("at").dt.to_string()), {}, "holds no times"),
        (lambda rows: rows, {"algorithm": "logistic", "params": {}}, "learns no forecasting"),
        (lambda rows: rows, {"balance": True}, "makes no sense"),
    ],
)
def test_what_makes_no_forecast_is_refused(change, order, why) -> None:
    with pytest.raises(Invalid, match=why) as refused:
        fit(replace(ORDER, **order), change(frame()), quiet)
    assert refused.value.hint or refused.value.field


def test_options_of_forecasts_are_refused_elsewhere() -> None:
    with pytest.raises(Invalid, match="is of forecasts"):
        Task(name="a", dataset="dataset/a@1", target="y", horizon=3)
    with pytest.raises(Invalid, match="horizon of 0"):
        Task(name="a", dataset="dataset/a@1", target="y", task="forecasting")


def test_gaps_stay_gaps_and_are_told(made: Fitted) -> None:
    holed = frame().with_columns(pl.when(pl.int_range(pl.len()) % 10 == 3).then(None).otherwise(pl.col("sold")).alias("sold"))
    got = fit(ORDER, holed, quiet)
    assert "96 of 960 steps have no value" in got.warnings[0]
    assert got.metrics["mae"].value < 1.5 * made.metrics["mae"].value


def test_a_search_goes_forward_too() -> None:
    got = fit(replace(ORDER, tune=2), frame(), quiet)
    assert [each.study for each in got.tuning] == ["all", "fold 1", "fold 2", "fold 3", "fold 4"]


@pytest.mark.parametrize(
    ("frequency", "seconds", "seasons"),
    [("1h", 3600, (24, 168)), ("15m", 900, (96, 672)), ("1d", 86400, (7,)), ("1w", 604800, (52,)), ("1mo", 1, (12,))],
)
def test_seasons_of_a_frequency(frequency: str, seconds: int, seasons: tuple[int, ...]) -> None:
    grid = Grid.named(frequency)
    assert grid.size == seconds
    assert grid.seasons(1000) == seasons
    places = np.arange(40)
    assert np.array_equal(grid.places(grid.moments(places)), places)


def test_unfolded_is_bounded() -> None:
    found: Unfolded = unfold(replace(ORDER, horizon=48, season=(24,), folds=2), frame(1900))
    assert len(found.steps) < 260_000
