"""Corrections: what an attempt costs by a better witness, put in the place of what is booked, in ledger and traces together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from tandem.core.clock import Clock
from tandem.core.trace import Corrected
from tandem.governance.bills.sheet import Fix
from tandem.governance.ledger import Ledger
from tandem.observability.attempts import correct
from tandem.observability.traces import Traces


class Corrections:
    """Corrects attempts, each once."""

    def __init__(self, ledger: Ledger, traces: Traces, clock: Clock, between: Callable[[], AbstractContextManager[None]]) -> None:
        """
        Args:
            between: keeps backups and the mover waiting for the block, so that nobody sees one store without the other.
        """
        self._ledger, self._traces, self._clock, self._between = ledger, traces, clock, between

    def apply(self, fixes: Sequence[Fix], *, by: str, why: str) -> int:
        """Corrects ledger and traces; returns how many attempts changed in the ledger.

        An attempt that is traced and not booked yet, by a machine that is just then moving its journal or died at it, is left
        out: the next time finds it.

        Raises:
            Unavailable: a store cannot be written; doing it again does what is left, and nothing twice.
        """
        now = self._clock.now()
        better = [
            Corrected(
                call=fix.correction.call,
                attempt=fix.correction.attempt,
                trace=fix.trace,
                booked=fix.booked,
                cost=fix.correction.cost,
                at=now,
                by=by,
                why=why,
            )
            for fix in fixes
        ]
        with self._between():
            known = self._ledger.known([(each.call, each.attempt) for each in better])
            changed = self._ledger.correct([fix.correction for fix in fixes])
            correct(self._traces, [each for each in better if (each.call, each.attempt) in known])
        return changed
