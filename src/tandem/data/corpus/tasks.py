"""Index: an upload of documents becomes the next version of an index, in steps that survive the death of the process.

begin → read (child process) → embed (through the door, by batches) → publish → settle. Before `publish`
nobody sees anything of it: a refresh that fails changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from tandem.core.asset import Ref, Version
from tandem.core.errors import Broken, Conflict, Invalid, NotFound
from tandem.core.principal import Principal
from tandem.data.corpus import hashed
from tandem.data.corpus.child import Content, Found, Order, Read, read_apart
from tandem.data.corpus.chunk import NAME as CHUNKER
from tandem.data.corpus.indexes import embeddings
from tandem.data.corpus.rights import check_readers
from tandem.data.corpus.shelf import DOOR, Card, Shelf, card_of
from tandem.gateway.inside import Calls
from tandem.governance.authorise import ALL, authorise, scope_of
from tandem.jobs import staging
from tandem.jobs.job import Job, Work
from tandem.registry.registry import Registry
from tandem.store.canonical import canonical
from tandem.store.search import Chunk, Document, Entry, Refresh
from tandem.store.vectors import pack

KIND = "index"
HASHED = "hashed"
"""The word for vectors without a model."""
BATCH = 64
"""Texts in one call for embeddings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """The inputs of an index Run; keys it does not know are left alone."""

    upload: str
    """The file in the Run's folder."""
    by: Principal | None = None
    """Who asked; without it, the Run's own team with an editor's rights."""
    document: str | None = None
    """The document's name; None: the upload is a tar."""
    readers: tuple[str, ...] | None = None
    """None: as they are; of a new document the adding team."""
    embed: str | None = None
    """`hashed`, or an endpoint; None: as the newest version has it, at first `hashed`."""
    replace: bool = False
    """Whether documents that are not in the upload leave the index."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What the refresh starts from."""

    tick: int
    ref: str | None = None
    store: str | None = None
    embedder: str = hashed.NAME
    """Of the new version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What becomes of each document."""

    fresh: tuple[Found, ...]
    """To be stored; those without a file are known, and stored anew with other readers or vectors."""
    kept: tuple[int, ...]
    """Editions that stay."""
    readers: Mapping[str, tuple[str, ...]]
    """Of every document of the new version."""
    digests: Mapping[str, str]
    added: int
    changed: int
    unchanged: int
    removed: int
    same: bool
    """Whether the version would be the newest one again."""


def make_index(registry: Registry, shelf: Shelf, calls: Calls, *, work: Path, read: Read = read_apart) -> Work:
    """The workflow `index`. Its Run's outputs: `asset`, `documents`, `chunks`, `added`, `changed`, `unchanged`, `removed`.

    Args:
        work: where Runs keep files while they work; the upload lies in the Run's folder.
        read: does the reading; by default in a child process.
    """

    def index(job: Job) -> Mapping[str, object]:
        inputs = _inputs(job.inputs)
        by = inputs.by or job.by
        folder = work / job.run_id
        name, corpus = job.run.name, shelf.corpus(job.run.name)
        try:
            job.progress(0.0, "looking at the newest version")
            base = job.step("begin", lambda: _begin(registry, shelf, name, inputs, by), Base)
            entries = corpus.documents(base.store, None) if base.store else ()
            found = job.step("read", lambda: _read(job, folder, inputs, base, entries, read), tuple[Found, ...])
            plan = job.step("plan", lambda: _plan(found, entries, inputs, base, by), Plan)
            outputs: dict[str, object] = {key: getattr(plan, key) for key in ("added", "changed", "unchanged", "removed")}
            if plan.same and base.ref is not None:
                return {"asset": base.ref, **outputs, **_counts(registry, base.ref)}
            vectors = _embedded(job, shelf, calls, folder, name, base, plan, by)
            job.progress(0.9, "storing")
            ref = job.step("publish", lambda: _stored(registry, shelf, job, folder, base, plan, vectors, by), str)
            job.step("settle", lambda: corpus.settle(job.run_id), type(None))
            job.progress(1.0, "done")
            return {"asset": ref, **outputs, **_counts(registry, ref)}
        finally:
            if job.halted() not in ("stopping", "lost"):
                staging.clear(folder)
                _sweep(registry, shelf, name)

    return index


def _inputs(inputs: Mapping[str, object]) -> Inputs:
    try:
        return msgspec.convert(dict(inputs), Inputs)
    except msgspec.ValidationError as error:
        raise Invalid(f"The inputs are wrong: {error}.", field="inputs", hint="Look at `tandem docs add --help`.") from None


