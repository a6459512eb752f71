"""Pipelines: published, started, and shown with their Runs and steps. It carries nothing out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import msgspec

from tandem.core.asset import Ref, Version
from tandem.core.errors import Conflict, Invalid, NotFound
from tandem.core.principal import Principal
from tandem.core.run import Run
from tandem.decisions.describe import describe
from tandem.governance.audit import Audit
from tandem.governance.authorise import ALL, authorise, scope_of
from tandem.jobs.job import Workflows
from tandem.jobs.repo import Runs
from tandem.pipelines.repo import Step, Steps
from tandem.pipelines.talk import SOURCE
from tandem.registry.registry import Registry
from tandem.store.blobs import digest_of
from tandem.store.canonical import canonical
from tandem.store.sql import Sql

KIND: Literal["pipeline"] = "pipeline"
CHILD = "tandem.pipelines.child"
SHOWN = 20
"""Runs of a pipeline that are shown."""
_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A Run and its steps."""

    run: Run
    steps: tuple[Step, ...]


class Pipelines:
    """The pipelines of the platform."""

    def __init__(self, registry: Registry, runs: Runs, jobs: Workflows, steps: Steps, sql: Sql, audit: Audit) -> None:
        self._registry, self._runs, self._jobs, self._steps = registry, runs, jobs, steps
        self._sql, self._audit = sql, audit

    def publish(self, name: str, source: str, *, entry: str, git: Mapping[str, object] | None, by: Principal) -> Version:
        """Makes a file the next version of `pipeline/NAME`; it is imported in a process of its own.

        Args:
            entry: the function; empty: the only one that is a pipeline.
            git: `commit`, `dirty` and `remote` of the repository that the file lies in; None outside of one.

        Raises:
            Invalid: the source fails when it is imported, or holds no such pipeline.
            Forbidden: `by` may not write.
        """
        authorise(by, "write")
        data = source.encode()
        meta = {"source": digest_of(data), **describe(data, entry, module=CHILD), **({} if git is None else {"git": dict(git)})}
        return self._registry.publish(KIND, name, members={SOURCE: data}, meta=meta, by=by)

    def start(
        self,
        name: str,
        *,
        given: Mapping[str, object],
        cache: bool = True,
        by: Principal,
        because: Sequence[str] = (),
        trigger: str = "",
        id: str | None = None,
    ) -> Run:
        """Begins a Run of a pipeline, with the rights of `by`.

        Args:
            name: `NAME`, or `NAME@VERSION-or-alias`; without a version the newest.
            given: parameter → value; a text is read as what the parameter's type is.
            because: what triggered it.
            id: of the Run; one that is there already is returned as it is.

        Raises:
            NotFound: there is no such pipeline.
            Invalid: a parameter is unknown, missing or of another type.
            Conflict: a pipeline asks, which would never end.
            Forbidden: `by` may not write.
        """
        version = self._registry.find(Ref.parse(f"{KIND}/{name}"), scope_of(by))
        authorise(by, "write", version.team)
        if by.run:
            raise Conflict("A pipeline cannot start a pipeline.", hint="Call its function, or let new data trigger it.")
        inputs = {
            "pipeline": str(version.ref),
            "given": check_given(version, given),
            "cache": cache,
            "because": list(because),
            "trigger": trigger,
            "by": asdict(by),
        }
        known = id is not None and self._known(id)
        run = self._runs.create(KIND, version.name, inputs=json.loads(msgspec.json.encode(inputs)), by=by, id=id)
        if not known:
            self._note(run, version, because, trigger, by)
        self._jobs.start(KIND, run.id, run.inputs)
        return self._runs.find(run.id, ALL)

    def runs(self, name: str, *, by: Principal) -> tuple[Done, ...]:
        """The newest Runs of a pipeline with their steps.

        Raises:
            NotFound: there is no such pipeline in the caller's scope.
        """
        authorise(by, "read")
        self._registry.find(Ref.parse(f"{KIND}/{name}"), scope_of(by))
        found = self._runs.list(scope_of(by), kind=KIND, name=name, limit=SHOWN)
        return tuple(Done(run=run, steps=self._steps.of(run.id)) for run in found)

    def version(self, name: str, *, by: Principal) -> Version:
        """The newest version.

        Raises:
            NotFound: there is none in the caller's scope.
        """
        authorise(by, "read")
        return self._registry.find(Ref.parse(f"{KIND}/{name}"), scope_of(by))

    def steps(self, run: str, *, by: Principal) -> tuple[Step, ...]:
        """The steps of a Run, in their order.

        Raises:
            NotFound: there is no such Run in the caller's scope.
        """
        authorise(by, "read")
        return self._steps.of(self._runs.find(run, scope_of(by)).id)

    def _known(self, id: str) -> bool:
        try:
            self._runs.find(id, ALL)
        except NotFound:
            return False
        return True

    def _note(self, run: Run, version: Version, because: Sequence[str], trigger: str, by: Principal) -> None:
        git = version.meta.get("git")
        commit = git.get("commit") if isinstance(git, Mapping) else None
        detail = {"run": run.id, "commit": commit, "because": list(because), "trigger": trigger or None}
        with self._sql.write() as conn:
            self._audit.append(
                conn, actor=by.name, action="pipeline.start", subject=str(version.ref), team=run.team, detail=detail
            )


def check_given(version: Version, given: Mapping[str, object]) -> dict[str, object]:
    """The parameters of a Run, each of its type; those with a default may be left out.

    Raises:
        Invalid: one is unknown, missing, or of another type.
    """
    known = msgspec.convert(version.meta["parameters"], dict[str, dict[str, object]])
    for name in given:
        if name not in known:
            takes = f"It takes {', '.join(known)}." if known else "It takes none."
            raise Invalid(f"{version.ref} has no parameter '{name}'.", field=f"given.{name}", hint=takes)
    missing = [name for name, each in known.items() if "default" not in each and name not in given]
    if missing:
        raise Invalid(f"{version.ref} needs a value for '{missing[0]}'.", field=f"given.{missing[0]}", hint="--set NAME=VALUE")
    found = {name: _typed(name, value, str(known[name]["type"])) for name, value in given.items()}
    try:
        msgspec.json.encode(found)
        canonical(found)
    except (OverflowError, ValueError):
        raise Invalid("A number is larger than one that can be kept.", field="given") from None
    return found


def _typed(name: str, value: object, kind: str) -> object:
    if isinstance(value, str) and kind != "string":
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            pass  # the next line refuses it
    if not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "boolean"):
        raise Invalid(f"'{name}' must be of the type {kind}.", field=f"given.{name}")
    return value
