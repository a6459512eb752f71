"""Hours of a watched endpoint, judged from counts: what is frozen of a model, which hours make a window, and its references.

Windows are whole hours and do not overlap. It knows no alarm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import msgspec

from tandem.core.clock import MICROS, Clock, iso
from tandem.core.monitor import Monitor
from tandem.gateway.snapshot import Snapshot
from tandem.governance.authorise import ALL
from tandem.monitoring.child import Count, Done, Freeze, Task
from tandem.monitoring.counts import Frozen, Plan, pairs
from tandem.monitoring.findings import Judged
from tandem.monitoring.repo import Monitors
from tandem.monitoring.retrain import Lineage, Retraining
from tandem.monitoring.window import known_values, watched
from tandem.observability.counts import HOUR, Counts, total
from tandem.observability.traces import Hour, Traces

LATE = 60 * MICROS
"""After an hour's end until it is judged: calls are moved within a second."""
FROZEN = b"hours"
"""Kept in the place of a reference, which lies apart."""
DAY, WEEK = 24, 168
"""Hours."""


class Hours:
    """The counts of watched endpoints, and their references."""

    def __init__(
        self,
        monitors: Monitors,
        retraining: Retraining,
        *,
        traces: Traces,
        current: Callable[[], Snapshot],
        clock: Clock,
        lake: str,
        work: Callable[[Task], Done],
    ) -> None:
        """
        Args:
            current: gives the compiled snapshot, which says what an endpoint serves.
            lake: the lake's directory.
            work: does the arithmetic.
        """
        self._monitors, self._retraining, self._traces, self._clock = monitors, retraining, traces, clock
        self._current, self._lake, self._work = current, lake, work
        self._frozen: dict[tuple[str, str], Frozen] = {}  # never changes once made

    def plans(self) -> Sequence[Plan]:
        """How calls are counted now; a monitor whose reference is not made yet has no plan."""
        found: list[Plan] = []
        for monitor in self._monitors.list(ALL):
            endpoint = self._current().endpoints.get(monitor.endpoint)
            if monitor.hours is None or endpoint is None or not endpoint.route:
                continue
            model = endpoint.route[0].target
            frozen = self._known(model, monitor.segment)
            if frozen is not None:
                signature = self._retraining.lineage(model).signature
                at = Plan(team=monitor.team, endpoint=monitor.endpoint, model=model, signature=signature, frozen=frozen)
                found.append(replace(at, segment=monitor.segment))
        return found

    def frozen(self, lineage: Lineage, segment: str | None) -> Frozen:
        """What a model was trained on, as counts; made once.

        Raises:
            NotFound, Invalid: its rows are gone, or lack a column.
        """
        known = self._known(lineage.model, segment)
        if known is not None:
            return known
        done = self._work(
            Freeze(
                lake=self._lake,
                table=lineage.table,
                version=lineage.version,
                columns=tuple(field.name for _, field in watched(lineage.signature)),
                categories=known_values(lineage.signature),
                chances=list(self._retraining.chances(lineage.model)),
                segment=segment,
            )
        )
        self._monitors.freeze(lineage.model, segment or "", done.reference)
        return msgspec.json.decode(done.reference, type=Frozen)

    def _known(self, model: str, segment: str | None) -> Frozen | None:
        key = (model, segment or "")
        if key not in self._frozen:
            text = self._monitors.frozen(*key)
            if text is None:
                return None
            self._frozen[key] = msgspec.json.decode(text, type=Frozen)
        return self._frozen[key]

    def judge(self, monitor: Monitor, lineage: Lineage, since: int, level: float) -> Judged:
        """Judges the hours since `since` (UTC microseconds), when there are as many as the monitor asks for.

        Raises:
            NotFound, Invalid: as `frozen`.
        """
        assert monitor.hours is not None
        key = f"{lineage.model} of {lineage.dataset}"
        frozen = self.frozen(lineage, monitor.segment)
        end = (self._clock.now() - LATE) // HOUR
        start = max(since // HOUR, end - monitor.hours)
        if end - start < monitor.hours:
            due = iso((start + monitor.hours) * HOUR + LATE)
            return Judged(frozen=FROZEN, key=key, note=f"The hours are not over before {due}.")
        window = self._counts(monitor, lineage, start, end)
        references: dict[str, Mapping[str, Counts]] = {
            name: self._reference(monitor, lineage, name, start, end) for name in monitor.against
        }
        whole = window.get("", Counts())
        done = self._work(
            Count(
                pairs=pairs(frozen, window, references),
                calls=whole.calls,
                refused=whole.refused,
                weights=lineage.importances,
                minimum=monitor.minimum,
                threshold=monitor.threshold,
                level=level,
            )
        )
        rows = max((sum(counts[:-1]) for counts in whole.columns.values()), default=0)
        return Judged(
            findings=done.findings,
            n=rows,
            coverage=dict(whole.coverage),
            until=end * HOUR,
            reference=", ".join(_words(monitor, lineage, name) for name in monitor.against),
            frozen=FROZEN,
            key=key,
        )

    def _counts(self, monitor: Monitor, lineage: Lineage, since: int, until: int) -> Mapping[str, Counts]:
        """Segment → what was counted in these hours."""
        found = self._traces.counted(team=monitor.team, endpoint=monitor.endpoint, model=lineage.model, since=since, until=until)
        return _by_segment(found, monitor.segment)

    def _reference(self, monitor: Monitor, lineage: Lineage, name: str, start: int, end: int) -> Mapping[str, Counts]:
        match name:
            case "trailing":
                return self._counts(monitor, lineage, start - monitor.days * DAY, start)
            case "season":
                weeks = [
                    self._counts(monitor, lineage, start - week * WEEK, min(start, end - week * WEEK))
                    for week in range(1, monitor.weeks + 1)
                ]
                return {
                    segment: total(week[segment] for week in weeks if segment in week)
                    for segment in {segment for week in weeks for segment in week}
                }
            case _:
                return {}  # what was frozen of the training rows


def _by_segment(hours: Sequence[Hour], segment: str | None) -> Mapping[str, Counts]:
    """Counts of all calls and of the segments by one column; other monitors may have others counted."""
    found: dict[str, list[Counts]] = {}
    for each in hours:
        if not each.segment or each.segment.partition("=")[0] == segment:
            found.setdefault(each.segment, []).append(each.counted)
    return {name: total(parts) for name, parts in found.items()}


def _words(monitor: Monitor, lineage: Lineage, name: str) -> str:
    match name:
        case "trailing":
            return f"the {monitor.days} days before"
        case "season":
            return f"the same hours of the {monitor.weeks} weeks before"
        case _:
            return f"{lineage.dataset}, which {lineage.model} was trained on"
