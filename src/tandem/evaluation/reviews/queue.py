"""The queue of reviews: who asks for one, who looks at it, and what becomes of what is said.

A call comes into the queue by a mark that its decision set, by a monitor's sample, or because somebody names it. It is
judged by what the trace store keeps of it; nothing is copied, so a review ends with its trace. It knows no wire.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import msgspec

from tandem.core.clock import MICROS, Clock
from tandem.core.errors import Conflict, Invalid, NotFound
from tandem.core.principal import Principal
from tandem.core.review import Review, Said
from tandem.core.score import Score
from tandem.core.trace import Trace
from tandem.evaluation.reviews.repo import SAMPLED, Reviews
from tandem.governance.authorise import authorise, scope_of
from tandem.observability.content import Subjects
from tandem.observability.explain import Explained, explain
from tandem.observability.traces import Seen, Traces

KINDS = frozenset({"chat", "predict", "decide"})
"""What a person can judge; a vector is none of it."""
HOLD_SECONDS = 600
UPKEEP_SECONDS = 3600.0
BATCH = 500
WORDS = 20_000
"""Characters of a correction, and of a note."""
VALUES = {"right": 1.0, "wrong": 0.0}
DAY_MICROS = 86_400 * MICROS


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A review with what there is to judge."""

    review: Review
    said: Said | None
    """What was said before; None where nobody has, or where it can be read no more."""
    trace: Explained
    """The whole trace, with its content."""
    at: Trace
    """The call that is judged."""


