"""Ingest: a file becomes the next version of a dataset, under a Run that tells how it went; or nothing changes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from tandem.core.asset import Ref, Version, check_name
from tandem.core.errors import Conflict, NotFound, TandemError
from tandem.core.ids import new_run
from tandem.core.principal import Principal
from tandem.core.run import State
from tandem.data.child import Done, Order, ingest_apart
from tandem.data.contract import Contract
from tandem.data.repo import Contracts
from tandem.governance.authorise import ALL, authorise, scope_of
from tandem.jobs import staging
from tandem.jobs.repo import Runs
from tandem.registry.registry import Registry

KIND = "ingest"
LOST = "The platform was stopped while it read the file; nothing was added. Send the file again."


class Datasets:
    """Ingests files, one at a time."""

    def __init__(
        self,
        registry: Registry,
        runs: Runs,
        contracts: Contracts,
        *,
        lake: Path,
        work: Path,
        read: Callable[[Order], Done] = ingest_apart,
    ) -> None:
        """
        Args:
            lake: the lake's directory.
            work: where Runs keep files while they work.
            read: does the reading; by default in a child process.
        """
        self._registry, self._runs, self._contracts = registry, runs, contracts
        self._lake, self._work, self._read = lake, work, read
        self._mine: set[str] = set()
        """Runs of this process, which `sweep` must leave alone."""
        self._turn = threading.Lock()  # one child at a time holds a file in memory

    def ingest(
        self,
        path: Path,
        name: str,
        *,
        id_column: str | None = None,
        time_column: str | None = None,
        contract: Contract | None = None,
        by: Principal,
    ) -> Version:
        """Makes a file the next version of `dataset/NAME`; the content of the newest version is that version again.

        Members are `contract.json` and `profile.json`; meta says `rows`, `columns`, the content's `digest`, where
        the rows lie (`lake`: table and version), `id`, `time`, the contract and the profile. The file itself
        stays where it is.

        Args:
            path: CSV, JSON lines or Parquet, by its suffix; messages call it by the dataset's name.
            contract: what it must keep to; else the edited contract of this dataset, else the newest version's, else
                inferred from the file.
            by: needs the right to write.

        Raises:
            Forbidden, Conflict: `by` may not write this dataset.
            Invalid: the file is broken or breaks its contract; the Run has failed with the same words.
        """
        authorise(by, "write")
        self._own(check_name(name), by)
        inputs = {"bytes": path.stat().st_size if path.is_file() else 0, "id": id_column, "time": time_column}
        run_id = new_run()
        self._mine.add(run_id)
        run = self._runs.create(KIND, name, inputs=inputs, by=by, id=run_id)
        try:
            with self._turn:
                self._runs.start(run.id)
                newest = self._own(name, by)
                folder = self._work / run.id
                folder.mkdir(parents=True)
                shown = folder / f"{name}{path.suffix}"
                shown.symlink_to(path.resolve())
                order = Order(
                    path=str(shown),
                    lake=str(self._lake),
                    table=name,
                    id_column=id_column,
                    time_column=time_column,
                    contract=contract or self._contracts.find(name) or self._kept(newest),
                    known=None if newest is None else _holding(newest),
                )
                version = self._publish(name, self._read(order), run.id, by)
        except BaseException as error:
            self._end(
                run.id, "failed", reason=str(error) if isinstance(error, TandemError) else f"{type(error).__name__}: {error}"
            )
            raise
        self._end(run.id, "succeeded", outputs={"asset": str(version.ref), "rows": version.meta["rows"]})
        return version

    def _kept(self, newest: Version | None) -> Contract | None:
        """The contract of the newest version: the next one must keep to it, until somebody edits it."""
        if newest is None or "contract.json" not in newest.members:
            return None
        return Contract.from_json(self._registry.member(newest, "contract.json"))

    def set_contract(self, name: str, text: bytes, *, by: Principal) -> Contract:
        """Keeps an edited contract for a dataset, also before its first version; it governs every later ingest.

        Raises:
            Invalid: it is no contract; `field` names where.
            Forbidden, Conflict: `by` may not write this dataset.
        """
        authorise(by, "write")
        newest = self._own(check_name(name), by)
        contract = Contract.from_json(text)
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
        try:
            newest = self._registry.find(Ref(kind="dataset", name=name), ALL)
        except NotFound:
            newest = None
        team = self._contracts.team(name) if newest is None else newest.team
        if team is not None and not scope_of(by).admits(team):
            raise Conflict(f"The name dataset/{name} is taken by another team.", hint="Choose another name.")
        authorise(by, "write", team)
        return newest

    def _publish(self, name: str, done: Done, run_id: str, by: Principal) -> Version:
        contract = done.contract
        return self._registry.publish(
            "dataset",
            name,
            members={"contract.json": contract.to_json(), "profile.json": bytes(done.profile)},
            meta={
                "rows": done.rows,
                "columns": len(contract.columns),
                "digest": done.digest,
                "lake": {"table": name, "version": done.version},
                "id": contract.id_column,
                "time": contract.time_column,
                "contract": msgspec.to_builtins(contract),
                "profile": msgspec.json.decode(done.profile),
            },
            run=run_id,
            by=by,
        )

    def _end(self, run_id: str, state: State, *, outputs: Mapping[str, object] | None = None, reason: str | None = None) -> None:
        staging.clear(self._work / run_id)
        self._runs.finish(run_id, state, outputs=outputs, reason=reason)
        self._mine.discard(run_id)


def _holding(version: Version) -> tuple[str, int] | None:
    """The content digest of a version and the lake's version that holds it."""
    match version.meta:
        case {"digest": str() as digest, "lake": {"version": int() as number}}:
            return digest, number
    return None
