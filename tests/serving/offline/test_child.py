"""Scoring a dataset: what comes out, and that a kill changes nothing of it."""

from __future__ import annotations

import hashlib
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from tests.journeys.conftest import until

from tandem.core.errors import Broken, Conflict, Forbidden, Invalid
from tandem.data.child import Done
from tandem.data.digest import content_digest
from tandem.jobs.apart import silent
from tandem.jobs.pieces import Compute, Here
from tandem.serving.columns import predict
from tandem.serving.offline import child, parts, spent
from tandem.serving.offline.answers import Answers
from tandem.serving.offline.child import Score
from tandem.serving.offline.parts import Parts
from tandem.serving.signature import Field, Output, Signature
from tandem.store.lake import Lake
from tandem.training.fit import fit
from tandem.training.task import Task

SIGNATURE = Signature(fields=(Field(name="a", low=-50, high=50), Field(name="b", nullable=True)))
ROWS = 3 * parts.ROWS + 17


def order(folder: Path, frame: pl.DataFrame, *, sleep: float = 0.0) -> Score:
    """A dataset in a lake and a fake model: probability = sigmoid(a + b)."""
    members = folder / "model"
    members.mkdir(parents=True)
    card = {"runtime": "fake", "native": "fake", "threshold": 0.5, "classes": ["no", "yes"]}
    (members / "model.json").write_bytes(msgspec.json.encode(card))
    (members / "sleep").write_text(str(sleep))
    version = Lake(folder / "lake").write("asked", frame)
    (folder / "run").mkdir()
    return Score(
        folder=str(folder / "run"),
        lake=str(folder / "lake"),
        table="asked",
        version=version,
        members=str(members),
        signature=SIGNATURE,
        threshold=0.5,
        classes=("no", "yes"),
        out="scored",
        mark="run_1",
        id_column="id",
    )


def large() -> pl.DataFrame:
    """Four parts; every thousandth row is out of range."""
    at = np.arange(ROWS)
    return pl.DataFrame({"id": at, "a": np.where(at % 1000 == 7, 99.0, at % 10 - 5.0), "b": (at % 3).astype(float), "t": "x"})


def score(given: Score) -> Done:
    return child.score(given, silent).done


def test_every_row_has_one_row_and_what_is_refused_says_why(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {"id": [5, 6, 7, 8], "a": [1.0, 99.0, -3.0, None], "b": [1.0, 0.0, None, 1.0], "label": ["p", "q", "r", "s"]}
    )
    done = score(order(tmp_path, frame))
    scored = Lake(tmp_path / "lake").read("scored", done.version)
    assert scored.select(frame.columns).equals(frame)
    chances = scored["probability"].to_list()
    assert chances[0] == pytest.approx(1 / (1 + np.exp(-2)))
    assert chances[1] is chances[3] is None
    assert scored["label_predicted"].to_list() == ["yes", None, "no", None]
    assert done.quarantine is not None
    left = pl.read_parquet(done.quarantine)
    assert left.columns == [*frame.columns, "_row", "_line", "_reasons"]
    assert left["_row"].to_list() == [2, 4]
    assert left["_reasons"].to_list() == ["a is above the highest value 50.", "a is missing."]
    assert left["id"].to_list() == ["6", "8"]
    assert done.quarantined == 2
    assert done.digest == content_digest(scored)
    assert done.contract.id_column == "id"
    assert msgspec.json.decode(done.profile)["rows"] == done.rows == 4


def test_nothing_refused_keeps_nothing_apart(tmp_path: Path) -> None:
    done = score(order(tmp_path, pl.DataFrame({"id": [1], "a": [0.0], "b": [0.0]})))
    assert (done.quarantined, done.quarantine) == (0, None)


def test_where_a_row_came_from_is_not_scored(tmp_path: Path) -> None:
    frame = pl.DataFrame({"id": [1], "a": [0.0], "b": [0.0], "_source": ["run_0"], "_row": [1]})
    done = score(order(tmp_path, frame))
    assert done.contract.names == ("id", "a", "b", "probability", "label")


