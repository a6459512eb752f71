"""The machines that share one ledger: which live, and how one that does not come back is let go of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tandem.core.clock import MICROS, iso
from tandem.core.errors import Conflict, NotFound
from tandem.core.principal import Principal
from tandem.governance.audit import Audit
from tandem.governance.authorise import authorise
from tandem.governance.ledger import Ledger, Machine
from tandem.store.sql import Sql

QUIET_SECONDS = 60.0
"""A machine that told nothing for so long is away; before, nobody may let go of it."""


class Mover(Protocol):
    """The part of `observability.move.Mover` that is needed here."""

    def let_go(self, machine: str) -> int: ...


class Machines:
    """Those of one ledger; a platform of one machine knows none."""

    def __init__(self, ledger: Ledger, mover: Mover, sql: Sql, audit: Audit) -> None:
        self._ledger, self._mover, self._sql, self._audit = ledger, mover, sql, audit

    def list(self) -> Sequence[Machine]:
        """Every machine whose workers live, or still hold something."""
        return self._ledger.machines()

    def away(self, machine: Machine) -> bool:
        """Whether it told nothing for too long, by the ledger's clock."""
        return self._ledger.now() - machine.seen > QUIET_SECONDS * MICROS

    def let_go(self, name: str, by: Principal) -> int:
        """Books what a machine that does not come back had under way, at its reservations, and frees what it held.

        Should it come back after all, its workers get nothing until they are started again, and what they tell of
        attempts that were booked here changes nothing.

        Returns:
            How many attempts were booked.

        Raises:
            Forbidden: `by` is no admin.
            NotFound: no such machine is known.
            Conflict: it was heard of a moment ago.
            Unavailable: a store cannot be written; try again.
        """
        authorise(by, "admin")
        found = next((each for each in self.list() if each.name == name), None)
        if found is None:
            known = ", ".join(each.name for each in self.list()) or "none"
            raise NotFound(f"There is no machine '{name}'.", hint=f"Known are: {known}.")
        if not self.away(found):
            raise Conflict(
                f"The machine {name} was heard of at {iso(found.seen)}.",
                hint="Stop it first; a minute after its last word it can be let go of.",
            )
        with self._sql.write() as conn:
            self._audit.append(conn, actor=by.name, action="machine.lost", subject=f"machine/{name}", team=by.team, detail={})
        return self._mover.let_go(name)
