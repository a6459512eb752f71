"""Real models of every framework: examined in a child, served by a host, and refused where they must be."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import zoo
from tandem.core.errors import Broken, Forbidden, Invalid, TandemError
from tandem.jobs.apart import ask, bare_environment
from tandem.serving.base import CARD, Card, digest_of, load
from tandem.serving.frames import Ask
from tandem.serving.host import Host
from tandem.training.imports.examine import LARGEST, Examined, Order
from tandem.training.imports.find import find

ALL = ("pickle", "torch", "mlflow", "python")
MODULE = "tandem.training.imports.examine"
RUNTIMES: list[tuple[Callable[[Path], Any], str, int]] = [
    (zoo.sklearn_linear, "onnx", 2),
    (zoo.sklearn_forest, "onnx", 3),
    (zoo.sklearn_pipeline, "sklearn-cells", 2),
    (zoo.skops_pipeline, "skops-cells", 2),
    (zoo.onnx_columns, "onnx-columns", 2),
    (zoo.xgboost_json, "onnx", 2),
    (zoo.xgboost_softmax, "onnx", 3),
    (zoo.lightgbm_text, "lightgbm-double", 0),
    (zoo.onnx_zipmap, "onnx", 2),
    (zoo.mlflow_sklearn, "onnx", 0),
    (zoo.own_python, "python", 0),
    (zoo.torch_script, "torch", 2),
    (zoo.torch_exported, "torch", 0),
]
NEEDS = {zoo.torch_script: "torch", zoo.torch_exported: "torch", zoo.skops_pipeline: "skops"}


def examined(folder: Path, out: Path, trust: tuple[str, ...] = ALL) -> Examined:
    (one,) = find(folder).candidates
    order = Order(candidate=one, folder=str(folder), out=str(out), trust=trust)
    return ask(MODULE, order, Examined, env=bare_environment())


def cells(names: tuple[str, ...]) -> list[list[float | str]]:
    """The rows as a host gets them."""
    return [list(row.values()) for row in zoo.cases(names)]


@pytest.mark.parametrize(("make", "runtime", "classes"), RUNTIMES, ids=lambda value: getattr(value, "__name__", str(value)))
def test_what_serves_says_what_the_framework_says(
    make: Callable[[Path], Any], runtime: str, classes: int, tmp_path: Path
) -> None:
    if make in NEEDS:
        pytest.importorskip(NEEDS[make])
    folder, out = tmp_path / "folder", tmp_path / "out"
    folder.mkdir()
    theirs = np.asarray(make(folder), dtype=np.float64).reshape(len(zoo.MATRIX), -1)
    found = examined(folder, out)
    assert (found.runtime, len(found.classes)) == (runtime, classes)
    assert found.parity.largest is not None
    assert found.parity.largest <= LARGEST
    host = Host(ALL)
    card = digest_of(out / CARD) or ""
    answer = host.answer(Ask(1, "predict", "model/m@1", str(out), cells(found.signature.names), card))
    assert answer.fault is None
    ours = np.array(answer.outputs)
    theirs = theirs[:, 1:] if theirs.shape[1] == 2 else theirs
    assert (np.abs(ours - theirs) / np.maximum(1, np.abs(theirs))).max() <= LARGEST


def test_a_file_that_was_changed_is_not_opened(tmp_path: Path) -> None:
    folder, out = tmp_path / "folder", tmp_path / "out"
    folder.mkdir()
    zoo.sklearn_pipeline(folder)
    examined(folder, out)
    card = digest_of(out / CARD) or ""
    with pytest.raises(Forbidden, match="do not trust 'pickle'"):
        load("sklearn-cells", out, ("python",))
    native = out / Card.read(out).file
    native.write_bytes(pickle.dumps(Hostile(tmp_path / "written")))
    with pytest.raises(Broken, match="not the one that was imported"):
        load("sklearn-cells", out, ALL)
    told = json.loads((out / CARD).read_text())
    told["pins"] = {Card.read(out).file: digest_of(native)}
    for runtime in (told["runtime"], "onnx"):
        (out / CARD).write_text(json.dumps({**told, "runtime": runtime}))
        fault = Host(ALL).answer(Ask(1, "load", "model/m@1", str(out), card=card)).fault
        assert fault is not None
        assert "not the one that was imported" in fault.message
    assert not (tmp_path / "written").exists()


class Hostile:
    """Whoever unpickles it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("ending", [".pkl", ".joblib", ".pickle"])
