"""Cuts a document into chunks that keep its order: by pages and headings, then paragraphs, then sentences, then words.

Every chunk is a stretch of the document's text with exact offsets. Recursive splitting to some 300 tokens is the
strong default of published comparisons (Smith and Troynikov, Evaluating Chunking Strategies for Retrieval, 2024).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter

from tandem.store.search import Chunk

CHARACTERS = 1200
"""The longest chunk; about 300 tokens of English."""
NAME = f"recursive-v1:{CHARACTERS}"
"""Says how a version's chunks were cut; part of its identity."""
SEPARATOR = " › "
_PARAGRAPH = re.compile(r"\n[ \t]*\n\s*")
_LINE = re.compile(r"\n")
_SENTENCE = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+|(?<=[。！？])")
_WORD = re.compile(r"\s+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """A heading inside a text."""

    at: int
    """Where the part begins that it heads."""
    level: int
    """From 1."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A document as it was read."""

    text: str
    title: str = ""
    headings: tuple[Heading, ...] = ()
    """In their order."""
    pages: tuple[int, ...] = ()
    """Where each page begins; empty where there are none."""


def cut(document: Text, *, characters: int = CHARACTERS) -> tuple[Chunk, ...]:
    """The chunks of a document in their order; together they hold every word of it.

    >>> [chunk.text for chunk in cut(Text(text="One.  Two three."), characters=10)]
    ['One.', 'Two three.']
    """
    found: list[Chunk] = []
    for start, end, heading in _parts(document):
        for low, high in _pieces(document.text, start, end, characters, 0):
            low, high = _stripped(document.text, low, high)
            if low < high:
                page = _page(document.pages, low)
                found.append(Chunk(text=document.text[low:high], start=low, end=high, page=page, heading=heading))
    return tuple(found)


def sentences(text: str) -> list[tuple[int, int]]:
    """(start, end) of the sentences of a text, without the space around them; paragraphs and lines of lists end one too.

    >>> [("A b. C d."[low:high]) for low, high in sentences("A b. C d.")]
    ['A b.', 'C d.']
    """
    found = []
    for start, end in _split(text, 0, len(text), _PARAGRAPH):
        for low, high in _split(text, start, end, _SENTENCE):
            low, high = _stripped(text, low, high)
            if low < high:
                found.append((low, high))
    return found


def _parts(document: Text) -> Iterator[tuple[int, int, str]]:
    """(start, end, headings above it) of the parts between headings and pages; what is quoted is on one page."""
    path: list[Heading] = []
    borders = sorted(
        [(heading.at, heading) for heading in document.headings] + [(at, None) for at in document.pages], key=itemgetter(0)
    )
    start = 0
    for at, heading in borders:
        if start < at:
            yield start, at, SEPARATOR.join(above.text for above in path)
        if heading is not None:
            path = [above for above in path if above.level < heading.level] + [heading]
        start = at
    yield start, len(document.text), SEPARATOR.join(above.text for above in path)


_SEPARATORS = (_PARAGRAPH, _LINE, _SENTENCE, _WORD)


def _pieces(text: str, start: int, end: int, most: int, level: int) -> Iterator[tuple[int, int]]:
    """Neighbouring pieces joined to at most `most` characters; one that is longer is split by the next finer separator."""
    if end - start <= most:
        yield start, end
        return
    if level == len(_SEPARATORS):
        for low in range(start, end, most):
            yield low, min(low + most, end)
        return
    open_start, open_end = start, start
    for low, high in _split(text, start, end, _SEPARATORS[level]):
        if high - open_start <= most:
            open_end = high
            continue
        if open_end > open_start:
            yield open_start, open_end
        if len(text[low:high].rstrip()) > most:
            yield from _pieces(text, low, high, most, level + 1)
            open_start = open_end = high
        else:
            open_start, open_end = low, high
    if open_end > open_start:
        yield open_start, open_end


def _split(text: str, start: int, end: int, separator: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    """Pieces that end behind each separator; without a gap."""
    low = start
    for match in separator.finditer(text, start, end):
        if match.end() > low:
            yield low, match.end()
            low = match.end()
    if low < end:
        yield low, end


def _stripped(text: str, low: int, high: int) -> tuple[int, int]:
    piece = text[low:high]
    return low + len(piece) - len(piece.lstrip()), high - (len(piece) - len(piece.rstrip()))


def _page(pages: tuple[int, ...], at: int) -> int | None:
    found = None
    for number, start in enumerate(pages, start=1):
        if start > at:
            break
        found = number
    return found
