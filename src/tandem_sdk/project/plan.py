"""The plan: what a folder would change on the platform, field by field, and what each change waits for. It changes nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tandem_sdk.client import Client
from tandem_sdk.errors import Invalid
from tandem_sdk.project.folder import Folder
from tandem_sdk.project.nouns import PRODUCTION, SERVED, Stage, Thing
from tandem_sdk.project.reading import FILE
from tandem_sdk.project.standing import KINDS, VERSIONED, Standing, World, same
from tandem_sdk.project.tables import endpoint
from tandem_sdk.shape import Mismatch, plain
from tandem_sdk.shape import read as shaped

DOES = ("create", "new version", "change", "replace", "promote", "adopt", "remove", "forget")
"""Actions that an apply does; the others are told only: `unchanged`, `elsewhere`, `gone`, `not yet`."""
REMOVABLE = frozenset({"gate", "budget", "limit", "endpoint", "monitor"})
"""Kinds that can be taken away; versions and aliases stay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One declared thing beside what stands on the platform."""

    thing: str
    """`prompt/support`, `alias/prompt/support@dev`, `budget/team/claims@day`."""
    action: str
    file: str
    base: str = ""
    """What it rests on: changes whenever the thing does. Empty: nothing stood there."""
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()
    """What it waits for, and what cannot be known."""

    @property
    def kind(self) -> str:
        return self.thing.partition("/")[0]

    @property
    def name(self) -> str:
        return self.thing.partition("/")[2]

    @property
    def does(self) -> bool:
        return self.action in DOES


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What an apply would do, in its order."""

    project: str
    stage: str
    """Empty where the project has no stages."""
    steps: tuple[Step, ...]
    commit: str = ""
    digest: str = ""
    """`sha256:…` of all of it but the commit and the notes."""

    @property
    def changes(self) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if step.does)


def plan(client: Client, folder: Folder, *, stage: str | None = None, prune: bool = False, commit: str = "") -> Plan:
    """Compares a folder with the platform.

    Args:
        stage: where to; without one, the first stage.
        prune: take away what the project declared once and declares no longer.
        commit: of the folder, for whoever reads the plan.

    Raises:
        Invalid: there is no such stage.
    """
    here = folder.stage(stage)
    planner = _Planner(World(client), folder, here)
    steps = [*planner.steps(), *planner.gone(prune)]
    return sealed(
        Plan(project=folder.name, stage="" if here is None else here.name, steps=tuple(steps), commit=commit)
    )  # fmt: skip


def sealed(made: Plan) -> Plan:
    """A plan with its digest."""
    told = {"project": made.project, "stage": made.stage, "steps": [plain(replace(each, notes=())) for each in made.steps]}
    text = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return replace(made, digest=f"sha256:{hashlib.sha256(text.encode()).hexdigest()}")


def load(file: str | Path) -> Plan:
    """A plan as it was written to a file.

    Raises:
        Invalid: it cannot be read, or was edited.
    """
    try:
        found = shaped(Plan, json.loads(Path(file).read_text("utf-8")))
    except OSError as error:
        raise Invalid(f"{file} cannot be read: {error.strerror}.") from None
    except (Mismatch, ValueError) as error:
        raise Invalid(f"{file} holds no plan: {error}.", hint="Write one with `tandem plan --out`.") from None
    if sealed(found).digest != found.digest:
        raise Invalid(f"{file} was edited since it was planned.", hint="Edit the folder instead, and plan again.")
    return found


