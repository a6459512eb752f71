"""Durable jobs: Runs that survive the death of their process. The only file that knows DBOS.

One generic DBOS workflow does every Run and looks its work up by name, so that a Run whose workflow is
gone ends with a reason instead of waiting for ever; for the same reason the application version is ours
and constant. DBOS keeps each step's result as JSON; what a Run is and how it ended is kept
in the Runs alone, and a Run that is open there without a workflow here is begun again.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tandem.core.clock import MICROS, Clock
from tandem.core.errors import Conflict, Invalid, NotFound, TandemError, Unavailable
from tandem.core.run import ENDED, State
from tandem.core.secret import Secret
from tandem.jobs.engine import address, engine, serializer
from tandem.jobs.heartbeat import BEAT_SECONDS, MISSED, Heartbeat
from tandem.jobs.job import Halted, Job, Why, Work
from tandem.jobs.perform import CANCELLED, Everywhere, begin, end, log, perform
from tandem.jobs.repo import Runs
from tandem.store.canonical import canonical

if TYPE_CHECKING:
    from dbos import Queue
    from sqlalchemy import Engine

T = TypeVar("T")

VERSION = "1"
"""DBOS resumes only workflows of its own application version: ours outlives releases, changed steps are noticed apart."""
ATTEMPTS = 10
"""A Run that was begun this often and never ended takes its process down with it."""
POLL_SECONDS = 0.5
"""How often the queue is looked at: the longest wait of a Run that finds the queue empty."""
LOOK_SECONDS = 1.0
"""How often a job looks whether another process cancelled it or took it over."""
CLOSE_SECONDS = 10.0
"""How long `close` waits for jobs to notice."""
QUEUE = "runs"


class Jobs:
    """The engine of one process; DBOS allows no second one beside it."""

    def __init__(
        self,
        place: Path | Secret,
        *,
        executor: str,
        runs: Runs,
        clock: Clock,
        at_once: int = 1,
        queued: int = 100,
        beat: float = BEAT_SECONDS,
        performs: bool = True,
    ) -> None:
        """
        Args:
            place: an SQLite file, whose folder must exist, or the URL of a PostgreSQL database.
            executor: the name under which this process takes work, its own among those that share the place; what
                it leaves unfinished is resumed by the next process of this name, or by a peer.
            at_once: jobs that are done at the same time; the others wait in order.
            queued: jobs that may wait; more are refused.
            beat: seconds between two signs of life; a peer that misses two takes the work over.
            performs: whether this process does work, or only gives it to others.
        """
        self._place, self._performs = place, performs
        self._executor, self._runs, self._clock = executor, runs, clock
        self._queued, self._seconds = queued, beat
        self._works: dict[str, Work] = {}
        self._lanes: dict[str, int] = {QUEUE: at_once}
        """Queue → Runs of it that are done at once; beside the common one, workflows that have their own."""
        self._active: dict[str, threading.Event] = {}
        self._left: set[str] = set()
        """Runs of this process that nobody was at work on at the last beat."""
        self._stopping = threading.Event()
        self._desk: ThreadPoolExecutor | None = None
        self._engine: Engine | None = None
        self._heartbeat: Heartbeat | None = None
        self._pulse: threading.Thread | None = None
        self._queues: dict[str, Queue] = {}
        self._body: Callable[[str, str, str], str] | None = None

    def register(self, name: str, work: Work, *, at_once: int | None = None) -> None:
        """Makes `work` the workflow of this name; before `launch`. With `at_once` it has a queue of its own."""
        self._works[name] = work
        if at_once is not None:
            self._lanes[name] = at_once

    def launch(self) -> None:
        """Resumes what an earlier process left unfinished, then takes new work.

        Raises:
            Unavailable: the file cannot be used, or the server is away; it can be tried again.
        """
        begun = self._clock.now()
        self._stopping.clear()
        # DBOS refuses calls from an event loop's thread and records calls from a workflow's; here it gets neither.
        self._desk = ThreadPoolExecutor(1, thread_name_prefix="jobs-desk")
        try:
            self._ask(lambda: self._launch(begun))
        except Unavailable:
            self._ask(self._close)
            self._desk.shutdown()
            self._desk = None
            raise
        self._pulse = threading.Thread(target=self._beat_on, name="jobs-beat", daemon=True)
        self._pulse.start()

    def _launch(self, begun: int) -> None:
        from dbos import DBOS

        logger = logging.getLogger("dbos")
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())  # else DBOS adds one that writes to the console
        self._engine = engine(self._place)
        self._heartbeat = Heartbeat(self._engine, self._executor, self._clock, seconds=self._seconds)
        self._heartbeat.begin()  # before any work is taken: work of an executor without a row is nobody's
        DBOS(
            config={
                "name": "tandem",
                "system_database_url": address(self._place),
                "system_database_engine": self._engine,
                "application_version": VERSION,
                "executor_id": self._executor,
                "serializer": serializer(),
                "enable_otlp": False,
                "log_level": "ERROR",
                "max_executor_threads": sum(self._lanes.values()) + 4,
                "notification_listener_polling_interval_sec": 0.25,  # unused, but `close` waits for its sleep
            }
        )
        self._body = DBOS.workflow(name="run", max_recovery_attempts=None)(self._attempts())
        if not self._performs:
            DBOS.listen_queues([])
        DBOS.launch()
        for name, at_once in self._lanes.items():
            self._queues[name] = DBOS.register_queue(
                name, worker_concurrency=at_once, polling_interval_sec=POLL_SECONDS, on_conflict="always_update"
            )
        self._settle(begun)
        self._sweep()

    def close(self) -> None:
        """Tells the jobs to stop and waits for them; they stay unfinished and are resumed by the next `launch`."""
        self._stopping.set()
        if self._desk is None:
            return
        waiting = threading.Event()
        deadline = self._clock.monotonic() + CLOSE_SECONDS
        while self._active and self._clock.monotonic() < deadline:
            waiting.wait(0.02)
        if self._pulse is not None:
            self._pulse.join()
        self._ask(self._close)
        self._desk.shutdown()
        self._desk = None

    def _close(self) -> None:
        from dbos import DBOS

        DBOS.destroy(destroy_registry=True)
        if self._heartbeat is not None:
            self._heartbeat.end()
        if self._engine is not None:
            self._engine.dispose()

    def start(self, name: str, run_id: str, inputs: Mapping[str, object]) -> None:
        """Has the queued Run done by the workflow `name`, which is its kind; the same run again is no error.

        When it returns, the work survives a crash. When it refuses, the Run has failed with the reason.

        Raises:
            NotFound: there is no such run or workflow.
            Unavailable: the queue is full, or the file cannot be written.
            Invalid: the inputs are not JSON, or the Run is of another kind.
        """
        run = self._runs.find(run_id, Everywhere())
        if run.state in ENDED:
            return
        try:
            if run.kind != name:
                raise Invalid(f"The run {run_id} is of the kind '{run.kind}', not '{name}'.", field="name")
            text = canonical(inputs)
            self._ask(lambda: self._admit(name, run_id, text))
        except TandemError as error:
            end(self._runs, run_id, "failed", reason=str(error))
            raise

    def _admit(self, name: str, run_id: str, inputs: str) -> None:
        from dbos import DBOS

        if DBOS.get_workflow_status(run_id) is not None:
            return
        if name not in self._works:
            raise _unknown(name, self._works)
        waiting = DBOS.list_workflows(
            status="ENQUEUED", queue_name=self._lane(name), limit=self._queued, load_input=False, load_output=False
        )
        if len(waiting) >= self._queued:
            raise Unavailable(
                f"{len(waiting)} runs are waiting already, and no more may.",
                hint="Try again when some have ended, or cancel one: `tandem run list`.",
                retry_after=30.0,
            )
        self._enqueue(name, run_id, inputs)

    def _enqueue(self, name: str, run_id: str, inputs: str) -> None:
        from dbos import SetWorkflowID

        assert self._body is not None, "launch comes first"
        with SetWorkflowID(run_id):
            self._queues[self._lane(name)].enqueue(self._body, name, run_id, inputs)

    def _lane(self, name: str) -> str:
        return name if name in self._lanes else QUEUE

    def cancel(self, run_id: str) -> None:
        """Ends a Run that waits, and asks one that is being done to end: it is cancelled when its work has stopped.

        Raises:
            NotFound: there is no such run.
            Conflict: it has succeeded or failed already.
            Unavailable: the file cannot be written.
        """
        run = self._runs.find(run_id, Everywhere())
        if run.state == "cancelled":
            return
        if run.state in ENDED:
            raise Conflict(f"The run {run_id} has {run.state} already.", hint="Only a run that waits or runs can be cancelled.")
        before = self._ask(lambda: _cancel(run_id))
        told = self._active.get(run_id)
        if told is not None:
            told.set()
        elif before in (None, "ENQUEUED"):
            end(self._runs, run_id, "cancelled", reason=CANCELLED)

    def _attempts(self) -> Callable[[str, str, str], str]:
        """The function DBOS calls for every attempt at a Run; what it returns says only that the Run has ended."""

        def attempt(name: str, run_id: str, inputs: str) -> str:
            told = threading.Event()
            self._active[run_id] = told
            try:
                self._attempt(name, run_id, json.loads(inputs), told)
            finally:
                if self._active.get(run_id) is told:
                    del self._active[run_id]
            return "ended"

        return attempt

    def _attempt(self, name: str, run_id: str, inputs: Mapping[str, object], told: threading.Event) -> None:
        run = begin(self._runs, run_id)
        if run is None:
            return
        try:
            work = self._work(name, run_id)
        except TandemError as error:
            raise Halted("lost") from error  # the next launch tries again
        steps = _Steps(self, run_id, told)
        perform(Job(run, inputs, self._runs, self._clock, steps), work, self._runs)
        if steps.halted() == "cancelled":
            raise Halted("cancelled")  # DBOS has ended the workflow already and would wait for somebody's result

    def _work(self, name: str, run_id: str) -> Work:
        """The registered work, or one that fails with the reason why it cannot be done.

        Raises:
            Unavailable: the jobs database does not answer.
        """
        work = self._works.get(name)
        begun, kept = self._ask(lambda: _history(run_id))

        def guarded(job: Job) -> Mapping[str, object]:
            if work is None:
                raise _unknown(name, self._works)
            if begun > ATTEMPTS:
                raise Unavailable(
                    f"The run was begun {begun - 1} times, and its process died each time.",
                    hint="Look for what killed it, such as too little memory, and start a new run.",
                )
            outputs = work(job)
            if job.done < kept:
                raise Conflict(
                    f"The workflow '{name}' has changed since this run began: {kept} steps were begun and it now has {job.done}.",
                    hint="Start a new run.",
                )
            return outputs

        return guarded

    def _beat_on(self) -> None:
        while not self._stopping.wait(self._seconds):
            try:
                self._ask(self._beat)
            except TandemError as error:
                log.warning("heartbeat failed", extra={"executor": self._executor, "error": str(error)})

    def _beat(self) -> None:
        """Shows that this process lives, and takes over the work of those that do not."""
        from dbos import DBOS

        assert self._heartbeat is not None, "launch comes first"
        alive = self._heartbeat.beat()
        if alive is None:
            return
        doing = DBOS.list_workflows(status="PENDING", load_input=False, load_output=False)
        dead = sorted({str(status.executor_id) for status in doing} - alive - {self._executor})
        if dead:
            log.warning("taking over from dead executors", extra={"executor": self._executor, "dead": dead})
            # Puts the work back into the queue, if it is still theirs; DBOS has no public name for that.
            DBOS._recover_pending_workflows(dead)
        # What a full disk made an attempt leave lies there without anybody; twice, for one may be about to begin.
        mine = {status.workflow_id: status for status in doing if status.executor_id == self._executor}
        left = mine.keys() - self._active.keys()
        for run_id in sorted(left & self._left):
            DBOS.resume_workflow(run_id, queue_name=mine[run_id].queue_name)
        self._left = left
        self._settle(self._clock.now() - round(self._seconds * MISSED * MICROS))

    def _settle(self, until: int) -> None:
        """Brings Runs and workflows together again after a crash between the two databases.

        Args:
            until: the Runs that were made up to this moment; a younger one may be between its creation and its start.
        """
        from dbos import DBOS

        states: tuple[State, ...] = ("queued", "running")
        found = [run for state in states for run in self._runs.list(Everywhere(), state=state, limit=1000)]
        for run in sorted(found, key=lambda run: run.id):
            if run.kind not in self._works:
                continue
            status = DBOS.get_workflow_status(run.id)
            if status is None:
                if run.created_at <= until:
                    self._enqueue(run.kind, run.id, canonical(run.inputs))
            elif status.status == "CANCELLED":
                end(self._runs, run.id, "cancelled", reason=CANCELLED)
            elif status.status not in ("ENQUEUED", "PENDING"):
                reason = "The work ended, but what came of it was not written down. Start a new run."
                end(self._runs, run.id, "failed", reason=reason)

    def _sweep(self) -> None:
        """Drops the checkpoints of ended Runs; the Runs themselves tell all that is worth keeping."""
        from dbos import DBOS

        ended = DBOS.list_workflows(status=["SUCCESS", "ERROR", "CANCELLED"], limit=10_000, load_input=False, load_output=False)
        DBOS.delete_workflows([status.workflow_id for status in ended])

    def _ask(self, question: Callable[[], T]) -> T:
        """Calls DBOS from a thread of its own.

        Raises:
            Unavailable: the jobs database does not answer, or the engine is not launched.
        """
        from dbos import error as errors
        from sqlalchemy.exc import SQLAlchemyError

        if self._desk is None:
            raise Unavailable("The jobs are not running.", hint="The platform is starting or stopping; try again.")
        try:
            return self._desk.submit(question).result()
        except (SQLAlchemyError, errors.DBOSException) as error:
            raise Unavailable(
                f"The jobs database did not answer: {error.__class__.__name__}.",
                hint="`tandem doctor` looks at each store.",
            ) from error


class _Steps:
    """The checkpoints of one attempt, kept by DBOS."""

    def __init__(self, jobs: Jobs, run_id: str, told: threading.Event) -> None:
        self._jobs, self._run_id, self._told = jobs, run_id, told
        self._looked = jobs._clock.monotonic()
        self._lost = False

    def step(self, name: str, work: Callable[[], str]) -> str:
        from dbos import DBOS
        from dbos import error as errors

        failed: list[Exception] = []

        def escaping() -> str:
            try:
                return work()
            except Exception as error:
                failed.append(error)
                raise _Escape from error  # DBOS would keep an Exception as the step's result

        try:
            # Kept before the step is done, so that a step which changed while it was interrupted is noticed too.
            DBOS.run_step({"name": f"{_BEGIN}{name}"}, lambda: "")
            text: str = DBOS.run_step({"name": name}, escaping)
            return text
        except _Escape:
            pass
        except (errors.DBOSUnexpectedStepError, errors.DBOSStepNondeterminismError) as error:
            raise Conflict(
                f"The workflow's steps have changed since this run began: '{name}' now stands where another step was done.",
                hint="Start a new run.",
            ) from error
        except (errors.DBOSWorkflowCancelledError, errors.DBOSWorkflowConflictIDError):
            # Cancelled by another process, or taken over: DBOS says the second for both once the step has run.
            raise Halted(self._look() or "lost") from None
        raise failed[0]

    def halted(self) -> Why | None:
        if self._told.is_set():
            return "cancelled"
        if self._jobs._stopping.is_set():
            return "stopping"
        if self._lost:
            return "lost"
        if self._jobs._clock.monotonic() - self._looked < LOOK_SECONDS:
            return None
        return self._look()

    def _look(self) -> Why | None:
        """What the database says, for what other processes did."""
        self._looked = self._jobs._clock.monotonic()
        try:
            status, executor = self._jobs._ask(lambda: _owner(self._run_id))
        except Unavailable:
            return None  # nothing is known; the next step or look will tell
        if status == "CANCELLED":
            self._told.set()
            return "cancelled"
        if status != "PENDING" or executor != self._jobs._executor:
            self._lost = True
            return "lost"
        return None


_BEGIN = "begin "


class _Escape(BaseException):
    """Carries an error past DBOS, which would keep it as the step's result."""


def _unknown(name: str, works: Mapping[str, Work]) -> NotFound:
    known = ", ".join(sorted(works)) or "none"
    return NotFound(f"This version of Tandem has no workflow '{name}'.", hint=f"It has: {known}.")


def _cancel(run_id: str) -> str | None:
    """Cancels a workflow; returns the status it had."""
    from dbos import DBOS

    before = DBOS.get_workflow_status(run_id)
    if before is None:
        return None
    DBOS.cancel_workflow(run_id)
    return str(before.status)


def _history(run_id: str) -> tuple[int, int]:
    """How often a workflow was begun, this time included, and how many of its steps were."""
    from dbos import DBOS

    status = DBOS.get_workflow_status(run_id)
    begun = 1 if status is None or status.recovery_attempts is None else int(status.recovery_attempts)
    if begun == 1:
        return begun, 0
    return begun, sum(step["function_name"].startswith(_BEGIN) for step in DBOS.list_workflow_steps(run_id))


def _owner(run_id: str) -> tuple[str | None, str | None]:
    from dbos import DBOS

    status = DBOS.get_workflow_status(run_id)
    return (None, None) if status is None else (status.status, status.executor_id)
