"""A model by its own framework's hand: what it answers, what it takes, and the files that serve it.

Run in a process of its own, after the words that it needs were given: to open most of these files executes them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tandem.core.errors import Broken, Forbidden, Invalid, Unavailable
from tandem.serving import pyfunc, python, torch
from tandem.serving import sklearn as sk
from tandem.serving.base import Trust
from tandem.serving.foreign import foreign
from tandem.training.algorithms.base import Unconvertible
from tandem.training.imports import graphs
from tandem.training.imports.find import Candidate
from tandem.training.imports.original import Original

NATIVE = "native"
"""The folder of members that holds the model's own files."""


def read(one: Candidate, folder: Path, trust: tuple[str, ...]) -> Original:
    """Opens a candidate.

    Raises:
        Forbidden: what it executes is not trusted.
        Invalid, Broken, Unavailable: it cannot be read, or not served; the hint says what to do.
    """
    path = folder / one.path
    match one.form:
        case "sklearn" | "skops":
            return _sklearn(path, trust)
        case "xgboost":
            return _xgboost(path)
        case "lightgbm":
            return _lightgbm(path)
        case "onnx":
            return graphs.read(path)
        case "torch":
            return _torch(path)
        case "mlflow":
            return _pyfunc(path)
        case "python":
            return _python(path)


def not_allowed(what: str, word: Trust) -> Forbidden:
    """The refusal of a file that nobody said is trusted, or the settings do not."""
    return Forbidden(
        f"{what} ('{word}'), and that was not allowed.",
        hint=f'If you trust whoever made it: --trust {word}. The settings must trust it too: [serving] trust = ["{word}"].',
    )


def _sklearn(path: Path, trust: tuple[str, ...]) -> Original:
    harmless = path.suffix == sk.SKOPS and not _strange_types(path, trust)
    model = sk.read(path, trusted=not harmless)
    if not hasattr(model, "predict"):
        raise Invalid(f"{path.name} holds a {type(model).__name__}, which predicts nothing.", hint="Save the fitted estimator.")
    if hasattr(model, "classes_") and not hasattr(model, "predict_proba"):
        raise Invalid(
            f"{type(model).__name__} tells classes without probabilities.",
            hint="Wrap it in sklearn.calibration.CalibratedClassifierCV.",
        )
    classes: Any = getattr(model, "classes_", ())
    if len(classes) and isinstance(classes[0], list | np.ndarray):
        raise Invalid("The model tells several targets at once.", hint="Save one model for each target.")
    name = f"{NATIVE}/{path.name}"
    kind = "skops" if harmless else "sklearn"
    library = type(model).__module__.partition(".")[0]
    return Original(
        framework={"sklearn": "scikit-learn"}.get(library, library),
        library=library,
        runtime=kind,
        cells=f"{kind}-cells",
        members={name: path},
        file=name,
        own=lambda rows: sk.told(model, rows.frame if rows.cells else rows.matrix),
        by="predict_proba" if hasattr(model, "predict_proba") else "predict",
        names=tuple(map(str, getattr(model, "feature_names_in_", ()))),
        width=getattr(model, "n_features_in_", None),
        classes=tuple(map(_text, classes)),
        onnx=lambda columns: _converted(model, columns),
    )


def _strange_types(path: Path, trust: tuple[str, ...]) -> bool:
    """Whether a file of skops names types that it does not know to be harmless.

    Raises:
        Forbidden: it does, and pickles are not trusted; the message names the types.
    """
    from skops import io

    with foreign(f"{path.name} cannot be read", "Save it again with skops."):
        strange = io.get_untrusted_types(file=path)
    if strange and "pickle" not in trust:
        raise not_allowed(f"{path.name} makes {', '.join(strange[:5])}", "pickle")
    return bool(strange)


def _converted(model: Any, columns: int) -> bytes:
    """By skl2onnx, in double precision where its operators have that."""
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

    options = {id(model): {"zipmap": False}} if hasattr(model, "predict_proba") else None
    said = ""
    for kind in (DoubleTensorType, FloatTensorType):
        try:
            with foreign("There is no ONNX form", ""):
                made = convert_sklearn(model, "tandem", [("input", kind([None, columns]))], options=options)
            content = bytes(made.SerializeToString(deterministic=True))
            graphs.opened(content)
            return content
        except (Broken, Unavailable) as error:
            said = error.message
    raise Unconvertible(said)


