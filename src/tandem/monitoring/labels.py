"""What a label of each task may be, and what it says. Pure; it knows no call."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from tandem.core.errors import Invalid

TOP = 10
"""The highest grade of a ranking."""
YES, NO = frozenset({"1", "yes", "true", "anomaly"}), frozenset({"0", "no", "false", "normal"})
_SAYS = {
    "forecasting": "the number that came, or null where it has not come yet",
    "ranking": f"a grade from 0 to {TOP}: 0 is of no relevance, and 1 what was chosen",
    "anomaly": "1 where the row was an anomaly, and 0 where it was none",
    "recommendation": "an item that was chosen, or a list of items",
}


def check(task: str, labels: Sequence[str], where: str) -> None:
    """Refuses labels that no row of the task can have; an empty text has not come.

    Raises:
        Invalid: one is of another kind; `field` is `where`.
    """
    for label in labels:
        if label and not _fits(task, label):
            raise Invalid(
                f"{where} has a label that a model of {task} cannot have.",
                words=f"It is '{label[:40]}'.",
                field=where,
                hint=f"A label is {_SAYS[task]}.",
            )


def number(label: str) -> float:
    """A label as a number; NaN where it is none, as if it had not come."""
    try:
        return float(label)
    except ValueError:
        return math.nan


def odd(label: str) -> float:
    """1 where a row was an anomaly, 0 where it was none, NaN where that is not known."""
    return 1.0 if label.lower() in YES else 0.0 if label.lower() in NO else math.nan


def items(label: str) -> Sequence[str]:
    """The items that were chosen; none where nothing was."""
    try:
        return msgspec.json.decode(label, type=list[str]) if label.startswith("[") else [label]
    except (msgspec.DecodeError, msgspec.ValidationError):
        return [label]


def _fits(task: str, label: str) -> bool:
    match task:
        case "forecasting":
            return math.isfinite(number(label))
        case "ranking":
            return number(label) in range(TOP + 1)
        case "anomaly":
            return not math.isnan(odd(label))
        case _:
            return True
