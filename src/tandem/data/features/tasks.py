"""Loading a view for serving, and joining a service to a dataset: Runs whose heavy half is done in a child process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TypeVar, cast

import msgspec

from tandem.core.asset import Ref, Version
from tandem.core.errors import Invalid
from tandem.core.principal import Principal
from tandem.data.features.child import Apart, Join, Load, Source, apart, states
from tandem.data.features.features import Features, adding, told_of
from tandem.data.features.online import unpacked
from tandem.data.features.repo import Generation, Store
from tandem.data.versions import Place, Table, find, holding, newest_of, place, publish, table_of
from tandem.governance.authorise import ALL, Scope, authorise, scope_of
from tandem.jobs import staging
from tandem.jobs.job import Job, Work, Workflows
from tandem.jobs.repo import Runs
from tandem.registry.registry import Registry

LOAD, JOIN = "features-load", "features-join"
CHUNK = 1_000
"""Entities that are written in one transaction: between two, whoever pushes has a turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What a view is computed from: the newest version of its dataset and the log up to a row."""

    view: str
    rows: Place | None
    through: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """A dataset that is in the lake, and how much of it has no value."""

    table: Table
    missing: dict[str, float]


class LoadInputs(msgspec.Struct, frozen=True):
    """The inputs of a load; keys it does not know are left alone."""

    view: str
    by: Principal | None = None


class JoinInputs(msgspec.Struct, frozen=True):
    """The inputs of a join."""

    service: str
    data: str
    name: str
    """Of the dataset that is made."""
    time: str | None = None
    """The column that says when each row asks; None: the dataset's own."""
    states: bool = False
    by: Principal | None = None


def make_load(registry: Registry, features: Features, *, lake: Path, work: Path, child: Apart = apart) -> Work:
    """The workflow `features-load`: computes a view from its facts and has it answer, all at once.

    Its Run's outputs are `view`, `dataset`, `entities` and `generation`.
    """
    store = features.store

    def load(job: Job) -> Mapping[str, object]:
        inputs = _inputs(job, LoadInputs)
        by = inputs.by or job.by
        folder = work / job.run_id
        try:
            job.progress(0.0, "finding the facts")
            begun = job.step("begin", lambda: _begin(registry, store, inputs.view, by), Generation)
            version = registry.find(Ref.parse(f"view/{begun.view}"), ALL)
            rows = None if not begun.dataset else place(registry.find(Ref.parse(begun.dataset), ALL))
            folder.mkdir(parents=True, exist_ok=True)
            source = _source(store, version, rows, begun.through, folder)
            order = Load(lake=str(lake), folder=str(folder), source=source, now=store.now())
            job.step("compute", lambda: child(order, job.progress, job.cancelled).entities, int)
            job.step("write", lambda: _write(job, features, version, begun, folder), int)
            done = job.step("finish", lambda: features.finish(begun.view, begun.number), Generation)
            job.progress(1.0, "done")
        finally:
            if job.halted() not in ("stopping", "lost"):
                staging.clear(folder)
        return {"view": str(version.ref), "dataset": done.dataset, "entities": done.entities, "generation": done.number}

    return load


class Freshening:
    """Has views loaded again when their dataset has a newer version than the one that answers."""

    def __init__(self, registry: Registry, features: Features, runs: Runs, jobs: Workflows) -> None:
        self._registry, self._features, self._runs, self._jobs = registry, features, runs, jobs
        self._tried: dict[str, str] = {}
        """View → the version of its dataset that a load was begun for."""

    def step(self) -> int:
        """Begins the loads that are due, each version of a dataset once; returns how many.

        Raises:
            TandemError: one could not be begun.
        """
        begun = 0
        for generation in self._features.store.generations():
            if generation.live and generation.dataset:
                begun += self._begin(generation)
        return begun

    def _begin(self, generation: Generation) -> bool:
        view = self._registry.find(Ref.parse(f"view/{generation.view}"), ALL)
        newest = _newest(self._registry, view)
        if newest is None or newest.ref in (generation.dataset, self._tried.get(generation.view)):
            return False
        self._tried[generation.view] = newest.ref
        by = Principal(id=str(view.ref), name=str(view.ref), team=view.team, kind="service", role="editor")
        inputs = {"view": str(view.ref)}
        run = self._runs.create(LOAD, view.name, inputs=inputs, by=by)
        self._jobs.start(LOAD, run.id, {**inputs, "by": asdict(by)})
        return True


