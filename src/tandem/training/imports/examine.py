"""Examines one model in a process of its own: `python -m tandem.training.imports.examine`; see `tandem.jobs.apart`.

What the framework itself answers on the sample is compared with what is going to serve: its ONNX form where that says the
same, else its own files by a runtime of ours. Nothing is served that differs by more than `LARGEST`.
"""

from __future__ import annotations

import math
import platform
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import msgspec
import numpy as np

from tandem.core.errors import Invalid, TandemError
from tandem.jobs.apart import Progress, serve
from tandem.scorers.base import TaskName
from tandem.scorers.sample import Floats
from tandem.serving.base import CARD, EMBEDS, IMAGES, TRUST, Card, Embed, Runtime, digest_of, load
from tandem.serving.cells import SIGNATURE, shaped
from tandem.serving.onnx import Onnx
from tandem.serving.signature import Field, Output, Signature
from tandem.serving.torch import EXPORTED, taken
from tandem.training.imports.find import WORDS, Candidate
from tandem.training.imports.graphs import takes_images
from tandem.training.imports.nouns import NETWORK, Examined, Order
from tandem.training.imports.original import Original
from tandem.training.imports.originals import NATIVE, not_allowed, read
from tandem.training.imports.sample import Sample, probes
from tandem.training.imports.sample import read as read_sample
from tandem.training.manifest import Parity
from tandem.training.parity import check, difference

LARGEST = 1e-6
"""Difference of two answers that counts as the same: absolute below 1, above it as a share of what the framework says."""
FIELDS = 200
"""Columns that are each tried without a value; of more all are tried at once."""
GREY = b"P5 1 1 255\n\x80"
"""A grey image, with which a network is tried."""
SURE = 1e-3
"""How far the probabilities of a row may be from 1 together."""


def carry_out(order: Order, progress: Progress) -> Examined:
    """Opens, compares and lays out the members of one candidate.

    Raises:
        Forbidden: it would execute what is not trusted; nothing was opened.
        Invalid, Broken, Unavailable: it cannot be imported; the hint says what to do.
    """
    one, folder, out = order.candidate, Path(order.folder), Path(order.out)
    word = WORDS.get(one.form)
    if word is not None and word not in order.trust:
        raise not_allowed(f"To open {Path(one.path).name} executes what is in it", word)
    source = _source(folder / one.path)
    progress(0.1, "opening")
    if _is_network(one, folder / one.path):
        return _network(one, folder / one.path, out, source)
    original = read(one, folder, order.trust)
    told = one.told
    progress(0.4, "comparing")
    sample = read_sample(
        None if one.sample is None else folder / one.sample,
        told.columns or original.names or one.columns,
        original.width,
        told.target,
    )
    original, sample, said = _asked(original, sample)
    card = _card(one, original, said, sample.rows.height)
    own = shaped(said, card, sample.rows.height)
    _check_range(own, card)
    out.mkdir(parents=True, exist_ok=True)
    _write(original, sample, out)
    found = _converted(original, card, sample)
    if found is not None:
        (out / "model.onnx").write_bytes(found)
        explains = original.runtime in ("xgboost", "lightgbm-double")
        card = replace(card, runtime="onnx", native=original.runtime if explains else "onnx", file="", pins={}, logits=False)
    else:
        card = replace(card, pins=_pinned(out) if original.runtime in TRUST else {})
    _put(out / CARD, card)
    serving = load(card.runtime, out, order.trust)
    served = serving.predict(sample.values if serving.cells else sample.matrix)
    largest = difference(own, served)
    compared = f"{original.by} with {card.runtime} on {sample.rows.height} rows of {sample.source}"
    if not largest <= LARGEST:
        raise Invalid(
            f"What would serve differs from {original.by} by {largest:.2g}; {LARGEST:g} is allowed.",
            hint="Look whether it answers the same rows alike, in any order and in any number.",
        )
    signature = replace(_nullable(serving, sample), outputs=_outputs(card.classes))
    (out / SIGNATURE).write_bytes(signature.to_json())
    if one.script is not None:
        (out / "script").mkdir(exist_ok=True)
        (out / "script" / Path(one.script).name).write_bytes((folder / one.script).read_bytes())
    progress(1.0, "compared")
    return Examined(
        members=_digests(out),
        framework=original.framework,
        version=original.version,
        runtime=card.runtime,
        signature=signature,
        classes=card.classes,
        threshold=card.threshold,
        task="regression" if not card.classes else "classification" if len(card.classes) == 2 else "multiclass",
        parity=Parity(held=True, reason=compared, rows=sample.rows.height, tolerance=LARGEST, largest=largest),
        compared=compared,
        source=source,
        trusted=tuple({*([] if word is None else [word]), *([TRUST[original.runtime]] if original.runtime in TRUST else [])}),
        environment={"python": platform.python_version(), original.framework: original.version},
    )


