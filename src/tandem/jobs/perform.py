"""One attempt at a Run, from its start to its end: the border where errors become a Run's reason.

It knows neither how steps are kept nor what they do.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from tandem.core.errors import Conflict, NotFound, TandemError
from tandem.core.run import ENDED, Run, State
from tandem.jobs.job import Halted, Job, Work
from tandem.jobs.repo import Runs
from tandem.store.canonical import canonical

log = logging.getLogger("tandem.jobs")

CANCELLED = "It was cancelled on request."


@dataclass(frozen=True, slots=True)
class Everywhere:
    """The scope of the platform's own work: the Runs of all teams."""

    team: str | None = None


def begin(runs: Runs, run_id: str) -> Run | None:
    """The Run, now running; None if there is nothing to do, because it has ended or is gone.

    Raises:
        Halted: the database did not answer; a later attempt will begin.
    """
    try:
        return runs.start(run_id)
    except (Conflict, NotFound):
        return None
    except TandemError as error:
        log.error("run's start could not be written", extra={"run": run_id, "error": str(error)})
        raise Halted("lost") from error


def perform(job: Job, work: Work, runs: Runs) -> None:
    """Does the work and ends its Run as succeeded, failed or cancelled.

    Raises:
        Halted: the Run is left as it is, for a later attempt or another executor.
    """
    state: State = "failed"
    outputs: Mapping[str, object] | None = None
    reason: str | None = None
    try:
        outputs = json.loads(canonical(work(job)))
        state = "succeeded"
    except Halted as halted:
        if halted.why != "cancelled":
            raise
        state, reason = "cancelled", CANCELLED
    except TandemError as error:
        state, reason = _interrupted(job) or ("failed", str(error))
    except Exception as error:  # the job runner's border: any error of the work is a Run's reason
        state, reason = _interrupted(job) or ("failed", f"{type(error).__name__}: {error}")
        if state == "failed":
            log.exception("run failed", extra={"run": job.run_id, "workflow": job.run.kind})
    end(runs, job.run_id, state, outputs=outputs, reason=reason)


def end(runs: Runs, run_id: str, state: State, *, outputs: Mapping[str, object] | None = None, reason: str | None = None) -> None:
    """Ends a Run; one that has ended otherwise meanwhile stays as it is.

    Raises:
        Halted: the end could not be written; a later attempt will.
    """
    try:
        runs.finish(run_id, state, outputs=outputs, reason=reason)
    except (Conflict, NotFound) as error:
        log.warning("run had ended otherwise", extra={"run": run_id, "state": state, "error": str(error)})
    except TandemError as error:
        log.error("run's end could not be written", extra={"run": run_id, "state": state, "error": str(error)})
        raise Halted("lost") from error


def is_open(runs: Runs, run_id: str) -> bool:
    """Whether a Run has not ended.

    Raises:
        NotFound: there is no such run.
    """
    return runs.find(run_id, Everywhere()).state not in ENDED


def _interrupted(job: Job) -> tuple[State, str] | None:
    """What an error means in a job that was told to end: the error is then only how the work obeyed."""
    why = job.halted()
    if why is None:
        return None
    if why != "cancelled":
        raise Halted(why)
    return "cancelled", CANCELLED