def _begin(registry: Registry, shelf: Shelf, name: str, inputs: Inputs, by: Principal) -> Base:
    newest = claim(registry, name, by)
    tick = shelf.corpus(name).tick()
    card = None if newest is None else card_of(newest.meta)
    if inputs.embed is None:
        embedder = hashed.NAME if card is None else card.embedder
    else:
        embedder = hashed.NAME if inputs.embed == HASHED else DOOR + inputs.embed
    if newest is None or card is None:
        return Base(tick=tick, embedder=embedder)
    return Base(tick=tick, ref=str(newest.ref), store=card.store, embedder=embedder)


def claim(registry: Registry, name: str, by: Principal) -> Version | None:
    """The newest version of an index that `by` may add to; None where there is none yet.

    Raises:
        Forbidden: `by` may not write.
        Conflict: the name is another team's.
    """
    authorise(by, "write")
    try:
        newest = registry.find(Ref(kind="index", name=name), ALL)
    except NotFound:
        return None
    if not scope_of(by).admits(newest.team):
        raise Conflict(f"The name index/{name} is taken by another team.", hint="Choose another name.")
    authorise(by, "write", newest.team)
    return newest


def _read(job: Job, folder: Path, inputs: Inputs, base: Base, entries: tuple[Entry, ...], read: Read) -> tuple[Found, ...]:
    if not (folder / inputs.upload).is_file():
        raise Broken("The uploaded documents are gone.", hint="Add them again.")
    order = Order(
        upload=inputs.upload,
        name=inputs.document,
        known={entry.name: entry.digest for entry in entries},
        vectors=base.embedder == hashed.NAME,
    )
    return read(folder, order, lambda share, stage: job.progress(0.02 + 0.48 * share, stage), job.cancelled)


def _plan(found: tuple[Found, ...], entries: tuple[Entry, ...], inputs: Inputs, base: Base, by: Principal) -> Plan:
    """Compares the upload with the newest version, by the documents' names."""
    given = None if inputs.readers is None else check_readers(inputs.readers)
    present = {entry.name: entry for entry in entries}
    readers: dict[str, tuple[str, ...]] = {}
    digests: dict[str, str] = {}
    fresh: list[Found] = []
    kept: list[int] = []
    added = changed = unchanged = 0
    for each in found:
        entry = present.get(each.name)
        before = (f"team/{by.team}",) if entry is None else entry.readers
        readers[each.name], digests[each.name] = before if given is None else given, each.digest
        if entry is not None and each.file is None and entry.readers == readers[each.name]:
            unchanged += 1
            if entry.embedder == base.embedder:
                kept.append(entry.edition)
                continue
        elif entry is None:
            added += 1
        else:
            changed += 1
        fresh.append(each)
    staying = {} if inputs.replace else {name: entry for name, entry in present.items() if name not in digests}
    for name, entry in staying.items():
        readers[name], digests[name] = entry.readers, entry.digest
        unchanged += 1
        if entry.embedder == base.embedder:
            kept.append(entry.edition)
        else:
            fresh.append(Found(name=name, digest=entry.digest, file=None))
    removed = len(set(present) - set(digests))
    return Plan(
        fresh=tuple(fresh),
        kept=tuple(kept),
        readers=readers,
        digests=digests,
        added=added,
        changed=changed,
        unchanged=unchanged,
        removed=removed,
        same=base.ref is not None and not fresh and not removed,
    )


def _contents(
    shelf: Shelf, folder: Path, name: str, base: Base, plan: Plan
) -> Iterator[tuple[Found, str, tuple[Chunk, ...], bytes]]:
    """(document, title, chunks, hashed vectors or none) of everything that is stored anew."""
    corpus = shelf.corpus(name)
    for each in plan.fresh:
        if each.file is not None:
            content = msgspec.msgpack.decode((folder / each.file).read_bytes(), type=Content)
            yield each, content.title, content.chunks, content.vectors
            continue
        hits = corpus.chunks(base.store or "", each.name, None)
        if not hits:
            continue  # it was deleted since
        chunks = tuple(Chunk(text=hit.text, start=hit.start, end=hit.end, page=hit.page, heading=hit.heading) for hit in hits)
        yield (
            each,
            hits[0].title,
            chunks,
            b"" if base.embedder != hashed.NAME else b"".join(map(hashed.embed, map(_told, chunks))),
        )


def _told(chunk: Chunk) -> str:
    """A chunk as it is embedded: its headings say what it is about."""
    return f"{chunk.heading}\n{chunk.text}"


