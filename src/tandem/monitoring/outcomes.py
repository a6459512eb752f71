"""Labels that come late: kept as Scores of their traces, beside what people said of them, sealed under the subject's key.

A label is found by its trace, or by the key that the caller gave its call (the `id` of an inference request, the `id`
in a chat request's `metadata`), of which only a keyed digest is kept. It judges nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import msgspec

from tandem.core.clock import Clock
from tandem.core.errors import Invalid, NotFound
from tandem.core.principal import Principal
from tandem.core.score import Score
from tandem.core.trace import Trace
from tandem.governance.authorise import authorise, scope_of
from tandem.monitoring.labels import check
from tandem.observability.content import Subjects
from tandem.observability.explain import Kept
from tandem.observability.traces import Traces, is_shadow

SCORER = "label"
PURPOSE = "outcomes"
"""Of the vault: under what the digests of keys are made."""
MOST = 10_000
"""Labels of one request."""
TOLD = 20
"""Unknown ones that a reply names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What turned out to be true of one call."""

    label: tuple[str, ...]
    """One per row of the call, in its order; an empty text where it has not come yet, as behind the end of a shorter list."""
    trace: str | None = None
    key: str | None = None
    """The caller's own; either this or the trace is given."""
    at: int | None = None
    """When it became known, UTC microseconds; None means now."""
    row: int | None = None
    """The one row of the call that the label is of, from 1; the others keep what they had. None means all rows."""
    drawn: bool = False
    """Whether the call was chosen by chance to be looked at, whatever was answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The labels of a call that have come."""

    labels: tuple[str, ...] = ()
    """One per row, an empty text where none has come; none at all of a call without."""
    drawn: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What became of some outcomes."""

    kept: int
    """Of these, one that was kept before has been replaced."""
    erased: int
    """Their subject was erased, so nothing about it is kept."""
    unknown: int
    """No call of the endpoint has that trace or key."""
    examples: tuple[str, ...]
    """Some of the unknown ones."""


class _Asked(msgspec.Struct, frozen=True):
    id: str | None = None
    metadata: dict[str, object] | None = None


class _Label(msgspec.Struct, frozen=True):
    label: tuple[str, ...]
    at: int
    drawn: bool = False


class Outcomes:
    """The labels of every call."""

    def __init__(
        self,
        traces: Traces,
        subjects: Subjects,
        clock: Clock,
        secret: bytes,
        *,
        came: Callable[[str, str, int], None] = lambda team, endpoint, count: None,
        does: Callable[[str], str] = lambda model: "",
    ) -> None:
        """
        Args:
            secret: under which keys become digests.
            came: hears of calls of a team at an endpoint that have a label for the first time.
            does: tells the task of a model version, which says what a label may be; nothing of what it does not know.
        """
        self._came, self._does = came, does
        self._traces, self._subjects, self._clock, self._secret = traces, subjects, clock, secret

    def name(self, trace: Trace, content: bytes) -> str:
        """The digest of the key that a call was given; empty without one. Raises nothing."""
        if trace.kind not in ("predict", "chat", "decide") or b'"id"' not in content or is_shadow(trace):  # most, at no cost
            return ""
        try:
            asked = msgspec.json.decode(msgspec.msgpack.decode(content, type=Kept).request, type=_Asked)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return ""
        key = asked.id or (asked.metadata or {}).get("id")
        return self._digest(trace.team, trace.endpoint, key) if isinstance(key, str) and key else ""

    def add(self, endpoint: str, outcomes: Sequence[Outcome], *, by: Principal) -> Taken:
        """Keeps labels of the caller's calls of an endpoint; one that is there is replaced, so a file may be sent again.

        Raises:
            Forbidden: `by` may not write.
            Invalid: one has neither trace nor key, or both, or no label, or one that is none of its call.
        """
        authorise(by, "write")
        kept = erased = 0
        new: Counter[str] = Counter()
        unknown: list[str] = []
        for place, outcome in enumerate(outcomes):
            if (outcome.trace is None) == (outcome.key is None) or not outcome.label:
                raise Invalid(
                    f"Outcome {place + 1} needs a label and either a trace or a key.", field=f"outcomes[{place}]", hint=HINT
                )
            calls = self._calls(endpoint, outcome, by)
            if not calls:
                unknown.append(outcome.trace or outcome.key or "")
            for call in calls:
                known = self.known(call).labels
                if self._keep(call, self._whole(call, outcome, known, f"outcomes[{place}]"), by):
                    kept += 1
                    if not known:
                        new[call.team] += 1
                else:
                    erased += 1
        for team, count in new.items():
            self._came(team, endpoint, count)
        return Taken(kept=kept, erased=erased, unknown=len(unknown), examples=tuple(unknown[:TOLD]))

    def _calls(self, endpoint: str, outcome: Outcome, by: Principal) -> Sequence[Trace]:
        """The calls that are meant: those of a trace at the endpoint, or the newest one with the key."""
        trace = outcome.trace
        if outcome.key is not None:
            trace = self._traces.keyed(self._digest(by.team, endpoint, outcome.key))
        if trace is None:
            return ()
        try:
            found = self._traces.find(trace, team=scope_of(by).team).calls
        except NotFound:
            return ()
        return [call for call in found if call.endpoint == endpoint and not is_shadow(call)]

    def _whole(self, call: Trace, outcome: Outcome, known: Sequence[str], where: str) -> Outcome:
        """An outcome with a label of every row.

        Raises:
            Invalid: it is of more rows than the call had, or of another kind than its model tells; `field` is `where`.
        """
        told, row = outcome.label, outcome.row
        rows = call.attributes.get("rows")
        most = rows if isinstance(rows, int) else max(len(told), len(known), row or 0)
        if row is not None and (row < 1 or len(told) != 1):
            raise Invalid(f"{where} names a row, and so has one label, of a row from 1 on.", field=where, hint=HINT)
        if (row or len(told)) > most:
            hint = "Send one label per row; of a recommendation, all items of a row as a list within that list."
            raise Invalid(f"{where} is of {row or len(told)} rows; the call had {most}.", field=where, hint=hint)
        check(self._does(call.attempts[-1].target) if call.attempts else "", told, where)
        labels = list(known if row is not None else told) + [""] * most
        if row is not None:
            labels[row - 1] = told[0]
        return replace(outcome, label=tuple(labels[:most]))

    def _keep(self, call: Trace, outcome: Outcome, by: Principal) -> bool:
        now = self._clock.now()
        name = f"principal:{call.principal}" if call.subject is None else self._subjects.name(call.subject)
        known = _Label(label=outcome.label, at=now if outcome.at is None else outcome.at, drawn=outcome.drawn)
        piece = b"" if name is None else self._subjects.seal(name, msgspec.json.encode(known), now, begun=call.start)
        if not piece:
            return False
        score = Score(
            id=f"sco_{hashlib.sha256(f'label {call.call}'.encode()).hexdigest()[:26]}",  # a label again replaces the first
            subject=call.id,
            scorer=SCORER,
            value=1.0,  # that there is one; what it says is sealed
            detail={"call": call.call, "endpoint": call.endpoint, "sealed": base64.b64encode(piece).decode()},
            created_at=known.at,
            created_by=by.name,
        )
        return self._traces.score(call.call, score)

    def of(self, call: Trace) -> Sequence[str]:
        """The labels of a call's rows; none where one has not come, or its subject was erased."""
        labels = self.known(call).labels
        return labels if all(labels) else ()

    def known(self, call: Trace) -> Known:
        """The labels of a call's rows that have come."""
        for score in self._traces.scores(call.id):
            if score.scorer == SCORER and score.detail.get("call") == call.call:
                plain = self._subjects.unseal(base64.b64decode(str(score.detail["sealed"])))
                if plain is not None:
                    found = msgspec.json.decode(plain, type=_Label)
                    return Known(labels=found.label, drawn=found.drawn)
        return Known()

    def _digest(self, team: str, endpoint: str, key: str) -> str:
        return hmac.new(self._secret, f"{team}\n{endpoint}\n{key}".encode(), hashlib.sha256).hexdigest()[:32]


HINT = 'Send {"trace": "trc_…", "label": "1"} or {"key": "…", "label": "1"}.'
