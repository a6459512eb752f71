"""Images for tests: circles and squares on noise, packed as people pack them."""

from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SHAPES = ("circle", "square")


def shape(kind: str, seed: int, *, size: int = 32, format: str = "PNG") -> bytes:
    """A file with one shape somewhere on grey noise."""
    draw = np.random.default_rng(seed)
    image = Image.fromarray(draw.integers(0, 90, (size, size, 3), dtype=np.uint8), "RGB")
    radius = int(draw.integers(size // 5, size // 3))
    x, y = (int(draw.integers(radius, size - radius)) for _ in range(2))
    pen = ImageDraw.Draw(image)
    box = (x - radius, y - radius, x + radius, y + radius)
    (pen.ellipse if kind == "circle" else pen.rectangle)(box, fill="white")
    out = BytesIO()
    image.save(out, format)
    return out.getvalue()


def shapes(count: int, **options: int) -> dict[str, bytes]:
    """That many of each, by their path."""
    return {
        f"{kind}s/{number}.png": shape(kind, 2 * number + place, **options)
        for place, kind in enumerate(SHAPES)
        for number in range(count)
    }


def packed(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path
