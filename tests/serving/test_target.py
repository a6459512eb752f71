from __future__ import annotations

import asyncio
import math
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from tandem.core.errors import Broken, Invalid, TimedOut, Unavailable
from tandem.serving import joined
from tandem.serving.signature import Field, Signature
from tandem.serving.target import Models, ServedModel
from tandem.training.fit import fit
from tandem.training.task import Task

SIGNATURE = Signature(fields=(Field(name="a", low=-5, high=5), Field(name="b")))
FOREVER = 60.0


def fake(folder: Path, name: str = "fake", *, sleep: float = 0.0, runtime: str = "fake") -> ServedModel:
    """A model that needs a host: probability = sigmoid(a + b)."""
    members = folder / name
    members.mkdir(exist_ok=True)
    card = {"runtime": runtime, "native": "fake", "threshold": 0.5, "classes": ["no", "yes"]}
    (members / "model.json").write_bytes(msgspec.json.encode(card))
    (members / "sleep").write_text(str(sleep))
    return ServedModel(ref=f"model/{name}@1", members=str(members), signature=SIGNATURE, threshold=0.5, classes=("no", "yes"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> ServedModel:
    """A model that ONNX serves."""
    folder = tmp_path_factory.mktemp("trained")
    random = np.random.default_rng(1)
    frame = pl.DataFrame(random.normal(size=(100, 2)), schema=["a", "b"]).with_columns(y=pl.col("a") + pl.col("b") > 0)
    made = fit(Task(name="made", dataset="dataset/made@1", target="y", params={"rounds": 5}), frame, lambda share, stage: None)
    for name, content in made.members.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    return ServedModel(ref="model/made@1", members=str(folder), signature=SIGNATURE, threshold=0.5, classes=("false", "true"))


@pytest.fixture
async def models() -> AsyncIterator[Models]:
    served = Models()
    yield served
    await served.close()


async def test_onnx_is_served_in_the_door(models: Models, trained: ServedModel) -> None:
    got = await models.predict(trained, [[2.0, 2.0], [-2.0, -2.0]], explain=False, deadline=FOREVER)
    assert got.labels == ["true", "false"]
    assert got.contributions is None
    assert models.host_pid is None
    many = await models.predict(trained, [[2.0, 2.0]] * 5000, explain=False, deadline=FOREVER)
    assert many.probabilities == pytest.approx([got.probabilities[0]] * 5000)


async def test_explanations_come_from_a_host_with_the_same_probabilities(models: Models, trained: ServedModel) -> None:
    rows = [[2.0, 2.0], [-2.0, 0.5]]
    plain = await models.predict(trained, rows, explain=False, deadline=FOREVER)
    got = await models.predict(trained, rows, explain=True, deadline=FOREVER)
    assert got.probabilities == plain.probabilities
    assert got.contributions is not None
    assert got.base is not None
    for chance, parts, base in zip(got.probabilities, got.contributions, got.base, strict=True):
        assert 1 / (1 + math.exp(-sum(parts) - base)) == pytest.approx(chance, abs=1e-5)
    assert models.host_pid is not None


async def test_other_runtimes_are_served_by_one_host_for_many_callers(models: Models, tmp_path: Path) -> None:
    one, other = fake(tmp_path, "one"), fake(tmp_path, "other")
    calls = [
        models.predict(model, [[float(k), 0.5]], explain=False, deadline=FOREVER) for k in range(5) for model in (one, other)
    ]
    answers = await asyncio.gather(*calls)
    expected = [1 / (1 + math.exp(-k - 0.5)) for k in range(5) for _ in range(2)]
    assert [answer.probabilities[0] for answer in answers] == pytest.approx(expected)
    assert answers[0].labels == ["yes"]


async def test_rows_that_the_signature_refuses_are_not_asked(models: Models, tmp_path: Path) -> None:
    model = fake(tmp_path)
    for rows, message in (
        ([[9.0, 0.0]], "above the highest"),
        ([[1.0]], "has 1 values"),
        ([], "0 rows"),
        ([[0.0, 0.0]] * 10_001, "10001"),
    ):
        with pytest.raises(Invalid, match=message):
            await models.predict(model, rows, explain=False, deadline=FOREVER)
    assert models.host_pid is None


async def test_a_crashed_host_is_replaced(models: Models, tmp_path: Path) -> None:
    model = fake(tmp_path)
    await models.predict(model, [[0.0, 0.0]], explain=False, deadline=FOREVER)
    pid = models.host_pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    got = await models.predict(model, [[0.0, 0.0]], explain=False, deadline=FOREVER)
    assert got.probabilities == [0.5]
    assert models.host_pid not in (None, pid)


async def test_a_host_that_dies_under_a_call_is_replaced_and_asked_again(models: Models, tmp_path: Path) -> None:
    model = fake(tmp_path, sleep=0.5)
    await models.predict(model, [[0.0, 0.0]], explain=False, deadline=FOREVER)
    pid = models.host_pid
    assert pid is not None
    call = asyncio.create_task(models.predict(model, [[1.0, 0.0]], explain=False, deadline=FOREVER))
    await asyncio.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    assert (await call).probabilities == pytest.approx([1 / (1 + math.exp(-1))])
    assert models.host_pid != pid


async def test_a_call_beyond_its_deadline_fails_alone(models: Models, tmp_path: Path) -> None:
    slow, quick = fake(tmp_path, "slow", sleep=30), fake(tmp_path, "quick")
    await models.predict(quick, [[0.0, 0.0]], explain=False, deadline=FOREVER)
    pid = models.host_pid
    late = asyncio.create_task(models.predict(slow, [[0.0, 0.0]], explain=False, deadline=0.5))
    await asyncio.sleep(0.1)
    behind = asyncio.create_task(models.predict(quick, [[1.0, 0.0]], explain=False, deadline=FOREVER))
    with pytest.raises(TimedOut, match="model/slow@1 did not answer in time"):
        await late
    assert (await behind).probabilities == pytest.approx([1 / (1 + math.exp(-1))])
    assert models.host_pid != pid


async def test_a_deadline_shorter_than_the_start_does_not_stop_the_start(models: Models, tmp_path: Path) -> None:
    model = fake(tmp_path)
    with pytest.raises(TimedOut):
        await models.predict(model, [[0.0, 0.0]], explain=False, deadline=0.01)
    got = await models.predict(model, [[0.0, 0.0]], explain=False, deadline=FOREVER)
    assert got.probabilities == [0.5]


async def test_too_many_waiting_calls_are_refused(models: Models, tmp_path: Path) -> None:
    model = fake(tmp_path, sleep=0.05)
    await models.predict(model, [[0.0, 0.0]], explain=False, deadline=FOREVER)
    calls = [models.predict(model, [[0.0, 0.0]], explain=False, deadline=FOREVER) for _ in range(joined.WAITING + 4)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, Unavailable)]
    assert len(refused) == 3
    assert all("already wait" in error.message and error.retryable for error in refused)


async def test_a_call_that_waited_too_long_behind_others_does_not_kill_the_host(models: Models, tmp_path: Path) -> None:
    model = fake(tmp_path, sleep=0.4)
    await models.predict(model, [[0.0, 0.0]], explain=False, deadline=FOREVER)
    pid = models.host_pid
    first = asyncio.create_task(models.predict(model, [[0.0, 0.0]], explain=False, deadline=FOREVER))
    await asyncio.sleep(0.05)
    with pytest.raises(TimedOut):
        await models.predict(model, [[0.0, 0.0]], explain=False, deadline=0.05)
    assert (await first).probabilities == [0.5]
    assert models.host_pid == pid


async def test_a_hanging_host_is_killed_though_the_caller_that_hung_it_has_left(models: Models, tmp_path: Path) -> None:
    slow, quick = fake(tmp_path, "slow", sleep=30), fake(tmp_path, "quick")
    await models.predict(quick, [[0.0, 0.0]], explain=False, deadline=FOREVER)
    pid = models.host_pid
    gone = asyncio.create_task(models.predict(slow, [[0.0, 0.0]], explain=False, deadline=0.3))
    await asyncio.sleep(0.1)
    gone.cancel()
    with pytest.raises(TimedOut):
        await models.predict(quick, [[0.0, 0.0]], explain=False, deadline=0.4)
    assert (await models.predict(quick, [[0.0, 0.0]], explain=False, deadline=FOREVER)).probabilities == [0.5]
    assert models.host_pid != pid


async def test_a_model_without_files_is_broken_until_it_has_them(models: Models, tmp_path: Path) -> None:
    model = fake(tmp_path)
    card = Path(model.members) / "model.json"
    kept = card.read_bytes()
    card.unlink()
    for explain in (False, True):
        with pytest.raises(Broken, match=r"model\.json"):
            await models.predict(model, [[0.0, 0.0]], explain=explain, deadline=FOREVER)
    card.write_bytes(kept)
    assert (await models.predict(model, [[0.0, 0.0]], explain=True, deadline=FOREVER)).probabilities == [0.5]


async def test_a_host_that_never_starts_is_given_up(tmp_path: Path) -> None:
    for python, message in (("/bin/false", "ended twice"), (str(tmp_path / "none"), "cannot be started")):
        models = Models(python=python)
        with pytest.raises(Unavailable, match=message):
            await models.predict(fake(tmp_path), [[0.0, 0.0]], explain=False, deadline=FOREVER)
        await models.close()


async def test_a_caller_that_leaves_disturbs_nobody(models: Models, tmp_path: Path) -> None:
    model = fake(tmp_path, sleep=0.3)
    await models.predict(model, [[0.0, 0.0]], explain=False, deadline=FOREVER)
    pid = models.host_pid
    gone = asyncio.create_task(models.predict(model, [[2.0, 0.0]], explain=False, deadline=FOREVER))
    await asyncio.sleep(0.05)
    gone.cancel()
    got = await models.predict(model, [[1.0, 0.0]], explain=False, deadline=FOREVER)
    assert got.probabilities == pytest.approx([1 / (1 + math.exp(-1))])
    assert models.host_pid == pid


async def test_closing_ends_the_host(tmp_path: Path) -> None:
    models = Models()
    await models.predict(fake(tmp_path), [[0.0, 0.0]], explain=False, deadline=FOREVER)
    pid = models.host_pid
    assert pid is not None
    await models.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(Unavailable, match="closing"):
        await models.predict(fake(tmp_path), [[0.0, 0.0]], explain=False, deadline=FOREVER)


async def test_closing_right_after_a_first_call_leaves_no_process(tmp_path: Path) -> None:
    models = Models()
    call = asyncio.create_task(models.predict(fake(tmp_path), [[0.0, 0.0]], explain=False, deadline=FOREVER))
    await asyncio.sleep(0.02)
    await models.close()
    with pytest.raises(Unavailable):
        await call
    assert models.host_pid is None


UVLOOP = """
import asyncio, sys, uvloop
from pathlib import Path
from tandem.serving.signature import Field, Signature
from tandem.serving.target import Models, ServedModel
async def main():
    signature = Signature(fields=(Field(name="a"), Field(name="b")))
    model = ServedModel(ref="model/fake@1", members=sys.argv[1], signature=signature, threshold=0.5, classes=("no", "yes"))
    models = Models()
    got = await models.predict(model, [[0.0, 0.0]], explain=True, deadline=60)
    assert "numpy" not in sys.modules, "the door loaded numpy for a model that it does not serve itself"
    print(got.probabilities, got.contributions, models.host_pid)
    if "leave" in sys.argv:
        sys.stdout.flush()
        import os
        os.kill(os.getpid(), 9)
    await models.close()
uvloop.run(main())
"""


def test_it_runs_on_uvloop_and_the_host_does_not_outlive_the_door(tmp_path: Path) -> None:
    model = fake(tmp_path)
    good = subprocess.run([sys.executable, "-c", UVLOOP, model.members], capture_output=True, text=True, check=True)
    assert good.stdout.startswith("[0.5] [[0.0, 0.0]]")
    assert not good.stderr
    killed = subprocess.run([sys.executable, "-c", UVLOOP, model.members, "leave"], capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    pid = int(killed.stdout.split()[-1])
    # The pipe that `run` read to its end is shared by the host's standard error: it is gone by now.
    assert not Path(f"/proc/{pid}/cmdline").exists() or not Path(f"/proc/{pid}/cmdline").read_bytes()


def test_the_host_explains_its_usage() -> None:
    got = subprocess.run([sys.executable, "-m", "tandem.serving.host"], capture_output=True, text=True, check=False)
    assert got.returncode == 64
    assert "usage" in got.stderr


async def test_texts_are_encoded_alike_in_the_door_and_in_a_host(models: Models, tmp_path: Path) -> None:
    """The door's ONNX and the host's own format answer the same rows, among them values that nobody has seen."""
    random = np.random.default_rng(2)
    late = random.random(200) < 0.5
    frame = pl.DataFrame(
        {
            "colour": random.choice(["red", "blue"], 200),
            "note": np.where(late, "it came too late again", "all fine with it"),
            "y": late ^ (random.random(200) < 0.1),
        }
    ).with_columns(note=pl.when(pl.int_range(200) % 9 > 0).then(pl.format("{} n{}", "note", pl.int_range(200) % 120)))
    made = fit(Task(name="made", dataset="dataset/made@1", target="y", params={"rounds": 20}), frame, lambda share, stage: None)
    assert [field.dtype for field in made.signature.fields] == ["category", "text"]
    for name, content in made.members.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    model = ServedModel(
        ref="model/made@1", members=str(tmp_path), signature=made.signature, threshold=0.5, classes=("false", "true")
    )
    rows: list[list[float | str]] = [["red", "far too late"], ["green", "fine"], ["blue", math.nan]]
    plain = await models.predict(model, rows, explain=False, deadline=FOREVER)
    assert models.host_pid is None
    assert plain.labels[:2] == ["true", "false"]
    told = await models.predict(model, rows, explain=True, deadline=FOREVER)
    assert told.probabilities == plain.probabilities
    assert told.contributions is not None
    assert told.base is not None
    for chance, parts, base in zip(told.probabilities, told.contributions, told.base, strict=True):
        assert len(parts) == 2
        assert 1 / (1 + math.exp(-sum(parts) - base)) == pytest.approx(chance, abs=1e-5)
