"""A suite: which questions, asked where, judged how. What a prompt is evaluated with. It asks and judges nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from tandem.core.asset import Ref, check_name
from tandem.core.errors import Invalid
from tandem.registry.kinds.base import ALWAYS_ASIDE
from tandem.scorers.text.base import EXPECTING, JUDGE, SOURCED, load
from tandem.scorers.text.judge import judge

WEIGHTED = "weighted"
"""The metric that is the weighted mean of all grades but the judge's."""
ROWS = 10_000
"""The most rows a suite may ask about."""
REPEATS = 20
TOKENS = 32_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """One scorer of a suite."""

    scorer: str
    """`exact`, `contains`, `regex`, `schema`, `grounded`, `latency`, `cost` or `judge`."""
    name: str = ""
    """How its metric is called; the scorer's own name where this is empty."""
    options: Mapping[str, object] = field(default_factory=dict)
    weight: float = 1.0
    """In the metric `weighted`."""

    @property
    def metric(self) -> str:
        return self.name or self.scorer


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """Dataset, scorers, and how the questions are asked."""

    data: str
    """The dataset version, `dataset/NAME@VERSION`."""
    endpoint: str
    """The chat endpoint, or `provider/model`, that answers."""
    scorers: tuple[Scoring, ...]
    variables: Mapping[str, str] = field(default_factory=dict)
    """Variable of the prompt → column; a variable that is not named takes the column of its own name."""
    expected: str | None = None
    """The column of the wanted answer."""
    sources: tuple[str, ...] = ()
    """The columns of the texts that an answer may rest on."""
    metric: str = ""
    """What a gate judges by; the first scorer's where this is empty."""
    rows: int | None = None
    """At most so many rows, drawn by `seed`; None asks about all."""
    repeats: int = 1
    seed: int = 7
    """Of the draw of rows, and sent with every question (plus the number of the repeat)."""
    temperature: float = 0.0
    max_tokens: int = 512

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every metric this suite makes."""
        graded = [scoring.metric for scoring in self.scorers if scoring.scorer != JUDGE]
        return tuple([scoring.metric for scoring in self.scorers] + ([WEIGHTED] if len(graded) > 1 else []))

    @property
    def judged_by(self) -> str:
        """The metric that a gate takes unless it names another."""
        return self.metric or self.scorers[0].metric

    @property
    def judging(self) -> Scoring | None:
        """The scorer that compares answers pairwise, if there is one."""
        return next((scoring for scoring in self.scorers if scoring.scorer == JUDGE), None)


class Suites:
    """Meta: the fields of `Suite`."""

    aside = ALWAYS_ASIDE

    def check(self, meta: Mapping[str, object], members: Mapping[str, str]) -> None:
        suite = read(meta)
        if not suite.scorers or len(suite.scorers) > 20:
            raise Invalid("A suite has 1 to 20 scorers.", hint="Name at least one, such as exact.", field="scorers")
        names = [scoring.metric for scoring in suite.scorers]
        for scoring in suite.scorers:
            _check_scoring(suite, scoring)
        if len(set(names)) != len(names) or WEIGHTED in names:
            raise Invalid("Two metrics of the suite have one name.", hint="Give each scorer a name of its own.", field="scorers")
        if sum(scoring.scorer == JUDGE for scoring in suite.scorers) > 1:
            raise Invalid("A suite has one judge.", hint="Put all criteria into it.", field="scorers")
        if suite.judged_by not in suite.metrics:
            raise Invalid(
                f"The suite makes no metric '{suite.metric}'.", hint=f"It makes {', '.join(suite.metrics)}.", field="metric"
            )
        _check_numbers(suite)

    def check_parents(self, meta: Mapping[str, object], parents: Sequence[Ref]) -> None:
        data = Ref.parse(read(meta).data)
        if data not in parents:
            raise Invalid("The suite's dataset is not among its parents.", hint="Name it as a parent.", field="parents")


def read(meta: Mapping[str, object]) -> Suite:
    """The suite that a version's meta describes.

    Raises:
        Invalid: it describes none.
    """
    try:
        suite = msgspec.convert(dict(meta), Suite)
    except msgspec.ValidationError as error:
        raise Invalid(
            f"This is no suite: {error}.", hint="`tandem suite add --help` shows what a suite has.", field="meta"
        ) from None
    data = Ref.parse(suite.data)
    if data.kind != "dataset" or data.version is None:
        raise Invalid(f"{data} is no dataset version.", hint="Write dataset/NAME@VERSION.", field="data")
    return suite


def _check_scoring(suite: Suite, scoring: Scoring) -> None:
    check_name(scoring.metric)
    if not 0 <= scoring.weight < float("inf"):
        raise Invalid(f"The weight of '{scoring.metric}' is no weight.", hint="Use zero or more.", field="scorers.weight")
    if scoring.scorer == JUDGE:
        judge(scoring.options)
        return
    load(scoring.scorer, scoring.options)
    if scoring.scorer in EXPECTING and suite.expected is None:
        raise Invalid(
            f"The scorer '{scoring.scorer}' needs the wanted answer.", hint="Name its column as `expected`.", field="expected"
        )
    if scoring.scorer in SOURCED and not suite.sources:
        raise Invalid(f"The scorer '{scoring.scorer}' needs sources.", hint="Name their columns.", field="sources")


def _check_numbers(suite: Suite) -> None:
    bounds = (
        ("rows", ROWS if suite.rows is None else suite.rows, 1, ROWS),
        ("repeats", suite.repeats, 1, REPEATS),
        ("seed", suite.seed, 0, 2**31 - 1),
        ("temperature", suite.temperature, 0, 2),
        ("max_tokens", suite.max_tokens, 1, TOKENS),
    )
    for name, value, low, high in bounds:
        if not low <= value <= high:
            raise Invalid(f"The suite's {name} is {value}.", hint=f"It lies between {low} and {high}.", field=name)
    if not suite.endpoint:
        raise Invalid("The suite names no endpoint.", hint="Name the chat endpoint that answers.", field="endpoint")
    graded = [scoring.weight for scoring in suite.scorers if scoring.scorer != JUDGE]
    if graded and not sum(graded):
        raise Invalid("All weights of the suite are zero.", hint="Leave them out.", field="scorers.weight")
