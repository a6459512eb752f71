"""Suites: which questions a prompt is asked, where, and how the answers are judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tandem_sdk.assets import Version
from tandem_sdk.wire import API, Wire, read_reply, segment


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """How a suite's questions are asked, where that is not the usual way."""

    rows: int | None = None
    """At most so many rows, drawn by `seed`; None asks about all."""
    repeats: int = 1
    seed: int = 7
    temperature: float = 0.0
    max_tokens: int = 512


class Suites:
    """`client.suites`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def add(
        self,
        name: str,
        *,
        data: str,
        endpoint: str,
        scorers: Sequence[Scoring],
        variables: Mapping[str, str] | None = None,
        expected: str | None = None,
        sources: Sequence[str] = (),
        metric: str = "",
        asking: Asking | None = None,
    ) -> Version:
        """Stores the next version of a suite, pinned to a version of its dataset.

        Args:
            name: the suite's name, without `suite/`.
            data: the dataset, `dataset/NAME[@VERSION]`.
            endpoint: the chat endpoint that answers.
            scorers: at least one.
            variables: variable of the prompt → column; a variable that is not named takes the column of its own name.
            expected: the column of the wanted answer.
            sources: the columns of the texts that an answer may rest on.
            metric: what a gate judges by; the first scorer's where this is empty.
            asking: None asks about every row once.

        Raises:
            Invalid: a scorer, an option or a column is not known; `field` names it.
        """
        how = asking or Asking()
        body = {
            "data": data,
            "endpoint": endpoint,
            "scorers": [
                {"scorer": each.scorer, "name": each.name, "options": dict(each.options), "weight": each.weight}
                for each in scorers
            ],
            "variables": dict(variables or {}),
            "expected": expected,
            "sources": list(sources),
            "metric": metric,
            "rows": how.rows,
            "repeats": how.repeats,
            "seed": how.seed,
            "temperature": how.temperature,
            "max_tokens": how.max_tokens,
        }
        return self.put(name, body)

    def put(self, name: str, suite: Mapping[str, object]) -> Version:
        """Stores the next version of a suite that is written as the API takes it.

        Raises:
            Invalid: a field, a scorer, an option or a column is not known; `field` names it.
        """
        return read_reply(Version, self._wire.send("POST", f"{API}/suites/{segment(name)}", dict(suite)))