def test_a_pickle_is_not_opened_without_trust(ending: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / f"bad{ending}").write_bytes(pickle.dumps(Hostile(tmp_path / "written")))
    with pytest.raises(Forbidden, match="executes what is in it") as refused:
        examined(folder, tmp_path / "out", ("torch", "mlflow", "python"))
    assert "--trust pickle" in str(refused.value.hint)
    assert not (tmp_path / "written").exists()
    with pytest.raises(TandemError):  # the proof that the file would have: it predicts nothing, but it was opened
        examined(folder, tmp_path / "out", ("pickle",))
    assert (tmp_path / "written").exists()


def test_skops_needs_trust_for_strange_types_alone(tmp_path: Path) -> None:
    skops = pytest.importorskip("skops.io")
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    folder = tmp_path / "plain"
    folder.mkdir()
    skops.dump(LinearRegression().fit(zoo.MATRIX, zoo.PRICE), folder / "m.skops")
    assert examined(folder, tmp_path / "out", ()).trusted == ()
    strange = tmp_path / "strange"
    strange.mkdir()
    skops.dump(make_pipeline(FunctionTransformer(zoo.sample), LinearRegression()), strange / "m.skops")
    with pytest.raises(Forbidden, match=r"makes bench\.zoo"):
        examined(strange, tmp_path / "out2", ())


def test_weights_alone_are_refused_with_what_to_do(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save(torch.nn.Linear(2, 1).state_dict(), tmp_path / "weights.pt")
    with pytest.raises(Invalid, match="holds no program of PyTorch") as refused:
        examined(tmp_path, tmp_path / "out")
    assert "torch.jit.script" in str(refused.value.hint)


def test_mlflow_loads_what_has_no_flavor_that_is_known(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    pyfunc = pytest.importorskip("mlflow.pyfunc")

    class Twice(pyfunc.PythonModel):  # type: ignore[misc, name-defined]  # MLflow's own way
        def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
            return model_input["amount"] * 2

    pyfunc.save_model(str(tmp_path / "twice"), python_model=Twice())
    (tmp_path / "twice" / "input_example.json").write_text(json.dumps([{"amount": 1.5}, {"amount": 2.0}]))
    assert examined(tmp_path, tmp_path / "out").runtime == "pyfunc"


@pytest.mark.parametrize("name", ["a.onnx", "a.ubj", "a.lgb", "a.joblib", "a.pt", "a.skops"])
@pytest.mark.parametrize("content", [b"", b"garbage" * 50])
def test_broken_files_are_refused_and_harm_nobody(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TandemError):
        examined(tmp_path, tmp_path / "out")


def test_answers_about_classes_must_be_probabilities(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    zoo.traced(torch.nn.Linear(3, 3), tmp_path / "net.pt")
    zoo.sample(tmp_path, "net")
    with pytest.raises(Invalid, match="no probabilities") as refused:
        examined(tmp_path, tmp_path / "out")
    assert 'output = "logits"' in str(refused.value.hint)
    (tmp_path / "models.toml").write_text('[models.net]\noutput = "logits"\nclasses = ["a", "b", "c"]\n')
    assert examined(tmp_path, tmp_path / "out2").classes == ("a", "b", "c")


def test_a_model_that_says_something_else_each_time_is_not_served(tmp_path: Path) -> None:
    folder = tmp_path / "dice"
    folder.mkdir()
    (folder / "model.py").write_text("import random\n\ndef predict(rows):\n    return [random.random() * 100 for row in rows]\n")
    (folder / "input_example.json").write_text('[{"x": 1}, {"x": 2}]')
    with pytest.raises(Invalid, match="differs from predict"):
        examined(tmp_path, tmp_path / "out")


def test_a_model_of_texts_needs_rows_to_tell_its_columns(tmp_path: Path) -> None:
    zoo.sklearn_pipeline(tmp_path)
    (tmp_path / "pipeline.csv").unlink()
    with pytest.raises(TandemError):
        examined(tmp_path, tmp_path / "out")


def test_what_a_model_prints_does_not_disturb_and_it_sees_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_MASTER_KEY", "secret")
    folder = tmp_path / "loud"
    folder.mkdir()
    (folder / "model.py").write_text(
        "import os\n\ndef predict(rows):\n    print('{\"done\": 1}')\n    os.write(1, b'noise')\n"
        "    assert 'TANDEM_MASTER_KEY' not in os.environ\n    return [1.0 for row in rows]\n"
    )
    (folder / "input_example.json").write_text('[{"x": 1}, {"x": 2}]')
    assert examined(tmp_path, tmp_path / "out").runtime == "python"


def test_the_same_folder_is_the_same_content(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    zoo.sklearn_forest(folder)
    assert examined(folder, tmp_path / "a").members == examined(folder, tmp_path / "b").members
