"""A project's folder: `project.toml` and the files beside it, read and checked as a whole. It asks no platform."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tandem_sdk.errors import Invalid
from tandem_sdk.project.files import files_of
from tandem_sdk.project.nouns import Stage, Thing
from tandem_sdk.project.reading import FILE, at, check_keys, name_of, refs, table, text_of, toml
from tandem_sdk.project.tables import tables_of

MOST = 2000
"""Things of one project."""
PROMOTED = ("policy", "prompt", "decision")
"""Kinds of files that are promoted along the stages, whether the project says so or not."""
STAGE = re.compile(r"[a-z][a-z0-9._-]{0,62}")
KEYS = ("name", "release", "promote", "stages", "prompts", "decisions", "gates", "budgets", "limits", "monitors", "endpoints")


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """What was read."""

    name: str
    stages: tuple[Stage, ...]
    release: str | None
    """The release as which everything moves from the second stage on."""
    promote: tuple[str, ...]
    """Assets that are no files and move along, such as `model/fraud`."""
    files: tuple[Thing, ...]
    """What is published: contracts, views, prompts, decisions, policies, suites."""
    tables: Mapping[str, tuple[Thing, ...]]
    """Stage (or an empty text where there are none) → gates, budgets, limits, monitors and endpoints."""

    def stage(self, name: str | None) -> Stage | None:
        """A stage by its name; without one the first. None where the project has none.

        Raises:
            Invalid: there is no such stage.
        """
        if name is None:
            return self.stages[0] if self.stages else None
        for each in self.stages:
            if each.name == name:
                return each
        known = ", ".join(each.name for each in self.stages) or "none"
        raise Invalid(f"The project '{self.name}' has no stage '{name}'.", hint=f"Stages are: {known}.", field="stage")

    def before(self, stage: Stage) -> Stage | None:
        """The stage that versions come from."""
        place = self.stages.index(stage)
        return self.stages[place - 1] if place else None

    def moving(self, stage: Stage) -> tuple[str, ...]:
        """The assets that move at a stage, `kind/name`, in the order in which they do."""
        found = [each.address for kind in PROMOTED for each in self.files if each.kind == kind]
        every = tuple(dict.fromkeys([*found, *self.promote]))
        return every if stage.promote is None else tuple(each for each in every if each in stage.promote)


def read(path: str | Path) -> Folder:
    """Reads a project's folder.

    Raises:
        Invalid: there is none, or something in it means nothing; the message names file and line.
    """
    folder = Path(path)
    file = folder / FILE
    if not file.is_file():
        raise Invalid(f"There is no {FILE} in {folder}.", hint='The smallest one says: name = "NAME". See docs/projects.md.')
    text = text_of(file)
    told = toml(text, FILE)
    check_keys(told, KEYS, text, ())
    name, release = name_of(told, "name", text), name_of(told, "release", text, needed=False)
    promote = refs(told.get("promote", []), text, ("promote",))
    stages = _stages(told.get("stages", {}), text)
    if release is not None and not stages:
        raise Invalid(f"{at(text, ('release',))}: a release moves along stages, and there are none.", hint="Add [stages.dev].")
    files = tuple(files_of(folder, told, text))
    known = {each.address for each in files} | set(promote)
    for each in stages:
        strange = [ref for ref in each.promote or () if ref not in known]
        if strange:
            where = at(text, ("stages", each.name, "promote"))
            raise Invalid(f"{where}: the project has no '{strange[0]}'.", hint="Name it in `promote` at the top.")
    tables = {each.name: tuple(tables_of(told, text, each, stages)) for each in stages}
    if not stages:
        tables[""] = tuple(tables_of(told, text, Stage(name=""), ()))
    _once(files)
    for each_stage in tables.values():
        _once(each_stage)
        if len(files) + len(each_stage) > MOST:
            raise Invalid(f"A project declares {MOST} things at most.", hint="Make two of it.")
    _alike(tables)
    return Folder(name=name or "", stages=stages, release=release, promote=promote, files=files, tables=tables)


def _stages(told: object, text: str) -> tuple[Stage, ...]:
    """In the order in which they are written."""
    found = table(told, text, ("stages",))
    last = list(found)[-1] if found else ""
    stages = []
    for name, body in found.items():
        where = ("stages", name)
        stage = table(body, text, where)
        check_keys(stage, ("values", "promote"), text, where)
        if not STAGE.fullmatch(name):
            raise Invalid(f"{at(text, where)}: '{name}' cannot be an alias.", hint="Use lower case, such as production.")
        values = table(stage.get("values", {}), text, (*where, "values"))
        promote = refs(stage["promote"], text, (*where, "promote")) if "promote" in stage else None
        suffix = "" if name == last else f"-{name}"
        own = {"stage": name, "suffix": suffix}
        stages.append(
            Stage(name=name, values={**{key: str(value) for key, value in values.items()}, **own}, promote=promote, suffix=suffix)
        )
    return tuple(stages)


def _once(things: Sequence[Thing]) -> None:
    seen: dict[str, str] = {}
    for each in things:
        if each.address in seen:
            raise Invalid(f"{each.file}: {each.address} is declared in {seen[each.address]} already.", hint="Keep one of them.")
        seen[each.address] = each.file


def _alike(tables: Mapping[str, tuple[Thing, ...]]) -> None:
    """What bears one name at several stages is one thing, so it must be the same."""
    seen: dict[str, tuple[str, Thing]] = {}
    for stage, things in tables.items():
        for each in things:
            before, other = seen.setdefault(each.address, (stage, each))
            if other.content != each.content:
                raise Invalid(
                    f"{each.file}: {each.address} is another one at {before} than at {stage}.",
                    hint="Put ${suffix} into its name, or give it `stages`.",
                )
