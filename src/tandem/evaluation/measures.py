"""Which scorer a gate means by a metric's name, and whether a model has all that it names. Imports no numpy."""

from __future__ import annotations

from tandem.core.errors import Invalid
from tandem.core.policy import COST, Gate
from tandem.scorers.base import METRICS, Scorer, TaskName, cost, load


def scorer_of(gate: Gate, metric: str, task: TaskName) -> Scorer:
    """The scorer of that name for models of that task; `cost` with what the gate says mistakes cost.

    Raises:
        Invalid: there is none for this task, or the gate names no costs.
    """
    if metric != COST:
        return load(metric, task)
    if task != "classification":
        raise Invalid(
            f"The metric 'cost' counts false positives and false negatives; a {task} model has none.",
            field="metric",
            hint=f"Use one of: {', '.join(METRICS[task])}.",
        )
    if gate.cost_false_positive is None or gate.cost_false_negative is None:
        raise Invalid(
            "The metric 'cost' needs to know what mistakes cost.",
            field="cost_false_positive",
            hint="Set cost_false_positive and cost_false_negative.",
        )
    return cost(false_positive=gate.cost_false_positive, false_negative=gate.cost_false_negative)


def check_metrics(gate: Gate) -> None:
    """Looks at the metrics of a gate of models before it is set; which task they will be asked of is known only later.

    Raises:
        Invalid: one of them is unknown, no task has all of them, or the gate names no costs.
    """
    names = list(dict.fromkeys([gate.metric, *gate.minimums, *(each.metric for each in gate.slices if each.metric is not None)]))
    for name in names:
        if not _tasks(name):
            known = dict.fromkeys(metric for table in METRICS.values() for metric in table)
            raise Invalid(f"There is no metric '{name}'.", field="metric", hint=f"Use one of: {', '.join(known)}.")
    shared = set.intersection(*map(_tasks, names))
    if not shared:
        raise Invalid(
            f"No model has all of the metrics {', '.join(names)}.",
            field="metric",
            hint=" ".join(f"Of a {task}: {', '.join(table)}." for task, table in METRICS.items()),
        )
    for name in names:
        scorer_of(gate, name, next(task for task in METRICS if task in shared))


def _tasks(metric: str) -> set[TaskName]:
    """The tasks whose models have that metric."""
    return {"classification"} if metric == COST else {task for task, table in METRICS.items() if metric in table}
