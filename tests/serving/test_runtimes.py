"""What every runtime keeps, over all members of the table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tandem.core.errors import Broken, Invalid
from tandem.serving.base import RUNTIMES, TRUST, Card, load
from tandem.serving.frames import Ask
from tandem.serving.host import Host
from tandem.training.fit import fit
from tandem.training.task import Task

COLUMNS = 6
MODELS = {"boosted": "gradient-boosting", "light": "lightgbm", "hist": "hist-gradient-boosting", "linear": "logistic"}
CASES = [("onnx", "boosted"), ("onnx", "linear"), ("xgboost", "boosted"), ("linear", "linear"), ("fake", "linear")]
CASES += [("onnx", "light"), ("onnx", "hist"), ("lightgbm", "light"), ("forest", "hist")]
FOREIGN = set(TRUST) | {"skops", "skops-cells", "onnx-columns", "lightgbm-double"}
"""Of models that are imported; `tests/training/imports` asks each of them."""
ELSEWHERE = {"isolation", "ecod", "recommender"}
"""Of models that tell no probability; the tests of their trainings ask them."""
every = pytest.mark.parametrize(("runtime", "model"), CASES)


def data(n: int = 300, seed: int = 1) -> np.ndarray:
    random = np.random.default_rng(seed)
    rows = random.normal(size=(n, COLUMNS)) * 10.0 ** np.arange(-2, COLUMNS - 2)
    rows[::9, 2] = np.nan
    return rows


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two trained models, one directory each."""
    folder = tmp_path_factory.mktemp("models")
    rows = data()
    frame = pl.DataFrame(rows, schema=[f"x{number}" for number in range(COLUMNS)]).fill_nan(None)
    frame = frame.with_columns(y=pl.Series((np.nan_to_num(rows).sum(axis=1) > 0).astype(int)))
    for name, algorithm in MODELS.items():
        task = Task(name=name, dataset="dataset/made@1", target="y", algorithm=algorithm)  # type: ignore[arg-type]
        for member, content in fit(task, frame, lambda share, stage: None).members.items():
            (folder / name / member).parent.mkdir(parents=True, exist_ok=True)
            (folder / name / member).write_bytes(content)
    return {name: folder / name for name in MODELS}


def test_every_runtime_has_a_case() -> None:
    assert {runtime for runtime, _ in CASES} == set(RUNTIMES) - FOREIGN - ELSEWHERE


@every
def test_probabilities_are_probabilities_row_by_row(runtime: str, model: str, members: dict[str, Path]) -> None:
    loaded, rows = load(runtime, members[model]), data(50, seed=2)
    got = loaded.predict(rows)
    assert got.shape == (50, 1)
    assert got.dtype == np.float64
    assert ((got >= 0) & (got <= 1)).all()
    assert got == pytest.approx(np.concatenate([loaded.predict(rows[number : number + 1]) for number in range(50)]), abs=1e-7)
    assert got.std() > 0.05


@every
def test_contributions_and_base_sum_to_the_log_odds(runtime: str, model: str, members: dict[str, Path]) -> None:
    loaded, rows = load(runtime, members[model]), data(50, seed=3) / 10
    if not loaded.explains:
        with pytest.raises(Invalid, match="do not explain"):
            loaded.explain(rows)
        return
    parts, base = loaded.explain(rows)
    assert parts.shape == (50, COLUMNS)
    assert base.shape == (50,)
    margin = parts.sum(axis=1) + base
    assert 1 / (1 + np.exp(-margin)) == pytest.approx(loaded.predict(rows)[:, 0], abs=1e-5)
    assert np.abs(parts).max() > 0.01


@pytest.mark.parametrize(
    ("model", "native"), [("boosted", "xgboost"), ("linear", "linear"), ("light", "lightgbm"), ("hist", "forest")]
)
def test_runtimes_of_one_model_agree(model: str, native: str, members: dict[str, Path]) -> None:
    rows = data(500, seed=4)
    assert load("onnx", members[model]).predict(rows) == pytest.approx(load(native, members[model]).predict(rows), abs=1e-5)
    assert Card.read(members[model]).native == native


@pytest.mark.parametrize(
    ("runtime", "file"),
    [
        ("onnx", "model.onnx"),
        ("xgboost", "model.ubj"),
        ("linear", "linear.json"),
        ("lightgbm", "model.txt"),
        ("forest", "forest.json"),
    ],
)
def test_a_broken_file_is_said_to_be_broken(runtime: str, file: str, tmp_path: Path) -> None:
    with pytest.raises(Broken, match="cannot be read"):
        load(runtime, tmp_path)
    for content in (b"", b"garbage", b"{}"):
        (tmp_path / file).write_bytes(content)
        with pytest.raises(Broken, match="cannot be"):
            load(runtime, tmp_path)


def test_a_linear_model_of_unequal_parts_is_broken(tmp_path: Path) -> None:
    (tmp_path / "linear.json").write_text('{"means": [1], "scales": [1, 2], "coefficients": [1], "intercept": 0}')
    with pytest.raises(Broken, match="unequal"):
        load("linear", tmp_path)


def test_a_runtime_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="no runtime 'pickle'"):
        load("pickle", tmp_path)


def test_a_host_answers_and_says_what_is_missing(members: dict[str, Path], tmp_path: Path) -> None:
    host, rows = Host(), np.nan_to_num(data(3)).tolist()
    answer = host.answer(Ask(7, "explain", "model/boosted@1", str(members["boosted"]), rows))
    assert (answer.id, answer.fault) == (7, None)
    assert answer.contributions is not None
    assert answer.base is not None
    odds = np.sum(answer.contributions, axis=1) + np.array(answer.base)
    assert 1 / (1 + np.exp(-odds)) == pytest.approx(np.array(answer.outputs)[:, 0], abs=1e-5)
    assert host.answer(Ask(8, "predict", "m", str(members["linear"]), rows)).contributions is None
    missing = host.answer(Ask(9, "load", "model/none@1", str(tmp_path)))
    assert missing.fault is not None
    assert "model/none@1: The model's card" in missing.fault.message
