"""A shadow at a predict endpoint: a version that hears calls too, and what it says beside what was answered.

Every call that a shadow heard is a pair, so differences are judged row by row. Nobody is told what a shadow says, and no alias
moves because of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from tandem.core.clock import MICROS
from tandem.core.endpoint import Endpoint, Target
from tandem.core.errors import Conflict, Invalid, NotFound
from tandem.core.principal import Principal
from tandem.core.score import Estimate, Outcome, concluded
from tandem.core.trace import Trace
from tandem.evaluation.tango import tango
from tandem.governance.authorise import authorise, scope_of
from tandem.monitoring.canary import Stores, by_alias, changeable, seen
from tandem.monitoring.counts import chances_of, labels_of
from tandem.monitoring.labels import number
from tandem.monitoring.window import opened
from tandem.observability.traces import Seen
from tandem.scorers.proportions import padded, wilson

CALLS = 10_000
"""The most calls of a window that are compared; the newest."""
LEAST = 30
"""Labelled rows below which nothing is said about who is right more often."""
MARGIN_MICROS = 60 * MICROS
"""A call that is heard may have begun so long before the window."""
Route = tuple[Target, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadow:
    """What one shadow said in a window, beside what the callers were answered."""

    target: str
    share: float | None
    """Of the calls, that it hears now; None where it hears none any more."""
    calls: int
    """That it heard."""
    failed: Estimate
    """The share of them that it did not answer."""
    rows: int
    """That both answered."""
    same: Estimate | None
    """The share of rows with the same label; None where the answers are numbers, or there are none."""
    apart: float | None
    """By how much the probability of the positive class, or the number, differs in the mean; None without rows."""
    farthest: float | None
    """The largest such difference."""
    milliseconds: tuple[float, float] | None
    """Median and 95th percentile of its answers."""
    answered_milliseconds: tuple[float, float] | None
    """The same of what the callers were answered."""
    labelled: int
    """Rows whose label has come."""
    better: Estimate | None
    """How much more often it is right; of numbers, by how much nearer it is in the mean. None below 30 labelled rows."""
    verdict: Outcome


@dataclass(slots=True)
class _Heard:
    """One shadow's side, pair by pair."""

    calls: int = 0
    failed: int = 0
    same: list[bool] = field(default_factory=list)
    apart: list[float] = field(default_factory=list)
    took: list[float] = field(default_factory=list)
    answered_took: list[float] = field(default_factory=list)
    won: int = 0
    lost: int = 0
    labelled: int = 0
    nearer: list[float] = field(default_factory=list)
    """Of numbers: by how much nearer to the label, row by row."""


