"""Ingest: a file becomes the next version of a dataset, under a Run that tells how it went; or nothing changes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from tandem.core.asset import Version, check_name
from tandem.core.errors import Conflict, Invalid, NotFound, TandemError
from tandem.core.ids import new_run
from tandem.core.principal import Principal
from tandem.core.run import Run, State
from tandem.data.child import Done, Held, Known, Order, ingest_apart
from tandem.data.contract import Contract, Reference
from tandem.data.pandera import Imported, imported
from tandem.data.proof import prove_apart
from tandem.data.query import Ask, address_of
from tandem.data.repo import Contracts
from tandem.data.versions import check_team, holding, newest_of, place, publish, table_of
from tandem.governance.authorise import ALL, authorise, scope_of
from tandem.jobs import staging
from tandem.jobs.apart import Progress
from tandem.jobs.repo import Runs
from tandem.registry.registry import Registry
from tandem.store.elsewhere import allowed

KIND = "ingest"
SHOWN = 2_000
"""Characters of a query that its Run tells."""
MODES = ("replace", "append")
LOST = "The platform was stopped while it read the file; nothing was added. Send the file again."


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How a file becomes the next version."""

    id_column: str | None = None
    time_column: str | None = None
    contract: Contract | None = None
    """What it must keep to; else the edited contract of the dataset, else the newest version's, else inferred."""
    append: bool = False
    """Its rows are added to the newest version's; else they are all rows of the next."""
    evolve: bool = False
    """New columns that may be empty and wider types change the contract; else they are refused."""
    signals: bool = False
    """The file is an archive of signals, each a file of one unit."""
    parents: tuple[str, ...] = ()
    """The versions that the rows were made from, where somebody says so."""


