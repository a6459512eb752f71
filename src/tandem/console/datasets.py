"""Datasets as pages beside their version's own: the profile drawn, rows, rows kept apart, and what another version changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from tandem.console import profile
from tandem.console.desk import Desk
from tandem.console.scale import Bin, Line, line, paired
from tandem.core.asset import Ref
from tandem.core.errors import Invalid
from tandem.data.compare import MATTERS, Diff, Moved
from tandem.data.reader import Reader
from tandem.data.rows import Page
from tandem.data.rows import Query as RowQuery
from tandem.governance.authorise import scope_of
from tandem.registry.registry import Registry

PAGE = 50
"""Rows that a page shows."""
RANK = {"changed": 0, "inconclusive": 1, "not-compared": 2, "stable": 3}
"""What a reader looks for comes first."""
Where = Annotated[str, Query(max_length=2000)]
Offset = Annotated[int, Query(ge=0, le=10**12)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A page of rows, or why there is none."""

    columns: tuple[str, ...] = ()
    rows: tuple[tuple[object, ...], ...] = ()
    total: int = 0
    offset: int = 0
    fault: Invalid | None = None

    @property
    def until(self) -> int:
        return self.offset + len(self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """How one column has moved, drawn."""

    moved: Moved
    cells: int | None
    line: Line | None
    effect: str
    bins: tuple[Bin, ...]


def routes(desk: Desk, registry: Registry, reader: Reader) -> APIRouter:
    """The pages of a dataset's versions."""
    router = desk.router()

    @router.get("/assets/dataset/{name}/{version}/profile")
    def drawn(request: Request, name: str, version: str) -> Response:
        by = desk.enter(request)
        found = registry.find(Ref.parse(f"dataset/{name}@{version}"), scope_of(by))
        values = {"v": found, "cards": profile.cards(found.meta), "grid": profile.grid(found.meta)}
        return desk.page(request, "dataset_profile.html", f"Profile of {found.ref}", values, by=by)

    @router.get("/assets/dataset/{name}/{version}/rows")
    def rows(request: Request, name: str, version: str, where: Where = "", offset: Offset = 0, lineage: bool = False) -> Response:
        by = desk.enter(request)
        found = registry.find(Ref.parse(f"dataset/{name}@{version}"), scope_of(by))
        query = RowQuery(where=where.strip() or None, lineage=lineage, limit=PAGE, offset=offset)
        try:
            shown = _shown(reader.page(found.ref, query, by=by), offset)
        except Invalid as error:
            shown = Shown(fault=error)
        values = {"v": found, "shown": shown, "where": where, "lineage": lineage, "apart": False}
        return desk.page(request, "dataset_rows.html", f"Rows of {found.ref}", values, by=by)

    @router.get("/assets/dataset/{name}/{version}/quarantine")
    def quarantine(request: Request, name: str, version: str, offset: Offset = 0) -> Response:
        by = desk.enter(request)
        found = registry.find(Ref.parse(f"dataset/{name}@{version}"), scope_of(by))
        shown = _shown(reader.apart(found.ref, RowQuery(limit=PAGE, offset=offset), by=by), offset)
        values = {"v": found, "shown": shown, "where": "", "lineage": False, "apart": True}
        return desk.page(request, "dataset_rows.html", f"Rows kept apart from {found.ref}", values, by=by)

    @router.get("/assets/dataset/{name}/{version}/diff/{other}")
    def diff(request: Request, name: str, version: str, other: str) -> Response:
        by = desk.enter(request)
        old, new = (Ref.parse(f"dataset/{name}@{each}") for each in (version, other))
        found = reader.diff(old, new, by=by)
        values = {"name": name, "diff": found, "columns": _drawn(found), "matters": MATTERS}
        return desk.page(request, "dataset_diff.html", f"{found.old} and {found.new}", values, by=by)

    return router


def _shown(page: Page, offset: int) -> Shown:
    rows = msgspec.json.decode(page.rows, type=tuple[tuple[object, ...], ...])
    return Shown(columns=page.columns, rows=rows, total=page.total, offset=offset)


def _drawn(found: Diff) -> tuple[Row, ...]:
    """The columns, those that have moved first."""
    order = sorted(found.columns, key=lambda moved: (RANK[moved.verdict], -(moved.effect.value if moved.effect else 0.0)))
    return tuple(
        Row(
            moved=moved,
            cells=found.rows.cells.get(moved.name),
            line=None if moved.effect is None else line(moved.effect, [(MATTERS, "threshold"), (0.0, "no change")]),
            effect="" if moved.effect is None else f"{moved.effect.value:.3g} [{moved.effect.low:.3g}, {moved.effect.high:.3g}]",
            bins=paired(moved.histogram),
        )
        for moved in order
    )
