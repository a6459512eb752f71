"""What a text scorer is, and the table of those that come along. Imports nothing but the standard library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Protocol, cast

from tandem.core.errors import Invalid

ANSWER_LIMIT = 200_000
"""Characters of an answer that are looked at; what comes after is as if it were not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What an answer is judged by: one row of a suite, as far as a scorer may see it."""

    expected: str | None = None
    """The answer that was wanted, where the suite names a column for it."""
    sources: Sequence[str] = ()
    """The texts that the answer may rest on."""
    seconds: float = 0.0
    """From the question to the whole answer."""
    cost: int | None = None
    """Nano-dollars of the call; None when nobody knows the price."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grade:
    """One judgement of one answer."""

    value: float
    """Between 0 and 1, more is better."""
    detail: Mapping[str, object] = field(default_factory=dict)
    """Why, as JSON; it may repeat the answer, so it is content."""
    label: str = ""
    """A word for what the value alone does not say, such as `no-claims`."""


class TextScorer(Protocol):
    """One way to judge an answer."""

    def grade(self, case: Case, answer: str) -> Grade:
        """Judges an answer. The same case and answer always get the same grade."""
        ...


TABLE: dict[str, str] = {
    "exact": "tandem.scorers.text.match:exact",
    "contains": "tandem.scorers.text.match:contains",
    "regex": "tandem.scorers.text.match:regex",
    "schema": "tandem.scorers.text.schema:schema",
    "grounded": "tandem.scorers.text.grounded:grounded",
    "latency": "tandem.scorers.text.spent:latency",
    "cost": "tandem.scorers.text.spent:cost",
}
"""Name → function that makes the scorer out of its options."""
JUDGE = "judge"
"""The scorer that compares two answers instead of grading one; see `judge.py`."""
EXPECTING = frozenset({"exact", "contains"})
"""Scorers that need the answer that was wanted."""
SOURCED = frozenset({"grounded"})
"""Scorers that need sources."""


def load(name: str, options: Mapping[str, object]) -> TextScorer:
    """The scorer of that name with these options.

    Raises:
        Invalid: there is none, or an option is unknown or wrong; `field` names it.
    """
    if name not in TABLE:
        raise Invalid(f"There is no scorer '{name}'.", hint=f"Use one of: {', '.join((*TABLE, JUDGE))}.", field="scorers.scorer")
    module, _, member = TABLE[name].partition(":")
    return cast(TextScorer, getattr(import_module(module), member)(options))


def option(options: Mapping[str, object], name: str, kind: type, default: object = None) -> object:
    """One option of its type, or the default.

    Raises:
        Invalid: it is there and of another type.
    """
    value = options.get(name, default)
    right = isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if value is not default and not right:
        raise Invalid(f"The option '{name}' must be a {kind.__name__}.", field=f"scorers.options.{name}")
    return value


def known(options: Mapping[str, object], *names: str) -> None:
    """Refuses options that the scorer does not have.

    Raises:
        Invalid: there is one.
    """
    for name in options:
        if name not in names:
            raise Invalid(
                f"The scorer has no option '{name}'.",
                hint=f"It has: {', '.join(names) or 'none'}.",
                field=f"scorers.options.{name}",
            )
