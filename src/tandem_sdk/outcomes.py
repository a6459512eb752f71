"""Outcomes: labels that come after the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tandem_sdk.wire import API, Wire, read_reply

MOST = 10_000
"""Outcomes of one request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What became of some outcomes."""

    kept: int = 0
    """Of these, one that was kept before has been replaced."""
    erased: int = 0
    """Their subject was erased, so nothing about it is kept."""
    unknown: int = 0
    """No call of the endpoint has that trace or key."""
    examples: tuple[str, ...] = ()
    """Some of the unknown ones."""


class Outcomes:
    """`client.outcomes`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def add(self, endpoint: str, outcomes: Sequence[Mapping[str, object]]) -> Taken:
        """Tells what turned out to be true; telling it again changes nothing.

        Args:
            endpoint: where the calls were answered.
            outcomes: each with a `label` (or a list of one per row, None where it has not come; of a recommendation each may
                be a list of items), and either `trace` or the `key` that the call was given as its `id`; `at` says when it
                became known, in UTC microseconds; `row`, from 1, that the label is of that row alone; `drawn` that the call
                was chosen by chance to be looked at.

        Raises:
            Invalid: one has neither trace nor key, no label, or one that no row of its call can have.
        """
        whole = Taken()
        for start in range(0, len(outcomes), MOST):
            body = {"endpoint": endpoint, "outcomes": [dict(each) for each in outcomes[start : start + MOST]]}
            part = read_reply(Taken, self._wire.send("POST", f"{API}/outcomes", body))
            whole = Taken(
                kept=whole.kept + part.kept,
                erased=whole.erased + part.erased,
                unknown=whole.unknown + part.unknown,
                examples=(*whole.examples, *part.examples),
            )
        return whole