def make_join(registry: Registry, features: Features, *, lake: Path, work: Path, child: Apart = apart) -> Work:
    """The workflow `features-join`: a dataset with the vector of each row beside it, as it was at that row's moment.

    Its Run's outputs are `asset`, `rows` and `missing`: of each feature the share that has no value, and why is in the states.
    """
    store = features.store

    def join(job: Job) -> Mapping[str, object]:
        inputs = _inputs(job, JoinInputs)
        by = inputs.by or job.by
        folder = work / job.run_id
        try:
            job.progress(0.0, "finding the facts")
            asking = job.step("questions", lambda: _questions(registry, inputs, by), Place)
            service = registry.find(Ref.parse(job.step("service", lambda: _service(registry, inputs, by), str)), ALL)
            _, views = features.service_of(service)
            kept = job.step("facts", lambda: [_kept(registry, store, view) for view in views], list[Kept])
            folder.mkdir(parents=True, exist_ok=True)
            sources = tuple(_source(store, view, each.rows, each.through, folder) for view, each in zip(views, kept, strict=True))
            newest = newest_of(registry, inputs.name, by)
            order = Join(
                lake=str(lake),
                folder=str(folder),
                service=told_of(service),
                sources=sources,
                table=asking.table,
                version=asking.version,
                time=cast(str, asking.time),
                out=inputs.name,
                id_column=asking.id,
                states=inputs.states,
                known=holding(newest),
            )
            done = job.step("join", lambda: _joined(job, child, order), Joined)
            job.progress(0.95, "publishing")
            ref = job.step("publish", lambda: str(_publish(registry, job, inputs.name, service, asking, kept, done, by).ref), str)
            job.progress(1.0, "done")
        finally:
            if job.halted() not in ("stopping", "lost"):
                staging.clear(folder)
        return {"asset": ref, "rows": done.table.rows, "missing": done.missing}

    return join


def _joined(job: Job, child: Apart, order: Join) -> Joined:
    said = child(order, job.progress, job.cancelled)
    assert said.done is not None
    return Joined(table=table_of(said.done), missing=said.missing)


T = TypeVar("T", LoadInputs, JoinInputs)


def _inputs(job: Job, kind: type[T]) -> T:
    try:
        return msgspec.convert(dict(job.inputs), kind)
    except msgspec.ValidationError as error:
        raise Invalid(f"The inputs are wrong: {error}.", field="inputs", hint="Look at `tandem features --help`.") from None


def _begin(registry: Registry, store: Store, name: str, by: Principal) -> Generation:
    authorise(by, "write")
    ref = Ref.parse(name)
    if ref.kind != "view":
        raise Invalid(f"{ref} is no view.", field="view", hint="Write view/NAME[@VERSION].")
    version = registry.find(ref, scope_of(by))
    authorise(by, "write", version.team)
    rows = _newest(registry, version)
    return store.begin(f"{version.name}@{version.version}", "" if rows is None else rows.ref)


def _newest(registry: Registry, view: Version) -> Place | None:
    """The newest version of a view's dataset; None where it has none."""
    source = cast(Mapping[str, object], view.meta["definition"]).get("source")
    if source is None:
        return None
    return place(registry.find(Ref.parse(str(source)), Scope(view.team)))


def _kept(registry: Registry, store: Store, view: Version) -> Kept:
    return Kept(view=str(view.ref), rows=_newest(registry, view), through=store.pushed(view.name)[1])


def _source(store: Store, version: Version, rows: Place | None, through: int, folder: Path) -> Source:
    """Where the child finds a view's facts; what was pushed is written into the folder."""
    log = f"{version.name}.jsonl"
    count = 0
    with (folder / log).open("wb") as file:
        for each in store.log(version.name, through):
            own = b'"__known":%d,"__order":%d' % (each.known, each.seq)
            file.write(each.data[:-1] + (b"," if len(each.data) > 2 else b"") + own + b"}\n")
            count += 1
    return Source(
        view=told_of(version),
        table=None if rows is None else rows.table,
        version=0 if rows is None else rows.version,
        log=log if count else None,
    )


def _write(job: Job, features: Features, version: Version, begun: Generation, folder: Path) -> int:
    """Puts what was computed beside what has been pushed since it began."""
    view, count, now = features.view_of(version), 0, features.store.now()
    found = states(folder)
    while some := list(islice(found, CHUNK)):
        changes = {key: adding(view, unpacked(data), now) for key, data in some}
        features.store.merge(begun.view, begun.number, changes)
        count += len(some)
        job.progress(0.6 + 0.35 * min(1.0, count / 1_000_000), f"writing: {count:,} entities")
    return count


def _questions(registry: Registry, inputs: JoinInputs, by: Principal) -> Place:
    authorise(by, "write")
    newest_of(registry, inputs.name, by)
    found = place(find(registry, inputs.data, by))
    time = inputs.time or found.time
    if time is None:
        raise Invalid(f"{found.ref} does not say when each row asks.", field="time", hint="Name the column: --time COLUMN.")
    return replace(found, time=time)


def _service(registry: Registry, inputs: JoinInputs, by: Principal) -> str:
    ref = Ref.parse(inputs.service)
    if ref.kind != "service":
        raise Invalid(f"{ref} is no service.", field="service", hint="Write service/NAME[@VERSION].")
    return str(registry.find(ref, scope_of(by)).ref)


def _publish(
    registry: Registry, job: Job, name: str, service: Version, asking: Place, kept: list[Kept], done: Joined, by: Principal
) -> Version:
    sources = [each.rows.ref for each in kept if each.rows is not None]
    told = {
        "service": str(service.ref),
        "facts": [{"view": each.view, "dataset": each.rows and each.rows.ref, "through": each.through} for each in kept],
    }
    parents = tuple(dict.fromkeys((asking.ref, str(service.ref), *sources)))
    return publish(registry, name, done.table, told=told, parents=parents, run=job.run_id, by=by)
