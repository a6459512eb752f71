"""Endpoints as a page: every address that answers, and what stands behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from fastapi import APIRouter, Request
from fastapi.responses import Response

from tandem.console.desk import Desk
from tandem.core.endpoint import HOSTED, Endpoint, Target
from tandem.gateway.routing.board import Told
from tandem.gateway.snapshot import INDEX, Served, Snapshot
from tandem.governance.authorise import Scope, scope_of

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


def routes(desk: Desk, current: Current, resting: Seen) -> APIRouter:
    """The page of Endpoint."""
    router = desk.router()

    @router.get("/endpoints")
    def endpoints(request: Request) -> Response:
        by = desk.enter(request)
        rests = {one.name: one.outcome for told in resting() for one in told.resting}
        values = {"endpoints": standing(current(), scope_of(by), rests)}
        return desk.page(request, "endpoints.html", "Endpoints", values, by=by)

    return router
