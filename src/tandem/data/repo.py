"""Edited contracts as they are kept: every statement that touches them. What a contract says, it does not know."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Table, Text, delete, insert, select

from tandem.core.clock import Clock
from tandem.core.principal import Principal
from tandem.data.contract import Contract
from tandem.governance.audit import Audit
from tandem.store.sql import Sql, metadata

contracts = Table(
    "contracts",
    metadata,
    Column("name", Text, primary_key=True),
    Column("team", Text, nullable=False),
    Column("contract", Text, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    Column("changed_by", Text, nullable=False),
)


class Contracts:
    """The contracts that people edited, one per dataset: they govern every ingest until they are replaced."""

    def __init__(self, sql: Sql, audit: Audit, clock: Clock) -> None:
        self._sql, self._audit, self._clock = sql, audit, clock

    def find(self, name: str) -> Contract | None:
        """The edited contract of a dataset, for whoever may write the dataset; None when there is none.

        Raises:
            Invalid: it was written by a version that knows other keys.
        """
        with self._sql.read() as conn:
            text = conn.execute(select(contracts.c.contract).where(contracts.c.name == name)).scalar()
        return None if text is None else Contract.from_json(text)

    def team(self, name: str) -> str | None:
        """The team whose edited contract a dataset has; None when it has none."""
        with self._sql.read() as conn:
            return conn.execute(select(contracts.c.team).where(contracts.c.name == name)).scalar()

    def put(self, name: str, contract: Contract, *, team: str, by: Principal) -> None:
        """Keeps a contract in place of the former one, with its audit row."""
        text = contract.to_json().decode()
        with self._sql.write() as conn:
            conn.execute(delete(contracts).where(contracts.c.name == name))
            conn.execute(
                insert(contracts).values(name=name, team=team, contract=text, changed_at=self._clock.now(), changed_by=by.name)
            )
            self._audit.append(
                conn,
                actor=by.name,
                action="contract.set",
                subject=f"dataset/{name}",
                team=team,
                detail={"columns": len(contract.columns)},
            )
