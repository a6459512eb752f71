"""`hashed-v1`: vectors without a model. Words and their character 4-grams, hashed into 512 signed places.

Signed feature hashing: Weinberger et al., ICML 2009; words beside character n-grams: Bojanowski et al., TACL 2017.
Counts enter by logarithm, and nothing depends on other documents, so that a vector tells of its own text alone.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections import Counter
from functools import lru_cache
from math import log1p

from tandem.store.vectors import pack
from tandem.store.words import STOP

NAME = "hashed-v1"
SIZE = 512
GRAM = 4
WEIGHT = 0.1
"""What a rank by these vectors counts beside one by words: they find what is misspelt, and rank worse than words do."""
WORDS_REMEMBERED = 50_000
_WORD = re.compile(r"\w+")


def embed(text: str) -> bytes:
    """The vector of a text: float32, length 1; all zero where the text has no word."""
    counts = Counter(_WORD.findall(_folded(text)))
    values = [0.0] * SIZE
    for word, count in counts.items():
        if word in STOP and len(counts) > 1:
            continue
        weight = log1p(count)
        for place, share in _features(word):
            values[place] += weight * share
    return pack(values)


def _folded(text: str) -> str:
    """Lower case without accents."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter))


@lru_cache(WORDS_REMEMBERED)
def _features(word: str) -> tuple[tuple[int, float], ...]:
    """(place, signed share) of a word: the word itself counts as much as all of its 4-grams together."""
    framed = f"<{word}>"
    grams = [framed[at : at + GRAM] for at in range(len(framed) - GRAM + 1)] if len(framed) > GRAM else []
    found = [_place(framed, 1.0)]
    if grams:
        found += [_place(f"#{gram}", len(grams) ** -0.5) for gram in grams]
    return tuple(found)


def _place(feature: str, share: float) -> tuple[int, float]:
    code = zlib.crc32(feature.encode())
    return code % SIZE, share if code >> 31 else -share
