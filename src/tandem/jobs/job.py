"""Job: what a workflow's function is given: its Run, checkpointed steps, progress. It knows no engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, Protocol, TypeVar

import msgspec

from tandem.core.clock import Clock
from tandem.core.errors import Conflict, NotFound, Unavailable
from tandem.core.principal import Principal
from tandem.core.run import Run
from tandem.jobs.repo import Runs
from tandem.store.canonical import canonical

T = TypeVar("T")

PROGRESS_SECONDS = 0.5
"""Between two writes of progress within one stage; every write is a transaction on the control database."""

Why = Literal["cancelled", "stopping", "lost"]


class Halted(BaseException):
    """The job must not go on: not an error of the work, so no `except Exception` may hold it."""

    def __init__(self, why: Why) -> None:
        super().__init__(why)
        self.why: Why = why
        """`cancelled` ends the Run; `stopping` and `lost` leave it to whoever resumes it."""


class Checkpoints(Protocol):
    """The part of an engine that one job needs."""

    def step(self, name: str, work: Callable[[], str]) -> str:
        """The text that `work` returned when this step of this run was first completed.

        Raises:
            Conflict: another step was completed at this place.
            Halted: the run was cancelled or has passed to another executor.
        """
        ...

    def halted(self) -> Why | None:
        """Why the job must not go on, if so."""
        ...


class Job:
    """One attempt at a Run."""

    def __init__(self, run: Run, inputs: Mapping[str, object], runs: Runs, clock: Clock, checkpoints: Checkpoints) -> None:
        self.run = run
        self.inputs = inputs
        self.done = 0
        """Steps taken so far, those from before an interruption included."""
        self._runs, self._clock, self._checkpoints = runs, clock, checkpoints
        self._stage, self._told = run.stage, -PROGRESS_SECONDS

    @property
    def run_id(self) -> str:
        return self.run.id

    @property
    def by(self) -> Principal:
        """Whoever asked for the Run, with just the rights to make what it makes."""
        return Principal(id=self.run.id, name=self.run.created_by, team=self.run.team, kind="service", role="editor")

    def step(self, name: str, work: Callable[[], T], returns: type[T]) -> T:
        """Does `work` and keeps its result, so that a resumed Run does not do it again.

        The work runs at least once: a process killed during it does it again from its beginning, so it
        must be idempotent. An error passes through and is not kept.

        Args:
            name: says what the step does; the same steps in the same order in every attempt.
            returns: the type of the result: JSON values, or a dataclass of them.

        Raises:
            Conflict: the workflow had other steps when this Run began.
            Halted: the Run was cancelled, or this process is going down.
        """
        why = self.halted()
        if why is not None:
            raise Halted(why)
        self.done += 1
        text = self._checkpoints.step(name, lambda: canonical(msgspec.to_builtins(work())))
        try:
            return msgspec.json.decode(text, type=returns)
        except msgspec.ValidationError as error:
            raise Conflict(
                f"The step '{name}' left a result that this version does not understand: {error}.", hint="Start a new run."
            ) from None

    def progress(self, fraction: float, stage: str) -> None:
        """Tells how far the Run is: `fraction` between 0 and 1, `stage` for people. Cheap enough to call often.

        Raises:
            Halted: the Run has ended meanwhile.
        """
        now = self._clock.monotonic()
        if stage == self._stage and now - self._told < PROGRESS_SECONDS:
            return
        self._stage, self._told = stage, now
        try:
            self._runs.progress(self.run.id, min(1.0, max(0.0, fraction)), stage)
        except (Conflict, NotFound):
            raise Halted("lost") from None
        except Unavailable:
            return  # a busy database must not end hours of work; the next call tells more

    def cancelled(self) -> bool:
        """Whether to drop everything now: the Run was cancelled, or this process is going down."""
        return self.halted() is not None

    def halted(self) -> Why | None:
        """Why the job must not go on, if so."""
        return self._checkpoints.halted()


Work = Callable[[Job], Mapping[str, object]]
"""A workflow: calls steps, returns the Run's outputs (JSON). Between its steps it only computes."""


class Workflows(Protocol):
    """An engine that does Runs. `jobs.workflow` survives crashes; `jobs.fake` works in the caller's thread."""

    def register(self, name: str, work: Work, *, at_once: int | None = None) -> None:
        """Makes `work` the workflow of this name; before `launch`.

        Args:
            at_once: gives its Runs a queue of their own, of which so many are done at the same time, so that Runs
                which mostly wait do not hold up the others.
        """
        ...

    def launch(self) -> None:
        """Begins to work: first on what an earlier process left unfinished."""
        ...

    def close(self) -> None:
        """Stops working; what is unfinished stays so and is resumed by the next `launch`."""
        ...

    def start(self, name: str, run_id: str, inputs: Mapping[str, object]) -> None:
        """Has the queued Run done by the workflow `name`; the same run again is no error.

        When it returns, the work survives a crash. When it refuses, the Run has failed with the reason.

        Raises:
            NotFound: there is no such run or workflow.
            Unavailable: the queue is full.
            Invalid: the inputs are not JSON.
        """
        ...

    def cancel(self, run_id: str) -> None:
        """Ends a Run that waits, and asks one that is being done to end.

        Raises:
            NotFound: there is no such run.
            Conflict: it has succeeded or failed already.
        """
        ...
