"""Small real models of several frameworks, and what each framework says of some rows: for benchmarks and tests of imports."""

from __future__ import annotations

import json
import pickle
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

COLUMNS = ("amount", "age", "score")
REGIONS = ("north", "south", "west")
RNG = np.random.default_rng(11)
MATRIX = RNG.normal(size=(120, 3)).round(3)
FRAUD = (MATRIX[:, 0] + 0.5 * MATRIX[:, 2] > 0).astype(int)
LEVEL = np.digitize(MATRIX[:, 1], [-0.5, 0.5])
PRICE = 3 * MATRIX[:, 0] - MATRIX[:, 1] + 20
MIXED = pl.DataFrame({"amount": MATRIX[:, 0], "region": [REGIONS[number % 3] for number in range(120)]})
PYTHON = """
import json
from pathlib import Path

class Model:
    def load(self, folder):
        self.weights = json.loads((Path(folder) / "weights.json").read_text())

    def predict(self, rows):
        return [sum(self.weights[name] * row[name] for name in self.weights) for row in rows]
"""
WEIGHTS = {"amount": 2.0, "age": -1.0}


def cases(names: Sequence[str]) -> list[dict[str, float | str]]:
    """The rows as objects of those columns; `x0`, `x1`, … are those of a model that knows no names."""
    columns: dict[str, list[float | str]] = {name: MATRIX[:, at].tolist() for at, name in enumerate(COLUMNS)}
    columns |= {f"x{at}": MATRIX[:, at].tolist() for at in range(3)} | {"region": MIXED["region"].to_list()}
    return [{name: columns[name][row] for name in names} for row in range(len(MATRIX))]


def sample(folder: Path, name: str, rows: Any = MATRIX) -> None:
    """Rows beside a model."""
    frame = rows if isinstance(rows, pl.DataFrame) else pl.DataFrame(rows, schema=list(COLUMNS))
    frame.head(50).write_csv(folder / f"{name}.csv")


def sklearn_linear(folder: Path, name: str = "linear") -> Any:
    """A logistic regression of names, by joblib; it has an ONNX form of double precision."""
    import joblib
    from sklearn.linear_model import LogisticRegression

    rows = pl.DataFrame(MATRIX, schema=list(COLUMNS))
    model = LogisticRegression().fit(rows, np.array(["fine", "fraud"])[FRAUD])
    joblib.dump(model, folder / f"{name}.joblib")
    sample(folder, name)
    return model.predict_proba(rows)


def sklearn_forest(folder: Path, name: str = "forest") -> Any:
    """A random forest of three classes, by pickle."""
    from sklearn.ensemble import RandomForestClassifier

    model = RandomForestClassifier(20, random_state=3).fit(MATRIX, LEVEL)
    (folder / f"{name}.pkl").write_bytes(pickle.dumps(model))
    return model.predict_proba(MATRIX)


def pipeline() -> Any:
    """A fitted pipeline over columns of numbers and texts."""
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    columns = ColumnTransformer(
        [("numbers", StandardScaler(), ["amount"]), ("texts", OneHotEncoder(handle_unknown="ignore"), ["region"])]
    )
    return Pipeline([("columns", columns), ("model", LogisticRegression())]).fit(MIXED, FRAUD)


def sklearn_pipeline(folder: Path, name: str = "pipeline") -> Any:
    import joblib

    model = pipeline()
    joblib.dump(model, folder / f"{name}.joblib")
    sample(folder, name, MIXED)
    return model.predict_proba(MIXED)


def skops_pipeline(folder: Path, name: str = "safe") -> Any:
    from skops import io

    model = pipeline()
    io.dump(model, folder / f"{name}.skops")
    sample(folder, name, MIXED)
    return model.predict_proba(MIXED)


def onnx_columns(folder: Path, name: str = "columns") -> Any:
    """The pipeline as ONNX, with an input for each column."""
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    model = pipeline()
    types = [("amount", FloatTensorType([None, 1])), ("region", StringTensorType([None, 1]))]
    (folder / f"{name}.onnx").write_bytes(convert_sklearn(model, name, types).SerializeToString())
    sample(folder, name, MIXED)
    return model.predict_proba(MIXED)


