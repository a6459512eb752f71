"""One check of a Monitor: read the window, judge it, raise at most one alarm, begin at most one retraining.

A call is judged once: a check goes on where the last one with a verdict stopped, so that windows do not overlap and a
person who asks twice does not test twice. It knows no algorithm; what an alarm does is a workflow by name.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import msgspec

from tandem.core.asset import check_name
from tandem.core.clock import MICROS, Clock, iso
from tandem.core.endpoint import Endpoint
from tandem.core.errors import Conflict, Invalid, NotFound, TandemError
from tandem.core.ids import new_id
from tandem.core.monitor import Change, Finding, Monitor, Report, Trigger
from tandem.core.principal import Principal
from tandem.gateway.snapshot import Snapshot
from tandem.governance.authorise import ALL, authorise, scope_of
from tandem.monitoring import scores
from tandem.monitoring.child import Done, Order, judge_apart
from tandem.monitoring.findings import overall
from tandem.monitoring.repo import Monitors, Standing
from tandem.monitoring.retrain import Lineage, Retraining
from tandem.monitoring.window import asked, replies
from tandem.observability.content import Subjects
from tandem.observability.traces import Seen, Traces

AGAIN_SECONDS = 60.0
"""After a check that failed, until the next one of the same Monitor."""
KINDS = {"drift": "predict", "scores": "chat"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What a window turned out to be."""

    findings: tuple[Finding, ...]
    n: int
    coverage: dict[str, int]
    until: int
    reference: str
    """In words."""
    frozen: bytes
    """The reference to keep."""
    key: str
    """What it was made from."""
    first: bool = False
    """Whether this window has become the reference."""


