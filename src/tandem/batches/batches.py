"""Batches: made, looked at, cancelled, ended. What asks their lines is in `tasks.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tandem.batches.files import KEPT_SECONDS, Files, own
from tandem.batches.lines import Problem
from tandem.batches.repo import Batch, BatchRows, End, File, Page
from tandem.batches.sealed import extent
from tandem.core.clock import MICROS, Clock
from tandem.core.errors import Conflict, Invalid, NotFound
from tandem.core.ids import new_id
from tandem.core.principal import Principal
from tandem.core.run import ENDED, Run
from tandem.governance.authorise import ALL, authorise, scope_of
from tandem.jobs.job import Workflows
from tandem.jobs.repo import Runs

KIND = "batch"
WINDOW_SECONDS = 86_400
"""The one completion window that there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What somebody wants asked."""

    input_file: str
    endpoint: str
    metadata: Mapping[str, str] | None = None
    kept_seconds: int = KEPT_SECONDS
    """How long the files of answers are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batches:
    """All batches."""

    rows: BatchRows
    files: Files
    runs: Runs
    jobs: Workflows
    clock: Clock

    def create(self, wanted: Wanted, by: Principal) -> Batch:
        """Starts a batch; it goes on when this process dies, and says how far it is.

        Raises:
            Forbidden: `by` may not call.
            NotFound: there is no such file for `by`.
            Invalid: the file holds answers.
            Unavailable: too many batches wait already.
        """
        authorise(by, "call")
        file = self.files.find(wanted.input_file, by)
        if file.purpose != "batch":
            what = f"The file {file.id} was sent for '{file.purpose}', not for a batch."
            raise Invalid(what, hint="Upload it with purpose=batch.", field="input_file_id")
        now, identifier = self.clock.now(), new_id("batch")
        run = self.runs.create(
            KIND, file.filename, inputs={"batch": identifier, "endpoint": wanted.endpoint, "input_file": file.id}, by=by
        )
        batch = Batch(
            id=identifier,
            run=run.id,
            team=by.team,
            by=by,
            endpoint=wanted.endpoint,
            input_file=file.id,
            output_file=new_id("file"),
            error_file=new_id("file"),
            metadata=wanted.metadata,
            kept_seconds=wanted.kept_seconds,
            created_at=now,
            expires_at=now + WINDOW_SECONDS * MICROS,
        )
        self.rows.add(batch)
        self.jobs.start(KIND, run.id, {"batch": identifier})
        return self.rows.find(identifier, ALL)

    def find(self, identifier: str, by: Principal) -> Batch:
        """One batch.

        Raises:
            NotFound: there is none for `by`.
        """
        authorise(by, "read")
        return self._settled(self.rows.find(identifier, scope_of(by)))

    def list(self, page: Page, by: Principal) -> tuple[Batch, ...]:
        """Batches, and one more than the page holds if there are more."""
        authorise(by, "read")
        return tuple([self._settled(batch) for batch in self.rows.list(scope_of(by), page)])

    def cancel(self, identifier: str, by: Principal) -> Batch:
        """Asks a batch to end; what was answered by then is kept. One that is ending already is no error.

        Raises:
            NotFound: there is none for `by`.
            Forbidden: it is another key's, and `by` may not write.
            Conflict: it has ended.
        """
        batch = self.find(identifier, by)
        own(by, batch.by.name, batch.team)
        if batch.status == "cancelled":
            return batch
        if batch.end is not None:
            raise Conflict(f"The batch {identifier} has ended already: it is {batch.end}.", hint="Only one that goes on can be.")
        self.rows.cancel(identifier, self.clock.now())
        try:
            self.jobs.cancel(batch.run)
        except Conflict:  # it has just ended
            pass
        return self.find(identifier, by)

    def finish(self, identifier: str, end: End) -> Batch:
        """Ends a batch as its files say; one that has ended stays as it is."""
        batch = self.rows.find(identifier, ALL)
        if batch.end is not None:
            return batch
        now = self.clock.now()
        self.rows.finalize(identifier, now)
        made, counts = [], []
        for name, kind in ((batch.output_file, "output"), (batch.error_file, "error")):
            found = extent(self.files.path(name))
            counts.append(len(found.numbers))
            if found.numbers:
                made.append(_file(batch, name, kind, found.length, now))
            else:
                self.files.path(name).unlink(missing_ok=True)
        ending = replace(batch, end=end, ended_at=now, completed=counts[0], failed=counts[1])
        return self.rows.finish(ending, made)

    def settle(self) -> None:
        """Ends the batches whose Run has ended without them."""
        for batch in self.rows.open():
            self._settled(batch)

    def _settled(self, batch: Batch) -> Batch:
        """The batch as its Run stands: one that was cancelled, or has died, says so."""
        if batch.end is not None:
            return batch
        try:
            run = self.runs.find(batch.run, ALL)
        except NotFound:
            return batch
        return batch if run.state not in ENDED else self._ended(batch, run)

    def _ended(self, batch: Batch, run: Run) -> Batch:
        now = self.rows.find(batch.id, ALL)  # it may have ended since it was read
        if now.end is not None:
            return now
        if run.state == "cancelled":
            self.rows.cancel(batch.id, run.ended_at or self.clock.now())  # by way of its Run
            return self.finish(batch.id, "cancelled")
        if not batch.problems:
            self.rows.refuse(batch.id, [Problem(code="run_failed", message=run.reason or "The run failed.")], batch.total)
        return self.finish(batch.id, "failed")


def _file(batch: Batch, identifier: str, kind: str, length: int, now: int) -> File:
    return File(
        id=identifier,
        team=batch.team,
        created_by=batch.by.name,
        created_at=now,
        expires_at=now + batch.kept_seconds * MICROS,
        filename=f"{batch.id}_{kind}.jsonl",
        purpose="batch_output",
        size=length,
    )
