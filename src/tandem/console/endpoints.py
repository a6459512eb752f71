"""Endpoints as pages: every address that answers, what stands behind it, and what is tried there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import Response

from tandem.console.desk import Desk
from tandem.console.scale import Line, line
from tandem.core.endpoint import HOSTED, Endpoint, Target
from tandem.core.errors import NotFound
from tandem.core.run import Run
from tandem.gateway.routing.board import Told
from tandem.gateway.snapshot import INDEX, Served, Snapshot
from tandem.governance.authorise import Scope, scope_of
from tandem.governance.projects.projects import Projects
from tandem.monitoring.canary import Canaries
from tandem.monitoring.harm import Finding
from tandem.monitoring.online.online import Online
from tandem.monitoring.shadowed import Shadow, Shadowing

DAY = 86_400.0
Current = Callable[[], Snapshot]
"""Gives the compiled snapshot."""
Seen = Callable[[], Sequence[Told]]
"""Gives what door workers tell of targets that rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """One target of an endpoint's route."""

    target: Target
    served: Served | None
    """What is served, for models, decisions and indexes; None for language models elsewhere, and for what is missing."""
    missing: bool
    priced: bool | None
    """Whether a price is known; None where calls cost nothing."""
    rests: str = ""
    """After which failure it stands behind the others in at least one worker; empty: it does not."""

    @property
    def facts(self) -> Mapping[str, object]:
        return {} if self.served is None else self.served.attributes


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """An endpoint with what stands behind it now."""

    endpoint: Endpoint
    behind: tuple[Behind, ...]


def standing(snapshot: Snapshot, scope: Scope, resting: Mapping[str, str] = {}) -> list[Standing]:
    """The endpoints of the scope, by name.

    Args:
        resting: targets that stand behind the others → because of what.
    """
    seen = sorted(snapshot.endpoints.values(), key=lambda endpoint: endpoint.name)
    return [
        Standing(
            endpoint=endpoint,
            behind=tuple(
                replace(_behind(snapshot, endpoint, target), rests=resting.get(target.target, "")) for target in endpoint.route
            ),
        )
        for endpoint in seen
        if endpoint.team == "default" or scope.admits(endpoint.team)
    ]


def _behind(snapshot: Snapshot, endpoint: Endpoint, target: Target) -> Behind:
    if endpoint.kind in HOSTED and not target.target.startswith(INDEX):
        missing = target.target.partition("/")[0] not in snapshot.hosts
        return Behind(target=target, served=None, missing=missing, priced=target.target in snapshot.prices)
    served = snapshot.served.get(target.target)
    return Behind(target=target, served=served, missing=served is None, priced=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seldom:
    """One question about a canary: how often, beside the champion, drawn against its margin."""

    finding: Finding
    line: Line


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """One shadow, with what its labels say drawn against zero."""

    shadow: Shadow
    line: Line | None


def trials(run: Run | None) -> tuple[Seldom, ...]:
    """What a canary has found so far, question by question."""
    told = () if run is None else msgspec.convert(run.outputs.get("evidence") or (), tuple[Finding, ...])
    return tuple(Seldom(finding=each, line=line(each.more, [(0.0, "0"), (each.margin, "margin")])) for each in told)


def routes(
    desk: Desk, current: Current, resting: Seen, canaries: Canaries, shadowing: Shadowing, learning: Online, projects: Projects
) -> APIRouter:
    """The pages of Endpoint."""
    router = desk.router()

    @router.get("/endpoints")
    def endpoints(request: Request) -> Response:
        by = desk.enter(request)
        rests = {one.name: one.outcome for told in resting() for one in told.resting}
        values = {
            "endpoints": standing(current(), scope_of(by), rests),
            "declared": {each.thing.removeprefix("endpoint/"): each for each in projects.declared(by)},
        }
        return desk.page(request, "endpoints.html", "Endpoints", values, by=by)

    @router.get("/endpoints/{name}")
    def tried(request: Request, name: str) -> Response:
        by = desk.enter(request)
        rests = {one.name: one.outcome for told in resting() for one in told.resting}
        found = next((each for each in standing(current(), scope_of(by), rests) if each.endpoint.name == name), None)
        if found is None:
            raise NotFound(f"There is no endpoint '{name}'.", hint="The page of endpoints lists what there is.")
        run = canaries.newest(name, by=by)
        values = {
            "each": found,
            "canary": run,
            "learning": learning.newest(name, by=by),
            "trials": trials(run),
            "shadows": [
                Beside(shadow=each, line=None if each.better is None else line(each.better, [(0.0, "0")]))
                for each in (shadowing.compare(name, DAY, by=by) if found.endpoint.kind == "predict" else ())
            ],
        }
        return desk.page(request, "endpoint.html", f"Endpoint {name}", values, by=by)

    return router