class Watch:
    """Checks Monitors: when asked, by schedule, and when new data come."""

    def __init__(
        self,
        monitors: Monitors,
        retraining: Retraining,
        *,
        traces: Traces,
        subjects: Subjects,
        current: Callable[[], Snapshot],
        clock: Clock,
        lake: str,
        sample: Callable[[str, Sequence[Seen], int], int],
        judge: Callable[[Order], Done] = judge_apart,
    ) -> None:
        """
        Args:
            sample: puts so many calls of a window before people, in the name of a monitor; returns how many are new.
            current: gives the compiled snapshot, which says what an endpoint serves.
            lake: the lake's directory.
            judge: does the arithmetic of drift; by default in a child process.
        """
        self.monitors = monitors
        self._retraining = retraining
        self._traces, self._subjects, self._current, self._clock = traces, subjects, current, clock
        self._lake, self._judge, self._sample = lake, judge, sample
        self._turn = threading.Lock()  # one check at a time: its child holds a window in memory
        self._resting: dict[str, float] = {}

    def add(self, monitor: Monitor, *, by: Principal) -> Monitor:
        """Keeps a new Monitor for an endpoint that is there.

        Raises:
            Forbidden: `by` may not write, or not approve where the Monitor may promote.
            NotFound: there is no such endpoint for this caller.
            Invalid: the question does not fit the endpoint, or its numbers make no sense.
            Conflict: the name is taken.
        """
        authorise(by, "write", monitor.team)
        if monitor.promote == "if-gate-passes":
            authorise(by, "approve", monitor.team)  # who may not promote may not have it done
        check_name(monitor.name)
        _check(monitor)
        endpoint = self._endpoint(monitor)
        if not scope_of(by).admits(endpoint.team) and endpoint.team != "default":
            raise _no_endpoint()
        if endpoint.kind != KINDS[monitor.question]:
            raise Invalid(
                f"A monitor of {monitor.question} watches a {KINDS[monitor.question]} endpoint; this one is {endpoint.kind}.",
                field="endpoint",
                hint="Ask for drift where a model predicts, for scores where a language model chats.",
            )
        if monitor.question == "drift":
            owner = self._retraining.lineage(_target(endpoint)).team
            if "retrain" in (monitor.on_alarm, monitor.on_data) and owner != monitor.team:
                raise Conflict("The model is another team's, so this monitor cannot retrain it.", hint="Use --on-alarm alarm.")
        elif "retrain" in (monitor.on_alarm, monitor.on_data):
            raise Invalid("A chat endpoint has nothing to retrain.", field="on_alarm", hint="Use --on-alarm alarm.")
        return self.monitors.add(monitor, by=by)

    def remove(self, name: str, *, by: Principal) -> Monitor:
        """Drops a Monitor and its reports.

        Raises:
            Forbidden: `by` may not write in its team.
            NotFound: there is none in the caller's scope.
        """
        authorise(by, "write", self.monitors.find(name, scope_of(by)).team)
        return self.monitors.remove(name, by=by)

    def check(self, name: str, trigger: Trigger = "asked") -> Report:
        """Judges what came since the last verdict, and acts on it.

        Raises:
            NotFound: the Monitor was removed, or nothing is served at its endpoint any more.
            TandemError: the reference or the window could not be read.
        """
        with self._turn:
            monitor = self.monitors.find(name, ALL)
            standing, frozen = self.monitors.standing(name)
            now = self._clock.now()
            since = max(standing.since, 0 if monitor.span is None else now - monitor.span * MICROS)
            seen = self._traces.window(team=monitor.team, endpoint=monitor.endpoint, since=since, until=now, limit=monitor.window)
            endpoint = self._endpoint(monitor)
            if monitor.question == "drift":
                lineage = self._retraining.lineage(_target(endpoint))
                judged = self._drift(monitor, standing, frozen, seen, lineage)
            else:
                lineage = None
                judged = self._scores(monitor, frozen, seen)
            report = self._report(monitor, trigger, judged, since, now)
            if monitor.review and (judged.first or report.verdict != "not-enough-data"):  # the window is over: each call once
                report = replace(report, reviews=self._sample(monitor.name, seen, monitor.review))
            return self._act(monitor, standing, judged, report, lineage)

    def _drift(
        self, monitor: Monitor, standing: Standing, frozen: bytes | None, seen: Sequence[Seen], lineage: Lineage
    ) -> Judged:
        found = asked(seen, self._subjects, lineage.signature)
        key = f"{lineage.model} of {lineage.dataset}"
        order = Order(
            lake=self._lake,
            table=lineage.table,
            version=lineage.version,
            columns=lineage.signature.names,
            reference=frozen.decode() if frozen is not None and standing.key == key else None,
            rows=found.rows,
            calls=found.calls,
            refused=found.refused,
            minimum=monitor.minimum,
            threshold=monitor.threshold,
            level=1 / monitor.false_alarm_every,
        )
        done = self._judge(order)
        return Judged(
            findings=done.findings,
            n=len(found.rows),
            coverage=dict(found.coverage),
            until=found.until,
            reference=f"{lineage.dataset}, which {lineage.model} was trained on",
            frozen=done.reference.encode(),
            key=key,
        )

    def _scores(self, monitor: Monitor, frozen: bytes | None, seen: Sequence[Seen]) -> Judged:
        found, coverage = replies(seen, self._subjects)
        now = scores.measure(found)
        until = max((each.trace.end for each in seen), default=0)
        if frozen is None:
            first = now.calls >= monitor.minimum
            kept = msgspec.json.encode(now) if first else b""
            findings: tuple[Finding, ...] = ()
            words = f"the first {now.calls} calls, until {iso(until)}" if first else ""
        else:
            first, kept = False, frozen
            before = msgspec.json.decode(frozen, type=scores.Scores)
            findings = scores.compare(
                now, before, minimum=monitor.minimum, threshold=monitor.threshold, level=1 / monitor.false_alarm_every
            )
            words = f"the first {before.calls} calls"
        return Judged(
            findings=findings, n=now.calls, coverage=coverage, until=until, reference=words, frozen=kept, key="calls", first=first
        )

    def _report(self, monitor: Monitor, trigger: Trigger, judged: Judged, since: int, now: int) -> Report:
        verdict: Change = overall(judged.findings)
        note = ""
        if judged.first:
            note = f"These {judged.n} calls are the reference from now on."
        elif verdict == "not-enough-data":
            what = "rows" if monitor.question == "drift" else "calls"
            note = f"{judged.n} {what} since the last verdict; {monitor.minimum} are needed."
        return Report(
            id=new_id("rpt"),
            monitor=monitor.name,
            team=monitor.team,
            at=now,
            trigger=trigger,
            verdict=verdict,
            alarm=False,
            n=judged.n,
            since=since,
            until=judged.until or now,
            level=1 / monitor.false_alarm_every,
            reference=judged.reference,
            coverage=judged.coverage,
            findings=judged.findings,
            note=note,
        )

    def _act(self, monitor: Monitor, standing: Standing, judged: Judged, report: Report, lineage: Lineage | None) -> Report:
        """Raises the alarm, begins the retraining, and keeps all of it in one transaction; then lets the work begin."""
        fresh = standing.key not in ("", judged.key)  # another version is in production: what went before is over
        ongoing = standing.alarmed and not fresh
        drifted = report.verdict == "drifted"
        alarm = drifted and not ongoing and monitor.on_alarm != "none"
        alarmed = drifted or (ongoing and report.verdict != "stable")
        after = replace(
            standing,
            since=report.until if report.verdict != "not-enough-data" or judged.first else standing.since,
            checked_at=report.at,
            alarmed=alarmed,
            key=judged.key if judged.frozen else standing.key,
        )
        report = replace(report, alarm=alarm)
        begun: str | None = None
        if lineage is not None and (
            (alarmed and monitor.on_alarm == "retrain") or (monitor.on_data == "retrain" and lineage.newer is not None)
        ):
            if _cools(monitor, standing, report.at):
                why = "A retraining was begun not long ago; none is begun until the cooldown is over."
            else:
                begun, why = self._retraining.begin(monitor, report, lineage)
                after = replace(after, acted_on=lineage.newer)
            report = replace(report, run=begun, note=" ".join(part for part in (report.note, why) if part))
        if begun is not None:
            after = replace(after, retrained_at=report.at)
        self.monitors.keep(report, after, judged.frozen or None)
        if begun is not None:
            self._retraining.start(begun)
        return report

    def _endpoint(self, monitor: Monitor) -> Endpoint:
        found = self._current().endpoints.get(monitor.endpoint)
        if found is None:
            raise _no_endpoint()
        return found

    # --- by itself

    def step(self) -> int:
        """Checks every Monitor that is due; returns how many.

        Raises:
            TandemError: one of them failed; the others were checked, and it rests a minute.
        """
        fault: TandemError | None = None
        done = 0
        for monitor in self.monitors.list(ALL):
            if self._resting.get(monitor.name, 0.0) > self._clock.monotonic():
                continue
            try:
                trigger = self._due(monitor)
                if trigger is not None:
                    self.check(monitor.name, trigger)
                    done += 1
            except TandemError as error:
                self._resting[monitor.name] = self._clock.monotonic() + AGAIN_SECONDS
                fault = fault or error
        if fault is not None:
            raise fault
        return done

    def _due(self, monitor: Monitor) -> Trigger | None:
        standing, _ = self.monitors.standing(monitor.name)
        if monitor.every is not None and self._clock.now() - standing.checked_at >= monitor.every * MICROS:
            return "schedule"
        waits = standing.alarmed and monitor.on_alarm == "retrain"
        if (monitor.on_data != "retrain" and not waits) or _cools(monitor, standing, self._clock.now()):
            return None
        newer = self._retraining.lineage(_target(self._endpoint(monitor))).newer
        return "new-data" if newer is not None and newer != standing.acted_on else None


