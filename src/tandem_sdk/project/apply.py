"""Applying: exactly what a plan says, thing by thing, and nothing when what it rests on has moved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tandem_sdk.calls import Message
from tandem_sdk.client import Client
from tandem_sdk.errors import ApprovalNeeded, Conflict, TandemError
from tandem_sdk.policies import Guard
from tandem_sdk.project.plan import Plan, Step
from tandem_sdk.project.standing import VERSIONED, World, same
from tandem_sdk.projects import Did
from tandem_sdk.shape import read_list

TOLD = ("elsewhere", "gone", "not yet", "remove", "forget")
"""Actions on what the project does not declare, or not any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What an apply came to."""

    id: str
    """`app_…`; empty where there was nothing to do."""
    state: str
    """`done`, `waiting` (people must approve), or `failed`."""
    steps: tuple[Did, ...] = ()
    error: TandemError | None = None
    """Why it stopped."""


def apply(client: Client, planned: Plan, *, on_step: Callable[[Did], None] = lambda step: None) -> Outcome:
    """Does what a plan says, in its order, and stops at the first failure.

    A deed that needs people is asked for, and the rest goes on. What is done already is passed over, so that applying
    the same plan again goes on after a failure.

    Args:
        on_step: hears of each step when it is over.

    Raises:
        Conflict: what the plan rests on has moved, or another project declares one of its things; nothing was done.
        Forbidden: the key may not write; nothing was done.
    """
    there = _there(client, planned)
    steps = [Did(thing=step.thing, action=step.action) for step in planned.changes]
    if not steps:
        return Outcome(id="", state="done")
    things = {step.thing: step.file for step in planned.steps if step.action not in TOLD}
    with client.projects.applying(
        planned.project, things, steps, plan=planned.digest, stage=planned.stage, commit=planned.commit
    ) as begun:
        error = _carry_out(client, planned, there, steps, on_step)
        states = {step.state for step in steps}
        state = "failed" if error is not None else "waiting" if "waiting" in states else "done"
        try:
            client.projects.end(planned.project, begun.id, state, steps)
        except TandemError:
            if error is None:
                raise
    return Outcome(id=begun.id, state=state, steps=tuple(steps), error=error)


def _carry_out(
    client: Client, planned: Plan, there: set[str], steps: list[Did], on_step: Callable[[Did], None]
) -> TandemError | None:
    """Does the steps one by one and notes in `steps` what became of each; returns why it stopped."""
    made: dict[str, int] = {}
    for place, step in enumerate(planned.changes):
        error = None
        try:
            note = "was done already" if step.thing in there else _done(client, step, made)
            steps[place] = replace(steps[place], state="done", note=note)
        except ApprovalNeeded as waiting:
            steps[place] = replace(steps[place], state="waiting", note=waiting.request.id)
        except TandemError as failed:
            error = failed
            steps[place] = replace(steps[place], state="failed", note=failed.message[:2000])
        on_step(steps[place])
        if error is not None:
            return error
    return None


def _there(client: Client, planned: Plan) -> set[str]:
    """What is as the plan wants it already.

    Raises:
        Conflict: something is neither as it was planned from nor as it shall be.
    """
    world, moved, there = World(client), [], set()
    for step in planned.steps:
        if step.action in ("gone", "elsewhere", "not yet", "forget"):
            continue
        found = world.standing(step.thing, step.after or {})
        if step.action == "remove":
            reached = found is None
        else:
            reached = found is not None and step.after is not None and same(step.after, found.content)
        if reached and step.action not in ("adopt", "unchanged"):
            there.add(step.thing)
        elif not reached and (found.base if found is not None else "") != step.base:
            moved.append(step.thing)
    if moved:
        raise Conflict(
            f"Nothing was applied: {', '.join(moved)} moved since the plan was made.", hint="Plan again, and look at it."
        )
    return there


def _done(client: Client, step: Step, made: dict[str, int]) -> str:
    """Does one step; returns what was made.

    Args:
        made: versions that this apply published, which a promotion of the same plan takes up.
    """
    if step.action in ("adopt", "forget"):
        return ""
    after = dict(step.after or {})
    if step.action == "remove":
        _REMOVE[step.kind](client, step.name)
        return ""
    if step.action == "replace":
        client.monitors.remove(step.name)
    if step.kind == "alias":
        return _promoted(client, step, made)
    note = _PUT[step.kind](client, step.name, after)
    if step.kind in VERSIONED:
        made[step.thing] = int(note.partition("@")[2])
    return note


def _promoted(client: Client, step: Step, made: Mapping[str, int]) -> str:
    ref, _, alias = step.name.partition("@")
    version = made.get(ref, (step.after or {})["version"])
    etag = int(step.base.split()[1]) if step.base else 0
    promotion = client.assets.promote(f"{ref}@{version}", alias, etag)
    return promotion.ref or f"{ref}@{promotion.version}"


def _prompt(client: Client, name: str, told: dict[str, Any]) -> str:
    template = told["template"]
    messages = template if isinstance(template, str) else read_list(Message, template)
    return client.prompts.add(name, messages, variables=told["variables"], model=told.get("model")).ref


def _view(client: Client, name: str, told: dict[str, Any]) -> str:
    """Publishes a view and has it loaded, which goes on by itself."""
    made = client.features.define_view(name, told["definition"])
    if "source" in told["definition"]:
        client.features.load(name)
    return made.ref


def _contract(client: Client, name: str, told: dict[str, Any]) -> str:
    client.datasets.set_contract(name, told)
    return ""


def _budget(client: Client, name: str, told: dict[str, Any]) -> str:
    client.budgets.set(
        told["scope"], told["cap"], told["window"], mode=told["mode"], fair=told["fair"], alerts=told.get("alerts")
    )  # fmt: skip
    return ""


def _limit(client: Client, name: str, told: dict[str, Any]) -> str:
    client.limits.set(
        told["scope"], told["unit"], told["cap"], told["window"], mode=told["mode"], fair=told["fair"], alerts=told.get("alerts")
    )  # fmt: skip
    return ""


def _gate(client: Client, name: str, told: dict[str, Any]) -> str:
    asset = told.pop("asset")
    client.gates.put(asset, {key: value for key, value in told.items() if value is not None})
    return ""


def _endpoint(client: Client, name: str, told: dict[str, Any]) -> str:
    client.endpoints.put(name, told)
    return ""


def _monitor(client: Client, name: str, told: dict[str, Any]) -> str:
    client.monitors.put(told)
    return ""


_PUT: Mapping[str, Callable[[Client, str, dict[str, Any]], str]] = {
    "contract": _contract,
    "view": _view,
    "service": lambda client, name, told: client.features.define_service(name, told["definition"]).ref,
    "prompt": _prompt,
    "policy": lambda client, name, told: client.policies.add(name, read_list(Guard, told["guards"])).ref,
    "decision": lambda client, name, told: client.decisions.add(name, told["source"], entry=told["entry"]).ref,
    "suite": lambda client, name, told: client.suites.put(name, told).ref,
    "release": lambda client, name, told: client.releases.add(name, told["pins"]).ref,
    "gate": _gate,
    "budget": _budget,
    "limit": _limit,
    "endpoint": _endpoint,
    "monitor": _monitor,
}


def _remove_gate(client: Client, name: str) -> None:
    asset, _, alias = name.partition("@")
    client.gates.drop(asset, alias)


def _remove_budget(client: Client, name: str) -> None:
    scope, _, window = name.partition("@")
    client.budgets.drop(scope, window)


def _remove_limit(client: Client, name: str) -> None:
    scope, _, meter = name.partition("@")
    unit, _, window = meter.partition("/")
    client.limits.drop(scope, unit, window)


_REMOVE: Mapping[str, Callable[[Client, str], None]] = {
    "gate": _remove_gate,
    "budget": _remove_budget,
    "limit": _remove_limit,
    "endpoint": lambda client, name: client.endpoints.drop(name),
    "monitor": lambda client, name: client.monitors.remove(name),
}