@dataclass(frozen=True, slots=True)
class _File:
    """A file that somebody handed in."""

    path: Path

    def placed(self, folder: Path, name: str) -> Path:
        """The file under the dataset's name, as messages call it."""
        shown = folder / f"{name}{self.path.suffix}"
        shown.symlink_to(self.path.resolve())
        return shown

    @property
    def told(self) -> dict[str, object]:
        """What meta says of it."""
        return {}


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a database will answer."""

    ask: Ask
    database: str

    def placed(self, folder: Path, name: str) -> Path:
        """Where the answer will lie."""
        return folder / f"{name}.csv"

    @property
    def told(self) -> dict[str, object]:
        """What meta says of it: the reference, never the address."""
        return {"source": {"database": self.database, "sql": self.ask.sql}}


@dataclass(frozen=True, slots=True)
class _Link:
    """Rows that stay where they are."""

    address: str
    version: int | None

    def placed(self, folder: Path, name: str) -> Path:
        """Where a copy lies while it is checked."""
        return folder / f"{name}.parquet"

    @property
    def told(self) -> dict[str, object]:
        return {"source": {"address": self.address}}


class Datasets:
    """Ingests files and answers of databases, one at a time."""

    def __init__(
        self,
        registry: Registry,
        runs: Runs,
        contracts: Contracts,
        *,
        lake: Path,
        work: Path,
        databases: tuple[str, ...] = (),
        places: tuple[str, ...] = (),
        read: Callable[[Order, Progress], Done] = ingest_apart,
        prove: Callable[[Contract], None] = prove_apart,
    ) -> None:
        """
        Args:
            lake: the lake's directory.
            work: where Runs keep files while they work.
            databases: references to addresses of databases that may be asked.
            places: where rows may lie that are linked.
            read: does the reading; by default in a child process.
            prove: looks at the row rules of a contract; by default in a child process.
        """
        self._registry, self._runs, self._contracts = registry, runs, contracts
        self._lake, self._work, self._read, self._prove = lake, work, read, prove
        self._databases, self._places = databases, places
        self._mine: set[str] = set()
        """Runs of this process, which `sweep` must leave alone."""
        self._turn = threading.Lock()  # one child at a time holds a file in memory

    def ingest(self, path: Path, name: str, how: How | None = None, *, by: Principal) -> Version:
        """Makes a file the next version of `dataset/NAME`; the content of the newest version is that version again.

        Members are `contract.json`, `profile.json` and, where rows were kept apart, `quarantine.parquet`. Meta says `rows`,
        `columns`, the content's `digest`, where the rows lie (`lake`: table and version), `id`, `time`, the contract and
        the profile; and, where there is something to say, `checks` (rules that were broken without refusing the file),
        `quarantined` (rows kept apart), `references` (the versions that columns were compared with), `appended` (rows
        added, rows left out because they stood there already, the version they were added to) and `evolved` (what changed
        in the contract). The file itself stays where it is.

        Args:
            path: CSV, JSON lines, Parquet, or an archive of images or signals, by its suffix; messages call it by the dataset's
                name.
            name: the dataset.
            how: its contract, and whether its rows are added or replace the former.
            by: needs the right to write.

        Raises:
            Forbidden, Conflict: `by` may not write this dataset, or somebody else added to it meanwhile.
            NotFound: there is nothing to add to, or a dataset that is referred to does not exist.
            Invalid: the file is broken or breaks its contract; the Run has failed with the same words.
        """
        inputs = {"bytes": path.stat().st_size if path.is_file() else 0}
        return self._make(name, how or How(), _File(path), inputs, by)

    def query(self, sql: str, database: str, name: str, how: How | None = None, *, by: Principal) -> Version:
        """Makes what a database answers the next version of `dataset/NAME`; see `ingest`. Meta says `source`: both texts.

        Args:
            sql: one statement that reads.
            database: a reference that the settings list, such as `env:ORDERS_URL`.

        Raises:
            Forbidden, Conflict, NotFound: see `ingest`.
            Invalid: there is no such database, the statement is wrong, or the answer breaks the contract.
            Unavailable: the database cannot be reached.
        """
        authorise(by, "write")
        self._own(check_name(name), by)
        ask = Ask(sql=sql, address=address_of(database, self._databases))
        return self._make(name, how or How(), _Answer(ask, database), {"database": database, "sql": sql[:SHOWN]}, by)

    def link(self, address: str, name: str, how: How | None = None, *, version: int | None = None, by: Principal) -> Version:
        """Makes rows that lie elsewhere the next version of `dataset/NAME`; they are checked, and stay where they are.

        Args:
            address: `delta:PLACE/TABLE` or `parquet:PLACE/*.parquet`, in a place that the settings list.
            version: of a Delta table; None: its newest.

        Raises:
            Forbidden, Conflict: see `ingest`.
            NotFound: there is nothing at the address.
            Invalid: the place is not listed, or the rows break the contract.
        """
        authorise(by, "write")
        self._own(check_name(name), by)
        how = how or How()
        if how.append:
            raise Invalid("Rows that lie elsewhere cannot be added to others.", field="append", hint="Leave append out.")
        link = _Link(allowed(address, self._places), version)
        return self._make(name, how, link, {"address": address, "version": version}, by)

    def _make(self, name: str, how: How, source: _File | _Answer | _Link, inputs: Mapping[str, object], by: Principal) -> Version:
        """The next version out of a file or an answer, under a Run."""
        authorise(by, "write")
        self._own(check_name(name), by)
        told = {**inputs, "id": how.id_column, "time": how.time_column, "mode": MODES[how.append]}
        run_id = new_run()
        self._mine.add(run_id)
        run = self._runs.create(KIND, name, inputs=told, by=by, id=run_id)
        try:
            with self._turn:
                self._runs.start(run.id)
                newest = self._own(name, by)
                folder = self._work / run.id
                folder.mkdir(parents=True)
                order = self._order(source.placed(folder, name), name, how, newest, run, by)
                if isinstance(source, _Answer):
                    order = replace(order, ask=source.ask)
                if isinstance(source, _Link):
                    order = replace(order, link=source.address, link_version=source.version)
                done = self._read(order, lambda fraction, stage: self._tell(run.id, fraction, stage))
                if self._own(name, by) != newest:
                    raise Conflict(f"Somebody else added to dataset/{name} meanwhile.", hint="Try again.")
                nothing = order.base is not None and not done.added and not done.changes
                version = (
                    newest if nothing and newest is not None else self._publish(name, order, done, source.told, by, how.parents)
                )
                if how.evolve and done.changes and self._contracts.find(name) is not None:
                    self._contracts.put(name, done.contract, team=version.team, by=by)
        except BaseException as error:
            self._end(
                run.id, "failed", reason=str(error) if isinstance(error, TandemError) else f"{type(error).__name__}: {error}"
            )
            raise
        self._end(run.id, "succeeded", outputs={"asset": str(version.ref), "rows": version.meta["rows"]})
        return version

    def _order(self, path: Path, name: str, how: How, newest: Version | None, run: Run, by: Principal) -> Order:
        contract = how.contract or self._contracts.find(name) or self._kept(newest)
        if how.append and (newest is None or held(newest) is None):
            raise NotFound(f"dataset/{name} has no rows to which these could be added.", hint="Add the file without --append.")
        return Order(
            path=str(path),
            lake=str(self._lake),
            table=name,
            run=run.id,
            now=run.created_at,
            id_column=how.id_column,
            time_column=how.time_column,
            contract=contract,
            references=() if contract is None else self._references(contract, by),
            known=holding(newest),
            base=held(newest) if how.append and newest is not None else None,
            evolve=how.evolve,
            signals=how.signals,
        )

    def _references(self, contract: Contract, by: Principal) -> tuple[Known, ...]:
        """Where the values lie to which columns refer: in the newest version that `by` may read, or in a pinned one."""
        found: list[Known] = []
        for column in contract.columns:
            if column.references is None:
                continue
            reference = Reference.parse(column.references, f"columns.{column.name}.references")
            version = self._registry.find(reference.dataset, scope_of(by))
            rows = held(version)
            names = [str(each.get("name")) for each in columns_of(version)]
            if rows is None or reference.column not in names:
                raise Invalid(
                    f"Column '{column.name}' refers to {column.references}, and {version.ref} has no such column.",
                    field=f"columns.{column.name}.references",
                    hint=f"Its columns are: {', '.join(names[:10])}.",
                )
            found.append(Known(column=column.name, held=rows, there=reference.column))
        return tuple(found)

    def _tell(self, run_id: str, fraction: float, stage: str) -> None:
        self._runs.progress(run_id, fraction, stage)

    def _kept(self, newest: Version | None) -> Contract | None:
        """The contract of the newest version: the next one must keep to it, until somebody edits it."""
        if newest is None or "contract.json" not in newest.members:
            return None
        return Contract.from_json(self._registry.member(newest, "contract.json"))

    def set_contract(self, name: str, text: bytes, *, by: Principal) -> Contract:
        """Keeps an edited contract for a dataset, also before its first version; it governs every later ingest.

        Raises:
            Invalid: it is no contract, or a row rule cannot be computed; `field` names where.
            Forbidden, Conflict: `by` may not write this dataset.
        """
        authorise(by, "write")
        self._own(check_name(name), by)
        return self._keep(name, Contract.from_json(text), by)

    def kept_contract(self, name: str, *, by: Principal) -> Contract:
        """The contract that `set_contract` kept.

        Raises:
            NotFound: nobody edited one, or it is another team's.
        """
        authorise(by, "read")
        found, team = self._contracts.find(name), self._contracts.team(name)
        if found is None or team is None or not scope_of(by).admits(team):
            hint = f"`tandem data contract {name}` shows that of its newest version."
            raise NotFound(f"Nobody edited the contract of dataset/{name}.", hint=hint)
        return found

    def import_contract(self, name: str, text: bytes, *, by: Principal) -> Imported:
        """Keeps the contract that a Pandera schema asks for; see `set_contract` and `tandem.data.pandera`.

        Raises:
            Invalid: it is no JSON, no schema, or holds what a contract cannot say; `field` names where.
            Forbidden, Conflict: `by` may not write this dataset.
        """
        authorise(by, "write")
        self._own(check_name(name), by)
        try:
            found = imported(msgspec.json.decode(text))
        except msgspec.DecodeError as error:
            raise Invalid(
                f"The schema is not JSON: {error}.", field="schema", hint="Write it with pandera's to_json()."
            ) from None
        self._keep(name, found.contract, by)
        return found

    def _keep(self, name: str, contract: Contract, by: Principal) -> Contract:
        newest = self._own(name, by)
        self._prove(contract)
        self._contracts.put(name, contract, team=by.team if newest is None else newest.team, by=by)
        return contract

    def sweep(self) -> None:
        """Ends the Runs that a killed process left open, by what they had reached; for the start of the only process."""
        states: tuple[State, ...] = ("queued", "running")
        for state in states:
            for run in self._runs.list(ALL, kind=KIND, state=state, limit=1000):
                if run.id in self._mine:
                    continue
                made = [v for v in self._registry.versions("dataset", run.name, ALL) if v.run == run.id]
                if made:
                    self._end(run.id, "succeeded", outputs={"asset": str(made[0].ref), "rows": made[0].meta["rows"]})
                else:
                    self._end(run.id, "failed", reason=LOST)

    def _own(self, name: str, by: Principal) -> Version | None:
        """The newest version, if there is one, after a look whether `by` may add to it: a refusal must not touch the lake."""
        newest = newest_of(self._registry, name, by)
        team = self._contracts.team(name) if newest is None else None
        if team is not None:
            check_team(name, team, by)
        return newest

    def _publish(
        self, name: str, order: Order, done: Done, source: Mapping[str, object], by: Principal, parents: tuple[str, ...]
    ) -> Version:
        told = {**_told(order, done), **source}
        return publish(self._registry, name, table_of(done), told=told, parents=parents, run=order.run, by=by)

    def _end(self, run_id: str, state: State, *, outputs: Mapping[str, object] | None = None, reason: str | None = None) -> None:
        staging.clear(self._work / run_id)
        self._runs.finish(run_id, state, outputs=outputs, reason=reason)
        self._mine.discard(run_id)


def columns_of(version: Version) -> list[Mapping[str, object]]:
    """The columns of a version's contract, as its meta has them."""
    match version.meta:
        case {"contract": {"columns": list() as columns}}:
            return [column for column in columns if isinstance(column, Mapping)]
    return []


def _told(order: Order, done: Done) -> dict[str, object]:
    """What an ingest has to say beyond the rows; nothing where there is nothing, so that the same rows are the same version."""
    told: dict[str, object] = {}
    if done.hits:
        told["checks"] = [msgspec.to_builtins(hit) for hit in done.hits]
    if order.references:
        told["references"] = {known.column: f"{known.held.ref}.{known.there}" for known in order.references}
    if done.correlations is not None:
        told["correlations"] = dict(done.correlations)
    if done.units:
        told["signals"] = {"units": done.units}
    elif done.sheet is not None:
        told["images"] = {"duplicates": done.duplicates}
    if done.changes:
        told["evolved"] = list(done.changes)
    if order.base is not None and done.added:
        told["appended"] = {"to": order.base.ref, "rows": done.added, "repeated": done.repeated}
    return told


def held(version: Version) -> Held | None:
    """Where a version's rows lie; None for one that keeps them in files."""
    try:
        found = place(version)
    except Invalid:
        return None
    return Held(ref=found.ref, table=found.table, version=found.version, run=version.run)