def _target(endpoint: Endpoint) -> str:
    """The version that most calls of an endpoint are meant for."""
    if not endpoint.route:
        raise _no_endpoint()
    return endpoint.route[0].target


def _cools(monitor: Monitor, standing: Standing, now: int) -> bool:
    """Whether this Monitor retrained not long ago."""
    return standing.retrained_at is not None and now - standing.retrained_at < monitor.cooldown * MICROS


def _no_endpoint() -> NotFound:
    return NotFound("There is no such endpoint to watch.", hint="`tandem endpoint list` shows the ones you may call.")


def _check(monitor: Monitor) -> None:
    for name, value, least in (
        ("window", monitor.window, 30),
        ("minimum", monitor.minimum, 30),
        ("false_alarm_every", monitor.false_alarm_every, 10),
        ("every", monitor.every, 10),
        ("span", monitor.span, 60),
        ("cooldown", monitor.cooldown, 0),
        ("review", monitor.review, 0),
    ):
        if value is not None and value < least:
            raise Invalid(f"{name} must be at least {least}.", field=name, hint="Smaller values give no verdict that holds.")
    if monitor.question == "scores" and monitor.minimum > monitor.window:
        raise Invalid("The minimum is larger than the window, so there would never be a verdict.", field="minimum")
    if not 0 < monitor.threshold <= 10:
        raise Invalid("The threshold must lie above 0 and not above 10.", field="threshold", hint="0.1 is usual.")
