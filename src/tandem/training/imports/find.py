"""What in a folder is a model, by names and first bytes alone: nothing is loaded. `models.toml` may say more of each."""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import yaml

from tandem.core.errors import Invalid
from tandem.scorers.base import TaskName
from tandem.serving.base import Trust

Form = Literal["sklearn", "skops", "xgboost", "lightgbm", "onnx", "torch", "mlflow", "python"]
ENDINGS: dict[str, Form] = {
    ".pkl": "sklearn",
    ".pickle": "sklearn",
    ".joblib": "sklearn",
    ".skops": "skops",
    ".ubj": "xgboost",
    ".xgb": "xgboost",
    ".lgb": "lightgbm",
    ".onnx": "onnx",
    ".pt": "torch",
    ".pth": "torch",
    ".pt2": "torch",
}
STRANGE = {
    ".h5": "Keras is not read: convert it with tf2onnx.",
    ".keras": "Keras is not read: convert it with tf2onnx.",
    ".cbm": "CatBoost is not read: save it with save_model(FILE, format='onnx').",
    ".pmml": "PMML is not read: save the model in its framework's own format.",
    ".safetensors": "Weights alone are no model: save a program with torch.jit or torch.export.",
}
"""Endings of models that cannot be imported, and what to do instead."""
WORDS: dict[Form, Trust] = {"sklearn": "pickle", "torch": "torch", "mlflow": "mlflow", "python": "python"}
"""What has to be trusted before a file of that form is opened."""
FLAVORS: dict[str, tuple[Form, tuple[str, ...]]] = {
    "sklearn": ("sklearn", ("pickled_model",)),
    "xgboost": ("xgboost", ("data",)),
    "lightgbm": ("lightgbm", ("data", "lgb_model")),
    "onnx": ("onnx", ("data",)),
    "pytorch": ("torch", ("model_data",)),
}
"""Flavor of MLflow → the form of its file, and the keys that may name it."""
PLAN, MLMODEL, MODEL_PY = "models.toml", "MLmodel", "model.py"
SAMPLES = (".csv", ".parquet", ".jsonl", ".json")
HEAD = 4096
"""Bytes of a file that are looked at."""
MOST = 200
"""Models of one folder."""


