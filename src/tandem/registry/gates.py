"""Gates: which one guards an alias, and whether the evidence passes it. Pure; it computes no metric."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

from tandem.core.asset import KINDS, Kind, Ref
from tandem.core.clock import MICROS, iso
from tandem.core.errors import Blocked, Invalid
from tandem.core.ids import new_id
from tandem.core.policy import COST, Fair, Gate, Slice
from tandem.core.score import Estimate, Outcome, Score
from tandem.store.canonical import canonical

SCORER = "gate"
"""The scorer whose Scores are evidence for a promotion."""
FRESH_SECONDS = 24 * 3600
"""Older evidence proves nothing about today."""
SKEW_SECONDS = 60
"""How far the clock of whoever made the evidence may be ahead."""
NEED_GATE: frozenset[Kind] = frozenset({"model"})
"""Kinds that move to no alias without a gate."""
PLAIN = Gate(asset="model/*")
CONDITIONS = (
    "minimums", "slices", "fairness", "cost_false_positive", "cost_false_negative", "latency_ms", "size_bytes", "looks", "rows",
)  # fmt: skip
"""The fields of a gate that ask for more than its metric."""
MOST_LOOKS = 20
"""Beyond it alpha spending gains nothing over a confidence sequence that needs no plan."""
DEFAULTS = (Gate(asset="model/*", alias="production"),)
"""Hold until a gate of the same asset and alias is set."""


def candidates(ref: Ref) -> tuple[str, str]:
    """The assets a gate may name to guard this one, the most exact first.

    >>> candidates(Ref(kind="model", name="tumor", version=2))
    ('model/tumor', 'model/*')
    """
    return f"{ref.kind}/{ref.name}", f"{ref.kind}/*"


def default_for(asset: str, alias: str) -> Gate | None:
    """The gate that holds where none was set."""
    return next((gate for gate in DEFAULTS if (gate.asset, gate.alias) == (asset, alias)), None)


def check_gate(gate: Gate) -> None:
    """Looks at a gate before it is set.

    Raises:
        Invalid: it names no asset or alias, or its numbers make no sense.
    """
    kind, _, name = gate.asset.partition("/")
    if name == "*" and kind in KINDS:
        Ref.parse(f"{kind}/any@{gate.alias}")
    else:
        Ref.parse(f"{gate.asset}@{gate.alias}")
    if kind == "release":
        raise Invalid(
            "A release has no gate of its own: every asset it pins passes its own.", hint="Set the gates of those.", field="asset"
        )
    _check_suite(gate, kind)
    if not 0 <= gate.margin < float("inf"):
        raise Invalid(
            f"The margin {gate.margin} is no tolerated loss.", hint="Use zero or more, in units of the metric.", field="margin"
        )
    if gate.minimum is not None and not -float("inf") < gate.minimum < float("inf"):
        raise Invalid(f"The minimum {gate.minimum} is no bound.", hint="Use a finite number.", field="minimum")
    if gate.require not in ("improved", "non-inferior"):
        raise Invalid(f"'{gate.require}' is nothing a gate can require.", hint="Use improved or non-inferior.", field="require")
    _check_conditions(gate, kind)


def _check_conditions(gate: Gate, kind: str) -> None:
    """Conditions beside the metric: their numbers make sense, and they are of a model."""
    if kind != "model" and gate != replace(gate, **{name: getattr(PLAIN, name) for name in CONDITIONS}):
        raise Invalid(
            f"Of a {kind} a gate asks for one metric.",
            hint="What else is asked is of models.",
            field="asset",
        )
    metrics = {gate.metric, *gate.minimums, *(each.metric for each in gate.slices if each.metric)}
    costs = (gate.cost_false_positive, gate.cost_false_negative)
    if COST in metrics and None in costs:
        raise Invalid(
            "The metric 'cost' needs to know what mistakes cost.",
            hint="Set cost_false_positive and cost_false_negative.",
            field="cost_false_positive",
        )
    numbers = [*costs, *gate.minimums.values(), gate.latency_ms, *(bound for each in gate.slices for bound in _numbers(each))]
    if not all(math.isfinite(number) for number in numbers if number is not None):
        raise Invalid("A bound of the gate is no finite number.", hint="Use finite numbers.", field="minimums")
    if any(cost is not None and cost < 0 for cost in costs):
        raise Invalid("A mistake cannot cost less than nothing.", hint="Use zero or more.", field="cost_false_positive")
    for name in ("latency_ms", "size_bytes"):
        most = getattr(gate, name)
        if most is not None and most <= 0:
            raise Invalid(f"Nothing has a {name} of {most} or less.", hint="Use more than zero.", field=name)
    for each in gate.slices:
        _check_slice(each)
    for fair in gate.fairness:
        _check_fair(fair)
    _check_looks(gate)


def _check_slice(each: Slice) -> None:
    ranged = each.low is not None or each.high is not None
    if not each.column or ranged == (each.value is not None):
        raise Invalid(
            f"The slice on '{each.column}' names no part of the rows.",
            hint="Give one value, or the ends of a range.",
            field="slices",
        )
    if each.low is not None and each.high is not None and not each.low < each.high:
        raise Invalid(f"The slice {each.name} is empty.", hint="Its lower end is below its upper one.", field="slices")
    if each.margin is not None and each.margin < 0:
        raise Invalid(f"The slice {each.name} tolerates less than no loss.", hint="Use a margin of zero or more.", field="slices")


def _check_fair(fair: Fair) -> None:
    if not fair.by:
        raise Invalid("Fairness is judged between the groups of a column.", hint="Name the column.", field="fairness")
    most = math.inf if fair.measure == "error" else 1.0
    if not (math.isfinite(fair.bound) and 0 <= fair.bound <= most):
        raise Invalid(f"{fair.bound} is no bound of {fair.name}.", hint="Use a number from 0 to 1.", field="fairness")


def _numbers(each: Slice) -> tuple[float | None, ...]:
    return each.low, each.high, each.minimum, each.margin


def _check_looks(gate: Gate) -> None:
    """A plan is a number of looks and the rows at the last of them."""
    if (gate.looks is None) != (gate.rows is None):
        raise Invalid("Planned looks need their number and the rows at the last one.", hint="Set both.", field="looks")
    if gate.looks is not None and not 1 <= gate.looks <= MOST_LOOKS:
        raise Invalid(f"{gate.looks} looks cannot be planned.", hint=f"Plan 1 to {MOST_LOOKS}, or none.", field="looks")
    if gate.rows is not None and gate.rows < 1:
        raise Invalid("The rows at the last look are at least one.", hint="Say how many you expect.", field="rows")


def asked(gate: Gate) -> dict[str, object]:
    """What a gate asks beside its metric, as JSON values; what it does not ask is left out."""
    told: Mapping[str, object] = asdict(gate)
    plain = asdict(PLAIN)
    return {name: told[name] for name in CONDITIONS if told[name] != plain[name]}


def _check_suite(gate: Gate, kind: str) -> None:
    """Prompts are judged by suites, everything else by the evidence it carries."""
    if gate.suite is None:
        if kind == "prompt":
            raise Invalid("A prompt has no predictions to be judged by.", hint="Name a suite: --suite suite/NAME.", field="suite")
        return
    if kind != "prompt":
        raise Invalid(f"A suite evaluates prompts, not a {kind}.", hint="Leave the suite out.", field="suite")
    suite = Ref.parse(gate.suite)
    if suite.kind != "suite" or suite.alias is not None:
        raise Invalid(f"{suite} is no suite to judge by.", hint="Write suite/NAME or suite/NAME@VERSION.", field="suite")


def gate_score(
    candidate: Ref,
    champion: Ref | None,
    *,
    gate: Gate,
    passed: bool,
    estimate: Estimate | None,
    outcome: Outcome | None,
    by: str,
    now: int,
) -> Score:
    """The evidence that `promote` asks for, from what a gate's evaluation found.

    Args:
        candidate: the exact version that was judged.
        champion: the version the alias named at that time; None when it named none.
        gate: the gate it was judged by.
        passed: what the evaluation concluded.
        estimate: the candidate's metric, in the metric's own units; None where it could not be computed.
        outcome: the verdict of the comparison; None without a champion or without a comparison.
        by: who let it be judged.
        now: UTC microseconds.
    """
    return Score(
        id=new_id("sco"),
        subject=str(candidate),
        scorer=SCORER,
        value=0.0 if estimate is None else estimate.value,
        low=None if estimate is None else estimate.low,
        high=None if estimate is None else estimate.high,
        n=0 if estimate is None else estimate.n,
        label=outcome,
        detail={
            "champion": None if champion is None else str(champion),
            "passed": passed,
            "metric": gate.metric,
            "alias": gate.alias,
            "asked": asked(gate),
        },
        created_at=now,
        created_by=by,
    )


def passing(gate: Gate, alias: str, candidate: Ref, champion: Ref | None, evidence: Sequence[Score], now: int) -> Score:
    """The Score that lets the candidate through.

    Args:
        gate: the gate that guards the alias.
        alias: the alias that is to move.
        candidate: the exact version.
        champion: the version the alias names now; None for the first, whom the gate's minimum alone decides.
        evidence: what was handed in.
        now: UTC microseconds.

    Raises:
        Blocked: no Score does; the message says what is missing, the hint which command makes it.
    """
    make = f"Run: tandem promote {candidate} {alias}. It evaluates the version against the champion first."
    about = [score for score in evidence if score.scorer == SCORER and score.subject == str(candidate)]
    if not about:
        raise Blocked(
            f"{candidate} cannot become {alias}: the gate on {gate.asset} needs a gate score of exactly this version.", hint=make
        )
    faults = []
    for score in sorted(about, key=lambda score: score.created_at, reverse=True):
        fault = _fault(gate, score, alias, champion, now)
        if fault is None:
            return score
        faults.append(fault)
    raise Blocked(f"{candidate} cannot become {alias}: {faults[0]}.", hint=make)


def _fault(gate: Gate, score: Score, alias: str, champion: Ref | None, now: int) -> str | None:
    detail, wanted = score.detail, None if champion is None else str(champion)
    if "champion" not in detail or detail["champion"] != wanted:
        than = f"against {detail.get('champion') or 'no champion'}"
        return f"the evidence was computed {than}, but {alias} now names {wanted or 'nothing'}"
    if not now - FRESH_SECONDS * MICROS <= score.created_at <= now + SKEW_SECONDS * MICROS:
        return f"the evidence is of {iso(score.created_at)}, and only that of the last {FRESH_SECONDS // 3600} hours counts"
    if detail.get("metric", gate.metric) != gate.metric:
        return f"the evidence is about {detail['metric']}, but the gate asks for {gate.metric}"
    if detail.get("alias", alias) != alias:
        return f"the evidence was made for the alias {detail['alias']}"
    if canonical(detail.get("asked", asked(gate))) != canonical(asked(gate)):
        return "the gate asks for something else now"
    if detail.get("passed") is not True:
        return f"the gate did not pass (verdict: {score.label or 'none'})"
    accepted = ("improved",) if gate.require == "improved" else ("improved", "non-inferior")
    if champion is not None and score.label not in accepted:
        return f"the verdict is {score.label or 'missing'}, and the gate requires {gate.require}"
    return None
