"""A dataset of images as numbers to learn from: pixels, or what a network that was trained elsewhere says of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from tandem.core.errors import Broken, Invalid
from tandem.scorers.sample import Floats
from tandem.serving.base import EMBEDS, IMAGES, Embed
from tandem.serving.columns import Columns
from tandem.serving.images import Images, Plan
from tandem.serving.signature import Field, Signature
from tandem.store.blobs import Blobs, digest_of
from tandem.training.algorithms.cnn import SIDE
from tandem.training.table import Table, aimed
from tandem.training.task import Task

THUMBNAIL = Plan(size=16, channels=1)
"""What is learned from without a network: the baseline of every model of images."""
VALUES = 100_000_000
"""Images times numbers of each."""
TASKS = (None, "classification", "multiclass", "regression")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Images, ready to be learned from."""

    table: Table
    """A column per number."""
    signature: Signature
    """One image."""
    members: Mapping[str, bytes]
    """What a host needs to see the same."""
    pins: Mapping[str, str]
    """Of these, what it executes → `sha256:…`."""
    warnings: tuple[str, ...]


def see(
    task: Task,
    frame: pl.DataFrame,
    folder: Path,
    network: Path | None,
    progress: Callable[[float, str], None],
    trust: Collection[str] = (),
) -> Seen:
    """Decodes every image of a dataset once, as a host will.

    Args:
        folder: where the images lie by digest.
        network: the directory of an imported network whose last output is learned from; None: pixels are.
        trust: what may be executed of it.

    Raises:
        Invalid: the task is not one of images, or there are too many.
        Forbidden: the network is not trusted.
        Broken: an image is gone, or the network cannot answer.
    """
    aim = aimed(task, frame)
    if task.task not in TASKS or task.tune or task.fairness:
        raise Invalid(
            "Of images, classes or numbers are learned, without tuning and fairness.", field="task", hint="Leave it out."
        )
    images = Images(_plan(task)) if network is None or task.embed is None else _networked(network, task, trust)
    name = images.plan.embed
    used: dict[Embed, bytes] = {} if network is None or name is None else {name: (network / name).read_bytes()}
    blobs, digests = Blobs(folder), [str(digest) for digest in frame["digest"]]
    numbers: Floats | None = None
    for row, digest in enumerate(digests):
        found = images.numbers(blobs.read(digest))
        if numbers is None:
            _bound(len(digests), len(found))
            numbers = np.empty((len(digests), len(found)))
        numbers[row] = found
        progress(0.05 * row / len(digests), "looking at images")
    if numbers is None:
        raise Broken("The dataset holds no images.", hint="Add it again.")
    fields = tuple(Field(name=f"n{place}") for place in range(numbers.shape[1]))
    signature = Signature(fields=(Field(name="image", dtype="image"),), outputs=aim.outputs)
    return Seen(
        table=Table(
            columns=Columns.of(pl.DataFrame(numbers, schema=[field.name for field in fields]), fields),
            aim=aim,
            target=task.target,
            rows=tuple(map(str, frame["file"])),
            signature=Signature(fields=fields, outputs=aim.outputs),
        ),
        signature=signature,
        members={IMAGES: msgspec.json.encode(images.plan), **{str(name): content for name, content in used.items()}},
        pins={name: digest_of(content) for name, content in used.items() if EMBEDS[name] is not None},
        warnings=_warnings(task, frame),
    )


def _networked(network: Path, task: Task, trust: Collection[str]) -> Images:
    """By an imported network, which says here what it said then."""
    images = Images.load(network, trust)
    if images is None:
        raise Broken("The imported network does not say what it takes.", hint="Import it again.")
    return images.scaled(task.pixels)


def _plan(task: Task) -> Plan:
    return Plan(size=SIDE, channels=3) if task.algorithm == "cnn" and not task.baseline else THUMBNAIL


def _bound(rows: int, width: int) -> None:
    if rows * width > VALUES:
        raise Invalid(
            f"{rows:,} images of {width:,} numbers each are too many; {VALUES:,} numbers are learned from.",
            field="data",
            hint="Take fewer images, or a network with a smaller output.",
        )


def _warnings(task: Task, frame: pl.DataFrame) -> tuple[str, ...]:
    """Images with the same pixels in more than one fold would be judged by models that have seen them."""
    again = frame.height - frame["pixels"].n_unique()
    if not again or task.group == "pixels":
        return ()
    return (f"{again} images have the same pixels as another: keep them in one fold by --split group --group pixels.",)