class Told(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `models.toml` says of one model."""

    columns: tuple[str, ...] = ()
    """Inputs, in the order in which the model takes them."""
    classes: tuple[str, ...] = ()
    """Negative, positive; or all of more than two, by number."""
    task: TaskName | None = None
    output: Literal["probabilities", "logits"] = "probabilities"
    """What the model says of classes."""
    sample: str = ""
    """A file of rows, from the folder."""
    threshold: float = 0.5
    dataset: str = ""
    """On which it was trained, as `dataset/NAME[@VERSION]`."""
    target: str = ""
    """The column of that dataset, or of the sample, that it predicts."""
    weight: float = 1.0
    """In the mean of a decision."""
    image: Annotated[int, msgspec.Meta(ge=1, le=4096)] | None = None
    """Of a network that makes numbers of images, in TorchScript: the side of the image that it takes, in pixels."""


class _Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    models: dict[str, Told] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One model that may be imported; paths are relative to the folder."""

    name: str
    path: str
    """Its file, or the directory of MLflow or of `model.py`."""
    form: Form
    told: Told
    script: str | None = None
    """Python beside it that is likely to have made it."""
    sample: str | None = None
    mlmodel: str | None = None
    """The directory of MLflow that its file is of."""
    columns: tuple[str, ...] = ()
    """What MLflow says that it takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What cannot be imported, and why."""

    path: str
    reason: str
    hint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What is in a folder."""

    candidates: tuple[Candidate, ...]
    left: tuple[Left, ...]


def find(folder: Path) -> Listing:
    """The models of a folder, in the order of their names.

    Raises:
        Invalid: there is none, there are too many, or `models.toml` is wrong.
    """
    plan = _plan(folder)
    left = [Left(path=_told(path, folder), reason=STRANGE[path.suffix]) for path in _walk(folder) if path.suffix in STRANGE]
    found = [one for path in _walk(folder) if (one := _candidate(path, folder)) is not None]
    if not found and not left:
        raise Invalid(
            "The folder holds no model that is known here.", hint=f"Known are {', '.join(ENDINGS)}, {MLMODEL}, {MODEL_PY}."
        )
    if len(found) > MOST:
        raise Invalid(f"The folder holds {len(found)} models; {MOST} are imported at once.", hint="Split the folder.")
    found = _distinct(found)
    unknown = sorted(set(plan) - {one.name for one in found})
    if unknown:
        known = ", ".join(one.name for one in found)
        raise Invalid(
            f"{PLAN} tells of '{unknown[0]}', and no model has that name.",
            field=f"models.{unknown[0]}",
            hint=f"There are {known}.",
        )
    told = [replace(one, told=plan.get(one.name, Told())) for one in found]
    return Listing(candidates=tuple(_beside(one, folder) for one in told), left=tuple(left))


def slug(text: str) -> str:
    """A name of an asset from that of a file.

    >>> slug("Fraud Model_v2")
    'fraud-model_v2'
    """
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")[:56] or "model"


def _plan(folder: Path) -> dict[str, Told]:
    try:
        tree = tomllib.loads((folder / PLAN).read_text("utf-8"))
        return msgspec.convert(tree, _Plan).models
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise Invalid(f"{PLAN} cannot be read: {error}.", field=PLAN, hint="docs/importing.md shows what it may say.") from None


def _walk(folder: Path) -> Iterator[Path]:
    """Files, and directories that are one model, which are not gone into."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "__")):
            continue
        if path.is_dir() and not (path / MLMODEL).is_file() and not (path / MODEL_PY).is_file():
            yield from _walk(path)
        else:
            yield path


def _candidate(path: Path, folder: Path) -> Candidate | None:
    if path.is_dir():
        name = slug(path.name)
        if not (path / MLMODEL).is_file():
            return Candidate(name=name, path=_told(path, folder), form="python", told=Told())
        form, file, columns = _flavor(path)
        return Candidate(
            name=name, path=_told(file, folder), form=form, told=Told(), mlmodel=_told(path, folder), columns=columns
        )
    form_of = ENDINGS.get(path.suffix.lower()) or _by_head(path)
    return None if form_of is None else Candidate(name=slug(path.stem), path=_told(path, folder), form=form_of, told=Told())


def _by_head(path: Path) -> Form | None:
    """Of endings that much else has too."""
    if path.suffix not in (".json", ".txt", ".model"):
        return None
    with path.open("rb") as file:
        head = file.read(HEAD)
    if head.startswith(b"tree\n"):
        return "lightgbm"
    return "xgboost" if head.startswith(b"{L") or (head.startswith(b"{") and b'"learner"' in head) else None


def _flavor(directory: Path) -> tuple[Form, Path, tuple[str, ...]]:
    """How a directory of MLflow is read, and its columns: by its flavor's own file where that is known, else by MLflow."""
    columns: tuple[str, ...] = ()
    try:
        told_of = yaml.safe_load((directory / MLMODEL).read_text("utf-8"))
        columns = _columns(told_of)
        flavors = told_of.get("flavors", {})
        for name, (form, keys) in FLAVORS.items():
            told = flavors.get(name, {})
            for file in (directory / str(told[key]) for key in keys if key in told):
                file = next((inner for inner in sorted(file.glob("*.pt*")) if inner.suffix != ".pth"), file)
                inside = file.resolve().is_relative_to(directory.resolve())
                if inside and file.is_file() and (form not in ("torch", "sklearn") or ENDINGS.get(file.suffix) == form):
                    return form, file, columns
    except (yaml.YAMLError, ValueError, AttributeError, TypeError):
        pass  # MLflow itself says what is wrong
    return "mlflow", directory, columns


def _columns(told: dict[str, object]) -> tuple[str, ...]:
    """The names in the signature of an `MLmodel`; none where it has none, or tells of tensors."""
    signature = told.get("signature")
    inputs = json.loads(str(signature["inputs"])) if isinstance(signature, dict) and "inputs" in signature else []
    return tuple(str(each["name"]) for each in inputs) if all("name" in each for each in inputs) else ()


def _distinct(found: list[Candidate]) -> list[Candidate]:
    """Models of one name are told apart by their form, and by their number after that."""
    for number_them in (False, True):
        counts = Counter(one.name for one in found)
        found = [
            replace(one, name=f"{one.name}-{number if number_them else one.form}") if counts[one.name] > 1 else one
            for number, one in enumerate(found, 1)
        ]
    return sorted(found, key=lambda one: one.name)


def _beside(one: Candidate, folder: Path) -> Candidate:
    """With the script and the rows that lie beside it."""
    place = folder / (one.mlmodel or one.path)
    inner = place if place.is_dir() else place.parent
    scripts = [place.with_suffix(".py"), inner / "train.py", place.parent / "train.py"]
    rows = [place.parent / f"{place.stem}{middle}{ending}" for middle in ("", ".sample") for ending in SAMPLES]
    rows += [inner / "input_example.json", *(place.parent / f"sample{ending}" for ending in SAMPLES)]
    if one.told.sample:
        rows = [folder / one.told.sample]
        if not rows[0].resolve().is_relative_to(folder.resolve()) or not rows[0].is_file():
            raise Invalid(f"The sample of '{one.name}' is no file of the folder.", field=f"models.{one.name}.sample")
    sample = next((path for path in rows if path.is_file() and path != place), None)
    script = next((path for path in scripts if path.is_file()), None)
    return replace(
        one,
        sample=None if sample is None else _told(sample, folder),
        script=None if script is None else _told(script, folder),
    )


def _told(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()
