"""The policy that the doors are given, and the money of what went through them: prices, bills, what would have been saved."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from tandem.app.ground import Ground
from tandem.app.records import Records
from tandem.gateway.compile import Compiler, Sources
from tandem.gateway.declare import declare, declare_prices
from tandem.gateway.pricing.meters import Meters
from tandem.gateway.pricing.repo import Prices, Throughputs
from tandem.governance.bills.correct import Corrections
from tandem.governance.bills.forecast import Forecasts
from tandem.governance.bills.reconcile import Bills, Pricing
from tandem.governance.bills.reprice import Repricing
from tandem.governance.bills.savings import Audits
from tandem.observability.move import between_passes


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """Policy and prices."""

    prices: Prices
    mispriced: str
    """What is wrong with the price file; empty where nothing is."""
    compiler: Compiler
    meters: Meters
    bills: Bills
    repricing: Repricing
    forecasts: Forecasts
    audits: Audits


def price(ground: Ground, records: Records) -> Money:
    """Declares what the settings say of providers, endpoints and prices, and gives the doors their policy."""
    g, settings = ground, ground.settings
    declare(g.table, g.vault, settings.providers, settings.endpoints)
    prices, throughputs = Prices(g.sql, g.clock, g.audit), Throughputs(g.sql)
    mispriced = declare_prices(prices, settings.prices.file)
    if mispriced:
        print(f"tandem control: {mispriced} The prices of before go on holding.", file=sys.stderr, flush=True)
    sources = Sources(
        registry=g.registry,
        routes=g.table,
        prices=prices,
        throughputs=throughputs,
        keys=g.keys,
        ledger=g.ledger,
        blobs=g.blobs,
        vault=g.vault,
        clock=g.clock,
    )
    compiler = Compiler(
        sources,
        replica=g.home / "replica.db",
        served=g.home / "served",
        max_age=settings.server.max_snapshot_age,
        hour_price=g.hour_price,
        environment=os.environ,
    )
    compiler.publish()

    def known() -> Pricing:
        return compiler.book().price

    corrections = Corrections(g.ledger, records.traces, g.clock, lambda: between_passes(g.home / "journal"))
    return Money(
        prices=prices,
        mispriced=mispriced,
        compiler=compiler,
        meters=Meters(g.table, throughputs, records.traces, g.clock),
        bills=Bills(
            corrections=corrections,
            traces=records.traces,
            audit=g.audit,
            sql=g.sql,
            clock=g.clock,
            known=known,
            work=g.home / "work" / "bills",
        ),
        repricing=Repricing(corrections=corrections, traces=records.traces, audit=g.audit, sql=g.sql, clock=g.clock, known=known),
        forecasts=Forecasts(ledger=g.ledger, audit=g.audit, sql=g.sql, clock=g.clock),
        audits=Audits(traces=records.traces, subjects=records.subjects, clock=g.clock, known=known, routes=compiler.routes),
    )
