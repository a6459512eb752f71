"""Prices over HTTP: rows of our own beside the catalogue, and which of them hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from tandem.api.wire import Caller, answer
from tandem.core.asset import check_name
from tandem.core.clock import Clock, iso
from tandem.core.endpoint import HOSTED
from tandem.core.errors import Invalid
from tandem.gateway.pricing.book import Book, told
from tandem.gateway.pricing.repo import Prices
from tandem.gateway.pricing.rows import FILE_BYTES, RATES, PriceRow, check_day, check_target, newest, rates, read_file, shown
from tandem.gateway.snapshot import Snapshot
from tandem.governance.authorise import authorise, scope_of

Target = Annotated[str, Path(max_length=300)]
Team = Annotated[str, Query(max_length=140)]


class PriceIn(BaseModel):
    """What a model costs from a day on."""

    model_config = ConfigDict(extra="forbid")
    rates: dict[str, str] = Field(
        description=f"Dollars per million tokens, or apiece: {', '.join(RATES)}; input and output are needed"
    )
    team: Annotated[str, Field(max_length=140, description="Whose price it is; empty: everybody's")] = ""
    since: Annotated[str | None, Field(max_length=40, description="The UTC day from which it holds; null: today")] = None


class PricesIn(BaseModel):
    """A file of prices."""

    model_config = ConfigDict(extra="forbid")
    name: Annotated[str, Field(max_length=200)] = "the file"
    text: Annotated[str, Field(max_length=FILE_BYTES)]


def routes(table: Prices, book: Callable[[], Book], current: Callable[[], Snapshot], clock: Clock) -> APIRouter:
    """The routes of prices, a part of Endpoint.

    Args:
        book: gives every price as it is known now.
        current: gives the compiled snapshot.
    """
    router = APIRouter(tags=["endpoints"])

    @router.get("/cost/prices")
    def list_prices(by: Caller) -> Response:
        """Rows of our own, and the price in force of every model that an endpoint leads to."""
        authorise(by, "read")
        scope, now = scope_of(by), clock.now()
        rows = table.list(scope)
        held = [newest([each for each in rows if (each.target, each.team) == key], iso(now)[:10]) for key in _keys(rows)]
        found = [_row(row, holds=row in held) for row in rows]
        ours, known = {row.target for row in rows if not row.team and row in held}, book()
        for target in sorted(_asked(current(), scope.admits) - ours):
            price = known.find(target, now)
            found.append(
                {
                    "target": target,
                    "team": "",
                    "since": "" if price is None else price.price.effective,
                    "origin": "none" if price is None else price.origin,
                    "source": "" if price is None else price.price.source,
                    "holds": price is not None,
                    "rates": {} if price is None else shown(price.price),
                }
            )
        return answer(found)

    @router.post("/cost/prices/import")
    def import_prices(body: PricesIn, by: Caller) -> Response:
        """Puts the rows of a file in the place of those imported before; a file with a fault changes nothing."""
        authorise(by, "admin")
        rows = read_file(body.text, body.name, "import")
        changed = table.load(rows, "import", by=by)
        return answer({"rows": len(rows), "changed": changed})

    @router.put("/cost/prices/{target:path}")
    def set_price(target: Target, body: PriceIn, by: Caller) -> Response:
        """Sets what a model costs from a day on, for everybody or a team."""
        authorise(by, "admin")
        unknown = sorted(set(body.rates) - set(RATES))
        if unknown:
            raise Invalid(f"There is no rate '{unknown[0][:60]}'.", hint=f"Rates are {', '.join(RATES)}.", field="rates")
        provider, model = check_target(target)
        today = iso(clock.now())[:10]
        row = PriceRow(
            provider=provider,
            model=model,
            team=check_name(body.team) if body.team else "",
            since=today if body.since is None else check_day(body.since),
            price=rates(body.rates),
        )
        kept = table.set(row, by=by)
        return answer(_row(kept, holds=kept.since <= today))

    @router.delete("/cost/prices/{target:path}")
    def drop_price(
        target: Target, by: Caller, team: Team = "", since: Annotated[str | None, Query(max_length=40)] = None
    ) -> Response:
        """Takes back what was set by hand: of a day, or of every day."""
        authorise(by, "admin")
        provider, model = check_target(target)
        gone = table.drop(provider, model, team=team, since=None if since is None else check_day(since), by=by)
        return answer({"target": target, "team": team, "rows": gone})

    return router


def _keys(rows: tuple[PriceRow, ...]) -> set[tuple[str, str]]:
    return {(row.target, row.team) for row in rows}


def _asked(snapshot: Snapshot, admits: Callable[[str], bool]) -> set[str]:
    """Models that the endpoints of some teams lead to."""
    return {
        target
        for endpoint in snapshot.endpoints.values()
        if endpoint.kind in HOSTED and (endpoint.team == "default" or admits(endpoint.team))
        for target in (*[each.target for each in endpoint.route], endpoint.model)
        if target.partition("/")[0] in snapshot.hosts
    }


def _row(row: PriceRow, *, holds: bool) -> dict[str, Any]:
    return {
        "target": row.target,
        "team": row.team,
        "since": row.since,
        "origin": row.origin,
        "source": told(row),
        "holds": holds,
        "rates": shown(row.price),
    }
