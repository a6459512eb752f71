"""Searches for parameters: what they find, that they see no judged row, and that a killed one goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from tandem.core.errors import Invalid
from tandem.jobs.pieces import Compute
from tandem.store.lake import Lake
from tandem.training.algorithms.base import TABULAR, load
from tandem.training.child import TRIALS
from tandem.training.fit import Fitted, fit
from tandem.training.manifest import Manifest, Spec
from tandem.training.table import tabulate
from tandem.training.task import Task
from tandem.training.tune import INNER, Log


def order(**other: object) -> Task:
    base = Task(name="made", dataset="dataset/made@1", target="y", algorithm="linear", tune=6, folds=3)
    return replace(base, **other)  # type: ignore[arg-type]


def frame(n: int = 90, columns: int = 30) -> pl.DataFrame:
    """Few rows, many columns that say nothing: the default penalty is far too small."""
    random = np.random.default_rng(1)
    features = random.normal(size=(n, columns))
    data = pl.DataFrame(features, schema=[f"x{number}" for number in range(columns)])
    return data.with_columns(y=pl.Series(features[:, 0] + 2 * random.normal(size=n)))


class Told:
    """Progress, kept."""

    def __init__(self, die_at: str | None = None) -> None:
        self.stages: list[str] = []
        self.shares: list[float] = []
        self._die_at = die_at

    def __call__(self, share: float, stage: str) -> None:
        self.shares.append(share)
        self.stages.append(stage)
        if self._die_at is not None and self._die_at in stage:
            raise KeyboardInterrupt


def test_tuning_is_better_than_the_defaults_and_tells_what_it_does() -> None:
    told = Told()
    tuned, plain = fit(order(tune=10), frame(), told), fit(order(tune=0), frame(), Told())
    assert tuned.metrics["rmse"].value < plain.metrics["rmse"].value
    assert plain.tuning == ()
    assert [each.study for each in tuned.tuning] == ["all", "fold 1", "fold 2", "fold 3"]
    assert all(len(each.trials) == 10 for each in tuned.tuning)
    assert tuned.params == tuned.tuning[0].params
    assert tuned.params["l2"] > 10
    least = min(trial.loss for trial in tuned.tuning[0].trials if not trial.pruned)
    assert tuned.tuning[0].loss == pytest.approx(least)
    assert any(stage.startswith("tuning all: trial 3 of 10, best rmse ") for stage in told.stages)
    assert told.shares == sorted(told.shares)
    assert json.loads(tuned.members["tuning.json"])[1]["study"] == "fold 1"
    assert json.loads(tuned.members["model.json"])["params"] == tuned.params


def test_bad_trials_are_given_up_early() -> None:
    tuned = fit(order(tune=25), frame(), Told())
    pruned = [trial for each in tuned.tuning for trial in each.trials if trial.pruned]
    assert pruned
    assert all(trial.folds < INNER for trial in pruned)
    assert all(trial.folds == INNER for each in tuned.tuning for trial in each.trials if not trial.pruned)


def test_the_search_of_a_fold_does_not_see_its_judged_rows() -> None:
    """Other targets in the rows of one fold change the searches of the other folds, and not its own."""
    data = frame()
    first = fit(order(), data, Told())
    places = {row: number for number, row in enumerate(first.oof.rows)}
    assert len(places) == data.height
    from tandem.training.split import divide

    splits = divide(order(), tabulate(order(), data).aim, data)
    held = pl.Series(splits.held(1))
    other = data.with_columns(y=pl.when(held).then(pl.col("y") * -3).otherwise("y"))
    second = fit(order(), other, Told())
    one, two = ({each.study: each.trials for each in made.tuning} for made in (first, second))
    assert one["fold 2"] == two["fold 2"]
    assert one["fold 1"] != two["fold 1"]
    assert one["all"] != two["all"]


def trials(made: Fitted) -> list[object]:
    return msgspec.to_builtins([each.trials for each in made.tuning])  # type: ignore[no-any-return]


@pytest.mark.parametrize("at", ["tuning all: trial 3", "tuning fold 2: trial 1", "tuning fold 3: trial 6"])
def test_an_interrupted_search_goes_on_and_ends_alike(at: str, tmp_path: Path) -> None:
    whole = fit(order(), frame(), Told())
    log = tmp_path / TRIALS
    with pytest.raises(KeyboardInterrupt):
        fit(order(), frame(), Told(die_at=at), trials=log)
    kept = len(log.read_bytes().splitlines()) - 1
    assert kept > 0
    with log.open("ab") as file:
        file.write(b'{"study":"all","par')  # a line that was cut
    told = Told()
    again = fit(order(), frame(), told, trials=log)
    assert trials(again) == trials(whole)
    assert again.members == whole.members
    assert len([stage for stage in told.stages if "trial" in stage]) == 24 - kept + 0
    other = fit(order(seed=5), frame(), Told(), trials=log)  # another training takes nothing of it
    assert trials(other) == trials(fit(order(seed=5), frame(), Told()))


def test_by_processes_beside_each_other_a_search_comes_to_the_same() -> None:
    here, beside = fit(order(), frame(), Told()), fit(order(), frame(), Told(), compute=Compute(processes=2))
    assert beside.members == here.members
    assert trials(beside) == trials(here)


def test_on_a_cluster_a_search_comes_to_the_same_and_goes_on_alike(tmp_path: Path, ray_cluster: str) -> None:
    whole = fit(order(), frame(), Told())
    with pytest.raises(KeyboardInterrupt):
        fit(order(), frame(), Told(die_at="tuning fold 1: trial 2"), trials=tmp_path / TRIALS, compute=Compute(ray=ray_cluster))
    told = Told()
    again = fit(order(), frame(), told, trials=tmp_path / TRIALS, compute=Compute(ray=ray_cluster))
    assert again.members == whole.members
    assert trials(again) == trials(whole)
    assert told.shares == sorted(told.shares)
    assert again.beyond != 0 == whole.beyond
    kept = [msgspec.json.decode(line) for line in (tmp_path / TRIALS).read_bytes().splitlines()[1:]]
    assert len(kept) == 24
    assert [line["study"] for line in kept] != sorted(line["study"] for line in kept)  # they were beside each other


def test_a_log_of_another_training_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"other\n{}\n")
    assert Log.open(tmp_path / "log", "key").lines == []
    assert (tmp_path / "log").read_bytes() == b"key\n"
    assert Log.open(None, "key").lines == []


def test_parameters_that_are_named_are_not_searched() -> None:
    data = frame().with_columns(y=pl.col("y") > 0)
    named = fit(order(algorithm="gradient-boosting", params={"rounds": 5, "max_depth": 2}, tune=3), data, Told())
    assert (named.params["rounds"], named.params["max_depth"]) == (5, 2)
    assert "rounds" not in named.tuning[0].trials[0].params
    with pytest.raises(Invalid, match="no parameters left"):
        fit(order(params={"l2": 1.0}), frame(), Told())


@pytest.mark.parametrize("split", [{"split": "group", "group": "who"}, {"split": "time", "time": "at"}])
def test_inner_folds_keep_groups_and_time(split: dict[str, object]) -> None:
    from datetime import UTC, datetime, timedelta

    data = frame().with_columns(
        who=pl.int_range(90) % 9,
        at=pl.Series([datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=7 * number % 90) for number in range(90)]),
    )
    excluded = ("at",) if split["split"] == "group" else ("who",)
    tuned = fit(order(tune=3, exclude=excluded, **split), data, Told())
    assert all(len(each.trials) == 3 for each in tuned.tuning)


@pytest.mark.parametrize("name", TABULAR)
def test_bounds_of_a_search_lie_within_what_is_allowed(name: str) -> None:
    searched = [param for param in load(name).params.values() if param.search is not None]
    assert searched or not load(name).params or load(name).tasks == ("anomaly",)  # nothing tells which anomalies are right
    for param in searched:
        assert param.search is not None
        assert param.low <= param.search[0] < param.search[1] <= param.high
        assert param.search[0] > 0 or not param.log


def test_the_first_fold_of_time_is_searched_in_time() -> None:
    from tandem.training.split import Splits
    from tandem.training.tune import Search

    rank = np.random.default_rng(2).permutation(40).astype(float)
    splits = Splits(fold=(rank // 10).astype(np.int64) - 1, count=3, forward=True, rank=rank)
    task = order(split="time", time="at")
    data = frame(40)
    search = Search(task=task, table=tabulate(order(), data), algorithm=load("linear"), params={}, log=Log(None), splits=splits)
    for number in range(3):
        for seen, held in search._inner(splits.seen(number)):
            assert rank[seen].max() < rank[held].min()
            assert not (held & splits.held(number)).any()
    with pytest.raises(Invalid, match="folds within folds"):
        order(split="group", group="a", folds=2)


@pytest.mark.parametrize("number", [-1, 1, 501])
def test_so_many_trials_are_not_possible(number: int) -> None:
    with pytest.raises(Invalid, match="trials are not possible"):
        order(tune=number)


def test_a_killed_child_leaves_trials_that_the_next_one_takes_up(tmp_path: Path) -> None:
    data = frame()
    Lake(tmp_path / "lake").write("made", data)
    spec = Spec(lake=str(tmp_path / "lake"), table="made", version=0, task=order())
    (tmp_path / "spec.json").write_bytes(spec.to_json())
    out = tmp_path / "out"
    command = [sys.executable, "-m", "tandem.training.child", str(tmp_path / "spec.json"), str(out)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert child.stdout is not None
    for line in child.stdout:
        if b"tuning all: trial 2" in line:
            child.kill()
            break
    child.wait()
    child.stdout.close()
    left = (out / TRIALS).read_bytes().splitlines()
    assert len(left) >= 3
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert (out / TRIALS).read_bytes().splitlines()[: len(left)] == left
    manifest = Manifest.read(out)
    assert [len(each.trials) for each in manifest.tuning] == [6, 6, 6, 6]
    assert manifest.params == manifest.tuning[0].params
