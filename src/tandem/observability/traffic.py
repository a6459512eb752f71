"""Recorded traffic in the order it came, with its content where that is kept: what "what if" questions are asked of."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from tandem.core.trace import Trace
from tandem.observability.traces import Seen, Traces

PAGE = 100
COUNT = "SELECT count(*) FROM calls WHERE kind = ? AND (CAST(? AS TEXT) IS NULL OR team = ?) AND start >= ?"
READ = (
    "SELECT c.start, c.call, c.body, k.subject, k.sealed FROM calls c LEFT JOIN content k ON k.call = c.call"
    " WHERE c.kind = ? AND (CAST(? AS TEXT) IS NULL OR c.team = ?) AND c.start >= ? AND (c.start, c.call) > (?, ?)"
    " ORDER BY c.start, c.call LIMIT ?"
)


def traffic(traces: Traces, *, kind: str, team: str | None, since: int, most: int) -> Iterator[Seen]:
    """The newest calls of a kind, oldest first, nested ones too; a page of them is in memory.

    Args:
        team: of this team only; None sees all.
        since: UTC microseconds; nothing older is read.
        most: as many calls as are wanted; whole days more may come at the beginning, and are cut there.
    """
    days, found = [], 0
    for day in traces.days():  # newest first
        count = sum(number for (number,) in traces.read(day, COUNT, (kind, team, team, since)))
        if count:
            days.append(day)
            found += count
        if found >= most:
            break
    skip = max(0, found - most)
    for day in reversed(days):
        at = (-1, "")
        while True:
            rows = traces.read(day, READ, (kind, team, team, since, *at, PAGE))
            if not rows:
                break
            at = (rows[-1][0], rows[-1][1])
            for _, _, body, subject, sealed in rows:
                if skip:
                    skip -= 1
                    continue
                kept = None if sealed is None else (str(subject), bytes(sealed))
                yield Seen(trace=msgspec.json.decode(body, type=Trace), kept=kept)
