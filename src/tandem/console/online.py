"""Learning online as a page: how right each model was before it learned a row, and what each step decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from tandem.console.desk import Desk
from tandem.console.monitors import HIGH, WIDE, axis
from tandem.monitoring.online.nouns import Step
from tandem.monitoring.online.online import Online

DRAWN = ("champion", "first")
"""Whose losses are drawn: that which answered, and that which never learned again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """Losses step by step, as the points of lines in a drawing of `WIDE` by `HIGH`; the smaller, the lower."""

    lines: dict[str, str]
    """Model → points."""
    promoted: tuple[float, ...]
    """How far right champions changed."""
    low: float
    high: float
    since: int
    until: int


def routes(desk: Desk, learning: Online) -> APIRouter:
    """The pages of learning online."""
    router = desk.router()

    @router.get("/endpoints/{name}/online")
    def show(request: Request, name: str) -> Response:
        by = desk.enter(request)
        found = learning.show(name, by=by)
        values = {"learning": found, "curves": curves(found.steps)}
        return desk.page(request, "online.html", f"Endpoint {name} learns", values, by=by)

    @router.post("/endpoints/{name}/online/stop")
    def stop(request: Request, name: str) -> Response:
        by = desk.enter(request, "write")
        learning.stop(name, by=by)
        return RedirectResponse(f"/endpoints/{name}/online", 303)

    return router


def curves(steps: Sequence[Step]) -> Curves | None:
    """The steps as lines; None where there are fewer than two with rows.

    Args:
        steps: the newest first.
    """
    told = [step for step in reversed(steps) if step.labels]
    if len(told) < 2:
        return None
    known = [step.losses[name] for step in told for name in DRAWN]
    low, high = min(known), max(known)
    place, across = axis(low, high), axis(0, len(told) - 1)
    xs = [round(WIDE * across(number), 1) for number in range(len(told))]
    return Curves(
        lines={
            name: " ".join(f"{x},{HIGH * (1 - place(step.losses[name])):.1f}" for x, step in zip(xs, told, strict=True))
            for name in DRAWN
        },
        promoted=tuple(x for x, step in zip(xs, told, strict=True) if step.outcome in ("promoted", "rolled-back")),
        low=low,
        high=high,
        since=told[0].at,
        until=told[-1].at,
    )
