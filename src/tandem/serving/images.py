"""How image files become the numbers that a model of images is asked. Loaded by hosts and trainings, not by doors."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol, Self, TypeAlias

import msgspec
import numpy as np
from PIL.Image import Image

from tandem.core.errors import Broken, Invalid
from tandem.data.pixels import array, look, opened
from tandem.scorers.sample import Floats
from tandem.serving import torch
from tandem.serving.base import EMBEDS, IMAGES, Embed, check_pins, member, untrusted
from tandem.serving.onnx import Onnx
from tandem.serving.signature import LOOKED, Cell
from tandem.store.blobs import Blobs

Scale = Literal["imagenet", "unit"]
"""What a network takes: pixels by ImageNet's means and deviations, or from 0 to 1."""
MEANS, DEVIATIONS = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
Looks: TypeAlias = dict[str, list[Cell | None]]
"""Name of `LOOKED` → its value of each row; None where a row has none."""
SIDE = 224
"""Of a network that takes any."""
PROVED, SAME = 64, 1e-4
"""Numbers about the proof by which a network is known again, and how far each may be off (above 1, as a share)."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """`images.json`."""

    size: int
    """Side in pixels to which each image is brought."""
    channels: Literal[1, 3]
    embed: Embed | None = None
    """The member that makes numbers of the pixels; None: they are the numbers, row by row."""
    first: bool = False
    """Whether that network takes channels before rows and columns."""
    scale: Scale = "unit"
    proof: tuple[float, ...] = ()
    """The first numbers that it made of `_proof` when it was first asked."""


class Network(Protocol):
    """What makes numbers of images."""

    def predict(self, rows: Floats) -> Floats: ...


@dataclass(frozen=True, slots=True)
class Images:
    """A plan, and its network."""

    plan: Plan
    network: Network | None = None

    @classmethod
    def load(cls, members: Path, trust: Collection[str] = ()) -> Self | None:
        """That of a directory of members; None for a model of something else.

        A network is asked about one made-up image: it must say what it said before.

        Raises:
            Forbidden: the network is a program, and not trusted.
            Broken: the files are not what they should be, or the network answers otherwise here.
            Unavailable: PyTorch is not installed.
        """
        plan = member(members, IMAGES, Plan)
        if plan is None:
            return None
        if plan.embed is None:
            return cls(plan)
        word = EMBEDS[plan.embed]
        if word is not None:
            if word not in trust:
                raise untrusted(word)
            check_pins(members)
        try:
            images = cls(plan, _opened(members / plan.embed))
        except OSError as error:
            raise Broken(f"The model's file {plan.embed} cannot be read: {error}.", hint="Train it again.") from None
        images._check_proof()
        return images

    @classmethod
    def by(cls, path: Path, side: int | None = None) -> Self:
        """As a network of one image wants it: float pixels, channels first or last.

        Args:
            path: its file, named as one of `base.EMBEDS`.
            side: of the images that it takes, of TorchScript, which does not say; three channels come first.

        Raises:
            Invalid: it takes something else.
            Broken: it cannot answer.
        """
        network = _opened(path)
        told = network.session.get_inputs()[0].shape if isinstance(network, Onnx) else torch.taken(path)
        shape: Sequence[Any] = told or (1, 3, side, side)
        first = len(shape) == 4 and shape[1] in (1, 3)
        if not first and not (len(shape) == 4 and shape[3] in (1, 3)):
            raise Invalid(
                f"The network takes {shape}, which are no images.",
                field="embed",
                hint="Its input has four sizes: images, 3 channels, rows, columns; or the channels last.",
            )
        channels, sides = (shape[1], shape[2:]) if first else (shape[3], shape[1:3])
        wide = [side if isinstance(side, int) else SIDE for side in sides]
        if wide[0] != wide[1]:
            raise Invalid(f"The network takes images of {wide[0]} x {wide[1]}.", field="embed", hint="Export it for squares.")
        name = next(name for name in EMBEDS if name == path.name)
        return cls(Plan(size=wide[0], channels=channels, embed=name, first=first), network).scaled("unit")

    def scaled(self, scale: Scale) -> Self:
        """The same for a network that wants its pixels so, and with what it says of the proof.

        Raises:
            Broken: the network cannot answer.
        """
        images = replace(self, plan=msgspec.structs.replace(self.plan, scale=scale))
        return replace(images, plan=msgspec.structs.replace(images.plan, proof=images._proof()))

    def _proof(self) -> tuple[float, ...]:
        """What is said of an image that nobody drew, and that is the same everywhere."""
        plan = self.plan
        values = np.arange(plan.size * plan.size * plan.channels, dtype=np.int64) * 2_654_435_761 // 65_536 % 256 / 255
        return tuple(map(float, self._of(values.reshape(plan.size, plan.size, plan.channels))[:PROVED]))

    def _check_proof(self) -> None:
        told, then = self._proof(), self.plan.proof
        off = max((abs(now - one) / max(1.0, abs(one)) for now, one in zip(told, then, strict=False)), default=0.0)
        if len(told) != len(then) or not off <= SAME:
            raise Broken(
                f"The network answers otherwise than where it was imported, by {off:.2g}.",
                hint="Install the library versions that its version's environment names, or import it again.",
            )

    def numbers(self, content: bytes) -> Floats:
        """What a model is asked about one image file.

        Raises:
            Invalid: it is no image.
            Broken: the network cannot answer.
        """
        return self._numbers(opened(content))

    def _numbers(self, image: Image) -> Floats:
        return self._of(array(image, self.plan.size, self.plan.channels).astype(np.float64))

    def _of(self, pixels: Floats) -> Floats:
        """Of rows x columns x channels between 0 and 1."""
        plan = self.plan
        if self.network is None:
            return pixels.ravel()
        if plan.scale == "imagenet" and plan.channels == 3:
            pixels = (pixels - MEANS) / DEVIATIONS
        found: Floats = self.network.predict((pixels.transpose(2, 0, 1) if plan.first else pixels)[None])[0]
        if not np.isfinite(found).all():
            raise Broken("The network's answer about an image is no finite number.", hint="Train with another one.")
        return found

    def seen(self, files: Iterable[bytes]) -> Floats:
        """What a model is asked about image files.

        Raises:
            Invalid, Broken: as `numbers`.
        """
        return np.array([self.numbers(content) for content in files])

    def rows(self, rows: Sequence[Sequence[Cell]]) -> tuple[Floats, Looks]:
        """What a model is asked about the rows of a call, each one image file in base64, and what they look like.

        Raises:
            Invalid: one is none; `field` is `rows[I].image`.
        """
        found, looks = [], list[dict[str, Cell | None]]()
        for number, (cell,) in enumerate(rows):
            where = f"rows[{number}].image"
            try:
                content = base64.b64decode(str(cell), validate=True)
            except (binascii.Error, ValueError):
                raise Invalid(f"{where} is not base64.", field=where, hint="Send the bytes of the file in base64.") from None
            try:
                image = opened(content)
                found.append(self._numbers(image))
                looks.append(look(image, content))
            except Invalid as error:
                raise Invalid(f"{where}: {error.message}", field=where, hint=error.hint) from None
        return np.array(found), {field.name: [each[field.name] for each in looks] for field in LOOKED}


def _opened(path: Path) -> Network:
    return Onnx.of(path.read_bytes()) if path.suffix == ".onnx" else torch.Network(torch.read(path))


def sent(rows: Sequence[Sequence[Cell]], files: Blobs) -> list[list[Cell]]:
    """Rows of digests as a call sends them.

    Raises:
        Broken: a file is gone.
    """
    return [[base64.b64encode(files.read(str(cell))).decode() for cell in row] for row in rows]
