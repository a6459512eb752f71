"""Runs, and what they share: the queue, the meter of their computing, the way to the models."""

from __future__ import annotations

from dataclasses import dataclass

from tandem.app import Role
from tandem.app.ground import Ground, machine
from tandem.gateway.inside import Inside
from tandem.governance import lend
from tandem.governance.metering import Meter
from tandem.jobs.workflow import Jobs


@dataclass(frozen=True, slots=True, kw_only=True)
class Labour:
    """The work of Runs. Every part registers its own kinds at `jobs`."""

    jobs: Jobs
    meter: Meter
    inside: Inside
    """Model calls of Runs, through the door."""


def hire(ground: Ground, role: Role) -> Labour:
    """Opens the queue; nothing begins before it is launched."""
    g, options = ground, ground.settings.server
    return Labour(
        jobs=Jobs(
            g.server or g.home / "jobs.db",
            executor="control" if g.server is None else machine(g.home),
            runs=g.runs,
            clock=g.clock,
            performs=role != "serve",
        ),
        meter=Meter(ledger=g.ledger, audit=g.audit, sql=g.sql, clock=g.clock, hour=g.hour_price),
        inside=Inside(options.inside, g.vault.derive(lend.PURPOSE), g.clock),
    )