class Queue:
    """Puts calls before people, and keeps what they say."""

    def __init__(self, reviews: Reviews, *, traces: Traces, subjects: Subjects, clock: Clock, retention_days: int) -> None:
        """
        Args:
            retention_days: after which a trace is gone, and with it a review that nobody did.
        """
        self.reviews = reviews
        self._traces, self._subjects, self._clock, self._days = traces, subjects, clock, retention_days
        self._due = 0.0

    # --- in

    def add(self, trace: str, *, call: str | None = None, by: Principal) -> Review:
        """Puts a call before a person; one that is in the queue already stays as it is.

        Args:
            call: which call of the trace; None means the one that opened it.

        Raises:
            Forbidden: `by` may not write in the call's team.
            NotFound: there is no such trace or call for this caller.
            Invalid: it is of a kind that nobody can judge.
        """
        authorise(by, "write")
        found = self._traces.find(trace, team=scope_of(by).team).calls
        chosen = next((each for each in found if call is None or each.call == call), None)
        if chosen is None:
            raise NotFound(f"The trace {trace} has no such call.", hint="`tandem trace show` lists its calls.")
        authorise(by, "write", chosen.team)
        if chosen.kind not in KINDS or not chosen.endpoint:
            raise Invalid(
                "Only answers of a chat, a prediction or a decision can be reviewed.",
                field="trace",
                hint="Name another call of this trace, or another trace.",
            )
        review = self._made(chosen, f"key/{by.name}")
        self.reviews.add([review], by=by)
        return self.reviews.find(review.id, scope_of(by))[0]

    def sample(self, monitor: str, seen: Sequence[Seen], count: int) -> int:
        """Puts a random sample of a monitor's window before people; returns how many are new.

        Which ones is a matter of the calls' ids alone, so asking twice about the same window draws the same.
        """
        fit = [each.trace for each in seen if each.kept is not None and each.trace.outcome == "ok" and each.trace.kind in KINDS]
        drawn = sorted(fit, key=lambda trace: sha256(f"{monitor}/{trace.call}".encode()).digest())[:count]
        return self.reviews.add([self._made(trace, f"{SAMPLED}{monitor}") for trace in drawn])

    def _made(self, trace: Trace, source: str) -> Review:
        return Review(
            id=f"rvw_{trace.call.partition('_')[2]}",
            team=trace.team,
            trace=trace.id,
            call=trace.call,
            endpoint=trace.endpoint,
            kind=trace.kind,
            source=source,
            called_at=trace.start,
            created_at=self._clock.now(),
        )

    # --- out

    def next(self, by: Principal, *, endpoint: str | None = None, after: str | None = None) -> Opened | None:
        """The next review for `by`, held for ten minutes; None when nothing waits.

        Raises:
            Forbidden: `by` may not write, and so not judge.
        """
        authorise(by, "write")
        while True:
            review = self.reviews.next(by, endpoint=endpoint, after=after, seconds=HOLD_SECONDS)
            if review is None:
                return None
            try:
                return self.open(review.id, by)
            except NotFound:  # a shorter rule of retention took its trace: there is nothing to judge
                self.reviews.forget_one(review.id)

    def open(self, id: str, by: Principal) -> Opened:
        """A review and what there is to judge.

        Raises:
            NotFound: there is none in the caller's scope, or its trace is kept no more.
        """
        authorise(by, "read")
        review, sealed = self.reviews.find(id, scope_of(by))
        trace = explain(self._traces, self._subjects, review.trace, team=scope_of(by).team, content=True)
        at = next((call for call in trace.calls if call.call == review.call), None)
        if at is None:
            raise NotFound(f"The call of {id} is kept no more.", hint="Traces leave with the retention period.")
        return Opened(review=review, said=self.read(sealed), trace=trace, at=at)

    def read(self, sealed: bytes) -> Said | None:
        """What a person said; None where nobody did, or where the call's subject was erased since."""
        plain = self._subjects.unseal(sealed) if sealed else None
        return None if plain is None else msgspec.json.decode(plain, type=Said)

    def decide(self, id: str, said: Said, by: Principal) -> Review:
        """Keeps what a person says; saying something else later replaces it, and the audit has both.

        Raises:
            Forbidden: `by` may not write in the review's team.
            NotFound: there is no such review, or its trace is kept no more.
            Invalid: a correction of something that was right, or too many words.
            Conflict: somebody else looks at it just now.
        """
        opened = self.open(id, by)
        review = opened.review
        authorise(by, "write", review.team)
        _check(said)
        if review.state == "open" and review.held_by not in (None, by.name) and review.held_until > self._clock.now():
            raise Conflict(f"{review.held_by} looks at this review.", hint="`tandem review next` gives another one.")
        sealed = b""
        if said.correction or said.note:
            sealed = self._seal(review, said)
        done = self.reviews.decide(id, said.opinion, sealed, corrected=bool(said.correction), by=by)
        self._score(done)
        return done

    def _seal(self, review: Review, said: Said) -> bytes:
        """Words under the key of whom the call is about, else of who called."""
        call = next(each for each in self._traces.find(review.trace, team=None).calls if each.call == review.call)
        name = f"principal:{call.principal}" if call.subject is None else self._subjects.name(call.subject)
        text = msgspec.json.encode(said)
        sealed = b"" if name is None else self._subjects.seal(name, text, self._clock.now(), begun=call.start)
        if not sealed:
            raise Conflict("Whom this call is about was erased, so no words about it are kept.", hint="Say it without words.")
        return sealed

    def _score(self, review: Review) -> None:
        if review.opinion in VALUES:
            self._traces.score(review.call, _scored(review))
        else:
            self._traces.unscore(review.trace, _scored(review).id)
        self.reviews.scored(review)

    # --- by itself

    def step(self, days: Sequence[str]) -> int:
        """Takes marked calls of these days into the queue, and keeps Scores that are due; returns how many of both.

        Raises:
            Unavailable: a store cannot be written; marks stay until it can.
        """
        done = 0
        for day in days:
            while marked := self._traces.marked(day, BATCH):
                self.reviews.add([self._made(trace, "decision") for trace in marked if trace.kind in KINDS])
                self._traces.unmark(day, [trace.call for trace in marked])
                done += len(marked)
        for review in self.reviews.due():
            self._score(review)
            done += 1
        return done

    def look(self) -> None:
        """One round: the last two days at once, all others and what is too old every hour.

        Raises:
            Unavailable: as `step`.
        """
        days = self._traces.days()
        if self._clock.monotonic() >= self._due:
            self.reviews.forget(self._clock.now() - self._days * DAY_MICROS)
            self.step(days)
            self._due = self._clock.monotonic() + UPKEEP_SECONDS
        self.step(days[:2])


def _scored(review: Review) -> Score:
    assert review.opinion is not None
    assert review.decided_at is not None
    assert review.decided_by is not None
    return Score(
        id=f"sco_{review.id.partition('_')[2]}",  # what is said later replaces what was said before
        subject=review.trace,
        scorer="person",
        value=VALUES.get(review.opinion, 0.0),
        label=review.opinion,
        detail={"call": review.call, "endpoint": review.endpoint, "review": review.id, "source": review.source},
        created_at=review.decided_at,
        created_by=review.decided_by,
    )


def _check(said: Said) -> None:
    for name, text in (("correction", said.correction), ("note", said.note)):
        if len(text) > WORDS:
            raise Invalid(f"The {name} has more than {WORDS:,} characters.", field=name, hint="Say it in fewer words.")
    if said.correction and said.opinion != "wrong":
        raise Invalid("A correction belongs to an answer that is wrong.", field="correction", hint="Say wrong, or leave it out.")
