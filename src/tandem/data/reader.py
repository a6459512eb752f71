"""Versions of a dataset as people read them: rows, rows kept apart, and what is different between two. Changes nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile

import msgspec

from tandem.core.asset import Ref, Version
from tandem.core.errors import Invalid, NotFound, Unavailable
from tandem.core.principal import Principal
from tandem.data import compare, rows
from tandem.data.child import Held
from tandem.data.compare import Diff, Side
from tandem.data.contract import Contract
from tandem.data.rows import Format, Page, Query
from tandem.data.tasks import held
from tandem.data.versions import QUARANTINE
from tandem.governance.audit import Audit
from tandem.governance.authorise import authorise, scope_of
from tandem.jobs.apart import ask
from tandem.registry.registry import Registry
from tandem.store.sql import Sql

AT_ONCE = 2
"""Children that read at one time; each may hold a dataset in memory."""
WAIT_SECONDS = 30.0
PAGE = 1_000
"""Rows of the largest page."""


class Reader:
    """Reads what the lake holds, in child processes."""

    def __init__(self, registry: Registry, sql: Sql, audit: Audit, *, lake: Path, work: Path) -> None:
        """
        Args:
            lake: the lake's directory.
            work: where files lie while they are made.
        """
        self._registry, self._sql, self._audit, self._lake, self._work = registry, sql, audit, lake, work
        self._turns = threading.BoundedSemaphore(AT_ONCE)

    def page(self, ref: Ref, query: Query, *, by: Principal) -> Page:
        """Some rows of a version, in the order in which they were written.

        Raises:
            Forbidden, NotFound: `by` may not read it, or it keeps no rows in the lake.
            Invalid: there is no such column, the condition is none, or the page is too large.
        """
        order = rows.Order(query=_bounded(query), lake=str(self._lake), held=_rows(self._find(ref, by)))
        with self._turn():
            return ask("tandem.data.rows", order, Page)

    def file(self, ref: Ref, query: Query, format: Format, out: Path, *, by: Principal) -> Page:
        """Writes the rows of a version to a file; see `page`. The audit says who took them."""
        version = self._find(ref, by)
        order = rows.Order(query=query, lake=str(self._lake), held=_rows(version), out=str(out), format=format)
        with self._turn():
            found = ask("tandem.data.rows", order, Page)
        self._taken(version, "rows", format, by)
        return found

    def apart(self, ref: Ref, query: Query, *, by: Principal) -> Page:
        """Some of the rows that were kept apart when a version was made; none where none were.

        Raises:
            Forbidden, NotFound: `by` may not read it.
            Invalid: see `page`.
        """
        return self._apart(ref, _bounded(query), None, "csv", by)

    def apart_file(self, ref: Ref, query: Query, format: Format, out: Path, *, by: Principal) -> Page:
        """Writes the rows that were kept apart to a file.

        Raises:
            NotFound: there are none, or `by` may not read the version.
        """
        found = self._apart(ref, query, out, format, by)
        self._taken(self._find(ref, by), "quarantine", format, by)
        return found

    def diff(self, old: Ref, new: Ref, *, by: Principal) -> Diff:
        """What is different in the newer of two versions.

        Raises:
            Forbidden, NotFound: `by` may not read one of them, or one keeps no rows in the lake.
        """
        sides = [self._side(self._find(ref, by)) for ref in (old, new)]
        with self._turn():
            return ask("tandem.data.compare", compare.Order(lake=str(self._lake), old=sides[0], new=sides[1]), Diff)

    def _taken(self, version: Version, what: str, format: Format, by: Principal) -> None:
        detail = {"what": what, "format": format}
        with self._sql.write() as conn:
            self._audit.append(
                conn, actor=by.name, action="dataset.export", subject=str(version.ref), team=version.team, detail=detail
            )

    def _find(self, ref: Ref, by: Principal) -> Version:
        authorise(by, "read")
        return self._registry.find(ref, scope_of(by))

    def _side(self, version: Version) -> Side:
        contract = None
        if "contract.json" in version.members:
            contract = Contract.from_json(self._registry.member(version, "contract.json"))
        return Side(held=_rows(version), contract=contract)

    def _apart(self, ref: Ref, query: Query, out: Path | None, format: Format, by: Principal) -> Page:
        version = self._find(ref, by)
        if QUARANTINE not in version.members:
            if out is None:
                return Page(columns=(), total=0, rows=msgspec.Raw(b"[]"))
            raise NotFound(f"No rows were kept apart when {version.ref} was made.", hint="Its contract quarantines nothing.")
        self._work.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=self._work, suffix=".parquet") as file:
            file.write(self._registry.member(version, QUARANTINE))
            file.flush()
            order = rows.Order(query=query, file=file.name, out=None if out is None else str(out), format=format)
            with self._turn():
                return ask("tandem.data.rows", order, Page)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._turns.acquire(timeout=WAIT_SECONDS):
            raise Unavailable("Too many datasets are being read at this moment.", hint="Try again.")
        try:
            yield
        finally:
            self._turns.release()


def _rows(version: Version) -> Held:
    found = held(version)
    if found is None:
        raise NotFound(f"{version.ref} keeps no rows in the lake.", hint="Read its files instead.")
    return found


def _bounded(query: Query) -> Query:
    if query.limit is None or not 1 <= query.limit <= PAGE:
        raise Invalid(f"A page has 1 to {PAGE:,} rows.", field="limit", hint="Ask for a file to have all.")
    return query