def _is_network(one: Candidate, path: Path) -> bool:
    """Whether a graph, or a program that may be executed, takes one image; of TorchScript `models.toml` says so."""
    if one.form == "torch":
        return one.told.image is not None or len(taken(path) or ()) == 4
    return one.form == "onnx" and takes_images(path)


def _network(one: Candidate, path: Path, out: Path, source: str) -> Examined:
    """A network that makes numbers of images, for `tandem train --embed`; it answers no calls itself."""
    from tandem.serving.images import Images

    framework, library = ("onnx", "onnxruntime") if one.form == "onnx" else ("pytorch", "torch")
    name: Embed = "embed.onnx" if one.form == "onnx" else "embed.pt2" if path.suffix == EXPORTED else "embed.pt"
    out.mkdir(parents=True, exist_ok=True)
    (out / name).write_bytes(path.read_bytes())
    images = Images.by(out / name, one.told.image)
    width = len(images.numbers(GREY))
    word = EMBEDS[name]
    pins: dict[str, str] = {} if word is None else {name: str(digest_of(out / name))}
    _put(out / CARD, Card(runtime=NETWORK, native=NETWORK, threshold=0.5, classes=(), file=name, pins=pins))
    (out / IMAGES).write_bytes(msgspec.json.encode(images.plan))
    Images.load(out, () if word is None else (word,))
    output = Output(name="prediction", dtype="float", width=width)
    return Examined(
        members=_digests(out),
        framework=framework,
        version=version(library),
        runtime=NETWORK,
        signature=Signature(fields=(Field(name="image", dtype="image"),), outputs=(output,)),
        classes=(),
        threshold=0.5,
        task="regression",
        parity=Parity(held=True, reason="It is run as it came.", rows=1, tolerance=LARGEST, largest=0.0),
        compared=f"a grey image of {images.plan.size} x {images.plan.size} makes {width} numbers",
        source=source,
        trusted=() if word is None else (word,),
        environment={"python": platform.python_version(), library: version(library)},
    )


def _asked(original: Original, sample: Sample) -> tuple[Original, Sample, object]:
    """What the framework says of the sample: asked with a matrix of numbers, or with a frame where it takes no matrix."""
    if not original.cells:
        sample = replace(sample, cells=original.runtime in ("onnx-columns", "pyfunc", "python"))
        return original, sample, original.own(sample)
    if sample.numeric:
        try:
            return original, sample, original.own(sample)
        except TandemError:
            pass  # a pipeline that looks for columns by their names
    sample = replace(sample, cells=True)
    return replace(original, runtime=original.cells, onnx=None), sample, original.own(sample)


def _card(one: Candidate, original: Original, said: object, rows: int) -> Card:
    classes = one.told.classes or original.classes or _classes(one, said, rows)
    if one.told.task == "regression":
        classes = ()
    if one.told.output == "logits" and original.runtime == "onnx":
        raise Invalid("Of a graph, log-odds are not turned into probabilities.", hint="Put a Sigmoid or Softmax at its end.")
    return Card(
        runtime=original.runtime,
        native=original.runtime,
        threshold=one.told.threshold,
        classes=classes,
        file=original.file,
        logits=one.told.output == "logits",
    )


