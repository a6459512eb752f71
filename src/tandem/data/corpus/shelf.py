"""The search files of a home, and how a question is put to one version in them. Light: the door asks here too."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from tandem.core.asset import check_name
from tandem.core.errors import Broken
from tandem.data.corpus import hashed
from tandem.store.search import Query, Search
from tandem.store.sqlite_search import SqliteSearch
from tandem.store.vectors import pack

DOOR = "endpoint:"
"""How an embedder is named that is an endpoint: `endpoint:NAME`."""
LIMIT = 50
"""The most hits of one search."""
QUERY_CHARACTERS = 8_000


class Card(msgspec.Struct, frozen=True):
    """What an index version says about itself, as far as a search needs it."""

    store: str
    embedder: str
    chunker: str = ""
    documents: int = 0
    chunks: int = 0


class Shelf:
    """The search files of a home, one per corpus."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._open: dict[str, Search] = {}

    def corpus(self, name: str) -> Search:
        """The corpus of this name; the file is made by its first documents."""
        check_name(name)
        with self._lock:
            found = self._open.get(name)
            if found is None:
                found = self._open[name] = SqliteSearch(self._folder / f"{name}.db")
            return found


def card_of(meta: Mapping[str, object]) -> Card:
    """The card of an index version.

    Raises:
        Broken: the version says too little.
    """
    try:
        return msgspec.convert(dict(meta), Card)
    except msgspec.ValidationError as error:
        raise Broken(f"An index version does not say what it is: {error}.", hint="Add its documents again.") from None


def asked(text: str, card: Card, limit: int, embed: Callable[[str, str], list[float]]) -> Query:
    """A search as this version's embedder understands it.

    Args:
        embed: (endpoint, text) → vector; called only for versions whose vectors came from an endpoint.
    """
    text = text[:QUERY_CHARACTERS]
    if card.embedder.startswith(DOOR):
        return Query(text=text, vector=pack(embed(card.embedder.removeprefix(DOOR), text)), limit=limit)
    return Query(text=text, vector=hashed.embed(text), limit=limit, weight=hashed.WEIGHT)
