"""Quotations: whether a text really stands in a chunk, and which sentences of the chunks answer a question. Pure.

A quotation holds when it is found in the chunk word for word; only runs of white space and the shapes of quotation
marks and apostrophes are taken as equal.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from tandem.data.corpus.chunk import sentences
from tandem.store.search import RRF_K, Hit
from tandem.store.words import STOP

ENOUGH = 0.4
"""The share of a question's weight that a sentence must cover to count as an answer."""
NEAR = 0.75
"""Further sentences are shown that cover this share of what the best one does."""
SENTENCES = 3
LEAST = 12
"""Characters of a quotation; a shorter one proves nothing."""
LONGEST = 700
_WORD = re.compile(r"\w+")
_GLYPHS = str.maketrans(dict.fromkeys("“”„‟«»″＂", '"') | dict.fromkeys("‘’‚‛′`´＇", "'"))
_ENDINGS = ("ations", "ation", "ings", "ing", "ies", "ed", "es", "ly", "s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """A quotation that was found where it is said to be."""

    hit: Hit
    quote: str
    """As it stands in the document."""
    start: int
    """Characters from the beginning of the document's text."""
    end: int


def locate(quote: str, text: str) -> tuple[int, int] | None:
    """Where a quotation stands in a text; None when it does not.

    >>> locate("the  “big” one", 'It is the\\n"big" one.')
    (6, 19)
    """
    wanted, _ = _folded(quote)
    wanted = wanted.strip()
    if not wanted:
        return None
    folded, places = _folded(text)
    at = folded.find(wanted)
    return None if at < 0 else (places[at], places[at + len(wanted) - 1] + 1)


def cite(quote: str, hit: Hit) -> Citation | None:
    """The citation of a quotation from a chunk, with its offsets in the document; None when it does not hold."""
    found = locate(quote, hit.text) if len(quote.strip()) >= LEAST else None
    if found is None:
        return None
    low, high = found
    return Citation(hit=hit, quote=hit.text[low:high], start=hit.start + low, end=hit.start + high)


def extract(question: str, hits: Sequence[Hit]) -> tuple[Citation, ...]:
    """The sentences of the chunks that cover the question best, word for word; none where none covers enough of it.

    A word counts by how rare it is among these sentences; a heading above a sentence counts half.
    """
    asked = terms(question)
    rows = [(hit, low, high, terms(hit.text[low:high]), terms(hit.heading)) for hit in hits for low, high in _told(hit.text)]
    if not asked or not rows:
        return ()
    weight = {term: math.log(1 + len(rows) / (0.5 + sum(term in row[3] for row in rows))) for term in asked}
    total = sum(weight.values())
    scored = []
    for place, (hit, low, high, words, above) in enumerate(rows):
        cover = sum(weight[term] * (1.0 if term in words else 0.5 if term in above else 0.0) for term in asked) / total
        if words & asked:
            scored.append((cover + 0.5 / (RRF_K + hit.rank), -place, cover, hit, low, high))
    scored.sort(key=lambda row: row[:2], reverse=True)
    if not scored or scored[0][2] < ENOUGH:
        return ()
    best, seen = scored[0][2], set()
    taken: list[Citation] = []
    for _, _, cover, hit, low, high in scored:
        text = hit.text[low:high]
        if len(taken) == SENTENCES or cover < NEAR * best:
            break
        if text not in seen:
            seen.add(text)
            taken.append(Citation(hit=hit, quote=text, start=hit.start + low, end=hit.start + high))
    return tuple(taken)


def terms(text: str) -> frozenset[str]:
    """What a text is about: its words without endings and without those that say little."""
    words = _WORD.findall("".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c)))
    return frozenset(_stem(word) for word in words if word not in STOP)


def _stem(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)].rstrip("e")
    return word.rstrip("e") if len(word) > 3 else word


def _told(text: str) -> list[tuple[int, int]]:
    """The sentences of a chunk that say something: no headings, no fragments."""
    found = []
    for low, high in sentences(text):
        sentence = text[low:high]
        if not sentence.startswith("#") and len(sentence) >= LEAST and len(sentence.split()) > 2:
            found.append((low, min(high, low + LONGEST)))
    return found


def _folded(text: str) -> tuple[str, list[int]]:
    """The text with one kind of space and of quotation mark, and where each of its letters stood."""
    letters: list[str] = []
    places: list[int] = []
    for place, letter in enumerate(text.translate(_GLYPHS)):
        if letter.isspace():
            if letters and letters[-1] == " ":
                continue
            letter = " "
        letters.append(letter)
        places.append(place)
    return "".join(letters), places
