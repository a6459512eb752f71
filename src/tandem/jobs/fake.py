"""Jobs that are done at once, in the caller's thread: for tests and for programs that need no durability."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tandem.core.clock import Clock
from tandem.core.errors import Conflict, Invalid, NotFound, TandemError
from tandem.core.run import ENDED
from tandem.jobs.job import Job, Why, Work
from tandem.jobs.perform import CANCELLED, Everywhere, begin, end, perform
from tandem.jobs.repo import Runs
from tandem.store.canonical import canonical


class InlineJobs:
    """`start` returns when the Run has ended. Nothing survives the process."""

    def __init__(self, runs: Runs, clock: Clock) -> None:
        self._runs, self._clock = runs, clock
        self._works: dict[str, Work] = {}
        self._active: dict[str, _Steps] = {}

    def register(self, name: str, work: Work, *, at_once: int | None = None) -> None:
        self._works[name] = work

    def launch(self) -> None:
        """There is nothing to resume."""

    def close(self) -> None:
        """There is nothing to stop."""

    def start(self, name: str, run_id: str, inputs: Mapping[str, object]) -> None:
        """Does the Run; as `jobs.job.Workflows.start`, but the queue is never full."""
        run = self._runs.find(run_id, Everywhere())
        if run.state in ENDED or run_id in self._active:
            return
        try:
            if run.kind != name:
                raise Invalid(f"The run {run_id} is of the kind '{run.kind}', not '{name}'.", field="name")
            canonical(inputs)
            work = self._works.get(name)
            if work is None:
                raise NotFound(f"There is no workflow '{name}'.", hint=f"There are: {', '.join(sorted(self._works)) or 'none'}.")
        except TandemError as error:
            end(self._runs, run_id, "failed", reason=str(error))
            raise
        steps = _Steps()
        if self._active.setdefault(run_id, steps) is not steps:
            return  # another thread was first
        try:
            if (begun := begin(self._runs, run_id)) is not None:
                perform(Job(begun, dict(inputs), self._runs, self._clock, steps), work, self._runs)
        finally:
            del self._active[run_id]

    def cancel(self, run_id: str) -> None:
        """As `jobs.job.Workflows.cancel`; a job that is being done can be cancelled by its own work or another thread."""
        run = self._runs.find(run_id, Everywhere())
        if run.state == "cancelled":
            return
        if run.state in ENDED:
            raise Conflict(f"The run {run_id} has {run.state} already.", hint="Only a run that waits or runs can be cancelled.")
        steps = self._active.get(run_id)
        if steps is None:
            end(self._runs, run_id, "cancelled", reason=CANCELLED)
        else:
            steps.cancelled = True


class _Steps:
    def __init__(self) -> None:
        self.cancelled = False

    def step(self, name: str, work: Callable[[], str]) -> str:
        return work()

    def halted(self) -> Why | None:
        return "cancelled" if self.cancelled else None
