"""An image file as pixels: opened within bounds, the same way at ingest, in training and when a model is asked."""

from __future__ import annotations

import hashlib
import re
import struct
import zlib
from collections.abc import Mapping
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, ImageStat

from tandem.core.errors import Invalid
from tandem.store.blobs import digest_of

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "PPM")
"""PPM is how the door writes a tensor of whole numbers."""
FLOATS = re.compile(rb"PF32 ([1-9]\d{0,7}) ([1-9]\d{0,7}) ([13])\n")
"""How it writes one of floats: rows, columns, channels, and the values from 0 to 1, little-endian."""
TENSORS = (b"P5 ", b"P6 ", b"PF32 ")
"""How both begin."""
BYTES = 20 << 20
"""Of the largest file."""
PIXELS = 40_000_000
"""Of the largest image."""
FACTS = ("width", "height", "mode", "bytes", "brightness", "contrast", "digest", "pixels")
"""Columns of a dataset that say of an image what it is; see `facts`."""
HINT = "Send PNG, JPEG, WebP or GIF."
_BROKEN = (
    OSError, ValueError, TypeError, SyntaxError, EOFError, IndexError, KeyError, OverflowError,
    MemoryError, struct.error, zlib.error, Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)  # fmt: skip
"""What Pillow raises for files that are not what they say."""


def opened(content: bytes) -> Image.Image:
    """The image of a file, upright as its EXIF says; of a GIF the first frame; floats rounded to the 256 values of a file.

    Raises:
        Invalid: it is too large, no image of `FORMATS`, or ends too early.
    """
    if len(content) > BYTES:
        raise Invalid(f"The image has {len(content):,} bytes; {BYTES:,} are read.", hint="Make it smaller.")
    floats = FLOATS.match(content)
    if floats is not None:
        return _rounded(content[floats.end() :], *map(int, floats.groups()))
    try:
        image = Image.open(BytesIO(content), formats=FORMATS)
        width, height = image.size
        if width * height > PIXELS:
            raise Invalid(f"The image has {width} x {height} pixels; {PIXELS:,} are read.", hint="Make it smaller.")
        image.load()
        return ImageOps.exif_transpose(image)
    except _BROKEN as error:
        raise Invalid(f"This is no image that can be read: {str(error)[:100] or type(error).__name__}.", hint=HINT) from None


def _rounded(values: bytes, rows: int, columns: int, channels: int) -> Image.Image:
    if len(values) != 4 * rows * columns * channels:
        raise Invalid("The pixels are not as many as they are said to be.", hint=HINT)
    found = np.frombuffer(values, dtype="<f4").reshape(rows, columns, channels)
    if not ((found >= 0) & (found <= 1)).all():  # nor NaN
        raise Invalid("A pixel lies outside 0 to 1.", hint="Send FP32 from 0 to 1, or UINT8 from 0 to 255.")
    whole = np.rint(found * 255).astype(np.uint8)
    return Image.fromarray(whole[:, :, 0] if channels == 1 else whole)


def facts(content: bytes) -> Mapping[str, object]:
    """What a dataset says of an image: what `look` says, and the digests of file and pixels.

    Raises:
        Invalid: as `opened`.
    """
    image = opened(content)
    seen = hashlib.sha256(f"{image.width}x{image.height} ".encode() + image.convert("RGBA").tobytes()).hexdigest()
    return {**look(image, content), "digest": digest_of(content), "pixels": f"sha256:{seen}"}


def look(image: Image.Image, content: bytes) -> dict[str, float | str | None]:
    """Size, mode, bytes, and of its grey values (0 to 255) the mean as brightness and the standard deviation as contrast.

    A tensor is no file, and has no bytes that could be compared with those of files.
    """
    grey = ImageStat.Stat((image if image.mode in ("L", "RGB") else image.convert("RGBA")).convert("L"))
    return {
        "width": image.width,
        "height": image.height,
        "mode": image.mode,
        "bytes": None if content.startswith(TENSORS) else len(content),
        "brightness": round(grey.mean[0], 3),
        "contrast": round(grey.stddev[0], 3),
    }


def array(image: Image.Image, size: int, channels: int) -> NDArray[np.float32]:
    """The pixels of an image as size x size x channels between 0 and 1, whatever its shape was.

    Args:
        channels: 1 of grey, 3 of red, green and blue.
    """
    image = image.convert("L" if channels == 1 else "RGB").resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.float32).reshape(size, size, channels) / np.float32(255)
