"""Embeddings by hashing: words and their letter triples, each onto one signed dimension. No model, no library.

Texts that share words or parts of words come out near each other, which is enough to try retrieval out.
Source: Weinberger et al., Feature Hashing for Large Scale Multitask Learning, 2009.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Iterable
from zlib import crc32

DIMENSIONS = 1536
"""Of text-embedding-3-small."""
_WORD = re.compile(r"\w+")


def vector(text: str | list[int], dimensions: int = DIMENSIONS) -> array[float]:
    """A unit vector of `dimensions` 32-bit floats; fewer than 1536 are the first ones of the long vector, rescaled.

    Args:
        text: a text, or the numbers of tokens, as OpenAI takes either.

    >>> round(sum(x * x for x in vector("refund period")), 5)
    1.0
    """
    sums = [0.0] * DIMENSIONS
    for feature, weight in _features(text):
        place = crc32(feature.encode())
        sums[place % DIMENSIONS] += weight if place & 0x8000_0000 else -weight
    head = sums[:dimensions]
    length = math.sqrt(sum(value * value for value in head))
    if not length:
        head[0] = length = 1.0
    return array("f", [value / length for value in head])


def _features(text: str | list[int]) -> Iterable[tuple[str, float]]:
    if not isinstance(text, str):
        yield from ((f"#{number}", 1.0) for number in text)
        return
    for word in _WORD.findall(text.lower()):
        yield word, 1.0
        framed = f"<{word}>"
        yield from ((framed[at : at + 3], 0.3) for at in range(len(framed) - 2))
