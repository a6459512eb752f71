"""Indexes: documents that are searched and answered from, each by its readers alone."""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from tandem_sdk.errors import Invalid
from tandem_sdk.runs import Run
from tandem_sdk.wire import API, Wire, read_replies, read_reply, segment

ENDINGS = (".md", ".markdown", ".txt", ".text", ".html", ".htm", ".pdf")
TAR = "application/x-tar"


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One document of an index version."""

    name: str
    id: str = ""
    """`doc_…`: how traces and usage name it."""
    title: str = ""
    digest: str = ""
    readers: tuple[str, ...] = ()
    """Who may read it: `everyone`, `team/T`, `person/P`, `key/N`, `role/R`; empty: nobody."""
    chunks: int = 0
    embedder: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """The documents of a version that this key may read."""

    index: str
    """`index/policies@2`."""
    documents: tuple[Document, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A chunk that was found."""

    chunk: str
    document: str
    title: str = ""
    heading: str = ""
    page: int | None = None
    start: int = 0
    """Characters from the beginning of the document's text."""
    end: int = 0
    text: str = ""
    rank: int = 0
    bm25: int | None = None
    """Its rank by words."""
    vector: int | None = None
    """Its rank by direction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a search found, and in which version."""

    index: str
    embedder: str = ""
    hits: tuple[Hit, ...] = ()


class Indexes:
    """`client.indexes`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def add(
        self,
        name: str,
        path: str | Path,
        *,
        readers: Sequence[str] | None = None,
        embed: str | None = None,
        replace: bool = False,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Run:
        """Sends a document, or all documents of a folder, and starts the Run that makes the next version.

        Args:
            name: the index' name, without `index/`.
            path: a .md, .txt, .html or .pdf file, or a folder; files of other kinds in it are left out.
            readers: who may read them, such as `team/claims` or `everyone`; none given: as they are, at first your own
                team; an empty list: nobody.
            embed: an embed endpoint, or `hashed`; None: as the newest version has it.
            replace: whether what is not sent leaves the index.
            on_progress: called with (bytes sent, bytes in all).

        Raises:
            Invalid: there is nothing to send.
        """
        source = Path(path)
        # An address cannot carry a list through the wire's table of single values; an empty reader means nobody.
        words = [] if readers is None else [("reader", word) for word in readers or ("",)]
        words += [] if embed is None else [("embed", embed)]
        words += [("replace", "true")] if replace else []
        address = f"{API}/indexes/{segment(name)}/documents" + (f"?{urlencode(words)}" if words else "")
        files = documents_in(source)
        with tempfile.TemporaryDirectory() as folder:
            bundle = Path(folder) / "documents.tar"
            with tarfile.open(bundle, "w") as archive:
                for file in files:
                    told = file.name if file == source else file.relative_to(source).as_posix()
                    archive.add(file.resolve(), arcname=told, recursive=False)
            return read_reply(Run, self._wire.upload(address, bundle, TAR, query=None, on_progress=on_progress))

    def documents(self, name: str, version: int | str | None = None) -> Documents:
        """The documents of a version (else the newest) that this key may read; admins see all names.

        Raises:
            NotFound: there is no such index for this key.
        """
        query = {"version": None if version is None else str(version)}
        return read_reply(Documents, self._wire.get(f"{API}/indexes/{segment(name)}/documents", query))

    def chunks(self, name: str, document: str, version: int | str | None = None) -> tuple[Hit, ...]:
        """The chunks of one document, in their order.

        Raises:
            NotFound: there is no such document for this key.
        """
        query = {"document": document, "version": None if version is None else str(version)}
        return read_replies(Hit, self._wire.get(f"{API}/indexes/{segment(name)}/chunks", query))

    def search(self, name: str, query: str, *, limit: int = 8, version: int | str | None = None) -> Found:
        """The chunks that fit a text best, of those that this key may read.

        Raises:
            NotFound: there is no such index for this key.
        """
        body: dict[str, object] = {"query": query, "limit": limit}
        if version is not None:
            body["version"] = str(version)
        return read_reply(Found, self._wire.send("POST", f"{API}/indexes/{segment(name)}/search", body, patient=True))

    def delete(self, name: str, document: str) -> None:
        """Removes a document from every version of the index, at once and for good.

        Raises:
            NotFound: there is no such index or document.
        """
        self._wire.send("DELETE", f"{API}/indexes/{segment(name)}/documents", query={"document": document})


def documents_in(path: Path) -> tuple[Path, ...]:
    """The documents that a path means: itself, or all below it whose ending is known, in order; hidden ones are left out.

    Raises:
        Invalid: there are none.
    """
    if path.is_dir():
        found = tuple(
            file
            for file in sorted(path.rglob("*"))
            if file.is_file()
            and file.suffix.lower() in ENDINGS
            and not any(p.startswith(".") for p in file.relative_to(path).parts)
        )
        if not found:
            raise Invalid(f"{path} holds no documents.", hint=f"Known endings are {', '.join(ENDINGS)}.", field="path")
        return found
    if not path.is_file():
        raise Invalid(f"{path} cannot be read: there is no such file.", hint="Check the path.", field="path")
    if path.suffix.lower() not in ENDINGS:
        raise Invalid(
            f"'{path.name}' is of no format that is read.", hint=f"Known endings are {', '.join(ENDINGS)}.", field="path"
        )
    return (path,)