class Shadowing:
    """Begins, ends and compares shadows, for the faces."""

    def __init__(self, stores: Stores) -> None:
        self._s = stores

    def start(self, name: str, target: str, share: float, *, by: Principal) -> Endpoint:
        """Has a target hear a share of the calls of a predict endpoint, from the next second on.

        Raises:
            Forbidden, NotFound: `by` may not change the endpoint, or there is none.
            Conflict: the file manages it, or the target stands in its route already.
            Invalid: it answers no predictions, or the share is not above 0 and at most 1.
        """
        endpoint = changeable(self._s, name, by)
        if endpoint.kind != "predict" or not target.startswith("model/"):
            raise Invalid(
                f"'{name}' answers {endpoint.kind} calls and the shadow would be {target}.",
                hint="This is for models at predict endpoints; elsewhere give the target role=shadow with `tandem endpoint set`.",
                field="target",
            )
        if not 0 < share <= 1:
            raise Invalid("A shadow hears a share above 0 and at most 1.", field="share")
        told = {"target": target, "share": share}
        return self._change(name, by, told, lambda route: _with(route, name, target, share))

    def stop(self, name: str, target: str | None, *, by: Principal) -> Endpoint:
        """Has a shadow, or all of an endpoint, hear no more calls.

        Raises:
            Forbidden, NotFound: as `start`; or there is no such shadow.
            Conflict: the file manages the endpoint.
        """
        changeable(self._s, name, by)
        return self._change(name, by, {"stopped": target}, lambda route: _without(route, name, target))

    def compare(self, name: str, seconds: float, *, by: Principal) -> tuple[Shadow, ...]:
        """Every shadow of an endpoint that heard calls within the last `seconds`, or hears them now.

        Raises:
            Forbidden, NotFound: there is no endpoint of that name that `by` may see.
        """
        authorise(by, "read")
        endpoint = seen(self._s, name, by)
        team, now = scope_of(by).team, self._s.clock.now()
        since = now - round(seconds * MICROS)
        read = self._s.traces.window
        shadows = read(team=team, endpoint=name, since=since, until=now, limit=CALLS, shadows=True)
        answered = read(team=team, endpoint=name, since=since - MARGIN_MICROS, until=now, limit=2 * CALLS) if shadows else ()
        calls = {each.trace.call: each for each in answered}
        heard: dict[str, _Heard] = {}
        for each in shadows:
            if each.trace.attempts and each.trace.parent in calls:
                self._pair(heard.setdefault(_target(each.trace), _Heard()), each, calls[each.trace.parent])
        shares = {target.target: target.share for target in endpoint.route if target.role == "shadow"}
        return tuple(_shown(target, shares.get(target), heard.get(target, _Heard())) for target in sorted({*heard, *shares}))

    def _pair(self, heard: _Heard, shadow: Seen, call: Seen) -> None:
        """Adds one call that a shadow heard, and what was answered to it."""
        heard.calls += 1
        if shadow.trace.outcome != "ok":
            heard.failed += 1
            return
        heard.took.append(_milliseconds(shadow.trace))
        heard.answered_took.append(_milliseconds(call.trace))
        said, answered = (opened(each, self._s.subjects, whole=False)[0] for each in (shadow, call))
        if said is None or answered is None:
            return
        labels, theirs = labels_of(said.answer), labels_of(answered.answer)
        if labels and len(labels) == len(theirs):
            heard.same += [ours == other for ours, other in zip(labels, theirs, strict=True)]
        values = "probability" if labels else "prediction"
        numbers, others = chances_of(said.answer, values), chances_of(answered.answer, values)
        if len(numbers) == len(others):
            heard.apart += [abs(ours - other) for ours, other in zip(numbers, others, strict=True)]
        truth = self._s.outcomes.of(call.trace)
        if labels and len(labels) == len(theirs) == len(truth):
            heard.labelled += len(truth)
            heard.won += sum(ours == true != other for ours, other, true in zip(labels, theirs, truth, strict=True))
            heard.lost += sum(other == true != ours for ours, other, true in zip(labels, theirs, truth, strict=True))
        elif not labels and len(numbers) == len(others) == len(truth):
            true = [number(each) for each in truth]
            near = [abs(b - t) - abs(a - t) for a, b, t in zip(numbers, others, true, strict=True) if not math.isnan(t)]
            heard.nearer += near
            heard.labelled += len(near)

    def _change(self, name: str, by: Principal, told: object, change: Callable[[Route], Route]) -> Endpoint:
        with self._s.sql.write() as conn:
            standing = self._s.table.standing(conn, name)
            base = by_alias(self._s.current().endpoints[name]) if standing is None else standing[0]
            changed = replace(base, route=change(base.route))
            self._s.table.put_endpoint_in(conn, changed, by=by, detail={"shadow": told})
        return changed


def _with(route: Route, name: str, target: str, share: float) -> Route:
    if any(each.target == target for each in route):
        raise Conflict(f"'{name}' leads to {target} already.", hint=f"`tandem endpoint shadow stop {name}` ends a shadow.")
    if any(each.role == "canary" for each in route):
        raise Conflict(f"'{name}' has a canary.", hint=f"Wait for its end, or `tandem endpoint canary stop {name}`.")
    return (*route, Target(target=target, role="shadow", share=share))


def _without(route: Route, name: str, target: str | None) -> Route:
    kept = tuple(each for each in route if each.role != "shadow" or target not in (None, each.target))
    if len(kept) == len(route):
        which = "no shadow" if target is None else f"no shadow {target}"
        raise NotFound(f"The endpoint '{name}' has {which}.", hint="Nothing is to be stopped.")
    return kept


def _target(call: Trace) -> str:
    return call.attempts[-1].target


def _milliseconds(call: Trace) -> float:
    return (call.attempts[-1].end - call.attempts[-1].start) / 1000


def _shown(target: str, share: float | None, heard: _Heard) -> Shadow:
    rows = max(len(heard.same), len(heard.apart))
    better = _better(heard)
    return Shadow(
        target=target,
        share=share,
        calls=heard.calls,
        failed=wilson(heard.failed, heard.calls),
        rows=rows,
        same=wilson(sum(heard.same), len(heard.same)) if heard.same else None,
        apart=math.fsum(heard.apart) / len(heard.apart) if heard.apart else None,
        farthest=max(heard.apart, default=None),
        milliseconds=_quantiles(heard.took),
        answered_milliseconds=_quantiles(heard.answered_took),
        labelled=heard.labelled,
        better=better,
        verdict="not-enough-data" if better is None else concluded(better, 0.0),
    )


def _quantiles(values: Sequence[float]) -> tuple[float, float] | None:
    if not values:
        return None
    ordered = sorted(values)
    return ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]


def _better(heard: _Heard) -> Estimate | None:
    if heard.labelled < LEAST:
        return None
    if not heard.nearer:
        return tango(heard.won, heard.lost, heard.labelled)
    low, high = padded(heard.nearer, ())
    return Estimate(value=math.fsum(heard.nearer) / len(heard.nearer), low=low, high=high, n=len(heard.nearer))
