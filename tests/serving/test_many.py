"""Many models in one process: read by their first call, and gone again when there is no room, the one unused longest first."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import xgboost
from tests.serving.test_target import FOREVER, fake

from tandem.serving.frames import Ask
from tandem.serving.host import Host
from tandem.serving.memory import MIB, resident
from tandem.serving.signature import Field, Signature
from tandem.serving.target import Models, ServedModel
from tandem.training.fit import fit
from tandem.training.task import Task

SIGNATURE = Signature(fields=(Field(name="a"), Field(name="b")))


def test_a_host_lets_go_what_was_unused_longest(tmp_path: Path) -> None:
    held: list[str] = []
    host = Host(memory=2, held=lambda: MIB * len(held))

    def ask(name: str) -> None:
        fake(tmp_path, name)
        if name not in held:
            held.append(name)
        answer = host.answer(Ask(1, "predict", name, str(tmp_path / name), [[0.0, 0.0]]))
        assert answer.outputs == [[0.5]]

    loaded = host._loaded
    for name in ("one", "two"):
        ask(name)
    assert len(loaded) == 2
    ask("one")
    host._held = lambda: MIB * len(loaded)  # as the process has it: what left is gone
    ask("three")
    assert [Path(each).name for each in loaded] == ["one", "three"]
    ask("two")
    assert [Path(each).name for each in loaded] == ["three", "two"]


def test_the_model_that_is_asked_stays_whatever_it_takes(tmp_path: Path) -> None:
    fake(tmp_path, "huge")
    host = Host(memory=1, held=lambda: 10**12)
    for _ in range(2):
        assert host.answer(Ask(1, "predict", "huge", str(tmp_path / "huge"), [[0.0, 0.0]])).outputs == [[0.5]]
    assert len(host._loaded) == 1


async def test_the_door_holds_as_many_small_models_as_fit(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    frame = pl.DataFrame(random.normal(size=(100, 2)), schema=["a", "b"]).with_columns(y=pl.col("a") + pl.col("b") > 0)
    made = fit(Task(name="made", dataset="dataset/made@1", target="y", params={"rounds": 5}), frame, lambda share, stage: None)
    served = []
    for number in range(20):
        for name in ("model.onnx", "model.json"):
            (tmp_path / str(number)).mkdir(exist_ok=True)
            (tmp_path / str(number) / name).write_bytes(made.members[name])
        ref, members = f"model/made{number}@1", str(tmp_path / str(number))
        served.append(ServedModel(ref=ref, members=members, signature=SIGNATURE, threshold=0.5, classes=("false", "true")))
    models = Models(memory=1)
    try:
        said = {
            (await models.predict(each, [[2.0, 2.0]], explain=False, deadline=FOREVER)).probabilities[0] for each in served * 2
        }
        assert len(said) == 1
        assert 2 <= models.held <= 8  # 128 KiB each at least
    finally:
        await models.close()


@pytest.mark.slow
async def test_hundreds_of_models_in_one_host_stay_within_its_memory(tmp_path: Path) -> None:
    if not resident():
        pytest.skip("This system does not tell how much memory a process holds.")
    random = np.random.default_rng(2)
    rows = random.normal(size=(3_000, 2))
    data = xgboost.DMatrix(rows, label=(rows[:, 0] * rows[:, 1] + random.normal(size=3_000) > 0))
    booster = xgboost.train({"max_depth": 8, "objective": "binary:logistic", "nthread": 1}, data, num_boost_round=80)
    first = tmp_path / "0"
    first.mkdir()
    (first / "model.json").write_text('{"runtime": "xgboost", "native": "xgboost", "threshold": 0.5, "classes": ["no", "yes"]}')
    booster.save_model(first / "model.ubj")
    for number in range(1, 200):
        shutil.copytree(first, tmp_path / str(number))
    named = [
        ServedModel(
            ref=f"model/m{n}@1", members=str(tmp_path / str(n)), signature=SIGNATURE, threshold=0.5, classes=("no", "yes")
        )
        for n in range(200)
    ]
    models = Models(host_memory=1)
    try:
        await models.predict(named[0], [[0.5, 0.5]], explain=False, deadline=FOREVER)
        alone = _held(models)
    finally:
        await models.close()
    bound = alone // MIB + 40
    models = Models(host_memory=bound)
    said = set()
    try:
        for number in [*range(200), *random.integers(0, 200, 200)]:
            got = await models.predict(named[number], [[0.5, 0.5]], explain=False, deadline=FOREVER)
            said.add(got.probabilities[0])
            assert _held(models) < (bound + 16) * MIB
    finally:
        await models.close()
    assert len(said) == 1


def _held(models: Models) -> int:
    assert models.host_pid is not None
    return int(Path(f"/proc/{models.host_pid}/statm").read_text().split()[1]) * 4096