def xgboost_json(folder: Path, name: str = "boosted") -> Any:
    import xgboost

    data = xgboost.DMatrix(MATRIX, label=FRAUD, feature_names=list(COLUMNS))
    booster = xgboost.train({"objective": "binary:logistic", "max_depth": 3, "nthread": 1}, data, 15)
    booster.save_model(folder / f"{name}.json")
    (folder / f"{name}.py").write_text("# how it was made\n")
    return booster.predict(data)


def xgboost_softmax(folder: Path, name: str = "levels") -> Any:
    """Trained to tell labels; it is served with probabilities."""
    import xgboost

    data = xgboost.DMatrix(MATRIX, label=LEVEL)
    options = {"objective": "multi:softmax", "num_class": 3, "max_depth": 2, "nthread": 1}
    booster = xgboost.train(options, data, 8)
    booster.save_model(folder / f"{name}.ubj")
    margins = booster.predict(data, output_margin=True)
    powers = np.exp(margins - margins.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def lightgbm_text(folder: Path, name: str = "light") -> Any:
    import lightgbm

    data = lightgbm.Dataset(MATRIX, label=PRICE, feature_name=list(COLUMNS), params={"verbosity": -1})
    booster = lightgbm.train({"objective": "regression", "verbosity": -1, "num_threads": 1, "min_data_in_leaf": 5}, data, 15)
    booster.save_model(folder / f"{name}.txt")
    sample(folder, name)
    return booster.predict(MATRIX)


def onnx_zipmap(folder: Path, name: str = "graph") -> Any:
    """A logistic regression as skl2onnx writes it by default: labels, and a dictionary of probabilities."""
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression().fit(MATRIX, FRAUD)
    (folder / f"{name}.onnx").write_bytes(to_onnx(model, MATRIX[:1].astype(np.float32)).SerializeToString())
    sample(folder, name)
    return model.predict_proba(MATRIX)


def torch_script(folder: Path, name: str = "net") -> Any:
    import torch

    torch.manual_seed(5)
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2), torch.nn.Softmax(dim=1)).eval()
    traced(module, folder / f"{name}.pt")
    sample(folder, name)
    return module(torch.from_numpy(MATRIX.astype(np.float32))).detach().numpy()


def traced(module: Any, path: Path, *shape: int) -> None:
    """A module that takes that shape as TorchScript, which PyTorch still reads and would rather not write any more."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.trace(module, torch.zeros(*(shape or (2, 3)))).save(str(path))


def torch_exported(folder: Path, name: str = "program") -> Any:
    import torch

    torch.manual_seed(6)
    module = torch.nn.Sequential(torch.nn.Linear(3, 1), torch.nn.Flatten(0)).eval()
    rows = torch.export.Dim("rows", min=1, max=100_000)
    torch.export.save(torch.export.export(module, (torch.zeros(4, 3),), dynamic_shapes=({0: rows},)), folder / f"{name}.pt2")
    sample(folder, name)
    return module(torch.from_numpy(MATRIX.astype(np.float32))).detach().numpy()


def mlflow_sklearn(folder: Path, name: str = "tracked") -> Any:
    """The directory that `mlflow.sklearn.save_model` writes."""
    from sklearn.linear_model import LinearRegression

    inner = folder / name
    inner.mkdir()
    model = LinearRegression().fit(MATRIX, PRICE)
    (inner / "model.pkl").write_bytes(pickle.dumps(model))
    (inner / "input_example.json").write_text(json.dumps({"columns": list(COLUMNS), "data": MATRIX[:10].tolist()}))
    (inner / "MLmodel").write_text(
        "flavors:\n  python_function:\n    loader_module: mlflow.sklearn\n    model_path: model.pkl\n"
        "  sklearn:\n    pickled_model: model.pkl\n    serialization_format: cloudpickle\n"
    )
    return model.predict(MATRIX)


def own_python(folder: Path, name: str = "own") -> Any:
    inner = folder / name
    inner.mkdir()
    (inner / "model.py").write_text(PYTHON)
    (inner / "weights.json").write_text(json.dumps(WEIGHTS))
    (inner / "input_example.json").write_text(json.dumps([{"amount": 1.5, "age": 2.0}, {"amount": 0.25, "age": -3.0}]))
    return MATRIX[:, 0] * 2 - MATRIX[:, 1]


EIGHT = (
    sklearn_linear,
    sklearn_forest,
    sklearn_pipeline,
    xgboost_json,
    lightgbm_text,
    onnx_zipmap,
    mlflow_sklearn,
    own_python,
)
"""Eight models that need nothing but what the platform installs."""
