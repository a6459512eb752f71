"""Reviews: calls that wait for a person, what people say of them, and datasets of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tandem_sdk.traces import Trace
from tandem_sdk.verdicts import Estimate
from tandem_sdk.wire import API, Wire, read_replies, read_reply, segment


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a person said."""

    opinion: str
    """`right`, `wrong` or `unsure`."""
    correction: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """One call that a person should look at."""

    id: str
    trace: str = ""
    call: str = ""
    endpoint: str = ""
    kind: str = ""
    source: str = ""
    """Who asked: `decision`, `monitor/NAME` or `key/NAME`."""
    team: str = ""
    state: str = "open"
    """`open` or `done`."""
    called_at: int = 0
    created_at: int = 0
    held_by: str | None = None
    opinion: str | None = None
    decided_at: int | None = None
    decided_by: str | None = None
    said: Said | None = None
    """What was said in words too; not in lists."""
    explained: Trace | None = None
    """The trace with its content; not in lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What people said of one endpoint, by who asked them."""

    endpoint: str
    source: str
    share: Estimate
    """Right among right and wrong."""
    open: int = 0
    right: int = 0
    wrong: int = 0
    unsure: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A dataset of what people said."""

    ref: str
    rows: int
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Why a decided review gave no row → how many."""


class Reviews:
    """`client.reviews`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def add(self, trace: str, *, call: str | None = None) -> Review:
        """Puts a call of a trace before a person; by default the one that opened it.

        Raises:
            NotFound: there is no such trace or call.
            Invalid: nobody can judge a call of this kind.
        """
        return read_reply(Review, self._wire.send("POST", f"{API}/reviews", {"trace": trace, "call": call}))

    def list(
        self, *, state: str | None = None, endpoint: str | None = None, source: str | None = None, limit: int = 50
    ) -> tuple[Review, ...]:
        """What waits, in the order of the queue; then what was decided, newest first."""
        query = {"state": state, "endpoint": endpoint, "source": source, "limit": limit}
        return read_replies(Review, self._wire.get(f"{API}/reviews", query))

    def next(self, *, endpoint: str | None = None, after: str | None = None) -> Review | None:
        """The next review that nobody else looks at, held for ten minutes; None when nothing waits.

        Args:
            endpoint: of this one alone.
            after: the review that was looked at before; it is let go, and what follows it comes first.

        Raises:
            Forbidden: the key may not write.
        """
        reply = self._wire.send("POST", f"{API}/reviews/next", {"endpoint": endpoint, "after": after})
        return None if reply.json() is None else read_reply(Review, reply)

    def show(self, id: str) -> Review:
        """One review with what there is to judge.

        Raises:
            NotFound: there is none, or its trace is kept no more.
        """
        return read_reply(Review, self._wire.get(f"{API}/reviews/{segment(id)}"))

    def decide(self, id: str, opinion: str, *, correction: str = "", note: str = "") -> Review:
        """Says what is right or wrong; saying something else later replaces it.

        Args:
            opinion: `right`, `wrong` or `unsure`.
            correction: of what is wrong: a label, a text, or JSON.

        Raises:
            NotFound: there is no such review.
            Conflict: somebody else looks at it.
        """
        body = {"opinion": opinion, "correction": correction, "note": note}
        return read_reply(Review, self._wire.send("POST", f"{API}/reviews/{segment(id)}/decide", body))

    def tally(self) -> tuple[Tally, ...]:
        """What people said of each endpoint, with intervals."""
        return read_replies(Tally, self._wire.get(f"{API}/reviews/tally"))

    def export(self, endpoint: str, dataset: str) -> Exported:
        """Makes what people said of an endpoint's calls the next version of a dataset.

        Raises:
            Invalid: no review gives a row, or the rows break the dataset's contract.
        """
        body = {"endpoint": endpoint, "dataset": dataset}
        return read_reply(Exported, self._wire.send("POST", f"{API}/reviews/export", body, patient=True, once=True))
