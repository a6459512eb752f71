"""One check of a Monitor: read the window, judge it, raise at most one alarm, begin at most one retraining.

A call is judged once: a check goes on where the last one with a verdict stopped, so that windows do not overlap and a
person who asks twice does not test twice. It knows no algorithm; what an alarm does is a workflow by name.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import msgspec

from tandem.core.asset import check_name
from tandem.core.clock import MICROS, Clock, iso
from tandem.core.endpoint import Endpoint
from tandem.core.errors import Conflict, Invalid, NotFound, TandemError
from tandem.core.ids import new_id
from tandem.core.monitor import Change, Finding, Monitor, Report, Trigger
from tandem.core.principal import Principal
from tandem.gateway.snapshot import Snapshot
from tandem.governance.authorise import ALL, Scope, authorise, scope_of
from tandem.monitoring import scores
from tandem.monitoring.child import Done, Order, Task, judge_apart
from tandem.monitoring.findings import Judged, overall
from tandem.monitoring.hours import Hours
from tandem.monitoring.outcomes import Outcomes
from tandem.monitoring.performance import Performance, empty
from tandem.monitoring.repo import Monitors, Standing
from tandem.monitoring.retrain import Lineage, Retraining
from tandem.monitoring.window import asked, known_values, replies, watched
from tandem.observability.content import Subjects
from tandem.observability.traces import Seen, Traces

QUARTER = 91 * 86_400
"""Seconds."""
MOST_LEVEL = 0.1
"""However few checks there are, each is allowed no more."""
AGAIN_SECONDS = 60.0
"""After a check that failed, until the next one of the same Monitor."""
KINDS = {"drift": "predict", "performance": "predict", "scores": "chat"}


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
        outcomes: Outcomes,
        judge: Callable[[Task], Done] = judge_apart,
    ) -> None:
        """
        Args:
            outcomes: the labels that have come.
            sample: puts so many calls of a window before people, in the name of a monitor; returns how many are new.
            current: gives the compiled snapshot, which says what an endpoint serves.
            lake: the lake's directory.
            judge: does the arithmetic of drift; by default in a child process.
        """
        self.monitors = monitors
        self._retraining = retraining
        self._traces, self._subjects, self._current, self._clock = traces, subjects, current, clock
        self._lake, self._judge, self._sample, self._outcomes = lake, judge, sample, outcomes
        self.hours = Hours(monitors, retraining, traces=traces, current=current, clock=clock, lake=lake, work=judge)
        self.performance = Performance(retraining, outcomes, traces=traces, subjects=subjects, clock=clock, lake=lake, work=judge)
        self._turn = threading.Lock()  # one check at a time: its child holds a window in memory
        self._resting: dict[str, float] = {}
        self._looked: dict[str, float] = {}
        """When it was last looked whether labels have come, by monitor."""

    def add(self, monitor: Monitor, *, by: Principal) -> Monitor:
        """Keeps a new Monitor for an endpoint that is there.

        Raises:
            Forbidden: `by` may not write, or not approve where the Monitor may promote.
            NotFound: there is no such endpoint for this caller.
            Invalid: the question does not fit the endpoint, or its numbers make no sense.
            Conflict: the name is taken.
        """
        authorise(by, "write", monitor.team)
        if monitor.promote != "ask" or monitor.on_alarm == "roll-back":
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
                hint="Ask for drift or performance where a model predicts, for scores where a language model chats.",
            )
        if KINDS[monitor.question] == "predict":
            lineage = self._retraining.lineage(_target(endpoint))
            owner = lineage.team
            if lineage.signature.lists and monitor.question == "drift":
                raise Invalid(
                    "What recommendations are asked is not watched.",
                    field="question",
                    hint="Watch what is chosen of what they tell: --question performance.",
                )
            if "retrain" in (monitor.on_alarm, monitor.on_data) and monitor.promote != "ask":
                _refuse_unpaired(lineage)
            if monitor.segment is not None and all(field.name != monitor.segment for _, field in watched(lineage.signature)):
                raise Invalid(
                    f"The model takes no column '{monitor.segment}'.",
                    field="segment",
                    hint=f"Watched are: {', '.join(field.name for _, field in watched(lineage.signature)[:10])}.",
                )
            if monitor.question == "performance":
                self._retraining.evidence(lineage.model)
            if monitor.hours is not None:
                self.hours.frozen(lineage, monitor.segment)
            if {"retrain", "roll-back"} & {monitor.on_alarm, monitor.on_data} and owner != monitor.team:
                raise Conflict("The model is another team's, so this monitor cannot move it.", hint="Use --on-alarm alarm.")
        elif {"retrain", "roll-back"} & {monitor.on_alarm, monitor.on_data}:
            raise Invalid("A chat endpoint has no model to retrain or roll back.", field="on_alarm", hint="Use --on-alarm alarm.")
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
            endpoint = self._endpoint(monitor)
            if monitor.hours is not None:
                return self._check_hours(monitor, trigger, standing, now)
            if monitor.question == "performance":
                return self._check_performance(monitor, trigger, standing, frozen, now)
            seen = self._traces.window(team=monitor.team, endpoint=monitor.endpoint, since=since, until=now, limit=monitor.window)
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

    def _check_hours(self, monitor: Monitor, trigger: Trigger, standing: Standing, now: int) -> Report:
        """As `check`, from counts."""
        lineage = self._retraining.lineage(_target(self._endpoint(monitor)))
        judged = self.hours.judge(monitor, lineage, standing.since, self._level(monitor))
        return self._act(monitor, standing, judged, self._report(monitor, trigger, judged, standing.since, now), lineage)

    def _check_performance(
        self, monitor: Monitor, trigger: Trigger, standing: Standing, frozen: bytes | None, now: int
    ) -> Report:
        """As `check`, of predictions and their labels."""
        lineage = self._retraining.lineage(_target(self._endpoint(monitor)))
        state = frozen.decode() if frozen is not None and standing.key == lineage.model else empty()
        judged = self.performance.judge(monitor, lineage, standing.since, state, self._level(monitor))
        return self._act(monitor, standing, judged, self._report(monitor, trigger, judged, standing.since, now), lineage)

    def _drift(
        self, monitor: Monitor, standing: Standing, frozen: bytes | None, seen: Sequence[Seen], lineage: Lineage
    ) -> Judged:
        found = asked(seen, self._subjects, lineage.signature)
        key = f"{lineage.model} of {lineage.dataset}"
        order = Order(
            lake=self._lake,
            table=lineage.table,
            version=lineage.version,
            columns=tuple(field.name for _, field in watched(lineage.signature)),
            categories=known_values(lineage.signature),
            reference=frozen.decode() if frozen is not None and standing.key == key else None,
            rows=found.rows,
            plan=lineage.plan,
            windows=found.windows,
            calls=found.calls,
            refused=found.refused,
            sparse=lineage.signature.pictured,
            weights=lineage.importances,
            minimum=monitor.minimum,
            threshold=monitor.threshold,
            level=self._level(monitor),
        )
        done = self._judge(order)
        return Judged(
            findings=done.findings,
            n=len(found.rows) or len(found.windows),
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
                now, before, minimum=monitor.minimum, threshold=monitor.threshold, level=self._level(monitor)
            )
            words = f"the first {before.calls} calls"
        return Judged(
            findings=findings, n=now.calls, coverage=coverage, until=until, reference=words, frozen=kept, key="calls", first=first
        )

    def _report(self, monitor: Monitor, trigger: Trigger, judged: Judged, since: int, now: int) -> Report:
        verdict: Change = overall(judged.findings)
        note = judged.note
        if judged.first:
            note = f"These {judged.n} calls are the reference from now on."
        elif not note and verdict == "not-enough-data":
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
            level=self._level(monitor),
            reference=judged.reference,
            coverage=dict(judged.coverage),
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
            since=report.until if report.verdict != "not-enough-data" or judged.first or judged.over else standing.since,
            checked_at=report.at,
            alarmed=alarmed,
            moved=(report.since, report.until) if alarm else standing.moved if alarmed else (0, 0),
            key=judged.key if judged.frozen else standing.key,
        )
        report = replace(report, alarm=alarm)
        begun: str | None = None
        if alarm and lineage is not None and monitor.on_alarm == "roll-back":
            done = self._retraining.roll_back(monitor, lineage)
            report = replace(report, note=" ".join(part for part in (report.note, done) if part))
        if lineage is not None and (
            (alarmed and monitor.on_alarm == "retrain") or (monitor.on_data == "retrain" and lineage.newer is not None)
        ):
            if _cools(monitor, standing, report.at):
                why = "A retraining was begun not long ago; none is begun until the cooldown is over."
            elif alarmed and (waits := self._waits(monitor, after.moved)):
                why = waits
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

    def _waits(self, monitor: Monitor, moved: tuple[int, int]) -> str:
        """Why a retraining waits for labels; empty where it does not."""
        since, until = moved
        if not monitor.await_labels or self._clock.now() >= until + monitor.wait * MICROS:
            return ""
        seen = self._traces.window(team=monitor.team, endpoint=monitor.endpoint, since=since, until=until, limit=monitor.window)
        calls = [each.trace for each in seen if each.trace.outcome == "ok" and "rows" in each.trace.attributes]
        come = sum(bool(self._outcomes.of(call)) for call in calls)
        if calls and come >= monitor.maturity * len(calls):
            return ""
        ripe = f"{monitor.maturity:.0%} are waited for, until {iso(until + monitor.wait * MICROS)} at most"
        return f"A retraining waits for labels: {come} of {len(calls)} calls that raised the alarm have theirs; {ripe}."

    def _ripened(self, monitor: Monitor, moved: tuple[int, int]) -> bool:
        """Whether the labels that are waited for have come; looked at once a minute."""
        now = self._clock.monotonic()
        if now - self._looked.get(monitor.name, float("-inf")) < AGAIN_SECONDS:
            return False
        self._looked[monitor.name] = now
        return not self._waits(monitor, moved)

    def _level(self, monitor: Monitor) -> float:
        """The chance of a false alarm that a check is allowed: its own, or its part of what the team allows in a quarter."""
        if monitor.false_pages is None:
            return 1 / monitor.false_alarm_every
        team = [each for each in self.monitors.list(Scope(monitor.team)) if each.false_pages is not None]
        checks = sum(QUARTER / each.every for each in team if each.every is not None)
        return min(MOST_LEVEL, monitor.false_pages / checks)

    def watching(self, targets: Collection[str], scope: Scope) -> tuple[tuple[Monitor, Report | None], ...]:
        """The monitors of the scope whose endpoint most calls are meant for one of these names, each with its newest report."""
        known = self._current().endpoints
        found = [each for each in self.monitors.list(scope) if (place := known.get(each.endpoint)) is not None and place.route]
        meant = [each for each in found if _target(known[each.endpoint]) in targets]
        return tuple((each, next(iter(self.monitors.reports(each.name, scope, limit=1)), None)) for each in meant)

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
                if monitor.hours is not None:  # what comes now is counted for the version that answers now
                    self.hours.frozen(self._retraining.lineage(_target(self._endpoint(monitor))), monitor.segment)
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
        if waits and monitor.await_labels and not self._ripened(monitor, standing.moved):
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


def _refuse_unpaired(lineage: Lineage) -> None:
    """Raises:
    Invalid: a champion of this kind cannot be asked about the rows of newer training data, so no gate would pass.
    """
    if lineage.signature.whole or lineage.signature.lists:
        does = "forecasts" if lineage.signature.whole else "recommendations"
        raise Invalid(
            f"Retrained {does} are compared on rows that neither version was trained on, so none is promoted by itself.",
            field="promote",
            hint="Use --promote ask, and bring newer rows: tandem gate evidence.",
        )


def _check(monitor: Monitor) -> None:
    for name, value, least in (
        ("window", monitor.window, 30),
        ("minimum", monitor.minimum, 30),
        ("false_alarm_every", monitor.false_alarm_every, 10),
        ("every", monitor.every, 10),
        ("span", monitor.span, 1),
        ("cooldown", monitor.cooldown, 0),
        ("review", monitor.review, 0),
        ("hours", monitor.hours, 1),
        ("days", monitor.days, 1),
        ("weeks", monitor.weeks, 1),
        ("wait", monitor.wait, 0),
        ("retrainings", monitor.retrainings, 1),
    ):
        if value is not None and value < least:
            raise Invalid(f"{name} must be at least {least}.", field=name, hint="Smaller values give no verdict that holds.")
    if monitor.question == "scores" and monitor.minimum > monitor.window:
        raise Invalid("The minimum is larger than the window, so there would never be a verdict.", field="minimum")
    if monitor.hours is None and (monitor.segment is not None or monitor.against != ("training",)):
        raise Invalid("Segments and other references need windows of hours.", field="hours", hint="Say how many: --hours 1.")
    if monitor.hours is not None and monitor.question != "drift":
        raise Invalid("Only drift is judged by hours.", field="hours", hint="Leave --hours out.")
    if not monitor.against or len(set(monitor.against)) != len(monitor.against):
        raise Invalid("A monitor is compared with one reference or several, each once.", field="against")
    if monitor.false_pages is not None and (monitor.false_pages <= 0 or monitor.every is None):
        raise Invalid(
            "False alarms a quarter follow from a schedule, and there are more than none.",
            field="false_pages",
            hint="Say how often it checks: --every 1h.",
        )
    if monitor.await_labels and monitor.question != "drift":
        raise Invalid("Only drift does not know labels.", field="await_labels", hint="Leave it out: performance waits anyway.")
    if not 0 < monitor.maturity <= 1:
        raise Invalid("The maturity is a share: above 0 and not above 1.", field="maturity", hint="0.8 is usual.")
    if not 0 < monitor.threshold <= 10:
        raise Invalid("The threshold must lie above 0 and not above 10.", field="threshold", hint="0.1 is usual.")
