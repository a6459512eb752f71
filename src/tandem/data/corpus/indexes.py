"""Indexes for callers: list, search, show and delete, always by the caller's own rights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from tandem.core.asset import Ref, Version
from tandem.core.errors import Invalid, NotFound, Upstream
from tandem.core.principal import Principal
from tandem.data.corpus.rights import readers_of
from tandem.data.corpus.shelf import Card, Shelf, asked, card_of
from tandem.gateway.inside import Calls
from tandem.governance.audit import Audit
from tandem.governance.authorise import ALL, authorise, scope_of
from tandem.registry.registry import Registry
from tandem.store.search import Entry, Hit
from tandem.store.sql import Sql


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a search found, and in which version."""

    index: str
    """`index/policies@2`."""
    embedder: str
    hits: tuple[Hit, ...]


class Indexes:
    """What callers may ask of indexes."""

    def __init__(self, registry: Registry, shelf: Shelf, calls: Calls, sql: Sql, audit: Audit) -> None:
        self._registry, self._shelf, self._calls, self._sql, self._audit = registry, shelf, calls, sql, audit

    def search(self, ref: Ref, text: str, limit: int, *, by: Principal) -> Found:
        """The chunks of a version that fit a text best, of those that `by` may read.

        Raises:
            NotFound: there is no such index for `by`.
            TandemError: the index' embedder is an endpoint, and it refused or failed.
        """
        authorise(by, "read")
        version, card = self.find(ref, by)
        query = asked(text, card, limit, lambda endpoint, words: embeddings(self._calls, endpoint, [words], by)[0])
        hits = self._shelf.corpus(version.name).search(card.store, query, readers_of(by))
        return Found(index=str(version.ref), embedder=card.embedder, hits=hits)

    def documents(self, ref: Ref, *, by: Principal) -> tuple[Version, tuple[Entry, ...]]:
        """The documents of a version that `by` may read; admins see the names of all.

        Raises:
            NotFound: there is no such index for `by`.
        """
        authorise(by, "read")
        version, card = self.find(ref, by)
        readers = None if by.may("admin") else readers_of(by)
        return version, self._shelf.corpus(version.name).documents(card.store, readers)

    def chunks(self, ref: Ref, document: str, *, by: Principal) -> tuple[Hit, ...]:
        """The chunks of one document, in their order.

        Raises:
            NotFound: there is no such document for `by`.
        """
        authorise(by, "read")
        version, card = self.find(ref, by)
        found = self._shelf.corpus(version.name).chunks(card.store, document, readers_of(by))
        if not found:
            raise _no_document(version)
        return found

    def delete(self, name: str, document: str, *, by: Principal) -> int:
        """Removes a document from every version, at once and for good; returns how many contents of it there were.

        Raises:
            Forbidden: `by` may not write in the index' team.
            NotFound: there is no such index or document.
            Unavailable: a store is away, or the document is gone and others kept its tables busy; asking again finishes it.
        """
        authorise(by, "write")
        version = self._registry.find(Ref(kind="index", name=name), scope_of(by))
        authorise(by, "write", version.team)
        corpus = self._shelf.corpus(name)
        try:
            with self._sql.write() as conn:
                self._audit.append(
                    conn,
                    actor=by.name,
                    action="index.delete",
                    subject=f"index/{name}",
                    team=version.team,
                    detail={"document": document},
                )
                removed = corpus.delete(document)  # if it fails, its audit row is gone too
                if not removed:
                    raise _no_document(version)
        finally:
            corpus.wipe()  # of what an earlier try removed, too; it may take long, so the database is not held
        return removed

    def find(self, ref: Ref, by: Principal) -> tuple[Version, Card]:
        """The version that a name means, for those who own it or may read a document of it.

        Raises:
            NotFound: neither; the same words as for an index that does not exist.
        """
        if ref.kind != "index":
            raise Invalid(f"{ref} is no index.", hint="Write index/NAME[@VERSION-or-alias].")
        owned = [asset for asset in self._registry.assets("index", scope_of(by)) if asset.name == ref.name]
        if owned:
            version = self._registry.find(ref, scope_of(by))
            return version, card_of(version.meta)
        try:
            version = self._registry.find(ref, ALL)
        except NotFound:
            raise _none(ref) from None
        card = card_of(version.meta)
        if not self._shelf.corpus(version.name).documents(card.store, readers_of(by)):
            raise _none(ref)
        return version, card


def embeddings(calls: Calls, endpoint: str, texts: list[str], by: Principal) -> list[list[float]]:
    """The vectors of texts, by an endpoint, in `by`'s name: admitted, priced and traced as its own call.

    Raises:
        TandemError: the door refused, or the endpoint failed.
        Upstream: the answer holds no vectors.
    """
    said = calls.post("/v1/embeddings", {"model": endpoint, "input": texts, "encoding_format": "float"}, by).raise_for_status()
    return vectors_of(said.body, len(texts), endpoint)


def vectors_of(body: Any, count: int, endpoint: str) -> list[list[float]]:
    """The vectors of an embeddings answer, in the order of the texts.

    Raises:
        Upstream: it holds other than `count` vectors of numbers.
    """
    try:
        rows = sorted(body["data"], key=lambda row: row["index"])
        found = [[float(value) for value in row["embedding"]] for row in rows]
    except (KeyError, TypeError, ValueError):
        found = []
    sizes = {len(vector) for vector in found}
    if len(found) != count or len(sizes) != 1 or 0 in sizes or not all(math.isfinite(value) for row in found for value in row):
        raise Upstream(f"The endpoint '{endpoint}' did not answer with {count} vectors.", hint="Is it of the kind embed?")
    return found


def _none(ref: Ref) -> NotFound:
    return NotFound(f"There is no index '{ref.name}'.", hint="`tandem asset list --kind index` shows the ones of your team.")


def _no_document(version: Version) -> NotFound:
    return NotFound(
        f"There is no such document in {version.ref}.", hint=f"`tandem docs list {version.name}` shows the ones you may read."
    )