class _Planner:
    """One comparison."""

    def __init__(self, world: World, folder: Folder, stage: Stage | None) -> None:
        self._world, self._folder, self._stage = world, folder, stage
        self._first = stage is None or folder.before(stage) is None
        self._declared = {each.thing: each for each in world.client.projects.declared()}
        self._coming: dict[str, int] = {}
        """Asset → the version that this plan publishes."""

    def steps(self) -> list[Step]:
        tables = self._folder.tables["" if self._stage is None else self._stage.name]
        files = sorted(self._folder.files if self._first else (), key=lambda each: KINDS.index(each.kind))
        found = [self._step(self._resolved(each)) for each in files]  # views first: services name the versions to come
        found += [self._step(each) for each in tables]
        if self._stage is not None:
            moving = list(self._moving(self._stage))
            found += moving
            ready = {step.name.partition("@")[0] for step in moving if step.action != "not yet"}
            taken = {each.name for each in tables if each.kind == "endpoint"}
            found += [self._step(each) for each in self._served(self._stage, ready) if each.name not in taken]
        found = [replace(step, notes=(*step.notes, *self._notes(step, found))) if step.does else step for step in found]
        return sorted(found, key=lambda step: KINDS.index(step.kind))

    def gone(self, prune: bool) -> Iterator[Step]:
        """What the project declared once and declares at no stage any more."""
        still = set(self._addresses())
        mine = [each for each in self._declared.values() if each.project == self._folder.name and each.thing not in still]
        for each in sorted(mine, key=lambda each: -KINDS.index(each.thing.partition("/")[0])):
            kind = each.thing.partition("/")[0]
            found = self._world.standing(each.thing, {}) if kind in REMOVABLE else None
            if not prune:
                yield Step(thing=each.thing, action="gone", file=each.file)
            elif found is None:
                yield Step(thing=each.thing, action="forget", file=each.file)
            else:
                step = Step(thing=each.thing, action="remove", file=each.file, base=found.base, before=found.content)
                yield replace(step, notes=tuple(self._notes(step, ())))

    def _addresses(self) -> Iterator[str]:
        """Everything that the folder declares, at whatever stage."""
        yield from (each.address for each in self._folder.files)
        for stage, things in self._folder.tables.items():
            yield from (each.address for each in things)
            if stage:
                at = self._folder.stage(stage)
                assert at is not None
                moving = self._folder.moving(at)
                yield from (f"alias/{ref}@{stage}" for ref in moving)
                yield from (each.address for each in self._served(at, set(moving)))
                if self._folder.release is not None:
                    yield from (f"release/{self._folder.release}", f"alias/release/{self._folder.release}@{stage}")

    def _step(self, thing: Thing) -> Step:
        found = self._world.standing(thing.address, thing.content)
        step = self._compared(thing, found)
        if step.action == "new version" or (step.action == "create" and thing.kind in VERSIONED):
            newest = self._world.newest(thing.kind, thing.name)
            self._coming[thing.address] = 1 if newest is None else newest.version + 1
            return replace(step, notes=(f"becomes {thing.address}@{self._coming[thing.address]}",))
        return step

    def _compared(self, thing: Thing, found: Standing | None) -> Step:
        after = thing.content
        if found is None:
            action = "promote" if thing.kind == "alias" else "create"
            return Step(thing=thing.address, action=action, file=thing.file, after=after)
        owner = self._declared.get(thing.address)
        differs = not same(after, found.content)
        other = f"the project {owner.project}" if owner is not None and owner.project != self._folder.name else found.elsewhere
        if other:
            told = (f"managed by {other}" + (", and differs from what is declared here" if differs else ""),)
            return Step(thing=thing.address, action="elsewhere", file=thing.file, notes=told)
        if differs:
            action = {"monitor": "replace", "alias": "promote"}.get(
                thing.kind, "new version" if thing.kind in VERSIONED else "change"
            )
        else:
            action = "adopt" if owner is None else "unchanged"
        return Step(
            thing=thing.address, action=action, file=thing.file, base=found.base, before=found.content, after=after
        )  # fmt: skip

    def _resolved(self, thing: Thing) -> Thing:
        """A thing with the versions of others that it will name."""
        if thing.kind == "suite":
            return replace(thing, content={**thing.content, "data": self._world.pinned(str(thing.content["data"]))})
        if thing.kind == "service":
            return replace(thing, content={**thing.content, "views": self._views(thing.content["definition"])})
        return thing

    def _views(self, definition: object) -> list[str]:
        """The versions of views that a service is made of."""
        told = definition.get("features") if isinstance(definition, Mapping) else None
        named = [str(each).partition(":")[0].strip() for each in told] if isinstance(told, list) else []
        refs = [f"view/{each}" for each in dict.fromkeys(named)]
        return [f"{ref}@{self._coming[ref]}" if ref in self._coming else self._world.pinned(ref) for ref in refs]

    # --- promotions

    def _moving(self, stage: Stage) -> Iterator[Step]:
        """The moves of a stage's alias: to what is newest at the first stage, later to what the stage before has."""
        before = self._folder.before(stage)
        wanted = {ref: self._version(ref, before) for ref in self._folder.moving(stage)}
        missing = [ref for ref, version in wanted.items() if version is None]
        yield from (self._not_yet(ref, stage, before) for ref in missing)
        ready = {ref: version for ref, version in wanted.items() if version is not None}
        if before is None or self._folder.release is None:
            for ref, version in ready.items():
                yield self._step(
                    Thing(kind="alias", name=f"{ref}@{stage.name}", content={"version": version}, file=self._file(ref))
                )
        elif not missing and ready:
            yield from self._released(self._folder.release, ready, stage)

    def _released(self, name: str, wanted: Mapping[str, int], stage: Stage) -> Iterator[Step]:
        """One release of all of them, and the move of its alias, which takes theirs along."""
        pins = sorted(f"{ref}@{version}" for ref, version in wanted.items())
        made = self._step(Thing(kind="release", name=name, content={"pins": pins}, file=FILE))
        yield made
        newest = self._world.newest("release", name)
        version = self._coming.get(f"release/{name}", 0 if newest is None else newest.version)
        content = {"version": version, "pins": dict(wanted)}
        yield self._step(Thing(kind="alias", name=f"release/{name}@{stage.name}", content=content, file=FILE))

    def _version(self, ref: str, before: Stage | None) -> int | None:
        """The version that moves."""
        if before is None and ref in self._coming:
            return self._coming[ref]
        found = self._world.asset(ref)
        if found is None:
            return None
        if before is None:
            return found.versions[0].version if found.versions else None
        state = found.aliases.get(before.name)
        return None if state is None else state.version

    def _not_yet(self, ref: str, stage: Stage, before: Stage | None) -> Step:
        why = f"there is no {ref} yet" if before is None else f"nothing of {ref} is {before.name} yet: apply that stage first"
        return Step(thing=f"alias/{ref}@{stage.name}", action="not yet", file=self._file(ref), notes=(why,))

    def _served(self, stage: Stage, ready: set[str]) -> Iterator[Thing]:
        """Endpoints that follow from the stage: `NAME-STAGE`, of the last one `NAME`. A promotion to production makes its own."""
        if stage.name == PRODUCTION:
            return
        for ref in self._folder.moving(stage):
            kind, _, name = ref.partition("/")
            if kind in SERVED and (ref in ready or f"release/{self._folder.release}" in ready):
                newest = self._world.newest(kind, name)
                team = self._world.me.team if newest is None else newest.team
                told = {"kind": SERVED[kind], "route": [{"target": f"{ref}@{stage.name}"}], "team": team}
                content = endpoint(name, told, FILE)
                yield Thing(kind="endpoint", name=f"{name}{stage.suffix}", content=content, file=self._file(ref))

    def _file(self, ref: str) -> str:
        return next((each.file for each in self._folder.files if each.address == ref), FILE)

    # --- what it waits for

    def _notes(self, step: Step, steps: Sequence[Step]) -> Iterator[str]:
        """Gates that will be asked and people who will have to approve."""
        before, after = step.before or {}, step.after or {}
        if step.action == "promote":
            ref, _, alias = step.name.partition("@")
            moved = [ref, *(pin for pin, version in after.get("pins", {}).items() if before.get("pins", {}).get(pin) != version)]
            for each in moved:
                yield from self._gate(each, alias, steps)
                yield from self._people(*self._rule(each, alias))
            yield from self._waiting(step)
        elif step.kind in ("budget", "limit") and step.action in ("change", "remove"):
            if step.action == "remove" or float(after["cap"]) > float(before["cap"]):
                scope, _, team = str(before["scope"]).partition("/")
                yield from self._people("budget.raise", team if scope == "team" else self._world.me.team)
        elif step.kind == "endpoint" and before.get("guards") != after.get("guards") and step.action in ("change", "remove"):
            yield from self._people("guard.change", str(before.get("team") or ""))
        elif step.action == "replace":
            yield "the monitor begins anew, without its reports"

    def _gate(self, ref: str, alias: str, steps: Sequence[Step]) -> Iterator[str]:
        kind = ref.partition("/")[0]
        if kind == "release":
            return
        coming = {step.name: step.after for step in steps if step.kind == "gate" and step.after is not None}
        for asset in (ref, f"{kind}/*"):
            gate = coming.get(f"{asset}@{alias}") or self._world.gates.get(f"{asset}@{alias}")
            if gate is not None:
                asked = f"by {gate['suite']}" if gate.get("suite") else f"by {gate.get('metric')}"
                yield f"the gate of {asset}@{alias} is asked, {asked}: {gate.get('require')}; nobody knows its verdict before"
                return
        if kind == "model":
            yield f"no gate guards {ref}@{alias}, and a model moves to no alias without one: it will be refused"
        else:
            yield f"no gate guards {ref}@{alias}"

    def _rule(self, ref: str, alias: str) -> tuple[str, str | None]:
        """Which rule a move falls under, and in which team."""
        kind, _, name = ref.partition("/")
        newest = self._world.newest(kind, name)
        team = self._world.me.team if newest is None else newest.team
        if kind == "policy":
            return "guard.change", team
        if alias != PRODUCTION:
            return "", team
        named = {rule.action for rule in self._world.rules if rule.team in (None, team)}
        return ("release" if kind == "release" and "release" in named else "promote"), team

    def _people(self, action: str, team: str | None) -> Iterator[str]:
        fitting = [rule for rule in self._world.rules if rule.action == action and rule.team in (None, team)]
        for rule in sorted(fitting, key=lambda rule: rule.team is None)[:1]:
            yield f"waits for {rule.people} with the role {rule.role} (rule for {action})"

    def _waiting(self, step: Step) -> Iterator[str]:
        ref, _, alias = step.name.partition("@")
        for request in self._world.waiting:
            if request.subject == f"{ref}@{(step.after or {}).get('version')}" and request.alias == alias:
                yield f"{request.id} waits for it already"