def _embedded(
    job: Job, shelf: Shelf, calls: Calls, folder: Path, name: str, base: Base, plan: Plan, by: Principal
) -> Path | None:
    """The vectors of all new chunks in their order, asked of the endpoint by batches; None where they are hashed."""
    if base.embedder == hashed.NAME:
        return None
    endpoint = base.embedder.removeprefix(DOOR)
    texts = [_told(chunk) for _, _, chunks, _ in _contents(shelf, folder, name, base, plan) for chunk in chunks]
    parts = []
    for number, start in enumerate(range(0, len(texts), BATCH)):
        job.progress(0.5 + 0.4 * start / len(texts), f"embedding chunk {start + 1} of {len(texts)}")
        part = folder / f"vectors-{number}.f32"
        job.step(f"embed-{number}", partial(_ask, calls, endpoint, texts[start : start + BATCH], by, part), int)
        parts.append(part)
    joined = folder / "vectors.f32"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    return joined


def _ask(calls: Calls, endpoint: str, texts: list[str], by: Principal, part: Path) -> int:
    """Asks for the vectors of one batch and keeps them in a file; a repeated step asks, and pays, again."""
    found = embeddings(calls, endpoint, texts, by)
    part.write_bytes(b"".join(map(pack, found)))
    return len(found)


def _documents(shelf: Shelf, folder: Path, name: str, base: Base, plan: Plan, vectors: Path | None) -> Iterator[Document]:
    """The new documents, one at a time."""
    joined = None if vectors is None else vectors.read_bytes()
    total = 0 if joined is None else sum(len(chunks) for _, _, chunks, _ in _contents(shelf, folder, name, base, plan))
    size = 0 if joined is None or not total else len(joined) // total
    at = 0
    for each, title, chunks, made in _contents(shelf, folder, name, base, plan):
        if joined is not None:
            made = joined[at : at + size * len(chunks)]
            at += size * len(chunks)
        yield Document(
            name=each.name,
            title=title,
            digest=each.digest,
            readers=plan.readers[each.name],
            chunks=chunks,
            vectors=made,
            embedder=base.embedder,
        )


def _stored(
    registry: Registry, shelf: Shelf, job: Job, folder: Path, base: Base, plan: Plan, vectors: Path | None, by: Principal
) -> str:
    """Stages and publishes in one step, so that whatever is published was staged in the same attempt or is still there."""
    name = job.run.name
    documents = _documents(shelf, folder, name, base, plan, vectors)
    shelf.corpus(name).stage(Refresh(key=job.run_id, tick=base.tick, documents=documents, kept=plan.kept))
    return str(_publish(registry, shelf, job, base, plan, by).ref)


def _publish(registry: Registry, shelf: Shelf, job: Job, base: Base, plan: Plan, by: Principal) -> Version:
    """Publishes the staged documents; a repeated step finds the version that it made before."""
    name = job.run.name
    for version in registry.versions("index", name, ALL):
        if version.run == job.run_id:
            return version
    newest = claim(registry, name, by)
    if (None if newest is None else str(newest.ref)) != base.ref:
        raise Conflict(f"index/{name} got another version meanwhile.", hint="Add the documents again.")
    entries = shelf.corpus(name).documents(job.run_id, None)
    content = (
        "sha256:"
        + hashlib.sha256(
            canonical([[name, plan.digests[name], list(plan.readers[name])] for name in sorted(plan.digests)]).encode()
        ).hexdigest()
    )
    meta: dict[str, object] = {
        "content": content,
        "chunker": CHUNKER,
        "embedder": base.embedder,
        "documents": len(entries),
        "chunks": sum(entry.chunks for entry in entries),
        "store": job.run_id,
    }
    if newest is not None and newest.meta.get("content") == content and newest.meta.get("embedder") == base.embedder:
        meta["again"] = job.run_id  # what was deleted and is added again makes a version of its own
    return registry.publish("index", name, members={}, meta=meta, run=job.run_id, by=by)


def _counts(registry: Registry, ref: str) -> dict[str, object]:
    card: Card = card_of(registry.find(Ref.parse(ref), ALL).meta)
    return {"documents": card.documents, "chunks": card.chunks, "embedder": card.embedder}


def _sweep(registry: Registry, shelf: Shelf, name: str) -> None:
    """Removes what refreshes left that failed or were killed; what another one has staged, it will stage again."""
    live = {card_of(version.meta).store: version for version in registry.versions("index", name, ALL)}
    shelf.corpus(name).sweep(live)