def _classes(one: Candidate, said: object, rows: int) -> tuple[str, ...]:
    """Numbers for classes that nobody named, where the answers are those of classes."""
    width = np.asarray(said, dtype=np.float64).reshape(rows, -1).shape[1]
    if one.told.task == "regression" or (width == 1 and one.told.task is None):
        return ()
    return tuple(map(str, range(max(2, width))))


def _check_range(own: Floats, card: Card) -> None:
    """Answers about classes are probabilities.

    Raises:
        Invalid: they are not.
    """
    if not np.isfinite(own).all():
        raise Invalid("The model's answers on the sample are no finite numbers.", hint="Name a sample that it can answer.")
    sums = own.sum(axis=1) if own.shape[1] > 1 else np.ones(len(own))
    if card.classes and not ((own >= -SURE).all() and (own <= 1 + SURE).all() and (np.abs(sums - 1) <= SURE).all()):
        raise Invalid(
            "What the model says of classes are no probabilities.",
            hint='Put output = "logits" or task = "regression" for it into models.toml.',
            field="output",
        )


def _converted(original: Original, card: Card, sample: Sample) -> bytes | None:
    """The ONNX form, if it says the same on the sample and on made-up rows between its numbers."""
    if original.onnx is None or not sample.numeric or sample.cells:
        return None
    convert = original.onnx

    class Asked:
        def predict(self, features: Floats) -> Floats:
            return shaped(original.own(sample.of(features)), card, len(features))

        def onnx(self) -> bytes:
            return convert(len(sample.fields))

    rows = np.concatenate([sample.matrix, probes(sample)])
    task: TaskName = "regression" if not card.classes else "classification" if len(card.classes) == 2 else "multiclass"
    asked = Asked()
    try:
        made = check(asked, rows, card.threshold, task, tolerance=LARGEST)[1]
        same = made is not None and difference(asked.predict(rows), Onnx.of(made).predict(rows)) <= LARGEST
    except TandemError:  # one of the two cannot answer such rows
        return None
    return made if same else None


def _nullable(serving: Runtime, sample: Sample) -> Signature:
    """The signature, with the columns that the model can do without: it answers a row that lacks them."""
    rows = sample.values if serving.cells else sample.matrix
    places = [[at] for at in range(len(sample.fields))] if len(sample.fields) <= FIELDS else [list(range(len(sample.fields)))]
    able: set[int] = set()
    for each in places:
        row = rows[:1].copy()
        row[0, each] = math.nan
        try:
            if np.isfinite(serving.predict(row)).all():
                able.update(each)
        except TandemError:
            pass  # it cannot
    return Signature(fields=tuple(replace(field, nullable=at in able) for at, field in enumerate(sample.fields)))


def _outputs(classes: tuple[str, ...]) -> tuple[Output, ...]:
    if not classes:
        return (Output(name="prediction", dtype="float"),)
    width = len(classes) if len(classes) > 2 else 1
    return Output(name="probability", dtype="float", width=width), Output(name="label", dtype="string")


def _write(original: Original, sample: Sample, out: Path) -> None:
    for name, content in original.members.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.read_bytes())
    (out / SIGNATURE).write_bytes(Signature(fields=sample.fields).to_json())


def _put(path: Path, card: Card) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(card, order="deterministic"), indent=2))


def _pinned(out: Path) -> dict[str, str]:
    """The files that are the model's own."""
    return {name: digest for name, digest in _digests(out).items() if name.startswith(f"{NATIVE}/")}


def _digests(out: Path) -> dict[str, str]:
    files = [path for path in sorted(out.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
    return {path.relative_to(out).as_posix(): str(digest_of(path)) for path in files}


def _source(path: Path) -> str:
    if path.is_file():
        return str(digest_of(path))
    from tandem.store.blobs import digest_of as digest_of_bytes

    return digest_of_bytes("\n".join(f"{name} {digest}" for name, digest in _digests(path).items()).encode())


if __name__ == "__main__":
    raise SystemExit(serve(Order, carry_out))
