"""Validity: the one definition of which fact counts at a moment. Both ways of computing features follow it.

A fact *e* about an entity counts at *t* when

    event ≤ t < event + holds      and      known ≤ t

It became true at `event`, can be known since `known`, and counts for `holds` (a ttl, or a window). Facts of one entity,
moment and id are versions of one fact: the greatest (created, order) that is known counts. The newest fact is the greatest
(event, created, order). Arrival decides nothing, so what comes late, twice or out of order ends in the same values.
"""

from __future__ import annotations

from typing import Literal

State = Literal["ok", "null", "expired", "not-found"]
"""Of a value: it is there; it is known to be empty; the facts are too old; no fact was known."""
PUSHED = 1 << 40
"""Where the order of pushed facts begins: they come after all rows of a dataset, in the order of their arrival."""
EMPTY_IS_ZERO = frozenset({"count", "sum", "distinct"})
"""What is 0 where all facts have left the window; anything else is null then."""


def start(event: int, known: int) -> int:
    """The first moment at which a fact counts, in UTC microseconds.

    >>> start(event=10, known=12)
    12
    """
    return max(event, known)


def expired(event: int, holds: int | None, t: int) -> bool:
    """Whether a fact does not count any more.

    >>> expired(10, 5, 14), expired(10, 5, 15), expired(10, None, 10**18)
    (False, True, False)
    """
    return holds is not None and t >= event + holds
