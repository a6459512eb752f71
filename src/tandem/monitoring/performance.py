"""Windows of predictions with late labels: which calls, how many labels have come, and when a window is ripe.

It does no arithmetic; that is `perform`, in a child process.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from tandem.core.clock import MICROS, Clock, iso
from tandem.core.monitor import Monitor
from tandem.monitoring.child import Done, Task
from tandem.monitoring.findings import Judged
from tandem.monitoring.labelled import window_of
from tandem.monitoring.outcomes import Known, Outcomes
from tandem.monitoring.retrain import Lineage, Retraining
from tandem.monitoring.window import opened
from tandem.observability.content import Subjects
from tandem.observability.traces import Traces

DAY = 86_400
"""Seconds of a window where the monitor names none."""


class Performance:
    """Judges windows of one endpoint's predictions against their labels."""

    def __init__(
        self,
        retraining: Retraining,
        outcomes: Outcomes,
        *,
        traces: Traces,
        subjects: Subjects,
        clock: Clock,
        lake: str,
        work: Callable[[Task], Done],
    ) -> None:
        self._retraining, self._outcomes, self._traces, self._subjects = retraining, outcomes, traces, subjects
        self._clock, self._lake, self._work = clock, lake, work

    def judge(self, monitor: Monitor, lineage: Lineage, since: int, state: str, level: float) -> Judged:
        """Judges the window that begins at `since` (UTC microseconds), as far as it can be.

        Raises:
            Invalid: the model carries no evidence to compare with.
        """
        span = (monitor.span or DAY) * MICROS
        end, now = since + span, self._clock.now()
        if now < end:
            note = f"The window is not over before {iso(end)}."
            return Judged(reference=_reference(lineage), frozen=state.encode(), key=lineage.model, note=note)
        evidence = self._retraining.evidence(lineage.model)
        window = window_of(evidence, lineage, lambda name: self._retraining.member(lineage.model, name))
        seen = self._traces.window(team=monitor.team, endpoint=monitor.endpoint, since=since, until=end, limit=monitor.window)
        for each in reversed(seen):
            trace = each.trace
            if trace.outcome != "ok" or "rows" not in trace.attributes or trace.attempts[-1].target != lineage.model:
                continue
            kept, what = opened(each, self._subjects, whole=not lineage.signature.pictured)
            window.add("" if kept is not None else what, kept, self._outcomes.known(trace) if kept is not None else Known())
        mature, given_up = window.share >= monitor.maturity, now >= end + monitor.wait * MICROS
        how = {"minimum": monitor.minimum, "threshold": monitor.threshold, "level": level}
        done = self._work(window.task(self._lake, mature=mature, over=given_up, state=state, how=how))
        note = (
            f"{window.come} of {window.due} {window.noun} have their label "
            f"({window.share:.0%}; {monitor.maturity:.0%} make a window ripe)."
        )
        if given_up and not mature:
            note += " No more are waited for."
        return Judged(
            findings=done.findings,
            n=window.come,
            coverage=window.coverage,
            until=end,
            reference=_reference(lineage),
            frozen=done.reference.encode(),
            key=lineage.model,
            note=note,
            over=mature or given_up,
        )


def _reference(lineage: Lineage) -> str:
    return f"what {lineage.model} said of rows of {lineage.dataset} that it had not seen"


def empty() -> str:
    """The state before the first window."""
    return msgspec.json.encode({"wrong": "", "off": {}}).decode()