def _xgboost(path: Path) -> Original:
    import xgboost

    from tandem.training.algorithms.boosting import Trees

    booster = xgboost.Booster({"nthread": 1})
    try:
        booster.load_model(bytearray(path.read_bytes()))
    except xgboost.core.XGBoostError as error:
        raise _unread(path, error) from None
    if "c" in (booster.feature_types or ()):
        raise Invalid("The model has categorical columns of XGBoost's own.", hint="Encode them in a Pipeline and save that.")
    names = tuple(booster.feature_names or ())
    booster.feature_names = None
    if _objective(booster) == "multi:softmax":
        booster.set_param({"objective": "multi:softprob"})  # the same trees, telling probabilities
    columns = booster.num_features()
    return Original(
        framework="xgboost",
        library="xgboost",
        runtime="xgboost",
        members={"model.ubj": bytes(booster.save_raw(raw_format="ubj"))},
        own=lambda rows: booster.predict(xgboost.DMatrix(rows.matrix)),
        by="Booster.predict",
        names=names,
        width=columns,
        classes=_numbered(_objective(booster), ("binary:logistic",), _learner(booster)["learner_model_param"]["num_class"]),
        onnx=lambda columns: Trees(booster, columns).onnx(),
    )


def _lightgbm(path: Path) -> Original:
    import lightgbm

    try:
        text = path.read_text()
        booster = lightgbm.Booster(model_str=text)
    except (UnicodeDecodeError, lightgbm.basic.LightGBMError) as error:
        raise _unread(path, error) from None
    if booster.pandas_categorical:
        raise Invalid("The model has categorical columns of pandas.", hint="Encode them in a Pipeline and save that.")
    names = tuple(booster.feature_name())
    return Original(
        framework="lightgbm",
        library="lightgbm",
        runtime="lightgbm-double",
        members={"model.txt": text.encode()},
        own=lambda rows: booster.predict(rows.matrix),
        by="Booster.predict",
        names=() if names == tuple(f"Column_{number}" for number in range(len(names))) else names,
        width=booster.num_feature(),
        classes=_numbered(booster.params.get("objective", ""), ("binary",), booster.num_model_per_iteration()),
    )


def _torch(path: Path) -> Original:
    module = torch.read(path)
    name = f"{NATIVE}/{path.stem}{torch.EXPORTED if path.suffix == torch.EXPORTED else '.pt'}"
    return Original(
        framework="pytorch",
        library="torch",
        runtime="torch",
        members={name: path},
        file=name,
        own=lambda rows: torch.told(module, rows.matrix),
        by="the module, in float32",
    )


def _pyfunc(path: Path) -> Original:
    model = pyfunc.read(path)
    return Original(
        framework="mlflow",
        library="mlflow",
        runtime="pyfunc",
        members=_all(path),
        file=f"{NATIVE}/MLmodel",
        own=lambda rows: pyfunc.told(model, rows.frame),
        by="pyfunc.predict",
    )


def _python(path: Path) -> Original:
    function = python.read(path)
    return Original(
        framework="python",
        library="",
        runtime="python",
        members=_all(path),
        file=f"{NATIVE}/{python.FILE}",
        own=lambda rows: python.told(function, rows.records),
        by="predict",
    )


def _all(folder: Path) -> dict[str, Path | bytes]:
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and "__pycache__" not in file.parts]
    return {f"{NATIVE}/{file.relative_to(folder).as_posix()}": file for file in files}


def _learner(booster: Any) -> Any:
    return json.loads(booster.save_config())["learner"]


def _objective(booster: Any) -> str:
    return str(_learner(booster)["objective"]["name"])


def _numbered(objective: str, binary: tuple[str, ...], classes: object) -> tuple[str, ...]:
    """Classes by number, of a framework that keeps no names of them; none where it learned numbers."""
    count = 2 if objective in binary else int(str(classes)) if objective.startswith("multi") else 0
    return tuple(map(str, range(count)))


def _unread(path: Path, error: Exception) -> Broken:
    return Broken(f"{path.name} cannot be read: {str(error).strip()[:200]}.", hint="Save it again with its framework.")


def _text(value: object) -> str:
    """A class as people write it: `1` also for 1.0."""
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, bool):
        return "true" if plain else "false"
    return str(int(plain)) if isinstance(plain, float) and plain.is_integer() else str(plain)
