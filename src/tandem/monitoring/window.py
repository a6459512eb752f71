"""What a window of traces says: rows a model was asked about, or answers of a chat endpoint. It judges nothing.

Content is opened here and goes no further than the counts that are made of it; what was erased, cut or never recorded
is counted, so that a verdict tells on how much of the traffic it rests.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from tandem.core.errors import Invalid
from tandem.core.trace import Trace
from tandem.observability import dialogue
from tandem.observability.content import Subjects
from tandem.observability.explain import Kept
from tandem.observability.traces import Seen
from tandem.scorers.text.base import Case
from tandem.scorers.text.grounded import grounded
from tandem.serving import forms
from tandem.serving.signature import LOOKED, MISSING, Cell, Field, Signature

FORM = "the request's form"
"""What was at fault where no column was."""
LOOKED_UP = 1000
"""The newest answers of a window whose claims are looked up; a millisecond each."""
_GROUNDED = grounded({})
_MARK = re.compile(r"\[\d+\]")
"""A mark of a citation: no number that the documents must hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a predict endpoint was asked in a window."""

    rows: list[list[float]]
    """In the order of `watched`; NaN where a value was missing, categories by `Field.code`."""
    calls: int
    """Calls that were answered or refused by the contract."""
    refused: Mapping[str, int]
    """Column (or `FORM`) → calls that the contract refused because of it."""
    coverage: Mapping[str, int] = field(default_factory=dict)
    until: int = 0
    """When the newest call ended; 0 without one."""
    windows: list[list[Cell]] = field(default_factory=list)
    """Of a model of signals the windows, as JSON, in place of rows."""


def watched(signature: Signature) -> list[tuple[int, Field]]:
    """The inputs whose drift is watched, with their places: numbers and categories, not texts, times, signals or history.

    Of images it is what each looks like.
    """
    if signature.pictured:
        return list(enumerate(LOOKED))
    return [
        (place, field)
        for place, field in enumerate(signature.fields)
        if field.dtype not in ("text", "datetime", "signal") and field.name != signature.history
    ]


def known_values(signature: Signature) -> dict[str, tuple[str, ...]]:
    """Of the watched inputs that are categories, the values the model knows."""
    return {field.name: field.values for _, field in watched(signature) if field.dtype == "category"}


def asked(seen: Sequence[Seen], subjects: Subjects, signature: Signature) -> Asked:
    """The rows of a window of predict calls."""
    rows: list[list[float]] = []
    windows: list[list[Cell]] = []
    refused: Counter[str] = Counter()
    coverage: Counter[str] = Counter()
    calls = 0
    for each in seen:
        outcome = each.trace.outcome
        if outcome == "invalid":
            calls += 1
            coverage["refused"] += 1
            refused[column(each.trace, signature)] += 1
            continue
        if outcome != "ok" or "rows" not in each.trace.attributes:  # failed on our side, or asked for metadata
            continue
        calls += 1
        kept, state = opened(each, subjects, whole=not signature.pictured)
        if kept is None:
            coverage[state] += 1
            continue
        try:
            if signature.sampled:
                windows += cells(kept, signature)
            else:
                rows += rows_of(kept, signature)
            coverage["read"] += 1
        except Invalid:  # written for a model with other columns
            coverage["unread"] += 1
    until = max((each.trace.end for each in seen), default=0)
    return Asked(rows=rows, calls=calls, refused=refused, coverage=coverage, until=until, windows=windows)


def rows_of(kept: Kept, signature: Signature) -> list[list[float]]:
    """What is watched of the rows of one call; categories by `Field.code`.

    Raises:
        Invalid: they were written for a model with other columns.
    """
    counted = watched(signature)
    return [[field.code(row[place]) for place, field in counted] for row in cells(kept, signature)]


def cells(kept: Kept, signature: Signature) -> list[list[Cell]]:
    """The rows of one call: those that it sent, those that were fetched for the entities it named, or what its images look like.

    Raises:
        Invalid: they were written for a model with other columns.
    """
    if signature.pictured:
        return _looked(kept.notes.get("images"))
    fetched = kept.notes.get("rows")
    if not isinstance(fetched, list):
        return forms.parse(kept.request, signature).rows
    rows: list[list[Cell]] = [
        [MISSING if value is None else value if isinstance(value, str) else float(value) for value in row] for row in fetched
    ]
    if any(len(row) != len(signature.fields) for row in rows):
        raise Invalid("The call was answered by a model with other columns.")
    return rows


def _looked(noted: object) -> list[list[Cell]]:
    """What was noted of a call's images, in the order of `LOOKED`.

    Raises:
        Invalid: nothing was, or something else.
    """
    try:
        looks = msgspec.convert(noted, dict[str, list[Cell | None]])
        rows = zip(*(looks[field.name] for field in LOOKED), strict=True)
        return [[MISSING if value is None else value for value in row] for row in rows]
    except (msgspec.ValidationError, KeyError, ValueError):
        raise Invalid("The call was answered by a model of something else than images.") from None


def column(trace: Trace, signature: Signature) -> str:
    """The column whose value the contract refused: a caller's own words are never repeated."""
    error = trace.attributes.get("error")
    where = str(error.get("field")) if isinstance(error, Mapping) else ""
    _, _, last = where.partition(".")
    return last if last in signature.names else FORM


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One chat call, as far as scores need it."""

    outcome: str
    text: str | None
    """What was answered; None where it cannot be read."""
    grounded: bool | None
    """Whether all that can be looked up of the answer stands in what it was given; None where there is nothing to look up."""
    nano: int | None
    """Nano-dollars; None when a price is not known."""
    tokens: int
    """Output tokens of the attempt that answered."""
    milliseconds: float
    """How long that attempt took."""


def replies(seen: Sequence[Seen], subjects: Subjects) -> tuple[list[Reply], dict[str, int]]:
    """The answers of a window of chat calls, the newest first, and how many could be read."""
    found: list[Reply] = []
    coverage: Counter[str] = Counter()
    for number, each in enumerate(seen):
        trace = each.trace
        if trace.outcome == "gone":  # the caller left: nobody's fault, and no whole answer
            continue
        kept, state = opened(each, subjects)
        coverage[state] += 1
        text = None if kept is None else dialogue.said(kept.answer.decode(errors="replace"))
        last = trace.attempts[-1] if trace.attempts else None
        answered = last is not None and last.outcome == "ok"
        found.append(
            Reply(
                outcome=trace.outcome,
                text=text,
                grounded=None if kept is None or trace.outcome != "ok" or number >= LOOKED_UP else grounds(kept),
                nano=trace.cost,
                tokens=last.usage.total_output if last is not None and answered else 0,
                milliseconds=(last.end - last.start) / 1000 if last is not None and answered else 0.0,
            )
        )
    return found, dict(coverage)


def grounds(kept: Kept) -> bool | None:
    """Whether numbers, dates, names and quotations of an answer stand in the messages, or the documents, that it was given.

    None where the answer has none of them.
    """
    given = [turn.text for turn in dialogue.asked(kept.request.decode(errors="replace"))]
    shown = kept.notes.get("shown")
    documents = [str(each["text"]) for each in shown if "text" in each] if isinstance(shown, list) else []
    text = dialogue.said(kept.answer.decode(errors="replace"))
    grade = _GROUNDED.grade(Case(sources=[*given, *documents]), _MARK.sub("", text) if documents else text)
    return None if grade.label else grade.value == 1.0


def opened(each: Seen, subjects: Subjects, *, whole: bool = True) -> tuple[Kept | None, str]:
    """The content of a call, or why it cannot be read.

    Args:
        whole: whether the request is read; else one that was cut, as those with large images are, will do.
    """
    if each.kept is None:
        return None, "unrecorded"
    plain = subjects.open(*each.kept)
    if plain is None:
        return None, "erased"
    kept = msgspec.msgpack.decode(plain, type=Kept)
    return (None, "cut") if kept.cut and whole else (kept, "read")
