"""What a Run's own work costs: pieces of it, priced by the hour, booked with whoever asked for the Run, each once.

A Run pays under `org`, its team, the person or key that asked, and `run/TEAM/NAME`, its own name. It knows no workflow.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from tandem.core.clock import MICROS, Clock
from tandem.core.money import Price, Usage, dollars
from tandem.core.principal import Principal
from tandem.core.trace import Attempt
from tandem.governance.audit import Audit
from tandem.governance.authorise import ALL
from tandem.governance.ledger import Ledger
from tandem.jobs.job import Halted, Job
from tandem.observability.move import Batch
from tandem.observability.record import Ended
from tandem.store.sql import Sql

POLL = 1.0
"""Seconds between two looks whether a cap was raised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """Prices the work of Runs."""

    ledger: Ledger
    audit: Audit
    sql: Sql
    clock: Clock
    hour: int
    """Nano-dollars that an hour costs; nothing is booked at 0."""

    def bill(self, job: Job, by: Principal, target: str) -> Bill:
        """The bill of one Run.

        Args:
            by: who pays.
            target: what the work is about, such as `model/zone@1`.
        """
        return Bill(meter=self, job=job, scopes=(*by.budget_scopes, f"run/{by.team}/{job.run.name}"), target=target)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What one Run's work costs."""

    meter: Meter
    job: Job
    scopes: tuple[str, ...]
    target: str

    def book(self, piece: int, seconds: float) -> None:
        """Books one piece of the work; the same piece again changes nothing.

        Args:
            piece: its number, from 1.

        Raises:
            Unavailable: the ledger cannot be written.
        """
        meter, call = self.meter, self.job.run_id
        if not meter.hour or meter.ledger.known([(call, piece)]):
            return
        usage, now = Usage(compute=round(seconds * MICROS), source="provider"), meter.clock.now()
        cost = Price(input=0, output=0, compute=meter.hour, source="hour_price").cost(usage)
        attempt = Attempt(
            call=call,
            attempt=piece,
            target=self.target,
            usage=usage,
            cost=cost,
            reserved=0,
            outcome="ok",
            start=now - usage.compute,
            end=now,
        )
        ended = Ended(trace=call, attempt=attempt, holds=(), scopes=self.scopes)
        meter.ledger.post(Batch(begun=(), ended=[ended], offsets={}, boots={}))

    def reached(self) -> str | None:
        """Which cap leaves no room for more, in words; None while there is room."""
        if not self.meter.hour:
            return None
        for account in self.meter.ledger.accounts(self.scopes):
            if account.unit == "usd" and account.mode != "soft" and account.settled + account.reserved >= account.cap:
                return f"waiting: {account.scope} has used its cap of ${dollars(account.cap)}; raise it, or cancel the run"
        return None

    def wait(self) -> None:
        """Returns once every cap has room.

        Raises:
            Halted: the Run was cancelled meanwhile, or this process is going down.
        """
        while (reason := self.reached()) is not None:
            why = self.job.halted()
            if why is not None:
                raise Halted(why)
            self.job.progress(self.job.run.progress, reason)
            time.sleep(POLL)

    def close(self) -> dict[str, object]:
        """Tells the audit what all of it cost, once, and the Run's outputs: `cost`, nano-dollars; nothing without a price."""
        meter, subject = self.meter, f"run/{self.job.run_id}"
        if not meter.hour:
            return {}
        cost = meter.ledger.cost_of(self.job.run_id)
        if not meter.audit.list(ALL, subject=subject, action="run.cost", limit=1):
            detail = {"cost": cost, "target": self.target, "scopes": list(self.scopes)}
            with meter.sql.write() as conn:
                run = self.job.run
                meter.audit.append(conn, actor=run.created_by, action="run.cost", subject=subject, team=run.team, detail=detail)
        return {"cost": cost}
