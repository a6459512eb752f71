"""Review: a judgement of one call that waits for a person. What the person says becomes a Score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tandem.core.score import Estimate

Opinion = Literal["right", "wrong", "unsure"]
"""`unsure` ends a review without a Score: nobody can tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """One call that a person should look at; there is one for each call, whoever asked for it first."""

    id: str
    """`rvw_` and what follows in the call's own id."""
    team: str
    trace: str
    call: str
    endpoint: str
    kind: str
    """`chat`, `predict` or `decide`."""
    source: str
    """Who asked: `decision` for a mark that a decision set, `monitor/NAME` for a random sample, `key/NAME` for a person."""
    called_at: int
    """When the call began; UTC microseconds, like all times here."""
    created_at: int
    state: Literal["open", "done"] = "open"
    held_by: str | None = None
    """Who looks at it now, so that two people do not do the same work."""
    held_until: int = 0
    opinion: Opinion | None = None
    decided_at: int | None = None
    decided_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a person says to a review. Correction and note are content: kept under the key of the call's subject."""

    opinion: Opinion
    correction: str = ""
    """What would have been right: a label, a text, or JSON."""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What people said of one endpoint, by who asked them."""

    endpoint: str
    source: str
    open: int
    right: int
    wrong: int
    unsure: int
    share: Estimate
    """Right among right and wrong, with Wilson's interval. Of a monitor's sample it is an estimate for all its calls."""
