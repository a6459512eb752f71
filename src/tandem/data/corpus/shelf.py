"""Where the indexes of a platform lie, and how a question is put to one version in them. Light: the door asks here too."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from tandem.core.asset import check_name
from tandem.core.errors import Broken
from tandem.core.secret import Secret
from tandem.data.corpus import hashed
from tandem.store.postgres_search import PostgresSearch
from tandem.store.search import Query, Search
from tandem.store.search_server import SearchServer
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
    """The corpora of a platform: a file for each in a folder, or tables of a PostgreSQL server. Safe for several threads."""

    def __init__(self, place: Path | Secret) -> None:
        """
        Args:
            place: the folder, or the server's URL.
        """
        self._place = SearchServer(place) if isinstance(place, Secret) else place
        self._lock = threading.Lock()
        self._open: dict[str, SqliteSearch | PostgresSearch] = {}

    def corpus(self, name: str) -> Search:
        """The corpus of this name, which is made by its first documents."""
        check_name(name)
        with self._lock:
            found = self._open.get(name)
            if found is None:
                found = self._open[name] = self._corpus(name)
            return found

    def close(self) -> None:
        """Gives all connections back."""
        with self._lock:
            for each in self._open.values():
                each.close()
            self._open.clear()
            if isinstance(self._place, SearchServer):
                self._place.close()

    def _corpus(self, name: str) -> SqliteSearch | PostgresSearch:
        if isinstance(self._place, SearchServer):
            return PostgresSearch(self._place, name)
        return SqliteSearch(self._place / f"{name}.db")


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