def test_a_dataset_without_the_columns_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="no column 'a'"):
        score(order(tmp_path, pl.DataFrame({"id": [1], "b": [0.0]})))
    assert not (tmp_path / "lake" / "scored").exists()


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on_where_it_was(tmp_path: Path) -> None:
    given = order(tmp_path, large(), sleep=0.3)
    folder = tmp_path / "run"
    words = [sys.executable, "-m", "tandem.serving.offline.child"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(msgspec.msgpack.encode(given))
        process.stdin.close()
        for line in process.stdout:
            if b"scoring" in line:
                break
        os.kill(process.pid, signal.SIGKILL)
        process.stdout.read()
    before = {path.name: path.stat().st_mtime_ns for path in (folder / "parts").iterdir() if path.suffix == ".parquet"}
    assert 1 <= len(before) < 4
    done = score(given)
    after = {path.name: path.stat().st_mtime_ns for path in (folder / "parts").iterdir()}
    assert len(after) == 4
    assert before.items() <= after.items()
    scored = Lake(tmp_path / "lake").read("scored", done.version)
    assert scored.select(large().columns).equals(large())
    assert scored["label"].null_count() == done.quarantined == len(range(7, ROWS, 1000))
    whole = score(msgspec.structs.replace(given, out="whole", folder=str(tmp_path / "another")))
    assert (whole.digest, whole.rows) == (done.digest, ROWS)


def test_done_again_it_writes_nothing_again(tmp_path: Path) -> None:
    given = order(tmp_path, pl.DataFrame({"id": [1, 2], "a": [0.0, 99.0], "b": [0.0, 0.0]}))
    assert score(given) == score(given)
    assert len(Lake(tmp_path / "lake").history("scored")) == 1


def test_parts_that_are_not_what_they_say_are_made_again(tmp_path: Path) -> None:
    made = Parts(tmp_path, 5)
    path = made.keep(0, 5, b"five rows")
    (tmp_path / ".000000000000-1.part").write_bytes(b"half")
    (tmp_path / path.name.replace("05-", "04-")).write_bytes(path.read_bytes())
    assert made.finished() == {0: path}
    assert list(tmp_path.iterdir()) == [path]
    path.write_bytes(path.read_bytes()[:-1])
    assert made.finished() == {}
    with pytest.raises(Broken, match="missing or was changed"):
        made.all()


def test_apart_it_says_how_far_it_is_and_is_cancelled(tmp_path: Path) -> None:
    given = order(tmp_path, pl.DataFrame({"id": [1], "a": [0.0], "b": [0.0]}))
    stages: list[str] = []
    said = child.apart(given, lambda share, stage: stages.append(stage), lambda: False)
    assert said.done.rows == 1
    assert said.seconds > 0
    assert stages == ["reading the dataset", "scoring: 1 of 1 rows", "writing"]
    with pytest.raises(Conflict, match="cancelled"):
        child.apart(given, silent, lambda: True)
    version = Lake(tmp_path / "lake").write("asked", pl.DataFrame({"id": [1]}))
    changed = msgspec.structs.replace(given, version=version, signature=Signature(fields=(Field(name="b"),)))
    with pytest.raises(Invalid, match="no column 'b'"):
        child.apart(changed, silent, lambda: False)


@pytest.mark.parametrize("task", ["regression", "multiclass"])
def test_other_tasks_are_scored_as_their_calls_are_answered(task: str, tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    size, colour = random.normal(size=120), random.choice(["red", "blue"], 120)
    target = size * 3 + (colour == "red") if task == "regression" else np.digitize(size, [-0.5, 0.5])
    frame = pl.DataFrame({"id": np.arange(120), "size": size, "colour": colour, "y": target})
    made = fit(
        Task(name="m", dataset="dataset/m@1", target="y", algorithm="lightgbm", exclude=("id",), calibrate="none"),
        frame,
        lambda share, stage: None,
    )
    for name, content in made.members.items():
        (tmp_path / "model" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "model" / name).write_bytes(content)
    asked = pl.concat([frame.head(3), frame.head(1).with_columns(colour=pl.lit(None, pl.String))])
    version = Lake(tmp_path / "lake").write("asked", asked)
    (tmp_path / "run").mkdir()
    given = Score(
        folder=str(tmp_path / "run"),
        lake=str(tmp_path / "lake"),
        table="asked",
        version=version,
        members=str(tmp_path / "model"),
        signature=made.signature,
        threshold=0.5,
        classes=made.classes,
        out="scored",
        mark="run_1",
    )
    done = score(given)
    scored = Lake(tmp_path / "lake").read("scored", done.version)
    assert done.quarantined == 1
    outputs = predict(tmp_path / "model", frame.head(3), made.signature)
    if task == "regression":
        *numbers, nothing = scored["prediction"].to_list()
        assert (numbers, nothing) == (pytest.approx(outputs[:, 0].tolist()), None)
        assert "label" not in scored.columns
    else:
        assert scored["label"].to_list() == [*(made.classes[place] for place in outputs.argmax(axis=1)), None]
        assert scored["probability"].to_list()[:3] == pytest.approx(outputs.max(axis=1).tolist())


def trained(folder: Path, task: Task, rows: pl.DataFrame, asked: pl.DataFrame) -> Score:
    made = fit(task, rows, lambda share, stage: None)
    given = order(folder, asked)
    for name, content in made.members.items():
        path = Path(given.members) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return msgspec.structs.replace(
        given, signature=made.signature, classes=made.classes, threshold=made.threshold, id_column=None
    )


def test_a_series_is_told_as_a_whole_with_its_intervals(tmp_path: Path) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)

    def hours(first: int, count: int) -> pl.DataFrame:
        at = np.arange(first, first + count)
        moments = [start + timedelta(hours=int(hour)) for hour in at]
        return pl.DataFrame({"at": moments, "sold": 10 + 5 * np.sin(at * np.pi / 6) + at % 5})

    task = Task(
        name="sold", dataset="dataset/sold@1", target="sold", task="forecasting", time="at", horizon=3, season=(12,),
        algorithm="seasonal-naive",
    )  # fmt: skip
    asked = pl.concat([hours(302, 3).with_columns(sold=pl.lit(None, pl.Float64)), hours(300, 2)])
    done = score(trained(tmp_path, task, hours(0, 300), asked))
    scored = Lake(tmp_path / "lake").read("scored", done.version)
    assert scored.columns == ["at", "sold", "prediction", "lower_80", "upper_80", "lower_95", "upper_95"]
    assert scored["prediction"].to_list()[3:] == asked["sold"].to_list()[3:]
    assert (scored["lower_95"] <= scored["prediction"]).all()
    assert scored["prediction"].null_count() == 0

    far = hours(320, 1).with_columns(sold=pl.lit(None, pl.Float64))
    with pytest.raises(Invalid, match="21 steps after the last value"):
        score(trained(tmp_path / "far", task, hours(0, 300), far))


def test_rows_to_be_ranked_get_their_score_alone(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    rows = pl.DataFrame({"query": np.arange(200) // 10, "a": draw.normal(size=200)})
    rows = rows.with_columns(grade=pl.col("a").clip(0, 3).round().cast(pl.Int64))
    task = Task(
        name="order", dataset="dataset/order@1", target="grade", task="ranking", group="query", algorithm="linear", folds=3
    )
    done = score(trained(tmp_path, task, rows, rows.select("a")))
    assert Lake(tmp_path / "lake").read("scored", done.version).columns == ["a", "score"]


PROGRAM = """
import os, pathlib, signal, time

def predict(rows):
    once, asleep = pathlib.Path({once!r}), pathlib.Path({asleep!r})
    if asleep.exists():
        asleep.write_text(str(os.getpid()))
        time.sleep(600)
    if not once.exists():
        once.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return [row["a"] + (row["b"] or 0.0) * os.environ.get("TANDEM_MASTER_KEY", "").count("secret") for row in rows]
"""


def programmed(folder: Path) -> Score:
    """A dataset of four parts and a model that is a program of its own, which kills its process before it answers the first."""
    given = order(folder, large())
    program = PROGRAM.format(once=str(folder / "once"), asleep=str(folder / "asleep")).encode()
    pin = f"sha256:{hashlib.sha256(program).hexdigest()}"
    card = {
        "runtime": "python",
        "native": "python",
        "threshold": 0.5,
        "classes": [],
        "file": "model.py",
        "pins": {"model.py": pin},
    }
    signature = replace(SIGNATURE, outputs=(Output(name="prediction", dtype="float"),))
    for name, content in (
        ("model.py", program),
        ("model.json", msgspec.json.encode(card)),
        ("signature.json", signature.to_json()),
    ):
        Path(given.members, name).write_bytes(content)
    return msgspec.structs.replace(given, signature=signature, classes=(), trust=("python",))


def named(given: Score) -> list[str]:
    """The files of the parts; their names hold the digests of what is in them."""
    return sorted(path.name for path in Path(given.folder, "parts").iterdir())


@pytest.mark.slow
def test_a_cluster_scores_the_same_bytes_through_the_death_of_a_process(
    tmp_path: Path, ray_cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TANDEM_MASTER_KEY", "secret")
    given = msgspec.structs.replace(programmed(tmp_path), compute=Compute(ray=ray_cluster))
    told: list[tuple[float, str]] = []
    beyond = child.score(given, lambda share, stage: told.append((share, stage)))
    assert (tmp_path / "once").exists()
    assert told == sorted(told)
    assert len([stage for _, stage in told if stage.startswith("scoring")]) == 4
    assert sorted(spent.read(Path(given.folder))) == [2, 3, 4, 5]
    assert child.score(given, silent).done == beyond.done
    monkeypatch.delenv("TANDEM_MASTER_KEY")
    for name, compute in (("here", Compute()), ("beside", Compute(processes=2))):
        here = msgspec.structs.replace(given, compute=compute, folder=str(tmp_path / name), out=name, mark=name)
        assert (child.score(here, silent).done.digest, named(here)) == (beyond.done.digest, named(given))


@pytest.mark.slow
def test_on_a_cluster_nothing_is_executed_that_is_not_trusted_and_a_cancelled_scoring_ends_there(
    tmp_path: Path, ray_cluster: str
) -> None:
    given = msgspec.structs.replace(programmed(tmp_path), compute=Compute(ray=ray_cluster))
    with pytest.raises(Forbidden, match="do not trust 'python'"):
        child.apart(msgspec.structs.replace(given, trust=()), silent, lambda: False)
    assert not (tmp_path / "once").exists()
    asleep = tmp_path / "asleep"
    asleep.touch()
    with pytest.raises(Conflict) as caught:
        child.apart(given, silent, lambda: bool(asleep.read_text()))
    assert caught.value.code == "cancelled"
    until(lambda: not Path("/proc", asleep.read_text()).exists())


def test_what_goes_to_a_cluster_holds_the_model_and_no_path_or_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = list[bytes]()

    @contextmanager
    def kept(ray: str, work: Answers) -> Iterator[Here[object, object, object]]:
        sent.append(pickle.dumps(work))
        yield Here(pickle.loads(sent[0]))

    monkeypatch.setenv("TANDEM_MASTER_KEY", "6d61737465722d6b6579")
    monkeypatch.setattr(child, "crew", kept)
    given = msgspec.structs.replace(
        order(tmp_path, pl.DataFrame({"id": [1], "a": [0.0], "b": [0.0]})), compute=Compute(ray="auto")
    )
    assert child.score(given, silent).done.rows == 1
    assert b"fake" in sent[0]
    assert str(tmp_path).encode() not in sent[0]
    assert b"6d61737465722d6b6579" not in sent[0]
