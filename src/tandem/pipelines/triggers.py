"""What begins pipelines by itself: times, new data, new labels, alarms. Every cause begins one Run, or is named by one.

A trigger moves on by comparing and swapping where it stands, and a Run's id follows from the trigger and its number: whoever
dies in the middle, and however many control processes look, a Run is begun once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from tandem.core.asset import Ref
from tandem.core.clock import MICROS, Clock, iso
from tandem.core.errors import Forbidden, Invalid, NotFound, TandemError, Unavailable
from tandem.core.ids import new_id
from tandem.core.principal import Principal
from tandem.core.run import State
from tandem.governance.authorise import ALL, Scope, authorise, scope_of
from tandem.jobs.repo import Runs
from tandem.monitoring.repo import Monitors
from tandem.pipelines.pipelines import KIND, Pipelines, check_given
from tandem.pipelines.repo import Cause, Standing, Trigger, Triggers
from tandem.registry.registry import Registry

LEAST_SECONDS = 10
"""Between two Runs of a schedule."""
NAMED = 20
"""Causes that a Run names; how many more there were it tells as a number."""
MOST = 200
"""Triggers of a team."""
REPORTS = 50
"""Newest reports of a Monitor in which alarms are looked for."""
OPEN: tuple[State, ...] = ("queued", "running")


class Triggering:
    """Begins the Runs that are due."""

    def __init__(
        self,
        triggers: Triggers,
        pipelines: Pipelines,
        *,
        registry: Registry,
        runs: Runs,
        monitors: Monitors,
        clock: Clock,
        holds: Callable[[Principal], bool],
    ) -> None:
        """
        Args:
            holds: whether a principal's key may still be used.
        """
        self._triggers, self._pipelines, self._registry, self._runs = triggers, pipelines, registry, runs
        self._monitors, self._clock, self._holds = monitors, clock, holds

    # --- what people do

    def add(
        self,
        pipeline: str,
        *,
        on: Cause,
        what: str,
        at_least: int = 1,
        given: Mapping[str, object],
        cooldown: float = 0.0,
        by: Principal,
    ) -> Trigger:
        """Keeps a new trigger; what comes from now on counts.

        Args:
            pipeline: `NAME`, or `NAME@ALIAS`.
            what: see `repo.Trigger`.
            given: parameters of its Runs.

        Raises:
            NotFound: there is no such pipeline, dataset, model or Monitor for `by`.
            Invalid: the time, the number or the parameters make no sense.
            Forbidden: `by` may not write.
        """
        version = self._registry.find(Ref.parse(f"{KIND}/{pipeline}"), scope_of(by))
        authorise(by, "write", version.team)
        check_given(version, given)
        if by.run:
            raise Forbidden("A pipeline cannot make triggers.", hint="Make it by hand, or by a program of your own.")
        if self._triggers.count(by.team) >= MOST:
            raise Invalid(f"The team has {MOST} triggers already.", hint="Remove one: `tandem pipeline trigger remove`.")
        trigger = Trigger(
            id=new_id("trg"),
            pipeline=pipeline,
            team=by.team,
            on=on,
            what=what,
            at_least=at_least,
            given=dict(given),
            cooldown=cooldown,
            by=by,
            created_at=self._clock.now(),
        )
        self._triggers.add(trigger, Standing(seen=self._first(trigger)))
        return trigger

    def remove(self, id: str, *, by: Principal) -> Trigger:
        """Drops a trigger; a Run that it has begun goes on.

        Raises:
            NotFound: there is none in the caller's scope.
            Forbidden: `by` may not write.
        """
        self._own_team(id, by)
        return self._triggers.remove(id, by=by)

    def pause(self, id: str, paused: bool, *, by: Principal) -> Trigger:
        """Lets a trigger rest, or go on. What comes while it rests is one cause when it goes on.

        Raises:
            NotFound: there is none in the caller's scope.
            Forbidden: `by` may not write.
        """
        self._own_team(id, by)
        return self._triggers.pause(id, paused, by=by.name, scope=scope_of(by))

    def list(self, pipeline: str, *, by: Principal) -> tuple[tuple[Trigger, Standing], ...]:
        """The triggers of a pipeline, each with where it is.

        Raises:
            NotFound: there is no such pipeline in the caller's scope.
        """
        self._pipelines.version(pipeline, by=by)
        found = self._triggers.list(scope_of(by))
        return tuple(each for each in found if each[0].pipeline.partition("@")[0] == pipeline)

    def _own_team(self, id: str, by: Principal) -> None:
        authorise(by, "write")
        authorise(by, "write", self._triggers.find(id, scope_of(by))[0].team)

    def labels_came(self, team: str, endpoint: str, count: int) -> None:
        """Counts labels of calls that had none, for whoever waits for them."""
        for trigger, _ in self._triggers.list(Scope(team)):
            if trigger.on == "labels" and trigger.what == f"model/{endpoint}":
                while True:
                    _, before = self._triggers.find(trigger.id, ALL)
                    if self._triggers.move(trigger.id, before, replace(before, seen=before.seen + count)):
                        break

    # --- what it does by itself

    def step(self) -> int:
        """Begins what is due; returns how many Runs.

        Raises:
            TandemError: one could not be begun now; the others were looked at.
        """
        fault: TandemError | None = None
        begun = 0
        for trigger, standing in self._triggers.list(ALL):
            if trigger.paused:
                continue
            try:
                begun += self._step(trigger, standing)
            except Unavailable as error:
                fault = fault or error
            except TandemError as error:  # it needs a person: what it looks at is gone, or its rights are
                self._triggers.pause(trigger.id, True, by=f"trigger/{trigger.id}", scope=ALL, why=str(error))
        if fault is not None:
            raise fault
        return begun

    def _step(self, trigger: Trigger, standing: Standing) -> int:
        after = standing
        if not standing.because:
            after = self._looked(trigger, standing)
            if after.causes and self._free(trigger, after):
                after = self._decided(trigger, after)
            if after != standing and not self._triggers.move(trigger.id, standing, after):
                return 0  # another process was first
        if not after.because:
            return 0
        self._pipelines.start(
            trigger.pipeline,
            given=trigger.given,
            by=trigger.by,
            because=after.because,
            trigger=trigger.id,
            id=after.run,
        )
        return int(self._triggers.move(trigger.id, after, replace(after, because=())))

    def _decided(self, trigger: Trigger, standing: Standing) -> Standing:
        """The next Run, with all causes that wait."""
        if not self._holds(trigger.by):
            raise Forbidden(
                f"The key or person '{trigger.by.name}', whose rights it has, was revoked.", hint="Remove it, and add it anew."
            )
        more = (f"and {standing.more} more",) if standing.more else ()
        number = standing.fired + 1
        return replace(
            standing,
            causes=(),
            more=0,
            because=(*standing.causes, *more),
            fired=number,
            run=f"run_{hashlib.sha256(f'{trigger.id} {number}'.encode()).hexdigest()[:26]}",
            fired_at=self._clock.now(),
        )

    def _free(self, trigger: Trigger, standing: Standing) -> bool:
        """Whether a Run may begin: none of the pipeline is open, and the cooldown is over."""
        if standing.fired and self._clock.now() - standing.fired_at < trigger.cooldown * MICROS:
            return False
        name, scope = trigger.pipeline.partition("@")[0], Scope(trigger.team)
        return not any(self._runs.list(scope, kind=KIND, name=name, state=state, limit=1) for state in OPEN)

    def _looked(self, trigger: Trigger, standing: Standing) -> Standing:
        """Where a trigger is once it has looked for causes."""
        seen, causes = self._causes(trigger, standing.seen)
        names = (*standing.causes, *causes)
        return replace(standing, seen=seen, causes=names[:NAMED], more=standing.more + max(0, len(names) - NAMED))

    def _causes(self, trigger: Trigger, seen: int) -> tuple[int, tuple[str, ...]]:
        """Up to where was looked, and what has come."""
        now = self._clock.now()
        match trigger.on:
            case "every":
                times = (now - seen) // (int(trigger.what) * MICROS)
                due = seen + times * int(trigger.what) * MICROS
                return (due, (f"{_span(int(trigger.what))} were over at {iso(due)[:16]}",)) if times else (seen, ())
            case "cron":
                last = _last(trigger.what, now)
                return (last, (f"'{trigger.what}' was due at {iso(last)[:16]}",)) if last > seen else (seen, ())
            case "data":
                newest = self._newest(trigger)
                fresh = [number for number in range(seen + 1, newest + 1) if not self._own(trigger, number)]
                return newest, tuple(f"{trigger.what}@{number} came" for number in fresh)
            case "labels":
                enough = seen >= trigger.at_least
                return (0, (f"{seen} labels of {trigger.what} came",)) if enough else (seen, ())
            case "alarm":
                found = self._monitors.reports(trigger.what, Scope(trigger.team), limit=REPORTS)
                alarms = [report for report in reversed(found) if report.alarm and report.at > seen]
                return max((report.at for report in alarms), default=seen), tuple(
                    f"monitor/{trigger.what} raised an alarm ({report.id})" for report in alarms
                )

    def _first(self, trigger: Trigger) -> int:
        """From where a new trigger counts."""
        if trigger.at_least < 1 or not 0 <= trigger.cooldown <= 365 * 86_400:
            raise Invalid("A number of labels is 1 or more, a cooldown at most a year.", field="cooldown")
        match trigger.on:
            case "every":
                if not trigger.what.isdecimal() or not LEAST_SECONDS <= int(trigger.what) <= 366 * 86_400:
                    raise Invalid(f"A schedule is {LEAST_SECONDS} seconds to a year.", field="every", hint="Write --every 1d.")
                return self._clock.now()
            case "cron":
                return _last(trigger.what, self._clock.now())
            case "data":
                return self._newest(trigger)
            case "labels":
                self._registry.find(_ref(trigger.what, "model"), scope_of(trigger.by))
                return 0
            case "alarm":
                self._monitors.find(trigger.what, scope_of(trigger.by))
                return self._clock.now()

    def _newest(self, trigger: Trigger) -> int:
        return self._registry.find(_ref(trigger.what, "dataset"), scope_of(trigger.by)).version

    def _own(self, trigger: Trigger, number: int) -> bool:
        """Whether the pipeline itself made this version: it would never end."""
        version = self._registry.find(Ref.parse(f"{trigger.what}@{number}"), ALL)
        try:
            maker = None if version.run is None else self._runs.find(version.run, ALL)
            parent = maker if maker is None or maker.parent is None else self._runs.find(maker.parent, ALL)
        except NotFound:
            return False
        return parent is not None and (parent.kind, parent.name) == (KIND, trigger.pipeline.partition("@")[0])


def _ref(text: str, kind: str) -> Ref:
    ref = Ref.parse(text)
    if ref.kind != kind or ref.version is not None or ref.alias is not None:
        raise Invalid(f"'{text}' is no {kind}.", field="on", hint=f"Write {kind}/NAME.")
    return Ref(kind=ref.kind, name=ref.name)


def _last(line: str, now: int) -> int:
    """When a cron line was due last, in UTC microseconds.

    Raises:
        Invalid: it is none of five fields, or is never due.
    """
    from croniter import CroniterError, croniter

    at = datetime.fromtimestamp(now / MICROS, UTC)
    try:
        if len(line.split()) != 5:
            raise CroniterError("five fields are wanted")
        due: datetime = croniter(line, at, max_years_between_matches=5).get_prev(datetime)
        if croniter.match(line, at.replace(second=0, microsecond=0)):
            due = at.replace(second=0, microsecond=0)
    except (CroniterError, ValueError, OverflowError) as error:
        raise Invalid(f"'{line[:100]}' is no time: {error}.", field="cron", hint="Write --cron '0 4 * * *', in UTC.") from None
    return round(due.timestamp()) * MICROS


def _span(seconds: int) -> str:
    for name, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds % size == 0:
            return f"{seconds // size} {name}"
    return f"{seconds} seconds"
