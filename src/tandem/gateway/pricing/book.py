"""Which price holds: a team's own row, then everybody's, then what an own machine costs, then the catalogue. Pure.

A book is what was known at one moment; the door's snapshot is compiled from one, and past periods are priced by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Literal

from tandem.core.clock import iso
from tandem.core.endpoint import Provider
from tandem.core.money import Price
from tandem.gateway.prices import VENDORS, price_of
from tandem.gateway.pricing.repo import Throughput
from tandem.gateway.pricing.rows import PriceRow, newest

HOUR = 3_600
PICO = 10**12
From = Literal["hand", "import", "file", "own machine", "catalogue"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A price that holds, and where it comes from."""

    price: Price
    origin: From


class Book:
    """Every price that is known, with one lookup of target, time and team."""

    def __init__(
        self, rows: Sequence[PriceRow], providers: Mapping[str, Provider], throughputs: Mapping[str, Throughput] = {}
    ) -> None:
        self._providers, self._throughputs = providers, throughputs
        self._rows: dict[tuple[str, str], list[PriceRow]] = {}
        for row in rows:
            self._rows.setdefault((row.target, row.team), []).append(row)
        self._known: dict[tuple[str, str, str], Found | None] = {}

    def price(self, target: str, at: int, team: str = "") -> Price | None:
        """The row of a target (`provider/model`) at a UTC time (microseconds) for a team; None when nobody knows one."""
        found = self.find(target, at, team)
        return None if found is None else found.price

    def find(self, target: str, at: int, team: str = "") -> Found | None:
        """The same, with where it comes from."""
        day = iso(at)[:10]
        key = (target, day, team)
        if key not in self._known:
            self._known[key] = self._find(target, at, day, team)
        return self._known[key]

    def _find(self, target: str, at: int, day: str, team: str) -> Found | None:
        for whose in (team, "") if team else ("",):
            row = newest(self._rows.get((target, whose), ()), day)
            if row is not None:
                return Found(price=replace(row.price, source=told(row), effective=row.since), origin=row.origin)
        name, _, model = target.partition("/")
        provider = self._providers.get(name)
        if provider is None:
            return None
        own = own_machine(provider, self._throughputs.get(name))
        if own is not None:
            return Found(price=own, origin="own machine")
        vendor = provider.prices or VENDORS.get(provider.protocol)
        listed = None if vendor is None or provider.hour_price else price_of(model, vendor, at)
        return None if listed is None else Found(price=listed, origin="catalogue")

    def teams(self) -> dict[str, set[str]]:
        """Teams with rows of their own → the targets of these."""
        found: dict[str, set[str]] = {}
        for target, team in self._rows:
            if team:
                found.setdefault(team, set()).add(target)
        return found

    def targets(self) -> set[str]:
        """Targets that have rows for everybody."""
        return {target for target, team in self._rows if not team}


def told(row: PriceRow) -> str:
    """Where a row comes from, for a trace; who set it, the audit tells."""
    whose = f" for the team {row.team}" if row.team else ""
    where = {"hand": "set by hand", "import": "an imported file", "file": "the settings' price file"}
    return f"{where[row.origin]}{whose}, from {row.since}"


def own_machine(provider: Provider, seen: Throughput | None) -> Price | None:
    """What a token costs on machines that are paid by the hour; None where that, or how much they do, is not known.

    A token of either kind costs hour_price / 3,600 / tokens_per_second, where the tokens of a second are input and
    output together, of a machine that is busy.
    """
    if not provider.hour_price:
        return None
    speed = Decimal(str(provider.tokens_per_second))
    source = "declared"
    if not speed and seen is not None and seen.tokens and seen.micros:
        speed = Decimal(seen.tokens) * 1_000_000 / seen.micros
        source = f"measured, {seen.source}, {iso(seen.at)[:10]}"
    if not speed:
        return None
    rate = -(-int(Decimal(provider.hour_price) * PICO * 1_000_000) // int(HOUR * speed * 1_000_000))
    machine = f"${provider.hour_price} an hour at {speed.quantize(Decimal('0.1'))} tokens a second ({source})"
    return Price(
        input=rate, output=rate, source=machine, effective="" if seen is None or source == "declared" else iso(seen.at)[:10]
    )
